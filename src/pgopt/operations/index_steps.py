"""The steps of which the index operations are made."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from pgopt.errors import InvalidOperation
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import column, column_name, ident, joined, literal, name_of, options, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.operations.indexes import IndexOperation
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import IndexInfo, Relation


def create_statement(
    of: IndexOperation, name: Composable, table: Composable, *, concurrently: bool = False, only: bool = False
) -> Composable:
    """Write CREATE INDEX for a definition, under a name and on a table of the caller's choice."""
    nothing = verbatim("")
    return sql(
        "create {}index {}{} on {}{} using {} ({}){}{}{}{}{}",
        verbatim("unique ") if of.unique else nothing,
        verbatim("concurrently ") if concurrently else nothing,
        name,
        verbatim("only ") if only else nothing,
        table,
        ident(of.using),
        joined(map(column, of.columns)),
        sql(" include ({})", joined(map(column, of.include))) if of.include else nothing,
        verbatim(" nulls not distinct") if of.nulls_not_distinct else nothing,
        sql(" with ({})", options(of.storage)) if of.storage else nothing,
        sql(" tablespace {}", ident(of.tablespace)) if of.tablespace else nothing,
        sql(" where {}", verbatim(of.where)) if of.where is not None else nothing,
    )


def derived_name(of: IndexOperation) -> str:
    """Make a name of the table's and the columns'; a hash stands for what columns alone do not tell."""
    names = [column_name(text) for text in of.columns]
    plain = [name for name in names if name is not None]
    more = repr((of.columns, of.include, of.where, of.using, of.unique, of.nulls_not_distinct))
    if tuple(plain) == tuple(of.columns) and more == repr((of.columns, (), None, "btree", False, False)):
        return name_of("ix", of.table, *plain)
    return name_of("ix", of.table, *plain, hashlib.blake2b(more.encode(), digest_size=4).hexdigest())


# -- what is there already -----------------------------------------------------------------------------------------------


def is_same(db: Catalog, of: IndexOperation, index: IndexInfo, table: Relation) -> bool:
    """Whether an index is what the operation says, as the server reads both."""
    if of.tablespace is not None and db.tablespace_of(index) != of.tablespace:
        return False
    wanted = db.shape_of_new(table, partial(create_statement, of))
    return bool(db.index_shape(index.oid) == wanted)


def is_there(db: Catalog, of: IndexOperation, name: str, table: Relation) -> bool:
    """Whether the index is there under a name, and valid."""
    index = db.index(name, table.schema)
    return index is not None and index.valid and is_same(db, of, index, table)


def same_or_refuse(db: Catalog, of: IndexOperation, table: Relation) -> None:
    """Take an equal index for the operation's own, and refuse another one of that name."""
    index = db.index(of.key, table.schema)
    if index is None:
        return
    on_this_table(index, table, db)
    if not is_same(db, of, index, table):
        wanted = render(create_statement(of, ident(of.key), table.ident))
        there = index.definition + (f" TABLESPACE {index.tablespace}" if index.tablespace else "")
        raise InvalidOperation(
            f"there is an index {index} already, and it is another one:\n  there is  {there}\n  wanted is {wanted}\n"
            "replace_index_concurrently changes the definition of an index"
        )


def on_this_table(index: IndexInfo, table: Relation, db: Catalog) -> None:
    """Refuse an index of another table."""
    if index.table != table.oid:
        raise InvalidOperation(f"index {index} is on {db.by_oid(index.table)}, not on {table}")


def refuse_to_drop(
    db: Catalog, index: IndexInfo, table: Relation, *, reversible: bool, comment: str | None = None
) -> None:
    """Refuse what cannot be dropped, or what would not come back with this comment."""
    on_this_table(index, table, db)
    _refuse(
        index,
        [
            (index.constraint, f"belongs to the constraint {index.constraint}: drop that"),
            (index.parent, "is a part of the index on the partitioned table: drop that"),
        ],
    )
    refuse_to_lose(index, table, reversible=reversible, comment=comment)


