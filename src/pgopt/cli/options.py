"""The options that all commands share with Alembic's own."""

from __future__ import annotations

from typing import Annotated

import typer
from alembic.config import CommandLine, Config

ConfigFiles = Annotated[
    list[str] | None,
    typer.Option("-c", "--config", help="alembic.ini or pyproject.toml, as for Alembic; may be given twice."),
]
Section = Annotated[str, typer.Option("-n", "--name", help="The section of alembic.ini.")]
Arguments = Annotated[
    list[str] | None, typer.Option("-x", help="An argument for env.py, such as -x url=postgresql://…")
]


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
