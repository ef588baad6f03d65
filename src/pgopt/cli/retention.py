"""`pgopt retention [TABLE…]`: delete, archive or drop what policies do not keep, or show what that would be."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlalchemy.exc import DBAPIError

from pgopt import env
from pgopt.cli.options import Arguments, ConfigFiles, Section, Url, config_of, table_of, url_of
from pgopt.cli.plan import WIDTH, size
from pgopt.errors import LockNotAcquired, PgoptError
from pgopt.plan.batches import Turns
from pgopt.plan.progress import duration, reporter
from pgopt.plan.settings import Settings
from pgopt.server.catalog import Catalog
from pgopt.server.quoting import literal, sql
from pgopt.server.session import Session, server_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import URL

    from pgopt.plan.events import Report
    from pgopt.server.objects import Relation


@dataclass(frozen=True)
class Expired:
    """What a policy does not keep."""

    table: str
    action: str
    cutoff: str | None
    rows: int
    first: str | None
    last: str | None
    bytes: int | None
    """By the share of the rows, where the table was ever analyzed."""
    partitions: Sequence[str]
    paused: str | None
    faults: Sequence[str]
    notes: Sequence[str]


@dataclass(frozen=True)
class Applied:
    """What a policy has done."""

    table: str
    action: str
    cutoff: str | None
    rows: int
    batches: int
    partitions: int
    seconds: float
    notes: Sequence[str]
    paused: str | None
    error: str | None


def retention(
    tables: Annotated[list[str] | None, typer.Argument(help="Tables, or schema.table; else all with a policy.")] = None,
    config: ConfigFiles = None,
    name: Section = "alembic",
    x: Arguments = None,
    url: Url = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go; nothing is changed.")] = False,  # noqa: FBT002
    clock: Annotated[str | None, typer.Option(help="The time to which policies are applied; else now.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,  # noqa: FBT002
) -> None:
    """Delete, archive or drop what policies do not keep, in short batches; exits with 1 where one could not be applied."""
    address = url_of(url, config_of(config, name, x))
    found: Sequence[Expired | Applied] = preview(address, tables, clock) if dry_run else apply(address, tables, clock)
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found], indent=2))
    else:
        typer.echo("\n".join(text(found)))
    if any(each.faults if isinstance(each, Expired) else each.error for each in found):
        raise typer.Exit(1)


def preview(url: URL, tables: Sequence[str] | None = None, clock: str | None = None) -> list[Expired]:
    """Tell what policies do not keep; nothing is changed."""
    with env.connect(url, isolation_level="AUTOCOMMIT") as connection:
        db = _installed(connection)
        query = "select * from pgopt.preview_retention({}::oid, coalesce({}, now()))"
        found = [
            Expired(str(table), *row[1:])
            for table in _wanted(db, tables)
            for row in db.session.rows(sql(query, literal(table.oid), literal(clock)))
        ]
        lost = [] if tables else _lost(db)
        return [
            *found,
            *(Expired(name, "delete", None, 0, None, None, None, [], None, [why], []) for name, why in lost),
        ]


def apply(
    url: URL,
    tables: Sequence[str] | None = None,
    clock: str | None = None,
    *,
    settings: Settings | None = None,
    report: Report | None = None,
) -> list[Applied]:
    """Apply policies one after the other, those of tables that refer to others first."""
    with env.connect(url, isolation_level="AUTOCOMMIT") as connection:
        db = _installed(connection)
        if db.session.value("select pg_is_in_recovery()"):
            return []
        fixed = db.session.value(sql("select coalesce({}, now())::text", literal(clock)))
        limits, tell = settings or Settings.of(), report or reporter()
        done = [_apply(db, limits, tell, table, fixed) for table in _wanted(db, tables)]
        lost = [] if tables else _lost(db)
        return [*done, *(Applied(name, "delete", None, 0, 0, 0, 0, [], None, why) for name, why in lost)]


def _installed(connection: Any) -> Catalog:
    db = Catalog(Session(connection))
    db.require_pgopt()
    return db


def _wanted(db: Catalog, names: Sequence[str] | None) -> list[Relation]:
    """Look up the tables that are named, or all that have policies, in the order in which these are applied."""
    ordered = [db.by_oid(oid) for (oid,) in db.session.rows("select o::oid::int8 from pgopt.retention_order() o")]
    if not names:
        return ordered
    said = [table_of(db, name) for name in names]
    for table in said:
        if table not in ordered:
            raise PgoptError(f"{table} has no retention policy: make one with op.create_retention_policy")
    return [table for table in ordered if table in said]


def _lost(db: Catalog) -> list[tuple[str, str]]:
    """Name the policies whose tables are not there, and the way out."""
    said = db.session.value("select pgopt.lost_policies()")
    return [(name, why) for name, _, why in (each.partition(": ") for each in said.split("; "))] if said else []


def _apply(db: Catalog, settings: Settings, report: Report, table: Relation, clock: str) -> Applied:
    session = db.session
    run = session.change(sql("select pgopt.retention_begin({}::oid, {})", literal(table.oid), literal(clock)))
    if run is None:
        return _paused(session, table)
    turns = Turns(session, settings, report, f"apply the policy of {table}", table)
    try:
        _go_through(turns, run)
    except (DBAPIError, LockNotAcquired) as error:
        if not session.alive:
            raise
        said = server_error(error).sentence if isinstance(error, DBAPIError) else str(error)
        session.run(sql("select pgopt.retention_end({}, {})", literal(run), literal(said)))
    return _applied(session, table, run)


def _go_through(turns: Turns, run: int) -> None:
    """Do piece after piece of a run; each is a transaction of its own."""
    session, finished = turns.session, False
    stage = sql(
        "select stage = 'partitions' and finished_at is null from pgopt.retention_run where id = {}", literal(run)
    )
    while not finished and session.value(stage):
        # these have limits of their own
        with session.transaction({"statement_timeout": "0"}):
            _, finished = _batch(session, run, 1)
    done = 0
    while not finished:
        taken, finished = turns.repeat(partial(_turn, turns, run))
        done += taken
        turns.rest(done, done)


def _turn(turns: Turns, run: int) -> tuple[int, bool]:
    with turns.transaction():
        taken, finished = _batch(turns.session, run, turns.size)
    turns.adapt()
    return taken, finished


def _batch(session: Session, run: int, most: int) -> tuple[int, bool]:
    session.changes += 1
    taken, finished = session.row(
        sql("select taken, finished from pgopt.retention_batch({}, {})", literal(run), literal(most))
    )
    return taken, finished


def _applied(session: Session, table: Relation, run: int) -> Applied:
    row = session.row(
        sql(
            "select definition ->> 'action', cutoff, rows, batches, partitions,"
            " extract(epoch from finished_at - started_at)::float8, notes, null, error from pgopt.retention_run where id = {}",
            literal(run),
        )
    )
    return Applied(str(table), *row)


def _paused(session: Session, table: Relation) -> Applied:
    row = session.row(
        sql(
            "select action, null, 0, 0, 0, 0, '{{}}'::text[], pgopt.retention_paused(p), null from pgopt.retention_policy p"
            " where pgopt.retained(p) = {}::oid",
            literal(table.oid),
        )
    )
    return Applied(str(table), *row)


# -- as text -------------------------------------------------------------------------------------------------------------

PAST = {"delete": "deleted", "archive": "archived", "drop_partition": "deleted"}
FUTURE = {"delete": "to delete", "archive": "to archive", "drop_partition": "to drop or delete"}


def text(found: Sequence[Expired | Applied]) -> Iterator[str]:
    """Say it in lines that need no terminal."""
    if not found:
        yield "no table has a retention policy here"
    for each in found:
        if each.paused:
            yield f"{each.table}: {each.paused}"
            continue
        yield from _expired(each) if isinstance(each, Expired) else _done(each)
        for note in each.notes:
            yield from textwrap.wrap(f"  note: {note}", WIDTH, subsequent_indent="        ", break_long_words=False)


def _expired(each: Expired) -> Iterator[str]:
    if each.faults:
        yield f"{each.table}: cannot be applied: {'; '.join(each.faults)}"
        return
    span = f", from {each.first} to {each.last}" if each.rows else ""
    about = f", about {size(each.bytes)}" if each.bytes else ""
    yield f"{each.table}: {each.rows:,} rows {FUTURE[each.action]}, older than {each.cutoff}{span}{about}"
    yield from (f"  partition {name}" for name in each.partitions)


def _done(each: Applied) -> Iterator[str]:
    if each.cutoff is None:
        yield f"{each.table}: cannot be applied: {each.error}"
        return
    parts = f"{each.partitions:,} partitions dropped, " if each.action == "drop_partition" else ""
    yield (
        f"{each.table}: {parts}{each.rows:,} rows {PAST[each.action]}, older than {each.cutoff},"
        f" in {each.batches:,} batches and {duration(each.seconds)}"
    )
    if each.error:
        yield f"  stopped: {each.error}"