def refuse_to_lose(index: IndexInfo, table: Relation, *, reversible: bool, comment: str | None = None) -> None:
    """Refuse to drop what others rest on, or what would not come back with this comment."""
    reasons = [
        (index.referenced_by, f"is what foreign keys of {index.referenced_by} rest on: drop them first"),
        (index.replica_identity, f"is the replica identity of {table}: set another one first"),
        (
            reversible and index.clustered,
            f"is what {table} is clustered on, which would not come back: ALTER TABLE ... SET WITHOUT CLUSTER first",
        ),
        (
            reversible and index.comment not in (None, comment),
            f"has the comment {index.comment!r}, which would not come back: say comment={index.comment!r}",
        ),
        (
            reversible and index.statistics,
            "has statistics targets, which would not come back: ALTER INDEX ... SET STATISTICS -1 first",
        ),
    ]
    _refuse(index, reasons)


def _refuse(index: IndexInfo, reasons: Sequence[tuple[object, str]]) -> None:
    for holds, reason in reasons:
        if holds:
            raise InvalidOperation(f"index {index} {reason}")


# -- steps on one table --------------------------------------------------------------------------------------------------


def build(of: IndexOperation, name: str, table: Relation) -> Step:
    """Build an index concurrently under a name."""
    return build_by(create_statement(of, ident(name), table.ident, concurrently=True), name, table)


def build_by(statement: Composable, name: str, table: Relation) -> Step:
    """Build an index concurrently by a statement."""
    return Step(
        f"build {name} on {table}",
        statement,
        locks=[Lock(Mode.SHARE_UPDATE_EXCLUSIVE, table.name, table.schema)],
        transaction=False,
        done=partial(_is_valid, name=name, schema=table.schema),
        clear=partial(_invalid, name=name, table=table),
    )


def drop(name: str, table: Relation) -> Step:
    """Drop an index concurrently."""
    return Step(
        f"drop {name} on {table}",
        sql("drop index concurrently {}", ident(table.schema, name)),
        locks=[
            Lock(Mode.SHARE_UPDATE_EXCLUSIVE, table.name, table.schema),
            Lock(Mode.ACCESS_EXCLUSIVE, name, table.schema, is_index=True),
        ],
        transaction=False,
        done=partial(_is_gone, name=name, schema=table.schema),
    )


def comment(of: IndexOperation, name: str, table: Relation) -> Step:
    """Comment on an index."""

    def done(db: Catalog) -> bool:
        index = db.index(name, table.schema)
        return index is not None and index.comment == of.comment

    return Step(
        f"comment on {name}",
        sql("comment on index {} is {}", ident(table.schema, name), literal(of.comment)),
        locks=[Lock(Mode.SHARE_UPDATE_EXCLUSIVE, name, table.schema, is_index=True)],
        done=done,
    )


def swap_names(name: str, new: str, old: str, table: Relation) -> Step:
    """Let the new index take the name of the old one, in one transaction."""
    rename = "alter index {} rename to {}"
    return Step(
        f"swap {name} for the new one",
        [
            sql(rename, ident(table.schema, name), ident(old)),
            sql(rename, ident(table.schema, new), ident(name)),
        ],
        locks=[
            Lock(Mode.SHARE_UPDATE_EXCLUSIVE, name, table.schema, is_index=True),
            Lock(Mode.SHARE_UPDATE_EXCLUSIVE, new, table.schema, is_index=True),
        ],
        done=partial(_is_gone, name=new, schema=table.schema),
    )


def _is_valid(db: Catalog, *, name: str, schema: str | None) -> bool:
    index = db.index(name, schema)
    return index is not None and index.valid


def _is_gone(db: Catalog, *, name: str, schema: str | None) -> bool:
    return db.index(name, schema) is None


def _invalid(db: Catalog, *, name: str, table: Relation) -> Iterator[Step]:
    """Drop what an interrupted build has left: it is kept up by every write, and read by nobody."""
    index = db.index(name, table.schema)
    if index is not None and not index.valid:
        _not_at_work(index)
        yield drop(name, table)


