"""Tables that become partitioned, and plain again, while they are in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pgopt.copy import compiled, followers, partitions, statistics
from pgopt.copy.by import Hash, ListOf, Partitioning
from pgopt.copy.exchange import Exchange
from pgopt.copy.incoming import drop
from pgopt.copy.layout import Layout
from pgopt.copy.memory import Memory, was
from pgopt.copy.pieces import refuse_split
from pgopt.copy.shape import (
    GONE,
    PART,
    PARTED,
    PLAIN,
    beside,
    foreign_keys_to,
    functions_on_conflict,
    indexes_of,
    rights_to,
    views_on_keys,
)
from pgopt.errors import INSTALL, InvalidOperation, NotInstalled, NotReversible
from pgopt.operations import attach, attached_views
from pgopt.operations.attach import Attachment
from pgopt.operations.base import Action, StateOperation, operation
from pgopt.operations.constraint_steps import orphans, refers_to_nothing
from pgopt.operations.detach import Detachment
from pgopt.operations.widening import Widening
from pgopt.server.quoting import literal, sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.plan.step import AnyStep, Step
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


@dataclass(frozen=True, repr=False)
class PartitionOperation(StateOperation):
    """A table and its partitions."""

    table: str
    by: Partitioning | None = None
    _: KW_ONLY
    method: Literal["attach", "copy"] = "copy"
    premake: int = 3
    start: str | None = None
    default: bool = False
    widen_keys: bool = False
    incoming: Literal["refuse", "drop", "widen"] = "refuse"
    incoming_columns: Mapping[str, str] | None = None
    publish: Literal["root"] | None = None
    schema: str | None = None

    def check(self) -> None:
        if self.by is not None and not isinstance(self.by, Partitioning):
            raise InvalidOperation(
                f"by={self.by!r} of {self.table}: say Monthly('created_at'), IntRange('id', step=1000000), or another such"
            )
        for what, known in (
            ("method", ("attach", "copy")),
            ("incoming", ("refuse", "drop", "widen")),
            ("publish", (None, "root")),
        ):
            if getattr(self, what) not in known:
                raise InvalidOperation(
                    f"{what}={getattr(self, what)!r} of {self.table}: say {' or '.join(map(repr, known))}"
                )
        if self.incoming_columns and self.incoming != "widen":
            raise InvalidOperation(
                f"incoming_columns= of {self.table} says by what to widen: say incoming='widen', too"
            )
        if self.default and isinstance(self.by, Hash):
            raise InvalidOperation(f"{self.table} by hash has no rows outside of its partitions: leave default= out")
        if self.method == "attach" and isinstance(self.by, Hash):
            raise InvalidOperation(f"the rows of {self.table} are not all of one hash: say method='copy'")

    def other(self, kind: type[Any]) -> Any:
        """Make the inverse, which takes the same arguments."""
        return kind(**{each.name: getattr(self, each.name) for each in fields(self)})


@operation("partition_table")
class PartitionTable(PartitionOperation):
    """Convert a table into a partitioned one while it is read and written.

    With ``method="copy"`` its rows are copied to partitions while triggers note what changes meanwhile, then the copy takes
    the table's place in one short transaction (ACCESS EXCLUSIVE), with all that belongs to it: keys, indexes, foreign keys,
    triggers, policies, grants, comments, sequences, views. The old table is kept up beside it for the way back, until
    `finalize_partitioning`. With ``method="attach"`` nothing is copied: the table becomes the first partition, and new rows go
    to new ones. Needs `install_pgopt`::

        op.partition_table("audit_logs", by=Monthly("created_at"), premake=3)

    Keys must contain the column; ``widen_keys=True`` adds it to those that do not. ``default=True`` takes rows outside of all
    partitions, which are refused otherwise. ``premake`` is how many partitions are made ahead. Rows before ``start`` share one
    partition; that is a key, or an instant where the key is a UUID or an epoch. ``publish="root"`` lets the partitioned table
    take the place of the table in its publications, for subscribers who need not know of partitions.

    Materialized views that read the table are built anew beside the old ones, over what takes its place, and swapped with it;
    with ``method="attach"`` right after it, since until then the rows are not there.

    Foreign keys that refer to it stand against it. ``incoming="drop"`` drops them; ``incoming="widen"`` lets them refer to the
    column, too, with ``incoming_columns={"in_team": "team_since"}``: the referencing column that holds it, by the name of the
    foreign key or of its table. Both give them back on the way back.
    """

    by: Partitioning = field()

    def reverse(self) -> UnpartitionTable:
        return self.other(UnpartitionTable)  # type: ignore[no-any-return]

    def notes(self, db: Catalog) -> Sequence[str]:
        table = db.table(self.table, self.schema)
        if table.partitioned:
            return ()
        widened = [index.name for index in indexes_of(db, table) if index.widened(self.by.column) != index]
        said = []
        if widened:
            said.append(
                f"{', '.join(widened)} will contain {self.by.column}, too: ON CONFLICT and GROUP BY that name the old columns alone"
                " will fail"
            )
            said += [
                f"function {name} says ON CONFLICT and {self.table}: look at it"
                for name in functions_on_conflict(db, table)
            ]
        said += self._widening(db, table).notes(db)
        if self.method == "attach" and not isinstance(self.by, ListOf):
            bound = Attachment.of(db, self._layout(db, table), self._memory(db, table), Memory.of(db, table)).bound
            said.append(f"until the swap, rows with {self.by.column} from {bound} on are refused")
        if views := followers.readers(db, table):
            said.append(f"these materialized views are built anew, and so refreshed: {', '.join(map(str, views))}")
        said += compiled.notes(db, *(each.name for each in (table, *views)))
        said += statistics.notes(db, table)
        if self.publish and (names := partitions.publications(db, table)):
            said.append(
                f"the partitioned table takes the place of the old one in {', '.join(names)}: subscribers see the same table,"
                f" by keys that contain {self.by.column}"
            )
        if self.method == "copy":
            said.append(
                f"the old table is kept as {beside(self.table, PLAIN)}, and changes are noted for it, until"
                f" op.finalize_partitioning({self.table!r}{self.schema_too})"
            )
        return said

    def plan(self, db: Catalog) -> Iterator[AnyStep]:
        table = db.table(self.table, self.schema)
        _check_installed(db)
        if table.partitioned:
            yield from self._settle(db, table)
        else:
            self._check(db, table)
            yield followers.clear_left(table.name, table.schema)
        yield partitions.clean_up(self.table, self.schema, only=GONE)
        if not table.partitioned:
            yield from self._convert(db, table)
        yield partitions.clean_up(self.table, self.schema)
        yield from partitions.settle_foreign_keys(self.table, self.schema)

    def _settle(self, db: Catalog, table: Relation) -> Iterator[AnyStep]:
        memory = self._check_equal(db, table)
        if memory.attached and memory.plain is not None and db.is_there(memory.plain):
            partition, names = db.by_oid(memory.plain), [each.name for each in indexes_of(db, table)]
            yield from attached_views.settle_views(db, table, partition)
            yield statistics.analyze(table.name, table.schema)
            yield from attach.drop_spare_indexes(db, partition, names, PARTED)
        else:
            yield followers.clear_left(table.name, table.schema)

    def _check_equal(self, db: Catalog, table: Relation) -> Memory:
        memory = Memory.of(db, table)
        if memory is None or memory.by != self.by.described(db, table):
            how = db.session.value(sql("select pg_get_partkeydef({})", literal(table.oid)))
            raise InvalidOperation(f"{table} is partitioned already, by {how}: unpartition it first")
        return memory

    def _check(self, db: Catalog, table: Relation) -> None:
        obstacles = list(partitions.obstacles(db, table, self.by.column))
        obstacles += _obstacles_of_keys(db, table, self)
        obstacles += partitions.published(
            db, table, self.by.column, publish=self.publish is not None, copied=self.method == "copy"
        )
        reading = followers.readers(db, table)
        obstacles += followers.obstacles(db, table, reading)
        obstacles += rights_to(db, [table, *reading], moved=[table, *reading], anew=[table, *reading])
        widening = self._widening(db, table)
        obstacles += widening.obstacles(db)
        if not obstacles:
            widening.refuse_orphans(db)
            return
        lines = "".join(f"\n  {obstacle}" for obstacle in obstacles)
        raise InvalidOperation(f"{table} cannot be partitioned as it is:{lines}")

    def _layout(self, db: Catalog, table: Relation) -> Layout:
        return Layout(table, self.by, self.by.described(db, table), self.premake, self.start, default=self.default)

    def _memory(self, db: Catalog, table: Relation) -> Memory:
        found = was(db, table, self.by.column)
        if self.incoming == "widen":
            found["incoming"] = self._widening(db, table).widened(found["incoming"])
        return Memory(self.by.described(db, table), self.premake, found)

    def _widening(self, db: Catalog, table: Relation) -> Widening:
        keys = foreign_keys_to(db, table) if self.incoming == "widen" else []
        return Widening(table, self.by.column, keys, self.incoming_columns or {})

    def _convert(self, db: Catalog, table: Relation) -> Iterator[AnyStep]:
        key = db.key_of(table) or ()
        if not key and self.method == "copy":
            raise InvalidOperation(
                f"{table} has no primary key and no unique index without NULLs, by which its rows are told apart: add one first"
            )
        layout, memory = self._layout(db, table), self._memory(db, table)
        if self.method == "attach":
            looks = list(self._widening(db, table).look_again())
            yield from Attachment.of(db, layout, memory, Memory.of(db, table)).steps(db, looks)
            yield statistics.analyze(table.name, table.schema)
            return
        exchange = Exchange(
            table,
            PARTED,
            key,
            self.by.column,
            index=lambda index: index.widened(self.by.column),
            finish=partial(self._remember, table=table, memory=memory),
        )
        yield layout.make()
        yield from exchange.copy(db)
        yield from exchange.prepare_way_back()
        yield from self._widening(db, table).look_again()
        yield from exchange.swap(db, before=[layout.make_room()], then=partial(_close, layout=layout, memory=memory))

    def _remember(self, db: Catalog, *, table: Relation, memory: Memory) -> Iterator[Composable]:
        yield from memory.widen(db)
        yield memory.write(db.table(self.table, table.schema), plain=table.oid)


@operation("unpartition_table")
class UnpartitionTable(PartitionOperation):
    """Make a partitioned table plain again while it is read and written; no row is lost.

    As long as the old table is kept beside it, that is one short swap (ACCESS EXCLUSIVE). Afterwards the rows are copied, as
    by `partition_table`. Keys and names are what they were; where rows that came since do not allow that (an old key is there
    twice) it refuses with examples. With the arguments of `partition_table` it can be undone::

        op.unpartition_table("audit_logs")
    """

    def reverse(self) -> PartitionTable:
        if self.by is None:
            raise NotReversible(f"{self.title}: say by=, so that it can be partitioned again")
        return self.other(PartitionTable)  # type: ignore[no-any-return]

    def notes(self, db: Catalog) -> Sequence[str]:
        table = db.table(self.table, self.schema)
        if not table.partitioned:
            return ()
        return compiled.notes(db, *(each.name for each in (table, *followers.readers(db, table))))

    def plan(self, db: Catalog) -> Iterator[AnyStep]:
        table = db.table(self.table, self.schema)
        _check_installed(db)
        if table.partitioned:
            refuse_split(db, table)
            yield followers.clear_left(table.name, table.schema)
            # an interrupted way there may have left some to the partitions alone, where the way back would not look
            yield from partitions.unsettled_foreign_keys(db, table)
            yield from self._convert(db, table)
        else:
            yield attach.drop_proof(table)
            yield from attach.drop_spare_indexes(db, table, [each.name for each in indexes_of(db, table)], PART)
        yield from partitions.settle_foreign_keys(self.table, self.schema)
        yield partitions.clean_up(self.table, self.schema)

    def _convert(self, db: Catalog, table: Relation) -> Iterator[AnyStep]:
        memory = Memory.of(db, table) or Memory.native(db, table)
        detachment = Detachment.of(db, table, memory)
        self._check(db, table, memory, copied=detachment is None)
        _refuse_orphans(db, table, memory)
        if detachment is not None:
            partitions.refuse_duplicates(db, table, memory)
            yield from detachment.steps(db)
            return
        key = memory.key(db, table)
        exchange = Exchange(
            table,
            PLAIN,
            key,
            memory.by["column"],
            index=memory.narrowed,
            finish=partial(memory.give_back, table=table),
            also=memory.locks_on_incoming(db, table),
            keep=False,
            instead=attached_views.read_instead(db, memory),
        )
        partitions.refuse_duplicates(db, table, memory)
        if not partitions.is_kept_up(db, table):
            yield partitions.make_plain(table, memory)
            yield from exchange.copy(db)
            yield from exchange.swap(db, then=memory.drop_widened)
            return

        def then(db: Catalog) -> Iterator[Composable]:
            partitions.refuse_unwatched(db, table)
            yield from memory.drop_widened(db)

        partitions.refuse_unwatched(db, table)
        yield from exchange.follow(db)
        yield from exchange.swap(db, then=then)

    def _check(self, db: Catalog, table: Relation, memory: Memory, *, copied: bool) -> None:
        reading = followers.readers(db, table, *attached_views.read_instead(db, memory))
        # what is kept beside it, or attached to it, is there with its columns and indexes
        made = [table] if copied and not partitions.is_kept_up(db, table) else []
        obstacles = [
            *partitions.published(db, table, memory.by["column"], publish=True, copied=copied),
            *followers.obstacles(db, table, reading),
            *partitions.kept(db, table),
            *(partitions.reading_partitions(db, table, reading) if copied else ()),
            *rights_to(db, [table, *reading], moved=[table, *reading], anew=[*made, *reading]),
        ]
        if obstacles:
            lines = "".join(f"\n  {obstacle}" for obstacle in obstacles)
            raise InvalidOperation(f"{table} cannot be made plain as it is:{lines}")


@operation("finalize_partitioning")
class FinalizePartitioning(Action):
    """Let go of the old table that `partition_table` has kept for the way back, and of the log that kept it up.

    Takes ACCESS EXCLUSIVE on the table and its partitions for an instant. `unpartition_table` still works afterwards, and
    copies then::

        op.finalize_partitioning("audit_logs")
    """

    table: str
    _: KW_ONLY
    schema: str | None = None

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        _check_installed(db)
        if not table.partitioned:
            raise InvalidOperation(f"{table} is not partitioned")
        yield partitions.let_go(db, table)


def _refuse_orphans(db: Catalog, table: Relation, memory: Memory) -> None:
    """Refuse a way back to foreign keys whose tables have rows that refer to nothing by now."""
    for key in memory.was["incoming"]:
        owner = db.relation(key["table"], key["schema"])
        if owner is None or db.constraint(owner, key["name"]) is not None:
            continue
        found = {"columns": key["columns"], "referent": table, "referent_columns": key["referent_columns"]}
        condition = refers_to_nothing(db, owner, **found, full=key["match"] == "f")
        if db.has_rows(owner, condition):
            reason = orphans(db, table=owner, **found, full=key["match"] == "f")
            raise InvalidOperation(f"foreign key {key['name']} of {owner} cannot be given back: {reason}")


def _close(db: Catalog, *, layout: Layout, memory: Memory) -> Iterator[Composable]:
    yield from drop(memory.was["incoming"])
    yield from layout.close(db)


def _check_installed(db: Catalog) -> None:
    if db.session.value("select to_regclass('pgopt.partitioned')") is None:
        raise NotInstalled(
            f"what a table was is remembered in the pgopt schema: add `{INSTALL}` to an earlier revision"
        )


def _obstacles_of_keys(db: Catalog, table: Relation, of: PartitionTable) -> Iterator[str]:
    column = of.by.column
    widened = {index.name: index for index in indexes_of(db, table) if index.widened(column) != index}
    for index in widened.values():
        if not of.widen_keys:
            yield (
                f"unique key {index.name} ({', '.join(index.columns)}) does not contain {column}, and a partition alone cannot know"
                " the others' rows: widen_keys=True adds it"
            )
    for key_name, view in views_on_keys(db, table):
        if key_name in widened:
            yield f"view {view} groups by the key {key_name} alone: drop it before and create it after, with more in GROUP BY"
    for key in foreign_keys_to(db, table):
        if of.incoming == "refuse":
            yield (
                f"foreign key {key.name} of {key.schema}.{key.table} refers to it: incoming='widen' lets it refer to {column}, too,"
                " and incoming='drop' drops it; both give it back on the way back"
            )
        elif not db.is_ours(db.by_oid(key.owner)):
            yield (
                f"foreign key {key.name} is of a table of another role, {key.schema}.{key.table}: its owner must drop it"
                " before"
            )
        if of.incoming == "drop" and db.version < 180000 and db.by_oid(key.owner).partitioned:
            yield (
                f"foreign key {key.name} of {key.schema}.{key.table} is of a partitioned table, where the way back cannot make it NOT"
                " VALID: op.drop_foreign_key_online before"
            )
