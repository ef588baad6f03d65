"""`pgopt verify [TABLE]`: whether the columns that triggers keep are what they should be."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from pgopt import env
from pgopt.cli.options import Arguments, ConfigFiles, Section, Url, config_of, table_of, url_of
from pgopt.denormal.definition import all_known, known
from pgopt.denormal.drift import look
from pgopt.errors import InvalidOperation
from pgopt.operations.denormalization import VerifyDenormalized
from pgopt.server.catalog import Catalog
from pgopt.server.session import Session

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from pgopt.denormal.definition import Definition
    from pgopt.denormal.drift import Drift


def verify(
    table: Annotated[str | None, typer.Argument(help="One table, or schema.table; else all.")] = None,
    config: ConfigFiles = None,
    name: Section = "alembic",
    x: Arguments = None,
    url: Url = None,
    repair: Annotated[bool, typer.Option("--repair", help="Set right what has drifted, in batches.")] = False,  # noqa: FBT002
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,  # noqa: FBT002
) -> None:
    """Compare the columns that triggers keep with what they should be; exits with 1 where rows have drifted, and shows some."""
    address = url_of(url, config_of(config, name, x))
    found = run(address, table)
    if repair and any(drift.wrong for _, drift in found):
        mend(address, [of for of, drift in found if drift.wrong])
        found = run(address, table)
    if as_json:
        typer.echo(json.dumps([asdict(drift) for _, drift in found], indent=2))
    else:
        typer.echo("\n".join(drift.sentence for _, drift in found) or "pgopt keeps no columns here")
    if any(drift.wrong for _, drift in found):
        raise typer.Exit(1)


def run(url: URL, table: str | None = None) -> list[tuple[Definition, Drift]]:
    """Compare; nothing is changed."""
    with env.connect(url, isolation_level="AUTOCOMMIT") as connection:
        db = Catalog(Session(connection))
        if not db.installed():
            return []
        if table is None:
            found = all_known(db)
        else:
            found = known(db, table_of(db, table))
            if not found:
                raise InvalidOperation(f"pgopt keeps no columns of {table}: op.denormalize_columns makes them")
        return [(each.definition, look(db, each.definition)) for each in found]


def mend(url: URL, wanted: list[Definition]) -> None:
    """Set right what has drifted."""
    with env.connect(url) as connection:
        context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
        for of in wanted:
            with context.begin_transaction(_per_migration=True):
                Operations(context).invoke(
                    VerifyDenormalized(of.target.name, columns=of.names, repair=True, schema=of.target.schema)
                )