def _not_at_work(index: IndexInfo) -> None:
    if index.built_by is not None:
        raise InvalidOperation(f"index {index} is being built by pid {index.built_by} now: wait for that to end")


# -- rebuilding ----------------------------------------------------------------------------------------------------------


def reindex(target: Relation, table: Relation | None) -> Step:
    """Rebuild one index of a table, or all of them where the target is the table."""
    index = None if target is table else target
    return Step(
        f"rebuild {index.name}" if index else f"rebuild the indexes of {table}",
        sql("reindex {} concurrently {}", verbatim("index" if index else "table"), target.ident),
        locks=[Lock(Mode.SHARE_UPDATE_EXCLUSIVE, table.name, table.schema)] if table else [],
        transaction=False,
        clear=partial(_leftovers, table=table, name=index.name if index else None),
    )


def _leftovers(db: Catalog, *, table: Relation | None, name: str | None) -> Iterator[Step]:
    """Drop the ``_ccnew`` and ``_ccold`` indexes of an interrupted REINDEX CONCURRENTLY."""
    if table is None:
        return
    # the server cuts long names to make room for the suffix
    start = re.escape(name.encode()[:50].decode(errors="ignore")) if name else ""
    for index in db.invalid_indexes(table, f"^{start}.*_cc(new|old)[0-9]*$"):
        if index.built_by is None:
            # not always the table: REINDEX TABLE rebuilds the index of its TOAST table, too
            yield drop(index.name, db.by_oid(index.table))


# -- partitioned tables --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts(ABC):
    """How an index comes about on the tables of a partitioned one."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name on the parent."""

    @abstractmethod
    def check(self, db: Catalog, part: Relation, name: str) -> None:
        """Refuse what a partition has under the name and is not of the index."""

    @abstractmethod
    def alone(self, table: Relation, name: str) -> Step:
        """Make it on a partitioned table without its partitions."""

    @abstractmethod
    def on_leaf(self, table: Relation, name: str) -> Iterator[Step]:
        """Make it on a partition that holds rows."""


@dataclass(frozen=True)
class IndexParts(Parts):
    """A plain index on the tables of a partitioned one."""

    of: IndexOperation

    @property
    def name(self) -> str:
        return self.of.key

    def check(self, db: Catalog, part: Relation, name: str) -> None:
        same_or_refuse(db, replace(self.of, name=name, table=part.name, schema=part.schema), part)

    def alone(self, table: Relation, name: str) -> Step:
        return Step(
            f"create {name} on {table} alone",
            create_statement(self.of, ident(name), table.ident, only=True),
            locks=[Lock(Mode.SHARE, table.name, table.schema)],
            done=lambda db: db.index(name, table.schema) is not None,
        )

    def on_leaf(self, table: Relation, name: str) -> Iterator[Step]:
        yield build(self.of, name, table)


def build_on_tree(db: Catalog, of: Parts, root: Relation) -> Iterator[Step]:
    """Make the index on the parent alone, build it on each partition, and attach those, from the leaves upwards."""
    parts = db.partitions(root)
    _refuse_foreign(parts, root)
    names = {root.oid: (root.schema, of.name)}
    for part in parts:
        names[part.oid] = _name_on(db, of, part, names[part.parent or 0])
    yield of.alone(root, of.name)
    for part in parts:
        name = names[part.oid][1]
        served = partial(_is_served, part=part, of_parent=names[part.parent or 0])
        for step in [of.alone(part, name)] if part.partitioned else of.on_leaf(part, name):
            yield step.unless(served)
    for part in reversed(parts):
        yield _attach(db, part, root, names)
    yield Step(
        f"see that {of.name} is valid",
        [],
        done=partial(_is_valid, name=of.name, schema=root.schema),
        clear=partial(_latecomers, of=of, root=root, known=parts),
    )


def _refuse_foreign(parts: Sequence[Relation], root: Relation) -> None:
    for part in parts:
        if part.kind == "f":
            raise InvalidOperation(f"partition {part} of {root} is a foreign table, which cannot have an index")


