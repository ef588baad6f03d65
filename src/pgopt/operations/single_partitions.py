"""Single partitions that come to a table and leave it, while it is in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from pgopt.copy.bounds import Bounds, Sibling, default_of, refuse_vague, siblings
from pgopt.copy.shape import PACKAGE, QUALIFIED, foreign_keys_of, foreign_keys_to, in_order, proof_of
from pgopt.errors import InvalidOperation, NotReversible
from pgopt.operations import constraint_steps
from pgopt.operations.base import StateOperation, operation, other
from pgopt.operations.index_trees import refuse_of_others
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.queries import query
from pgopt.server.quoting import ident, literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation

LARGE = 64 * 1024 * 1024
"""A default partition of more bytes is not read while others wait."""

_KEPT = """
    select n.nspname, c.relname, d.columns from pgopt.denormalized d
    join pg_class c on c.oid = d.target join pg_namespace n on n.oid = c.relnamespace
    where d.target in (select relid from pg_partition_ancestors({}::oid)) order by d.id
"""


@dataclass(frozen=True, repr=False)
class SinglePartition(StateOperation):
    """A partition by its name, table and bounds."""

    table: str
    partition: str
    _: KW_ONLY
    lower: str | int | None = None
    upper: str | int | None = None
    values: Sequence[str | int] = ()
    schema: str | None = None
    partition_schema: str | None = None

    @property
    def title(self) -> str:
        return f"{self.directive} {self.partition} of {self.table}"

    def check(self) -> None:
        if isinstance(self.values, str):
            raise InvalidOperation(f"values={self.values!r} of {self.partition} is one text: write a list")
        if self.values and self.is_range:
            raise InvalidOperation(
                f"{self.partition} has values= and lower= or upper=: a list has values, a range has ends"
            )

    @property
    def is_range(self) -> bool:
        """Whether the ends of a range are said."""
        return self.lower is not None or self.upper is not None

    @property
    def bounds(self) -> Bounds | None:
        """The bounds, where they are said."""
        said = self.values or self.is_range
        return Bounds.said(self.lower, self.upper, self.values) if said else None

    def look(self, db: Catalog) -> Places:
        """Look both up, and refuse what is no pair of table and partition."""
        table, part = db.table(self.table, self.schema), db.table(self.partition, self.partition_schema or self.schema)
        strategy = db.partition_strategy(table)
        if strategy is None:
            raise InvalidOperation(f"{table} is not partitioned: op.partition_table first")
        key = db.partition_key(table)
        if len(key) != 1 or key[0] is None or strategy == "h":
            raise InvalidOperation(f"{table} is not partitioned by ranges or lists of one column: say it in SQL")
        if self.bounds is not None and bool(self.values) != (strategy == "l"):
            raise InvalidOperation(
                f"{table} is partitioned by {'lists: say values=' if strategy == 'l' else 'ranges: say lower= and upper='}"
            )
        column = db.column(table, key[0])
        refuse_vague(db, self.partition, column.type, [self.lower, self.upper, *self.values])
        return Places(table, part, column.name, column.type)


@dataclass(frozen=True)
class Places:
    """A partitioned table, and what is or becomes a partition of it."""

    table: Relation
    part: Relation
    column: str
    type: str

    def sibling(self, db: Catalog) -> Sibling | None:
        """Give the partition with its bounds, where it is one, or half of one."""
        return next((each for each in siblings(db, self.table) if each.oid == self.part.oid), None)

    def is_attached(self, db: Catalog) -> bool:
        """Whether it is a partition, and not half of one."""
        there = self.sibling(db)
        return there is not None and not there.pending

    def is_equal(self, db: Catalog, bounds: Bounds, to: Sibling) -> bool:
        """Whether bounds are those of a partition."""
        return to.bounds is not None and bool(db.session.value(sql("select {}", bounds.equals(to.bounds, self.type))))

    def finish(self) -> Step:
        """Finish what an interrupted DETACH CONCURRENTLY has left: rows have nowhere to go meanwhile."""
        return Step(
            f"finish the detachment of {self.part}",
            sql("alter table {} detach partition {} finalize", self.table.ident, self.part.ident),
            locks=[
                Lock(Mode.SHARE_UPDATE_EXCLUSIVE, self.table.name, self.table.schema),
                Lock(Mode.ACCESS_EXCLUSIVE, self.part.name, self.part.schema),
            ],
            done=lambda db: (there := self.sibling(db)) is None or not there.pending,
        )

    def finish_if_pending(self, db: Catalog) -> Iterator[Step]:
        """Leave no half of a partition behind."""
        if (there := self.sibling(db)) is not None and there.pending:
            yield self.finish()

    def prove(self, condition: Composable) -> Iterator[Step]:
        """Let a CHECK tell that all rows are within the bounds, so that nothing is read under a strong lock."""
        proof = proof_of(self.part)

        def outside(db: Catalog) -> str:
            where = sql("not ({})", condition)
            return constraint_steps.violating_rows(db, tables=[self.part], condition=where)

        drop = self.drop_proof()
        yield constraint_steps.add(
            proof,
            sql("check ({})", condition),
            [self.part],
            [Lock(Mode.ACCESS_EXCLUSIVE, self.part.name, self.part.schema)],
        )
        yield constraint_steps.validate(proof, [self.part], outside, give_up=[drop])

    def drop_proof(self) -> Step:
        """Take that CHECK away again."""
        return constraint_steps.drop(proof_of(self.part), [self.part])

    def locks(self, db: Catalog, on_table: Mode, on_referents: Mode) -> list[Lock]:
        """Give the locks of a partition that comes or goes, in the order in which writers take them."""
        referents = [db.by_oid(key.referent) for key in foreign_keys_of(db, self.table)]
        referencing = [db.by_oid(key.owner) for key in foreign_keys_to(db, self.table)]
        modes = dict.fromkeys((each.oid for each in referencing), Mode.SHARE_ROW_EXCLUSIVE)
        modes |= {each.oid: on_referents for each in referents} | {self.table.oid: on_table}
        default = default_of(db, self.table)
        parts = [self.part] if default is None else [self.part, default]
        ordered = in_order(referencing, [self.table, *parts], referents)
        return [
            *(Lock(modes.get(each.oid, Mode.ACCESS_EXCLUSIVE), each.name, each.schema) for each in ordered),
            *(
                Lock(Mode.SHARE_UPDATE_EXCLUSIVE, each.name, each.schema, is_index=True)
                for each in db.indexes_on(self.table)
                if on_table < Mode.ACCESS_EXCLUSIVE
            ),
            *(
                Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema, is_index=True)
                for each in db.indexes_on(self.part)
                if self.is_attached(db)
            ),
        ]


@operation("attach_partition")
class AttachPartition(SinglePartition):
    """Make a table a partition of another while that is in use.

    What has to be there first (equal columns, keys, indexes, constraints) is refused with the operation that makes it, so that
    nothing is built or checked under a lock. The rows are checked against the bounds under SHARE UPDATE EXCLUSIVE of the
    partition; then it is attached in an instant (SHARE UPDATE EXCLUSIVE of the table, ACCESS EXCLUSIVE of the partition and
    of a default partition, which must have none of these rows, and is read then; one of more than 64 MB is refused)::

        op.attach_partition("audit_logs", "audit_logs_2019", lower="2019-01-01 00:00+00", upper="2020-01-01 00:00+00")

    An end that is not said is open. For a table by lists say ``values=["DE", "FR"]``.
    """

    def check(self) -> None:
        super().check()
        if self.bounds is None:
            raise InvalidOperation(f"{self.title}: say lower= and upper= of a range, or values= of a list")

    def reverse(self) -> DetachPartition:
        return other(DetachPartition, self)

    def notes(self, db: Catalog) -> Sequence[str]:
        places = self.look(db)
        if not db.installed() or places.is_attached(db):
            return ()
        return [
            f"{', '.join(names)} of {schema}.{table} are kept by triggers; rows of {places.part} keep the values they bring:"
            f" op.verify_denormalized({table!r}, repair=True, schema={schema!r}) sets them right afterwards"
            for schema, table, names in db.session.rows(sql(_KEPT, literal(places.table.oid)))
        ]

    def plan(self, db: Catalog) -> Iterator[Step]:
        places = self.look(db)
        assert self.bounds is not None
        bounds = self.bounds
        there = places.sibling(db)
        if there is not None and not there.pending:
            if not places.is_equal(db, bounds, there):
                raise InvalidOperation(f"{places.part} is a partition of {places.table} already, {there.text}")
            yield places.drop_proof()
            return
        self._refuse(db, places, bounds)
        yield places.finish()
        yield from places.prove(bounds.condition(ident(places.column)))
        yield Step(
            f"attach {places.part} to {places.table}",
            [
                sql("alter table {} attach partition {} {}", places.table.ident, places.part.ident, bounds.clause()),
                sql("alter table {} drop constraint {}", places.part.ident, ident(proof_of(places.part))),
            ],
            locks=places.locks(db, Mode.SHARE_UPDATE_EXCLUSIVE, Mode.ACCESS_EXCLUSIVE),
            done=places.is_attached,
        )

    def _refuse(self, db: Catalog, places: Places, bounds: Bounds) -> None:
        for each in siblings(db, places.table):
            if each.oid == places.part.oid or each.bounds is None:
                continue
            if db.session.value(sql("select {}", bounds.overlaps(each.bounds, places.type))):
                raise InvalidOperation(f"{each.name} of {places.table} already holds part of these bounds: {each.text}")
        with db.session.rolled_back():
            db.session.run(QUALIFIED)
            found = db.session.rows(
                query("misfits", PACKAGE, table=literal(places.table.oid), part=literal(places.part.oid))
            )
        if found:
            lines = "".join(f"\n  {said}" for (said,) in found)
            raise InvalidOperation(f"{places.part} cannot be a partition of {places.table} as it is:{lines}")
        self._refuse_rows_in_default(db, places, bounds)

    def _refuse_rows_in_default(self, db: Catalog, places: Places, bounds: Bounds) -> None:
        default = default_of(db, places.table)
        if default is None:
            return
        condition = bounds.condition(ident(places.column))
        if db.has_rows(default, condition):
            raise InvalidOperation(
                f"the default partition {default} has rows of these bounds: move them to {places.part} first"
            )
        if db.session.value(sql("select pg_relation_size({}::oid)", literal(default.oid))) > LARGE:
            raise InvalidOperation(
                f"the default partition {default} has grown large, and would be read while everybody waits: empty it first"
            )


@operation("detach_partition")
class DetachPartition(SinglePartition):
    """Make a partition a table of its own, with its rows, while the rest is in use.

    By DETACH CONCURRENTLY, which nobody waits for; with a default partition, where PostgreSQL does not have that, by a DETACH
    of an instant (ACCESS EXCLUSIVE on the table, the partition and the default). What an interrupted one has left is
    finished. With the bounds it can be undone::

        op.detach_partition("audit_logs", "audit_logs_2019", lower="2019-01-01 00:00+00", upper="2020-01-01 00:00+00")
    """

    def reverse(self) -> AttachPartition:
        if self.bounds is None:
            raise NotReversible(f"{self.title}: say its bounds, so that it can be attached again")
        return other(AttachPartition, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        places = self.look(db)
        there = places.sibling(db)
        yield places.finish()
        if there is not None and not there.pending:
            self._refuse(db, places, there)
            if default_of(db, places.table) is None:
                yield from self._concurrently(db, places)
            else:
                yield self._at_once(db, places)
        if there is None or there.pending or default_of(db, places.table) is None:
            yield places.drop_proof()

    def _concurrently(self, db: Catalog, places: Places) -> Iterator[Step]:
        # where a CHECK tells as much, DETACH CONCURRENTLY leaves none of its own, whose name nobody knows
        bounds = db.session.value(sql("select pg_get_partition_constraintdef({}::oid)", literal(places.part.oid)))
        yield from places.prove(verbatim(bounds))
        yield Step(
            f"detach {places.part} from {places.table}",
            sql("alter table {} detach partition {} concurrently", places.table.ident, places.part.ident),
            locks=places.locks(db, Mode.SHARE_UPDATE_EXCLUSIVE, Mode.SHARE_ROW_EXCLUSIVE),
            transaction=False,
            done=lambda db: places.sibling(db) is None,
            clear=places.finish_if_pending,
        )

    def _at_once(self, db: Catalog, places: Places) -> Step:
        return Step(
            f"detach {places.part} from {places.table}",
            sql("alter table {} detach partition {}", places.table.ident, places.part.ident),
            locks=places.locks(db, Mode.ACCESS_EXCLUSIVE, Mode.SHARE_ROW_EXCLUSIVE),
            done=lambda db: places.sibling(db) is None,
        )

    def _refuse(self, db: Catalog, places: Places, there: Sibling) -> None:
        if self.bounds is not None and not places.is_equal(db, self.bounds, there):
            raise InvalidOperation(f"{places.part} has other bounds: {there.text}")
        if self.bounds is not None:
            default = default_of(db, places.table)
            refuse_of_others(
                db,
                [places.part, *([default] if default is not None else [])],
                f"so {places.part} could not be attached again: be a member of that role, or leave the bounds out to detach it"
                " for good",
            )
        for key in foreign_keys_to(db, places.table):
            raise InvalidOperation(
                f"foreign key {key.name} of {key.schema}.{key.table} refers to {places.table}, and its rows would be read while"
                " everybody waits: drop it before, and create it after"
            )
        kept = (
            "select exists (select from pg_trigger where tgrelid = {} and tgname ~ '^zz_pgopt_[0-9a-f]{{8}}_delete$')"
        )
        if db.session.value(sql(kept, literal(places.table.oid))):
            raise InvalidOperation(
                f"triggers keep columns from {places.table}, and would still count the rows of {places.part}: delete those"
                " first, or drop the columns"
            )
        watched = "select exists (select from pg_trigger where tgrelid = {} and tgname = 'pgopt_insert')"
        if db.session.value(sql(watched, literal(places.table.oid))):
            raise InvalidOperation(
                f"changes of {places.table} are noted for its copy or for its way back: op.finalize_partitioning({self.table!r}{self.schema_too}) first"
            )
