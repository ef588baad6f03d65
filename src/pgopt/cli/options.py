"""The options that all commands share with Alembic's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from alembic.config import CommandLine, Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from pgopt import env
from pgopt.errors import InvalidOperation, PgoptError
from pgopt.server.quoting import literal, sql

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation

ConfigFiles = Annotated[
    list[str] | None,
    typer.Option("-c", "--config", help="alembic.ini or pyproject.toml, as for Alembic; may be given twice."),
]
Section = Annotated[str, typer.Option("-n", "--name", help="The section of alembic.ini.")]
Arguments = Annotated[
    list[str] | None, typer.Option("-x", help="An argument for env.py, such as -x url=postgresql://…")
]
Url = Annotated[str | None, typer.Option(help="The database; overrides -x url=, DATABASE_URL, sqlalchemy.url.")]
NO_URL = env.NO_URL.replace("say alembic", "say --url, or alembic")


def config_of(files: list[str] | None, section: str, arguments: list[str] | None) -> Config:
    """Read the configuration as `alembic` does."""
    said = ["-n", section]
    for option, values in (("-c", files), ("-x", arguments)):
        for value in values or ():
            said += [option, value]
    command_line = CommandLine(prog="pgopt")
    options = command_line.parser.parse_args([*said, "current"])
    toml, ini = command_line._inis_from_config(options)
    return Config(file_=ini, toml_file=toml, ini_section=section, cmd_opts=options)


def url_of(url: str | None, config: Config) -> URL:
    """Find the database for a command that runs no env.py."""
    if not config.file_config.has_section(config.config_ini_section):
        # outside of a project DATABASE_URL will do
        config.set_main_option("sqlalchemy.url", "")
    context = EnvironmentContext(config, ScriptDirectory("."))
    found = env.read_url(url, "--url") if url else env.url_of(context)
    if found is None:
        raise PgoptError(NO_URL)
    return synchronous(found)


def synchronous(url: URL) -> URL:
    """Leave async drivers to the application."""
    if not url.get_dialect().is_async:
        return url
    known = {key: value for key, value in url.query.items() if key in ("host", "port", "ssl")}
    if "ssl" in known:
        known["sslmode"] = known.pop("ssl")
    return url.set(drivername="postgresql+psycopg", query=known)


def table_of(db: Catalog, said: str) -> Relation:
    """Look up a table that the command line names: as it stands, or quoted as in SQL, where a name has a dot in it."""
    schema, _, name = said.rpartition(".")
    if '"' not in said or db.relation(name, schema or None) is not None:
        return db.table(name, schema or None)
    *before, name = db.session.value(sql("select pg_catalog.parse_ident({})", literal(said)))
    if len(before) > 1:
        raise InvalidOperation(f"{said} is neither a table nor schema.table")
    return db.table(name, *before)
