"""How long the rows of a table are kept, and what happens to them then: policies in the `pgopt` schema."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pgopt.errors import InvalidOperation, NotReversible
from pgopt.operations.base import StateOperation, operation, other
from pgopt.operations.jobs import EVERY, ScheduleJob, UnscheduleJob
from pgopt.operations.living import literal_of
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import ident, joined, literal, render, sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation
    from pgopt.server.undo import Kept

ACTIONS = ("delete", "archive", "drop_partition")
BATCH = 50_000


@dataclass(frozen=True, repr=False)
class PolicyOperation(StateOperation):
    """How long the rows of one table are kept, or what of that is another."""

    table: str
    _: KW_ONLY
    column: str | None = None
    keep: str | None = None
    where: str | None = None
    action: Literal["delete", "archive", "drop_partition"] | None = None
    archive_to: str | None = None
    archive_schema: str | None = None
    timezone: str | None = None
    batch: int | None = None
    cascade: bool | None = None
    partly: Literal["keep", "delete"] | None = None
    schema: str | None = None

    def check(self) -> None:
        if self.action not in (None, *ACTIONS):
            raise InvalidOperation(
                f"action={self.action!r} of {self.table}: say {', '.join(map(repr, ACTIONS[:-1]))} or {ACTIONS[-1]!r}"
            )
        if self.partly not in (None, "keep", "delete"):
            raise InvalidOperation(f"partly={self.partly!r} of {self.table}: say 'keep' or 'delete'")
        if (self.action == "archive") != (self.archive_to is not None):
            raise InvalidOperation(f"{self.table}: action='archive' and archive_to= go together: say both or none")
        if self.archive_schema is not None and self.archive_to is None:
            raise InvalidOperation(f"{self.table}: archive_schema= is where archive_to= is: say that, too")
        if self.batch is not None and self.batch < 1:
            raise InvalidOperation(f"batch={self.batch!r} of {self.table}: say how many rows go at once at most")

    def known(self, db: Catalog) -> Relation:
        """Look up the table, and refuse where policies are not kept."""
        db.require_pgopt()
        return db.table(self.table, self.schema)

    def kept(self, db: Catalog, directive: str) -> Kept:
        """Give the place where it is written down what the policy was."""
        return db.memory.of(directive, ".".join(filter(None, (self.schema, self.table))))

    def changes(self, schema: str | None) -> dict[str, Any]:
        """What is said, by the names of the columns in which it is kept."""
        said = {
            "column_name": self.column,
            "keep": self.keep,
            "predicate": self.where,
            "action": self.action,
            "archive_table": self.archive_to,
            "archive_schema": self.archive_to and (self.archive_schema or schema),
            "timezone": self.timezone,
            "batch": self.batch,
            "cascade": self.cascade,
            "partly": self.partly,
        }
        return {name: value for name, value in said.items() if value is not None}

    def locks(self, db: Catalog, table: Relation) -> Sequence[Lock]:
        """What the server takes where it reads a predicate, which alone is tried."""
        tables = [] if self.where is None else [table, *db.partitions(table)]
        return [Lock(Mode.ACCESS_SHARE, each.name, each.schema) for each in tables]


@dataclass(frozen=True, repr=False)
class WholePolicy(PolicyOperation):
    """All that is said of how long the rows of one table are kept."""

    _: KW_ONLY
    action: Literal["delete", "archive", "drop_partition"] = "delete"
    timezone: str = "UTC"
    batch: int = BATCH
    cascade: bool = False
    partly: Literal["keep", "delete"] = "keep"
    schedule: str | None = None

    @property
    def job_name(self) -> str:
        """The name of the job that applies the policy."""
        return f"retention of {'.'.join(filter(None, (self.schema, self.table)))}"

    def job(self, db: Catalog, table: Relation) -> ScheduleJob | None:
        """The job that applies the policy, where it says when."""
        if self.schedule is None:
            return None
        if not db.online and self.schema is None:
            raise InvalidOperation(
                f"schedule= of {self.table}: say schema=, too, since whoever runs the job has a search path of their own"
            )
        every = self.schedule.removeprefix(EVERY) if self.schedule.startswith(EVERY) else None
        cron = None if every else self.schedule
        command = render(sql("call pgopt.apply_retention({})", literal(render(table.ident))))
        return ScheduleJob(self.job_name, command, cron=cron, every=every, timezone=self.timezone)


@operation("create_retention_policy")
class CreateRetentionPolicy(WholePolicy):
    """Say how long the rows of a table are kept by a date or time in them, and what happens then.

    Nothing is deleted here: ``call pgopt.apply_retention()`` and ``pgopt retention`` do that. Takes ACCESS SHARE where there is
    a predicate, else locks nothing. ``action`` is ``delete``, ``archive`` (moved to ``archive_to``, exactly once) or
    ``drop_partition``, where whole partitions go, and rows of one that is older in part as ``partly`` says. Months and years
    of ``keep`` are those of the calendar in ``timezone``. Rows that a foreign key without ON DELETE still refers to stay until
    they are free, by a policy of the referring table; where deleting would change other tables, ``cascade=True`` must say
    so. ``schedule`` makes a job that applies it: a cron expression in ``timezone``, or ``"every 6 hours"``. Operators may set
    ``enabled``, ``hold`` and ``hold_until`` in ``pgopt.retention_policy``. Needs `install_pgopt`::

        op.create_retention_policy("request_logs", column="created_at", keep="7 days", schedule="0 3 * * *")
        op.create_retention_policy(
            "tracked_errors", column="seen_at", keep="30 days", where="resolved", timezone="Europe/Berlin"
        )
    """

    column: str = field(kw_only=True)
    keep: str = field(kw_only=True)

    def reverse(self) -> DropRetentionPolicy:
        return other(DropRetentionPolicy, self)

    def notes(self, db: Catalog) -> Sequence[str]:
        if not db.online or not db.installed():
            return ()
        table = db.table(self.table, self.schema)
        candidate = _candidate(table, self.changes(table.schema))
        if policy_of(db, table) is not None or _faults(db, candidate):
            return ()
        return [note for (note,) in db.session.rows(sql("select pgopt.retention_notes({})", candidate))]

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = self.known(db)
        if db.online and not self._is_there(db, table):
            _refuse(db, table, _candidate(table, self.changes(table.schema)))
        dropped, job = self.kept(db, "drop_retention_policy"), self.job(db, table)
        steps = list(job.plan(db)) if job else []
        yield Step(
            f"write down how long rows of {table} are kept",
            [self._insert(table, dropped), dropped.forget(), _check(table)],
            locks=self.locks(db, table),
            done=lambda db: self._is_there(db, table),
        )
        yield from steps

    def _is_there(self, db: Catalog, table: Relation) -> bool:
        there = policy_of(db, table)
        if there is None:
            return False
        wanted = {**dict.fromkeys(there), **self.changes(table.schema)}
        if there != wanted:
            differ = ", ".join(f"{name} = {there[name]!r}" for name in there if there[name] != wanted[name])
            raise InvalidOperation(
                f"{table} has another retention policy, with {differ}: change it with op.alter_retention_policy"
            )
        return True

    def _insert(self, table: Relation, dropped: Kept) -> Composable:
        said = {name: literal(value) for name, value in self.changes(table.schema).items()}
        if self.archive_to is not None:
            said.setdefault("archive_schema", sql("n.nspname"))
        # what operators had set when it was dropped
        enabled = sql(
            "coalesce((u.was ->> 'enabled')::boolean, true), u.was ->> 'hold', (u.was ->> 'hold_until')::timestamptz"
        )
        return sql(
            "insert into pgopt.retention_policy (schema_name, table_name, path, enabled, hold, hold_until, {})"
            " select n.nspname, c.relname, pgopt.written_path(), {}, {}"
            " from pg_class c join pg_namespace n on n.oid = c.relnamespace left join pgopt.undo u on {} where c.oid = {}",
            joined(map(ident, said)),
            enabled,
            joined(said.values()),
            dropped.where,
            regclass(table),
        )


@operation("drop_retention_policy")
class DropRetentionPolicy(WholePolicy):
    """Take the policy of a table away. Deletes no rows and locks nothing. With its definition it can be undone.

    What operators have set beside it is written down, and is there again when the policy is. Needs `install_pgopt`::

        op.drop_retention_policy("request_logs")
    """

    def reverse(self) -> CreateRetentionPolicy:
        if self.column is None or self.keep is None:
            raise NotReversible(f"{self.title}: say column= and keep=, so that it can be made again")
        return other(CreateRetentionPolicy, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table, kept = self.known(db), self.kept(db, "drop_retention_policy")
        delete = sql("delete from pgopt.retention_policy p where pgopt.retained(p) = {}", regclass(table))
        if db.online and (job := self.job(db, table)) is not None:
            job.refuse_another(db)
        # a job without its policy would fail each time
        if self.schedule is not None or self.column is None:
            yield from UnscheduleJob(self.job_name).plan(db)
        yield Step(
            f"forget how long rows of {table} are kept",
            # on the way down there is nobody who would take it back
            [delete] if db.memory.down else [kept.keep(_row(table)), delete],
            done=lambda db: policy_of(db, table) is None,
        )


@operation("alter_retention_policy")
class AlterRetentionPolicy(PolicyOperation):
    """Change some of what the policy of a table says; the rest stays, and so does what operators have set.

    ``where="true"`` takes the predicate away. Locks nothing, but for ACCESS SHARE where there is a new predicate. What it was
    is written down and given back by `reset_retention_policy`. Needs `install_pgopt`::

        op.alter_retention_policy("request_logs", keep="30 days")
    """

    def reverse(self) -> ResetRetentionPolicy:
        return other(ResetRetentionPolicy, self)

    def check(self) -> None:
        super().check()
        if not self.changes(None):
            raise InvalidOperation(f"{self.title} says nothing: say keep='30 days', or what else is another")

    def plan(self, db: Catalog) -> Iterator[Step]:
        table, kept = self.known(db), self.kept(db, "alter_retention_policy")
        changes = self._changes(table)
        if db.online and not self._is_done(db, table, kept):
            self._check_fit(db, table, _changed(table, changes))
        yield Step(
            f"change how long rows of {table} are kept",
            [kept.forget() if db.memory.down else kept.keep(_row(table)), _update(table, changes), _check(table)],
            locks=self.locks(db, table),
            done=lambda db: self._is_done(db, table, kept),
        )

    def _changes(self, table: Relation) -> dict[str, Any]:
        """What is said, with what goes with it."""
        archive = {} if self.action in (None, "archive") else {"archive_table": None, "archive_schema": None}
        return {**archive, **self.changes(table.schema)}

    def _is_done(self, db: Catalog, table: Relation, kept: Kept) -> bool:
        there = policy_of(db, table) or {}
        same = there and all(there[name] == value for name, value in self._changes(table).items())
        return bool(same) and (db.was(kept) is None) == db.memory.down

    def _check_fit(self, db: Catalog, table: Relation, changed: Composable) -> None:
        if policy_of(db, table) is None:
            raise InvalidOperation(f"{table} has no retention policy: make one with op.create_retention_policy")
        _refuse(db, table, changed)


@operation("reset_retention_policy")
class ResetRetentionPolicy(PolicyOperation):
    """Give back what the policy of a table said before `alter_retention_policy`. What operators have set stays.

    Where none was altered in this revision there is nothing to give back. Deletes no rows and locks nothing. Needs
    `install_pgopt`::

        op.reset_retention_policy("request_logs", keep="30 days")
    """

    def reverse(self) -> AlterRetentionPolicy:
        return other(AlterRetentionPolicy, self)

    def notes(self, db: Catalog) -> Sequence[str]:
        if not db.online or db.was(self.kept(db, "alter_retention_policy")) is not None:
            return ()
        return (f"there is no record of what the policy of {self.table} was, so nothing is given back",)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table, kept = self.known(db), self.kept(db, "alter_retention_policy")
        was = sql("(select was from pgopt.undo where {})", kept.where)
        yield Step(
            f"give back how long rows of {table} were kept",
            [_write(table, sql("jsonb_populate_record(p, {})", was), sql("{} is not null", was)), kept.forget()],
            done=lambda db: db.was(kept) is None,
        )


# -- what is in pgopt.retention_policy -------------------------------------------------------------------------------------

DEFINITION = (
    "column_name",
    "keep",
    "predicate",
    "action",
    "archive_table",
    "archive_schema",
    "timezone",
    "batch",
    "cascade",
    "partly",
)


def policy_of(db: Catalog, table: Relation) -> dict[str, Any] | None:
    """Read what the policy of a table says, where it has one."""
    row = db.session.row(
        sql(
            "select {} from pgopt.retention_policy where (schema_name, table_name) = ({}::text, {}::text)",
            joined(map(ident, DEFINITION)),
            literal(table.schema),
            literal(table.name),
        )
    )
    return row and dict(zip(DEFINITION, row, strict=True))


def regclass(table: Relation) -> Composable:
    """Name a table as a value."""
    return sql("{}::regclass", literal(render(table.ident)))


def _row(table: Relation) -> Composable:
    return sql("select to_jsonb(p) from pgopt.retention_policy p where pgopt.retained(p) = {}", regclass(table))


def _candidate(table: Relation, said: dict[str, Any]) -> Composable:
    """A policy that is not there yet."""
    whole = literal_of({**said, "schema_name": table.schema, "table_name": table.name})
    return sql(
        "jsonb_populate_record(null::pgopt.retention_policy, {} || jsonb_build_object('path', pgopt.written_path()))",
        whole,
    )


def _changed(table: Relation, changes: dict[str, Any]) -> Composable:
    """The policy of a table as it would be."""
    changed = _with_path(changes)
    return sql("(select {} from pgopt.retention_policy p where pgopt.retained(p) = {})", changed, regclass(table))


def _with_path(changes: dict[str, Any]) -> Composable:
    """A policy `p` with some changes; a new predicate is read with the search path of now."""
    path = sql(" || jsonb_build_object('path', pgopt.written_path())" if "predicate" in changes else "")
    # in a script only the server knows in which schema the table is
    archive = sql(
        "jsonb_build_object('archive_schema', p.schema_name) || " if changes.get("archive_table") is not None else ""
    )
    return sql("jsonb_populate_record(p, {}{}{})", archive, literal_of(changes), path)


def _update(table: Relation, changes: dict[str, Any]) -> Composable:
    return _write(table, _with_path(changes), sql("true"))


def _write(table: Relation, changed: Composable, condition: Composable) -> Composable:
    columns = joined(map(ident, (*DEFINITION, "path")))
    return sql(
        "update pgopt.retention_policy p set ({}) = (select {} from {} n) where pgopt.retained(p) = {} and {}",
        columns,
        columns,
        changed,
        regclass(table),
        condition,
    )


def _check(table: Relation) -> Composable:
    return sql("select pgopt.check_retention({})", regclass(table))


def _faults(db: Catalog, policy: Composable) -> Sequence[str]:
    return [fault for (fault,) in db.session.rows(sql("select pgopt.retention_faults({})", policy))]


def _refuse(db: Catalog, table: Relation, policy: Composable) -> None:
    """Refuse a policy that could not be applied, with all that stands against it."""
    if faults := _faults(db, policy):
        raise InvalidOperation(f"{table}: {'; '.join(faults)}")
