"""The steps of an index on a partitioned table: on the parent alone, then on each partition, then attached."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from pgopt.errors import InvalidOperation
from pgopt.operations.constraint_steps import on_all
from pgopt.operations.index_steps import (
    build,
    create_statement,
    drop,
    is_gone,
    is_valid,
    old_name,
    reindex,
    same_or_refuse,
    swap_names,
)
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import ident, name_of, sql
from pgopt.server.session import server_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pgopt.operations.index_steps import Pairs
    from pgopt.operations.indexes import IndexOperation
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import IndexInfo, Relation

# what the server says of a table or a column that is not there
NAMED_WRONGLY = ("42P01", "42703")

# schema and name of the index on each table of the tree
Names = dict[int, tuple[str | None, str]]


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

    def check_words(self, db: Catalog, root: Relation) -> None:  # noqa: B027  -- not all have words
        """Refuse a definition that means nothing on a partition."""

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
        return self.of.index_name

    def check(self, db: Catalog, part: Relation, name: str) -> None:
        of_part = replace(self.of, name=name, table=part.name, schema=part.schema)
        same_or_refuse(
            db,
            of_part,
            part,
            way_out=f"rename it: the part of {self.of.index_name} on the partition would have that name",
        )

    def check_words(self, db: Catalog, root: Relation) -> None:
        # only where the name is in it: for most there is nothing to ask the server
        if root.name not in " ".join([*self.of.columns, *self.of.include, self.of.where or ""]):
            return
        try:
            db.shape_of_new(root, partial(create_statement, self.of), name="pgopt_probe")
        except DBAPIError as error:
            if server_error(error).code not in NAMED_WRONGLY:
                raise
            raise InvalidOperation(
                f"the definition of {self.of.index_name} says the name of {root}, and its partitions have other names: leave it out, or,"
                f" where it means the whole row, index each partition by itself ({server_error(error).message})"
            ) from error

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
    refuse_of_others(db, parts, "and only a member of that role can index it")
    of.check_words(db, root)
    names = _names(db, of, root, parts)
    yield from _drop_left(db, of.name, root, parts, names)
    yield of.alone(root, of.name)
    for part in parts:
        name = names[part.oid][1]
        served = partial(_is_served, part=part, of_parent=names[part.parent or 0])
        for step in [of.alone(part, name)] if part.partitioned else _on_leaf(db, of, part, name):
            yield step.unless(served)
    for part in reversed(parts):
        yield _attach(db, part, root, names)
    yield Step(
        f"see that {of.name} is valid",
        [],
        done=partial(is_valid, name=of.name, schema=root.schema),
        clear=partial(_latecomers, of=of, root=root, known=parts),
    )


def _on_leaf(db: Catalog, of: Parts, part: Relation, name: str) -> Iterator[Step]:
    """Build the index of a partition, or rebuild what ATTACH has made a part as an interrupted build left it, which nobody can drop."""
    index = db.index(name, part.schema)
    if index is None or index.parent is None or index.valid:
        yield from of.on_leaf(part, name)
    else:
        yield replace(reindex(index, part), done=partial(is_valid, name=name, schema=part.schema))


def _refuse_foreign(parts: Sequence[Relation], root: Relation) -> None:
    for part in parts:
        if part.kind == "f":
            raise InvalidOperation(
                f"partition {part} of {root} is a foreign table, which cannot have an index, so that of the whole would not become"
                " valid: detach it first, or index the other partitions one by one"
            )


def refuse_of_others(db: Catalog, parts: Sequence[Relation], why: str) -> None:
    """Refuse what could not be made on a partition of another role."""
    if not_ours := db.not_ours(parts):
        raise InvalidOperation(f"partition {not_ours[0]} belongs to another role, {why}")


def _names(db: Catalog, of: Parts, root: Relation, parts: Sequence[Relation]) -> Names:
    names: Names = {root.oid: (root.schema, of.name)}
    for part in parts:
        names[part.oid] = _name_on(db, of, part, names[part.parent or 0])
    return names


def _name_on(db: Catalog, of: Parts, part: Relation, of_parent: tuple[str | None, str]) -> tuple[str | None, str]:
    """Give the name of the index on a partition: one that came with CREATE TABLE ... PARTITION OF has the server's."""
    if (there := db.part(part, *of_parent)) is not None:
        return there
    name = part_name(of.name, part)
    taken = db.index(name, part.schema)
    if taken is not None and taken.parent is not None:
        raise InvalidOperation(
            f"index {taken} is a part of {db.by_oid(taken.parent)}, and has the name that the part of {of.name} would have: rename it"
        )
    of.check(db, part, name)
    return part.schema, name


