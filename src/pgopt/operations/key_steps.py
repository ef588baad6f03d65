"""The steps of which unique constraints and primary keys are made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from pgopt.errors import InvalidOperation
from pgopt.operations import constraint_steps, index_losses, index_steps, index_trees
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import ident, literal, name_of, options, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.operations.indexes import CreateIndexConcurrently
    from pgopt.operations.keys import KeyOperation
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Constraint, IndexInfo, Relation


def create(db: Catalog, of: KeyOperation, table: Relation) -> Iterator[Step]:
    """Build the index concurrently, then make it the constraint's; on a partitioned table on each partition."""
    if table.partitioned:
        _refuse_without_partition_key(db, of, table)
        yield from index_trees.build_on_tree(db, KeyParts(of, tuple(_drops(db, of, table))), table)
        return
    if db.constraint(table, of.name) is None:
        index_steps.same_or_refuse(db, of.index(of.name, table), table)
    yield _build(of, of.name, table)
    yield _use(of, of.name, table)


def drop(db: Catalog, of: KeyOperation, table: Relation) -> Iterator[Step]:
    """Drop a key with its index, or the index that an interrupted run has left."""
    if table.partitioned:
        *parts, whole = _drops(db, of, table)
        yield from (step for step in parts if step.done is not None and not step.done(db))
        yield whole
    elif db.constraint(table, of.name) is None and db.index(of.name, table.schema) is not None:
        yield index_steps.drop(of.name, table)
    else:
        yield _drop_constraint(db, of.name, [table])


def _build(of: KeyOperation, name: str, table: Relation) -> Step:
    step = index_steps.build(of.index(name, table), name, table)
    return replace(
        step.unless(partial(constraint_steps.has, name=name, table=table)),
        explain=partial(
            constraint_steps.duplicates, table=table, columns=of.columns, nulls_are_equal=_nulls_are_equal(of)
        ),
    )


def _nulls_are_equal(of: KeyOperation) -> bool:
    return of.words != of.kind


def _use(of: KeyOperation, name: str, table: Relation) -> Step:
    return Step(
        f"make the index {name} of {table} the constraint's",
        sql(
            "alter table {} add constraint {} {} using index {}{}",
            table.ident,
            ident(name),
            verbatim(of.kind),
            ident(name),
            constraint_steps.timing(of),
        ),
        locks=[Lock(Mode.ACCESS_EXCLUSIVE, table.name, table.schema)],
        done=partial(constraint_steps.has, name=name, table=table),
    )


def _drop_constraint(db: Catalog, name: str, tables: Sequence[Relation]) -> Step:
    index = db.index(name, tables[0].schema)
    indexes = db.index_tree(index) if index else []
    own = Lock(Mode.ACCESS_EXCLUSIVE, name, tables[0].schema, is_index=True)
    parts = [Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema, is_index=True) for each in indexes[1:]]
    drop = constraint_steps.drop(name, tables, also=[own, *parts])
    return replace(drop, refuse=partial(index_trees.refuse_lost_identity, tables=tables))


# -- one key for another -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A table with the key that is replaced: the whole, or a partition with its part."""

    table: Relation
    name: str
    """What the key is called there."""

    @property
    def new(self) -> str:
        """What its index is called until it is the key's."""
        return name_of(self.name, "pgopt_new")


def replace_key(db: Catalog, new: KeyOperation, old: KeyOperation, table: Relation) -> Iterator[Step]:
    """Build the new key's index beside the old key, then let it take the old one's place in one transaction."""
    wanted = db.constraint_definition(table, new.definition)
    there = _replaced(db, new, table)
    places = list(_places(db, new.name, table))
    leaves = [each for each in places if not each.table.partitioned]
    for each in leaves:
        ours = (_index_beside(db, key, each) for key in (new, old))
        index_steps.refuse_of_others(db, each.new, each.table, each.name, ours)
    if there.definition == wanted:
        yield from (index_steps.drop(each.new, each.table) for each in leaves)
        return
    constraint_steps.same_or_refuse(db, old.name, table, old.definition)
    _refuse_without_partition_key(db, new, table)
    for each in places:
        refuse_nullable(db, each.table, new.columns)
        _refuse_to_strand(db, db.constraint(each.table, each.name), each.table)
    for each in leaves:
        yield from _build_beside(db, new, each, leaves)
    yield _swap(db, new, places, wanted)


def _places(db: Catalog, name: str, root: Relation) -> Iterator[Place]:
    """Give the tables that have the key, with its name on each, parents first."""
    names = {root.oid: name}
    yield Place(root, name)
    for part in db.partitions(root):
        parent = db.by_oid(part.parent or root.oid)
        found = db.part(part, parent.schema, names[parent.oid])
        if found is None:
            raise InvalidOperation(f"partition {part} has no part of the primary key {name}: reindex it first")
        names[part.oid] = found[1]
        yield Place(part, found[1])


