"""`pgopt restore TABLE --where …`: archived rows come back, each of them once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlalchemy.exc import DBAPIError

from pgopt import env
from pgopt.cli.options import Arguments, ConfigFiles, Section, Url, config_of, table_of, url_of
from pgopt.errors import PgoptError, StatementFailed
from pgopt.operations.archive import differences
from pgopt.plan.batches import Turns
from pgopt.plan.progress import reporter
from pgopt.plan.settings import Settings
from pgopt.server.catalog import Catalog
from pgopt.server.quoting import literal, sql, verbatim
from pgopt.server.session import Session, server_error

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from pgopt.server.objects import Relation


def restore(  # noqa: PLR0913, PLR0917  -- they are options
    table: Annotated[str, typer.Argument(help="The table, or schema.table, from which rows were archived.")],
    where: Annotated[str, typer.Option(help="Which rows, as in SQL; true for all.")],
    config: ConfigFiles = None,
    name: Section = "alembic",
    x: Arguments = None,
    url: Url = None,
    archive: Annotated[str | None, typer.Option(help="The archive, where no policy of the table says it.")] = None,
    hold: Annotated[str | None, typer.Option(help="Hold the policy of the table for this reason.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the rows; nothing is changed.")] = False,  # noqa: FBT002
) -> None:
    """Bring archived rows back, in short batches; a row whose key the table has already stops it, and stays archived."""
    address = url_of(url, config_of(config, name, x))
    found, note = run(address, table, where, archive=archive, hold=hold, dry_run=dry_run)
    typer.echo(f"{table}: {found:,} rows {'to bring back' if dry_run else 'brought back'}")
    if note:
        typer.echo(f"  note: {note}")


def run(
    url: URL,
    name: str,
    where: str,
    *,
    archive: str | None = None,
    hold: str | None = None,
    dry_run: bool = False,
    settings: Settings | None = None,
) -> tuple[int, str | None]:
    """Bring rows back, or count them, and say what somebody should know."""
    with env.connect(url, isolation_level="AUTOCOMMIT") as connection:
        db = Catalog(Session(connection))
        db.require_pgopt()
        table = table_of(db, name)
        source = table_of(db, archive) if archive else _archive_of(db, table)
        if differ := differences(db, table, source):
            raise PgoptError("; ".join(differ))
        try:
            if dry_run:
                return _count(db, source, where), _note(db, table)
            if hold is not None:
                _hold(db, table, hold)
            turns = Turns(db.session, settings or Settings.of(), reporter(), f"bring rows back to {table}", table)
            done = _bring_back(turns, source, where)
            return done, _left(db, source, where) or _note(db, table)
        except DBAPIError as error:
            raise StatementFailed(server_error(error).sentence) from error


def _archive_of(db: Catalog, table: Relation) -> Relation:
    row = _policy(db, table, "archive_table, archive_schema")
    if row is None or row[0] is None:
        raise PgoptError(f"no policy of {table} archives its rows: say --archive")
    return db.table(*row)


def _bring_back(turns: Turns, source: Relation, where: str) -> int:
    session, done = turns.session, 0
    for (leaf,) in session.rows(sql("select l::oid::int8 from pgopt.retention_leaves({}::oid) l", literal(source.oid))):
        more = True
        while more:
            more, moved = turns.repeat(partial(_turn, turns, [turns.table.oid, source.oid, leaf, where]))
            done += moved
            turns.rest(done, done)
    return done


def _turn(turns: Turns, which: list[Any]) -> tuple[bool, int]:
    """Move some rows, and tell whether there may be more, and how many they were."""
    most = turns.size
    with turns.transaction():
        turns.session.changes += 1
        picked, moved = turns.session.row(
            sql(
                "select * from pgopt.restore_rows({}::oid, {}::oid, {}::oid, {}, pgopt.written_path(), {})",
                *map(literal, which),
                literal(most),
            )
        )
    turns.adapt()
    return picked == most and moved > 0, moved


def _hold(db: Catalog, table: Relation, reason: str) -> None:
    held = "update pgopt.retention_policy p set hold = {}, hold_until = null where pgopt.retained(p) = {}::oid"
    if db.session.count(sql(held, literal(reason), literal(table.oid))) == 0:
        raise PgoptError(f"{table} has no retention policy that could be held: leave --hold out")


def _count(db: Catalog, source: Relation, where: str) -> int:
    return int(db.session.value(sql("select count(*) from {} where ({})", source.ident, verbatim(where))))


def _left(db: Catalog, source: Relation, where: str) -> str | None:
    """Say that some were held by others, which were passed by."""
    left = _count(db, source, where)
    return f"{left:,} rows are still in {source}, since others held them: run again" if left else None


def _note(db: Catalog, table: Relation) -> str | None:
    """Say that the policy would take them again, unless it is paused."""
    row = _policy(db, table, "pgopt.retention_paused(p)")
    if row is None or row[0] is not None:
        return None
    return f"the policy of {table} will archive old rows again: hold it with --hold 'why' until you are done with these rows"


def _policy(db: Catalog, table: Relation, columns: str) -> Any:
    query = "select {} from pgopt.retention_policy p where pgopt.retained(p) = {}::oid"
    return db.session.row(sql(query, verbatim(columns), literal(table.oid)))