def _latecomers(db: Catalog, *, of: Parts, root: Relation, known: Sequence[Relation]) -> Iterator[Step]:
    """Plan again for partitions that came between the plan and the index of their parent, or went."""
    if db.partitions(root) != known:
        yield from build_on_tree(db, of, root)
        return
    yield from _look_again(db, of, root, known)
    if not is_valid(db, name=of.name, schema=root.schema):
        raise InvalidOperation(
            f"index {of.name} of {root} stays invalid though all partitions have it: drop it and run again"
        )


def _look_again(db: Catalog, of: Parts, root: Relation, parts: Sequence[Relation]) -> Iterator[Step]:
    """Have the server see that a parent's index has all its parts, from the leaves upwards.

    It looks when one is attached, be it once more; not when the partition goes that had none.
    """
    names = _names(db, of, root, parts)
    one_of_each = {part.parent or root.oid: part for part in parts}
    for parent, part in reversed(one_of_each.items()):
        schema, name = names[parent]
        yield replace(
            _attach(db, part, root, names),
            label=f"see whether {name} is on all partitions",
            done=partial(is_valid, name=name, schema=schema),
        )


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
    yield from _drop_left(db, of.index_name, root, parts)
    yield _drop_tree(db, of.index_name, root, parts)


def _drop_left(
    db: Catalog, of: str, root: Relation, parts: Sequence[Relation], kept: Names | None = None
) -> Iterator[Step]:
    """Drop what an interrupted build left on partitions; with `kept`, only where ATTACH has since made another index."""
    for part in reversed(parts):
        name = part_name(of, part)
        if (kept is None or kept[part.oid][1] != name) and is_left(db, name, part, of, root):
            yield _drop_tree(db, name, part, parts) if part.partitioned else drop(name, part)


def is_left(db: Catalog, name: str, part: Relation, of: str, root: Relation) -> bool:
    """Whether an index of a partition is what an interrupted build has left: not attached, and defined as the whole.

    The application may have one of that name, too: that of the parent is made first, goes last, and is not valid in between.
    """
    index, whole = db.index(name, part.schema), db.index(of, root.schema)
    if index is None or whole is None or whole.valid or whole.table != root.oid:
        return False
    if index.table != part.oid or index.parent is not None or index.constraint is not None or index.comment is not None:
        return False
    return db.index_shape(index.oid) == db.index_shape(whole.oid)


def note_adopted(db: Catalog, of: str, root: Relation) -> Sequence[str]:
    """Say which indexes of partitions are there before, and would be taken for what an interrupted build has left."""
    if not db.online or db.is_taken(of, root.schema):
        return ()
    found = (db.index(part_name(of, part), part.schema) for part in db.partitions(root))
    there = [str(index) for index in found if index is not None and index.parent is None]
    return [f"{each} is there already: it becomes a part of {of}, and will be dropped with it" for each in there]


def note_strays(db: Catalog, of: str, root: Relation, *, beside: bool = False) -> Sequence[str]:
    """Say what an interrupted build has left on tables that are partitions no longer, or have another name.

    One that is built beside another is not done when it is valid.
    """
    whole = db.index(of, root.schema) if db.online else None
    if whole is None or (whole.valid and not beside) or whole.table != root.oid:
        return ()
    shape = db.index_shape(whole.oid)
    return [
        f"{index} stays, since {table} {'has another name' if is_in else f'is no partition of {root} any more'}: drop it, if it was built for {of}"
        for index, table, is_in in db.stray_parts(of, root)
        if index.constraint is None and db.index_shape(index.oid) == shape
    ]


