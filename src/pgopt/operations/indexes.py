"""Indexes: built, dropped, replaced and renamed while their tables are read and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from pgopt.errors import InvalidOperation, NotReversible
from pgopt.operations import index_losses as losses
from pgopt.operations import index_steps as steps
from pgopt.operations import index_trees as trees
from pgopt.operations.base import Action, StateOperation, operation, other
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.objects import Relation, TableNamed
from pgopt.server.quoting import check_name, ident, names_table, sql

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from pgopt.plan.undoing import Begun
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import IndexInfo


@dataclass(frozen=True, repr=False)
class IndexOperation(StateOperation):
    """An index by its name, table and definition."""

    name: str | None
    table: str
    columns: Sequence[Any] = ()
    _: KW_ONLY
    unique: bool = False
    where: Any = None
    include: Sequence[Any] = ()
    using: str = "btree"
    nulls_not_distinct: bool = False
    storage: Mapping[str, Any] | None = None
    tablespace: str | None = None
    comment: str | None = None
    schema: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name is None and self.columns:
            object.__setattr__(self, "name", steps.derived_name(self))

    def check(self) -> None:
        """Refuse what no database would take."""
        if self.name is not None:
            check_name(self.name, f"an index on {self.table}")
        for text in (*self.columns, *self.include, *(() if self.where is None else (self.where,))):
            if not isinstance(text, str):
                raise InvalidOperation(
                    f"index {self.name} on {self.table} says {text!r}: write SQL as text, or with SQLAlchemy"
                )
            if names_table(text, self.table):
                raise InvalidOperation(
                    f"index {self.name} on {self.table} says {text!r}: a column of an index is named without its table's schema"
                )
        if self.comment == "":
            raise InvalidOperation(
                f"index {self.name} on {self.table}: PostgreSQL keeps no empty comment: leave it out"
            )
        if self.nulls_not_distinct and not self.unique:
            raise InvalidOperation(f"index {self.name}: nulls_not_distinct says something of unique indexes only")

    def subject(self, db: Catalog) -> str | TableNamed:  # noqa: ARG002
        return TableNamed(self.table, self.schema, index=self.name)

    @property
    def is_told_by_name(self) -> bool:
        return True

    @property
    def index_name(self) -> str:
        """The name, which is there once the operation is made."""
        if self.name is None:
            raise InvalidOperation(f"{self.directive} on {self.table}: say the name of the index, or its columns")
        return self.name


_DEFINITION = frozenset(each.name for each in fields(IndexOperation)) - {"name", "table", "schema", "settings"}
_BARE = {each.name: each.default for each in fields(IndexOperation) if each.name in _DEFINITION}


@operation("create_index_concurrently")
class CreateIndexConcurrently(IndexOperation):
    """Build an index while its table is read and written.

    Takes SHARE UPDATE EXCLUSIVE on the table, which nobody but other DDL waits for, and waits for the transactions that
    were open before it. On a partitioned table, at any depth, the index is made on each partition so, and new partitions
    have it at once. An equal index of that name counts as done; a different one is an error.

    A column is a name (``"userId"``), a name with what follows it in CREATE INDEX (``"created_at desc nulls last"``,
    ``"title gin_trgm_ops"``), an expression (``"lower(email)"``, ``"(a + b) desc"``), or one of SQLAlchemy's. Names
    that are not plain words are quoted (``'"first name" desc'``)::

        op.create_index_concurrently(
            "ix_tickets_unassigned", "tickets", ["organization_id", "priority desc"],
            where="assignee_id is null", include=["title"],
        )

    The name may be ``None``: it is then made of the table's and the columns'.
    """

    columns: Sequence[Any] = field()

    def check(self) -> None:
        super().check()
        if not self.columns:
            raise InvalidOperation(f"index {self.name} on {self.table} has no columns")

    def reverse(self) -> DropIndexConcurrently:
        return other(DropIndexConcurrently, self)

    def notes(self, db: Catalog) -> Sequence[str]:
        table = db.table(self.table, self.schema)
        if not table.partitioned:
            return ()
        return [*trees.note_adopted(db, self.index_name, table), *trees.note_strays(db, self.index_name, table)]

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        steps.same_or_refuse(db, self, table)
        if self.comment is not None:
            steps.refuse_comment_of_others(db, self, table, [self.comment])
        steps.refuse_unreadable(db, self, table)
        if table.partitioned:
            yield from trees.build_on_tree(db, trees.IndexParts(self), table)
        else:
            yield steps.build(self, self.index_name, table)
        if self.comment is not None:
            yield steps.comment(self, self.index_name, table)


@operation("drop_index_concurrently")
class DropIndexConcurrently(IndexOperation):
    """Drop an index while its table is read and written.

    Takes SHARE UPDATE EXCLUSIVE on the table and waits for the transactions that use it. An index that is not there
    counts as dropped. On a partitioned table PostgreSQL has only a plain DROP INDEX, which takes ACCESS EXCLUSIVE on
    all partitions for an instant.

    With the definition, as for `create_index_concurrently`, it can be undone; the index that is there must then be equal
    to it::

        op.drop_index_concurrently("ix_tickets_status", "tickets", ["status"])
    """

    def reverse(self) -> CreateIndexConcurrently:
        if not self.columns:
            raise NotReversible(
                f"{self.title}: say the columns of the index (and where=, include= …), so that it can be made again"
            )
        return other(CreateIndexConcurrently, self)

    def notes(self, db: Catalog) -> Sequence[str]:
        table = db.table(self.table, self.schema)
        others = trees.names_not_ours(db, self.index_name, table) if table.partitioned else []
        foreign = trees.note_foreign(db, self.index_name, table) if self.columns else ()
        strays = trees.note_strays(db, self.index_name, table) if table.partitioned else ()
        return [*_note_drop(table), *trees.note_names(others, "indexes"), *foreign, *strays]

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        index = db.index(self.index_name, table.schema)
        if index is not None:
            losses.refuse_to_drop(
                db,
                losses.tree_of(db, index),
                table,
                reversible=bool(self.columns),
                comment=self.comment,
                tablespace=self.tablespace,
            )
            if self.columns:
                trees.refuse_of_others(
                    db,
                    db.partitions(table),
                    f"and {self.index_name} could not be made again there: leave the columns out to drop it for good",
                )
                steps.same_or_refuse(
                    db, self, table, way_out="say what is there, or leave the columns out to drop it for good"
                )
            if index.unique and index.valid and table.kind == "r" and db.may_read(table):
                yield steps.see_that_nothing_rests_on(index, table)
        yield from _drop(db, self, table)


def _note_drop(table: Relation) -> Sequence[str]:
    if not table.partitioned:
        return ()
    return [f"{table.name} is partitioned: dropping takes ACCESS EXCLUSIVE on all its partitions for an instant"]


def _drop(db: Catalog, of: IndexOperation, table: Relation) -> Iterator[Step]:
    if table.partitioned:
        yield from trees.drop_from_tree(db, of, table)
    else:
        yield steps.drop(of.index_name, table)


@operation("replace_index_concurrently")
class ReplaceIndexConcurrently(IndexOperation):
    """Give an index another definition under its name, with never a moment without one of the two.

    The new one is built beside the old one, then both are renamed in one short transaction that takes SHARE UPDATE
    EXCLUSIVE on the indexes, those of partitions, too; then the old one is dropped. ``old`` is what was there, as an operation; with it the
    replacement can be undone::

        op.replace_index_concurrently(
            "ix_tickets_list", "tickets", ["organization_id", "created_at desc"],
            old=["organization_id"],
        )

    Where the old index has more than columns, ``old`` is a mapping: ``{"columns": ["status"], "where": "..."}``.
    """

    columns: Sequence[Any] = field()
    old: Sequence[Any] | Mapping[str, Any] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.old, Mapping):
            # one way to say it, so that equal operations compare equal
            said = {name: value for name, value in self.old.items() if value != _BARE[name]}
            object.__setattr__(self, "old", said["columns"] if len(said) == 1 else said)

    def check(self) -> None:
        super().check()
        if not self.columns:
            raise InvalidOperation(f"index {self.name} on {self.table} has no columns")
        if self.old is not None:
            self._replaced()

    def reverse(self) -> ReplaceIndexConcurrently:
        if self.old is None:
            raise NotReversible(
                f"{self.title}: say old=, the columns of the index that was there, so that it can be made again"
            )
        ours = {name: getattr(self, name) for name in _DEFINITION if getattr(self, name) != _BARE[name]}
        return replace(self, **self._replaced(), old=ours)

    def notes(self, db: Catalog) -> Sequence[str]:
        table = db.table(self.table, self.schema)
        index = db.index(self.index_name, table.schema) if db.online and self.old is None else None
        if index is None:
            new = steps.new_name(self.index_name)
            strays = trees.note_strays(db, new, table, beside=True) if table.partitioned else ()
            return [*_note_drop(table), *strays]
        comment = f"{index} loses the comment {index.comment!r}"
        if self._is_there(db, table):
            return [comment] if self.comment is not None and index.comment not in (None, self.comment) else ()
        return [
            *_note_drop(table),
            *(each for part in losses.tree_of(db, index) for each in self._lost(part, is_whole=part.oid == index.oid)),
        ]

    def _lost(self, index: IndexInfo, *, is_whole: bool) -> Iterator[str]:
        """Say what goes with an old index, of which nobody has said what it was."""
        lost = {
            f"the comment {index.comment!r}": index.comment not in (None, self.comment if is_whole else None),
            f"the storage parameters {index.storage}": index.storage is not None and not self.storage,
            f"the tablespace {index.tablespace}": index.tablespace not in (None, self.tablespace),
            "statistics targets": index.statistics,
            "the mark of CLUSTER": index.clustered,
            f"DEPENDS ON EXTENSION {index.extension}": index.extension is not None,
        }
        return (f"{index} is dropped, and with it {each}" for each, holds in lost.items() if holds)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        new, old = (replace(self, name=name(self.index_name)) for name in (steps.new_name, steps.old_name))
        ours = [self, *([replace(self, **self._replaced(), old=None)] if self.old is not None else [])]
        for each in new, old:
            steps.refuse_of_others(db, each.index_name, table, self.index_name, ours)
        if self._is_there(db, table):
            if self.old is not None and self.comment is not None:
                steps.refuse_comment_of_others(db, self, table, [self.comment, self._replaced()["comment"]])
            yield from _drop(db, new, table)
            if self.comment is not None or self._has_comment_of_old(db, table):
                yield steps.comment(self, self.index_name, table)
            yield from self._drop_old(db, old, table)
            return
        # before anything is asked about it: what is said from now on is seen when it is to go
        was = losses.state_of(db, self.index_name, table)
        self._check_replaced(db, table)
        steps.refuse_unreadable(db, self, table)
        if table.partitioned and db.online:
            trees.refuse_taken_by_others(db, self, new.index_name, table)
        if db.index(old.index_name, table.schema):
            yield from self._drop_old(db, old, table)
        if (there := db.index(new.index_name, table.schema)) and not steps.is_same(db, self, there, table):
            yield from _drop(db, new, table)
        yield from self._exchange(db, new, old, table, was)

    def _is_there(self, db: Catalog, table: Relation) -> bool:
        """Whether the index is what it shall be; it is not where it lies still."""
        if not steps.is_there(db, self, self.index_name, table):
            return False
        before = self._replaced()["tablespace"] if self.tablespace is None and self.old is not None else None
        if before in (None, db.tablespace_of_new(None)):
            return True
        index = db.index(self.index_name, table.schema)
        return index is None or db.tablespace_of(index) != before

    def _drop_old(self, db: Catalog, old: IndexOperation, table: Relation) -> Iterator[Step]:
        """Drop what has been replaced, if nothing has come to rest on it since."""
        if (index := db.index(old.index_name, table.schema)) is not None:
            losses.refuse_to_lose(index, table, reversible=False)
        yield from _drop(db, old, table)

    def _refuse_to_drop_old(self, db: Catalog, tree: Sequence[IndexInfo], table: Relation) -> None:
        was: dict[str, Any] = {} if self.old is None else self._replaced()
        losses.refuse_to_drop(
            db,
            tree,
            table,
            reversible=self.old is not None,
            comment=was.get("comment"),
            tablespace=was.get("tablespace"),
            say="say in old=",
        )

    def _has_comment_of_old(self, db: Catalog, table: Relation) -> bool:
        """Whether an index that stays as it is has the comment that goes with the old definition."""
        index = db.index(self.index_name, table.schema)
        said = self._replaced()["comment"] if self.old is not None else None
        return said is not None and index is not None and index.comment == said

    def _exchange(
        self, db: Catalog, new: IndexOperation, old: IndexOperation, table: Relation, was: losses.States
    ) -> Iterator[Step]:
        def refuse(db: Catalog, tree: Sequence[IndexInfo]) -> None:
            self._refuse_to_drop_old(db, tree, table)
            losses.refuse_changed(db, tree, was)

        if table.partitioned:
            yield from trees.build_on_tree(db, trees.IndexParts(new), table)
        else:
            yield steps.build(self, new.index_name, table)
        if self.comment is not None:
            yield steps.comment(self, new.index_name, table)
        if table.partitioned:
            yield from trees.swap_trees(db, self, new.index_name, table, mark=self.old is None, refuse=refuse)
        else:
            pairs = [(table.schema, self.index_name, new.index_name)]
            yield steps.swap_names(self.index_name, pairs, mark=self.old is None, refuse=refuse)
            yield steps.drop(old.index_name, table)

    def _replaced(self) -> dict[str, Any]:
        """Give the whole definition of the old index."""
        given = dict(self.old) if isinstance(self.old, Mapping) else {"columns": self.old}
        if isinstance(columns := given.get("columns"), str) or not columns:
            raise InvalidOperation(f"old= of index {self.name} says columns={columns!r}: write a list of what it had")
        if unknown := sorted(set(given) - _DEFINITION):
            raise InvalidOperation(
                f"old= of index {self.name} says {unknown[0]!r}: it can say {', '.join(sorted(_DEFINITION))}"
            )
        return {**_BARE, **given}

    def _check_replaced(self, db: Catalog, table: Relation) -> None:
        index = db.index(self.index_name, table.schema)
        if index is None:
            if db.online:
                beside = db.index(steps.new_name(self.index_name), table.schema)
                left = f", and drop {beside}, which was built to replace it" if beside is not None else ""
                raise InvalidOperation(f"there is no index {self.index_name!r} on {table} to replace: create it{left}")
            return
        self._refuse_to_drop_old(db, losses.tree_of(db, index), table)
        if self.old is not None:
            replaced = replace(self, **self._replaced(), old=None)
            steps.same_or_refuse(db, replaced, table, way_out="say in old= what is there")


@operation("rename_index")
class RenameIndex(StateOperation):
    """Rename an index; SHARE UPDATE EXCLUSIVE on the index alone, for an instant::

    op.rename_index("ix_old", "ix_new")
    """

    name: str
    new_name: str
    _: KW_ONLY
    schema: str | None = None

    def check(self) -> None:
        check_name(self.name, "an index")
        check_name(self.new_name, f"the index {self.name}")
        if self.name == self.new_name:
            raise InvalidOperation(f"index {self.name!r} is to be renamed to the name that it has")

    @property
    def is_told_by_name(self) -> bool:
        return True

    def reverse(self) -> RenameIndex:
        return replace(self, name=self.new_name, new_name=self.name)

    def plan(self, db: Catalog) -> Iterator[Step]:
        index, taken = db.index(self.name, self.schema), db.index(self.new_name, self.schema)
        if index and taken and index.schema != taken.schema:
            raise InvalidOperation(
                f"{index} and {taken} are both on the search_path, so which is to be renamed cannot be told: say schema="
            )
        if index and taken:
            raise InvalidOperation(
                f"there is an index {taken} already: drop it, or choose another name than {self.new_name!r}"
            )
        if db.online and not index and not taken:
            raise self._missing()
        schema = index.schema if index else self.schema
        yield Step(
            f"rename index {self.name} to {self.new_name}",
            sql("alter index {} rename to {}", ident(schema, self.name), ident(self.new_name)),
            locks=[Lock(Mode.SHARE_UPDATE_EXCLUSIVE, self.name, schema, is_index=True)],
            done=lambda db: db.index(self.name, schema) is None and db.index(self.new_name, schema) is not None,
        )

    def subject(self, db: Catalog) -> str | TableNamed:
        index = db.index(self.name, self.schema) or db.index(self.new_name, self.schema)
        if index is None:
            raise self._missing()
        return db.by_oid(index.table).named

    def _missing(self) -> InvalidOperation:
        return InvalidOperation(
            f"there is no index {self.name!r}" + (f" in schema {self.schema!r}" if self.schema else "")
        )


@operation("reindex_concurrently")
class ReindexConcurrently(Action):
    """Build an index, or all of a table, anew, while the table is read and written.

    Takes SHARE UPDATE EXCLUSIVE on the table and waits for old transactions; goes through a partitioned one partition by
    partition. What an interrupted run left behind (``_ccnew``, ``_ccold``) is dropped first::

        op.reindex_concurrently("ix_tickets_status")
        op.reindex_concurrently(table="tickets")
    """

    name: str | None = None
    _: KW_ONLY
    table: str | None = None
    schema: str | None = None

    def check(self) -> None:
        if (self.name is None) == (self.table is None):
            raise InvalidOperation("reindex_concurrently takes the name of an index, or table=, and not both")

    def notes(self, db: Catalog) -> Sequence[str]:
        if self.name is not None or not db.online:
            return ()
        return [
            f"{index} is left as it is: PostgreSQL cannot rebuild an exclusion constraint's index concurrently"
            if excludes
            else f"{index} is left as it is, since it is not valid: drop it, or rebuild it by its name"
            for index, excludes in db.not_rebuilt(self._tables(db))
        ]

    def plan(self, db: Catalog) -> Iterator[Step]:
        # REINDEX of a partitioned one, CONCURRENTLY or not, takes SHARE on all partitions: writers would wait
        if self.name is None:
            yield from (steps.reindex(each, each) for each in self._tables(db))
        elif not db.online:
            yield steps.reindex(Relation(0, self.schema, self.name, "i"), None)
        else:
            for each in db.index_tree(self._index(db, self.name)):
                index = db.index(each.name, each.schema)
                if index is not None and not index.partitioned:
                    yield steps.reindex(index, db.by_oid(index.table))

    def _tables(self, db: Catalog) -> Sequence[Relation]:
        table = db.table(str(self.table), self.schema)
        return [each for each in [table, *db.partitions(table)] if each.kind in "rm"]

    def undoes(self, begun: Begun, back: Collection[str]) -> bool:  # noqa: ARG002
        """Nothing: an index is the same after it."""
        return False

    def subject(self, db: Catalog) -> str | TableNamed:
        if self.name is None:
            return super().subject(db)
        return db.by_oid(self._index(db, self.name).table).named

    def _index(self, db: Catalog, name: str) -> IndexInfo:
        index = db.index(name, self.schema)
        if index is None:
            raise InvalidOperation(
                f"there is no index {name!r}" + (f" in schema {self.schema!r}" if self.schema else "")
            )
        return index