def _name_on(db: Catalog, of: Parts, part: Relation, of_parent: tuple[str | None, str]) -> tuple[str | None, str]:
    """Give the name of the index on a partition: one that came with CREATE TABLE ... PARTITION OF has the server's."""
    if (there := db.part(part, *of_parent)) is not None:
        return there
    name = part_name(of.name, part)
    of.check(db, part, name)
    return part.schema, name


def _latecomers(db: Catalog, *, of: Parts, root: Relation, known: Sequence[Relation]) -> Iterator[Step]:
    """Plan again for partitions that came between the plan and the index of their parent."""
    if db.partitions(root) == known:
        raise InvalidOperation(
            f"index {of.name} of {root} stays invalid though all partitions have it: drop it and run again"
        )
    yield from build_on_tree(db, of, root)


def part_name(name: str, part: Relation) -> str:
    """Name the index of a partition after the partition and the index."""
    return name_of(part.name, name)


def names_not_ours(db: Catalog, name: str, root: Relation) -> list[str]:
    """Give the names, in the index's tree, that building it again would not give."""
    index = db.index(name, root.schema)
    ours = {(part.schema, part_name(name, part)) for part in db.partitions(root)}
    return [part.name for part in db.index_tree(index)[1:] if (part.schema, part.name) not in ours] if index else []


def note_names(other: Sequence[str], what: str) -> list[str]:
    """Say which names of partitions' indexes would not come back."""
    if not other:
        return []
    shown = ", ".join(other[:5]) + f" and {len(other) - 5} more" * (len(other) > 5)
    return [f"these {what} of its partitions would come back under pgopt's own names: {shown}"]


def drop_from_tree(db: Catalog, of: IndexOperation, root: Relation) -> Iterator[Step]:
    """Drop what an interrupted build left on partitions, then the index of the parent with its parts."""
    parts = db.partitions(root)
    for part in reversed(parts):
        index = db.index(part_name(of.key, part), part.schema)
        if index is not None and index.parent is None and index.table == part.oid:
            yield _drop_with_parts(db, index.name, part, parts) if part.partitioned else drop(index.name, part)
    yield _drop_with_parts(db, of.key, root, parts)


def with_parts(table: Relation, parts: Sequence[Relation]) -> list[Relation]:
    """Give a table and those below it, of all that are below the root."""
    below = {table.oid}
    tables = [table]
    for part in parts:
        if part.parent in below:
            below.add(part.oid)
            tables.append(part)
    return tables


def _attach(db: Catalog, part: Relation, root: Relation, names: dict[int, tuple[str | None, str]]) -> Step:
    schema, parent_index = names[part.parent or 0]
    own = names[part.oid][1]
    parent = db.by_oid(part.parent or root.oid)
    return Step(
        f"attach {own} of {part} to {parent_index}",
        sql("alter index {} attach partition {}", ident(schema, parent_index), ident(part.schema, own)),
        locks=[
            Lock(Mode.ACCESS_SHARE, parent.name, parent.schema),
            Lock(Mode.ACCESS_SHARE, part.name, part.schema),
            Lock(Mode.SHARE_UPDATE_EXCLUSIVE, parent_index, schema, is_index=True),
            Lock(Mode.ACCESS_EXCLUSIVE, own, part.schema, is_index=True),
        ],
        done=partial(_is_served, part=part, of_parent=(schema, parent_index)),
    )


def _is_served(db: Catalog, *, part: Relation, of_parent: tuple[str | None, str]) -> bool:
    """Whether a partition has its part of the parent's index, or is a partition no longer."""
    return not db.is_partition(part) or db.has_part(part, *of_parent)


def _drop_with_parts(db: Catalog, name: str, table: Relation, parts: Sequence[Relation]) -> Step:
    index = db.index(name, table.schema)
    indexes = db.index_tree(index) if index else []
    return Step(
        f"drop {name} with its parts",
        sql("drop index {}", ident(table.schema, name)),
        locks=[
            *(Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema) for each in with_parts(table, parts)),
            *(Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema, is_index=True) for each in indexes),
        ],
        done=partial(_is_gone, name=name, schema=table.schema),
    )
