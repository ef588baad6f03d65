"""Extensions."""

from __future__ import annotations

from pgopt.operations import CreateExtension, DropExtension, InstallPgopt
from tests.contract.examples.base import Example
from tests.contract.examples.indexes import TICKETS, WRITES

INSTALLED = (InstallPgopt(1),)

EXAMPLES = [
    Example(
        "extension",
        TICKETS,
        CreateExtension("pg_trgm"),
        before=INSTALLED,
        writes=WRITES,
        scriptable=False,
        named=True,
    ),
    Example(
        "extension of a version in another schema",
        TICKETS + 'create schema "Büro ""A"" 1"',
        CreateExtension("pg_trgm", schema='Büro "A" 1', version="1.5"),
        before=INSTALLED,
        writes=WRITES,
        scriptable=False,
    ),
    Example(
        "extension with one that it needs",
        TICKETS,
        CreateExtension("earthdistance", cascade=True),
        before=INSTALLED,
        writes=WRITES,
        scriptable=False,
        named=True,
    ),
    Example(
        "extension with one that it needs and that was there",
        TICKETS + "create extension cube",
        CreateExtension("earthdistance", cascade=True),
        before=INSTALLED,
        writes=WRITES,
        scriptable=False,
    ),
    Example(
        "extension with a view",
        TICKETS,
        CreateExtension("pg_buffercache"),
        before=INSTALLED,
        writes=WRITES,
        scriptable=False,
    ),
    Example(
        "extension dropped as it was",
        TICKETS + 'create schema "S"; create extension pg_trgm schema "S" version \'1.5\';'
        " comment on extension pg_trgm is 'ours: 100 %'",
        DropExtension("pg_trgm"),
        before=INSTALLED,
        writes=WRITES,
        scriptable=False,
        named=True,
    ),
    Example(
        "extension with views dropped",
        TICKETS + "create extension pg_stat_statements",
        DropExtension("pg_stat_statements"),
        before=INSTALLED,
        writes=WRITES,
        scriptable=False,
    ),
    Example(
        "extension that was made dropped",
        TICKETS,
        DropExtension("earthdistance", cascade=True),
        before=(*INSTALLED, CreateExtension("earthdistance", cascade=True)),
        writes=WRITES,
        scriptable=False,
    ),
]