def _replaced(db: Catalog, of: KeyOperation, table: Relation) -> Constraint:
    there = db.primary_key(table)
    if there is None or there.name != of.name:
        has = f"its primary key is {there.name}" if there else "op.create_primary_key_online adds one"
        raise InvalidOperation(f"{table} has no primary key {of.name} to replace: {has}")
    return there


def _build_beside(db: Catalog, of: KeyOperation, place: Place, leaves: Sequence[Place]) -> Iterator[Step]:
    table, index = place.table, _index_beside(db, of, place)
    if (there := db.index(place.new, table.schema)) and not index_steps.is_same(db, index, there, table):
        yield index_steps.drop(place.new, table)
    yield replace(
        index_steps.build(index, place.new, table),
        explain=partial(constraint_steps.duplicates, table=table, columns=of.columns),
        give_up=[index_steps.drop(each.new, each.table) for each in leaves],
    )


def _index_beside(db: Catalog, of: KeyOperation, place: Place) -> CreateIndexConcurrently:
    """Give the index that takes the place of a key's, with what it takes over from that."""
    there = db.index(place.name, place.table.schema)
    tablespace = there.tablespace if there else None
    return of.index(place.new, place.table, storage=_storage(there), tablespace=tablespace)


def _storage(index: IndexInfo | None) -> dict[str, str] | None:
    """Give the storage parameters of an index."""
    return dict(option.split("=", 1) for option in index.storage.split(", ")) if index and index.storage else None


def _key_of_parent(db: Catalog, of: KeyOperation, place: Place) -> Composable:
    """Write the key of a partitioned table, with the storage parameters of the one that it replaces."""
    storage = _storage(db.index(place.name, place.table.schema))
    return sql("{} with ({})", of.definition, options(storage)) if storage else of.definition


def _swap(db: Catalog, of: KeyOperation, places: Sequence[Place], wanted: str) -> Step:
    root = places[0].table
    # a parent adopts the keys of its partitions
    added = [
        sql(
            "alter table {} add constraint {} {}",
            each.table.ident,
            ident(each.name),
            _key_of_parent(db, of, each)
            if each.table.partitioned
            else sql("primary key using index {}", ident(each.new)),
        )
        for each in reversed(places)
    ]
    return Step(
        f"swap the primary key {of.name} of {root} for the new one",
        [
            sql("alter table {} drop constraint {}", root.ident, ident(of.name)),
            *added,
            *(statement for each in places for statement in _restored(db, each)),
        ],
        locks=[
            *(Lock(Mode.ACCESS_EXCLUSIVE, each.table.name, each.table.schema) for each in places),
            *(Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.table.schema, is_index=True) for each in places),
            *(
                Lock(_lock_on_new(db, each), each.new, each.table.schema, is_index=True)
                for each in places
                if not each.table.partitioned
            ),
        ],
        done=lambda db: (now := db.constraint(root, of.name)) is not None and now.definition == wanted,
    )


def _lock_on_new(db: Catalog, place: Place) -> Mode:
    index = db.index(place.name, place.table.schema)
    return Mode.SHARE if index is not None and index.replica_identity else Mode.SHARE_UPDATE_EXCLUSIVE


def _restored(db: Catalog, place: Place) -> Iterator[Composable]:
    """Give back what the old key had."""
    table, name = place.table, ident(place.name)
    there, index = db.constraint(table, place.name), db.index(place.name, table.schema)
    if there is not None and there.comment is not None:
        yield sql("comment on constraint {} on {} is {}", name, table.ident, literal(there.comment))
    if index is None:
        return
    if index.comment is not None:
        yield sql("comment on index {} is {}", ident(table.schema, place.name), literal(index.comment))
    if index.clustered:
        yield sql("alter table {} cluster on {}", table.ident, name)
    if index.replica_identity:
        yield sql("alter table {} replica identity using index {}", table.ident, name)


def _refuse_to_strand(db: Catalog, key: Constraint | None, table: Relation) -> None:
    if key is not None and (others := db.resting_on(key)):
        raise InvalidOperation(f"{', '.join(others)} depend on the primary key {key.name} of {table}: drop them first")


# -- partitioned tables --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KeyParts(index_trees.Parts):
    """How a key comes about on the tables of a partitioned one: constraints, since a bare index is not adopted."""

    key: KeyOperation
    give_up: Sequence[Step]

    @property
    def name(self) -> str:
        return self.key.name

    def check(self, db: Catalog, part: Relation, name: str) -> None:
        if self.key.kind == "primary key":
            refuse_second(db, part, name)
        if db.constraint(part, name) is None:
            index_steps.same_or_refuse(db, self.key.index(name, part), part)
        constraint_steps.same_or_refuse(db, name, part, self.key.definition)

    def alone(self, table: Relation, name: str) -> Step:
        return Step(
            f"add {name} to {table} alone",
            sql("alter table only {} add constraint {} {}", table.ident, ident(name), self.key.definition),
            locks=[Lock(Mode.ACCESS_EXCLUSIVE, table.name, table.schema)],
            done=partial(constraint_steps.has, name=name, table=table),
        )

    def on_leaf(self, table: Relation, name: str) -> Iterator[Step]:
        yield replace(_build(self.key, name, table), give_up=self.give_up)
        yield _use(self.key, name, table)