def note_foreign(db: Catalog, of: str, root: Relation) -> Sequence[str]:
    """Say which partitions stand against making an index again."""
    foreign = [part for part in db.partitions(root) if part.kind == "f"]
    return [f"{of} could not be made again as long as partition {part} is a foreign table" for part in foreign]


def refuse_taken_by_others(db: Catalog, of: IndexOperation, new: str, root: Relation) -> None:
    """Refuse what has a name that an index of a partition takes when it has been replaced, and is no index of a partition."""
    for schema, name, _ in _names_of_both(db, of=of, new=new, root=root)[1:]:
        index = db.index(old_name(name), schema)
        if (index is None or index.parent is None) and (taken := db.relation(old_name(name), schema)) is not None:
            raise InvalidOperation(f"{taken} has the name that {name} takes for a while when it is replaced: rename it")


def swap_trees(
    db: Catalog,
    of: IndexOperation,
    new: str,
    root: Relation,
    *,
    mark: bool,
    refuse: Callable[[Catalog, Sequence[IndexInfo]], None],
) -> Iterator[Step]:
    """Give the new index the names of the old one, on the parent and on each partition, and drop the old one."""
    pairs = partial(_names_of_both, of=of, new=new, root=root)
    known = pairs(db)
    # an index of a partition that came meanwhile has the names of both, too
    yield swap_names(of.index_name, known, mark=mark, refuse=refuse, anew=pairs)
    gone = [(schema, old_name(name)) for schema, name, _ in known]
    yield _drop_with_parts(old_name(of.index_name), root, db.partitions(root), gone)


def _names_of_both(db: Catalog, *, of: IndexOperation, new: str, root: Relation) -> Pairs:
    parts = db.partitions(root)
    there = _names(db, IndexParts(of), root, parts)
    beside = _names(db, IndexParts(replace(of, name=new)), root, parts)
    return [(schema, name, beside[table][1]) for table, (schema, name) in there.items()]


def with_parts(table: Relation, parts: Sequence[Relation]) -> list[Relation]:
    """Give a table and those below it, of all that are below the root."""
    below = {table.oid}
    tables = [table]
    for part in parts:
        if part.parent in below:
            below.add(part.oid)
            tables.append(part)
    return tables


def _attach(db: Catalog, part: Relation, root: Relation, names: Names) -> Step:
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


def _drop_tree(db: Catalog, name: str, table: Relation, parts: Sequence[Relation]) -> Step:
    index = db.index(name, table.schema)
    indexes = [(each.schema, each.name) for each in db.index_tree(index)] if index else []
    return _drop_with_parts(name, table, parts, indexes)


def _drop_with_parts(
    name: str, table: Relation, parts: Sequence[Relation], indexes: Sequence[tuple[str | None, str]]
) -> Step:
    return Step(
        f"drop {name} with its parts",
        sql("drop index {}", ident(table.schema, name)),
        locks=[
            *on_all(Mode.ACCESS_EXCLUSIVE, with_parts(table, parts)),
            *(Lock(Mode.ACCESS_EXCLUSIVE, name, schema, is_index=True) for schema, name in indexes),
        ],
        done=partial(is_gone, name=name, schema=table.schema),
        refuse=partial(refuse_lost_identity, tables=with_parts(table, parts)),
    )


def refuse_lost_identity(db: Catalog, *, tables: Sequence[Relation]) -> None:
    """Refuse to have dropped what has become a replica identity while the locks were waited for."""
    without = db.without_identity(tables)
    if without:
        raise InvalidOperation(f"this would drop the replica identity of {without[0]}: set another one first")