def _drops(db: Catalog, of: KeyOperation, root: Relation) -> Iterator[Step]:
    """Drop what an interrupted run has left on partitions, then the key of the parent with its parts."""
    parts = db.partitions(root)
    for part in reversed(parts):
        name = index_trees.part_name(of.name, part)
        below = index_trees.with_parts(part, parts)
        yield _drop_constraint(db, name, below).unless(
            partial(_is_no_constraint_left, of=of, name=name, part=part, root=root)
        )
        if not part.partitioned:
            yield index_steps.drop(name, part).unless(
                partial(_is_no_index_left, of=of, name=name, part=part, root=root)
            )
    yield _drop_constraint(db, of.name, [root, *parts])


def _is_no_constraint_left(db: Catalog, *, of: KeyOperation, name: str, part: Relation, root: Relation) -> bool:
    """Whether there is no constraint that waits to be adopted, but one of the application's own at most.

    That of the parent is added first, goes last, and its index is not valid in between.
    """
    constraint, whole, index = db.constraint(part, name), db.constraint(root, of.name), db.index(of.name, root.schema)
    if constraint is None or whole is None or index is None or index.valid:
        return True
    return constraint.inherited or constraint.definition != whole.definition


def _is_no_index_left(db: Catalog, *, of: KeyOperation, name: str, part: Relation, root: Relation) -> bool:
    """Whether there is no index that waits for its constraint, but one of the application's own at most."""
    return not index_trees.is_left(db, name, part, of.name, root)


def _refuse_without_partition_key(db: Catalog, of: KeyOperation, root: Relation) -> None:
    for table in [root, *db.partitions(root)]:
        if not table.partitioned:
            continue
        key = db.partition_key(table)
        if None in key:
            raise InvalidOperation(f"{table} is partitioned by an expression, and so can have no {of.kind}")
        if missing := [name for name in key if name not in of.columns]:
            raise InvalidOperation(
                f"{table} is partitioned by {', '.join(map(str, key))}, which each {of.kind} must contain: add"
                f" {', '.join(map(str, missing))} to the columns of {of.name}"
            )


# -- what is refused -----------------------------------------------------------------------------------------------------


def refuse_nullable(db: Catalog, table: Relation, columns: Sequence[str]) -> None:
    """Refuse a primary key of columns that may be NULL: to drop it would not give that back."""
    for name in columns:
        if not constraint_steps.is_never_null(db, table, name):
            raise InvalidOperation(
                f"column {name!r} of {table} may be NULL: op.set_not_null_online({table.name!r}, {name!r}) first"
            )


def refuse_second(db: Catalog, table: Relation, name: str) -> None:
    """Refuse a primary key where there is one of another name."""
    there = db.primary_key(table)
    if there is not None and there.name != name:
        raise InvalidOperation(f"{table} has the primary key {there.name} already: drop or replace that")


def refuse_to_drop(db: Catalog, of: KeyOperation, table: Relation) -> None:
    """Refuse what cannot be dropped, and what would not come back when the operation says how to make the key again."""
    index = db.index(of.name, table.schema)
    if index is None:
        return
    index_losses.on_this_table(index, table, db)
    if db.constraint(table, of.name) is None:
        _refuse_to_drop_bare(db, of, index, table)
    for each in db.index_tree(index):
        info = db.index(each.name, each.schema)
        if info is not None:
            _refuse_to_lose(db, info, reversible=bool(of.columns))


def _refuse_to_drop_bare(db: Catalog, of: KeyOperation, index: IndexInfo, table: Relation) -> None:
    """Take an index without a constraint for what an interrupted run has left, if it may be that."""
    if not index.unique or index.constraint:
        raise InvalidOperation(f"there is no constraint {of.name} on {table}, and the index {index} is not of one")
    if of.columns:
        index_steps.same_or_refuse(db, of.index(of.name, table), table)


def _refuse_to_lose(db: Catalog, index: IndexInfo, *, reversible: bool) -> None:
    table = db.by_oid(index.table)
    index_losses.refuse_to_lose(index, table, reversible=reversible)
    if not reversible:
        return
    constraint_steps.refuse_to_lose(db, index.name, table)
    there, default = db.tablespace_of(index), db.tablespace_of_new(None)
    for what, has, way_out in (
        ("storage parameters", index.storage, "ALTER INDEX ... RESET"),
        (
            "another tablespace",
            there != default and not index.partitioned and there,
            f"ALTER INDEX ... SET TABLESPACE {default}",
        ),
    ):
        if has:
            raise InvalidOperation(f"index {index} has {what} ({has}), which would not come back: {way_out} first")
