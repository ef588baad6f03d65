"""What is worth watching in a database: one query each in `sql/`, of which the views and `pgopt health` are made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from pgopt.server.queries import query
from pgopt.server.quoting import ident, literal, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.sql import Composable, Composed

READERS = "pg_monitor"
"""Who may read the views."""


@dataclass(frozen=True)
class View:
    """A view of the `pgopt` schema."""

    name: str
    comment: str
    owned: str = ""
    """The columns, where a function with its owner's rights must look: PostgreSQL shows statistics of values, and sequences,
    only to who may read the table."""
    through: str = ""
    """The function that the view reads instead, and that reads the first one with the rights of whoever asks."""

    def query(self) -> Composed:
        """Give what the view is made of."""
        return query(self.name, __name__)

    def statements(self) -> Iterator[Composable]:
        """Make the view."""
        view, comment = ident("pgopt", self.name), literal(self.comment)
        if self.owned:
            # a view runs its functions as whoever reads it, but for those that say otherwise
            yield sql(_OWNED, name=view, columns=verbatim(self.owned), body=literal(render(self.query())))
            yield from self._measured()
            yield sql("create view {} as select * from {}()", view, ident("pgopt", self.through or self.name))
        else:
            yield sql("create view {} as {}", view, self.query())
        yield sql("comment on view {} is {}", view, comment)

    def _measured(self) -> Iterator[Composable]:
        if self.through:
            columns, body = verbatim(f"{self.owned}, measured boolean"), literal(render(query(self.through, __name__)))
            yield sql(_DYNAMIC, name=ident("pgopt", self.through), columns=columns, body=body)


_OWNED = """create function {name}() returns table ({columns})
language sql stable security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO'
as {body}"""

_BLOAT = "bytes bigint, bloat_bytes bigint, bloat_percent numeric, unreliable text"

VIEWS = (
    View(
        "unused_indexes", "indexes that no query has used since the statistics began; partitions are counted together"
    ),
    View("duplicate_indexes", "indexes that an equal or a longer one of the same table makes needless"),
    View("missing_fk_indexes", "foreign keys whose columns no index begins with"),
    View(
        "invalid_objects", "indexes that a failed CONCURRENTLY left behind, and constraints that were never validated"
    ),
    View(
        "index_bloat",
        "how much larger B-tree indexes are than their rows need: an estimate, or measured by pgstattuple where that is there",
        owned=f"schema_name text, table_name text, index_name text, definition text, {_BLOAT}",
        through="measured_index_bloat",
    ),
    View(
        "table_bloat",
        "how much larger tables are than their rows need: an estimate",
        owned=f"schema_name text, table_name text, {_BLOAT}",
    ),
    View("table_sizes", "how large tables are; a partitioned one with all that is below it"),
    View("cache_hit", "what part of the blocks that were read was in shared_buffers"),
    View("connections", "who is connected, and in which state"),
    View("long_running", "transactions that are open for more than a minute, or for pgopt.long_running"),
    View("blocking", "who waits for whom, as a tree"),
    View("vacuum_state", "dead rows, the last runs of VACUUM and ANALYZE, and the distance to wraparound"),
    View(
        "sequence_headroom",
        "how far sequences are from the greatest number that they, or the columns that they fill, can hold",
        owned="schema_name text, sequence_name text, table_name text, column_name text, column_type text, last_value bigint,"
        " ends_at bigint, used_percent numeric, numbers_left numeric",
    ),
    View(
        "partition_headroom",
        "how long the partitions that are there will do, and how many rows are in the default",
        owned="schema_name text, table_name text, kind text, premake integer, ends text, hours_left numeric,"
        " default_partition text, default_rows bigint",
    ),
    View(
        "failing_views",
        "materialized views whose refresh has failed, and as of when their rows are",
        owned="schema_name text, view_name text, failures integer, error text, fresh_at timestamptz, retry_at timestamptz",
    ),
    View(
        "stale_views",
        "materialized views whose rows are much older than they usually are, or that were never filled",
        owned="schema_name text, view_name text, populated boolean, fresh_at timestamptz, age interval, usual interval,"
        " failures integer",
    ),
)
"""All but the slow queries, which need an extension."""

BY_NAME = {view.name: view for view in VIEWS}

SLOW_QUERIES = "slow_queries"
STATE = "slow_queries_state"
FUNCTIONS = (
    *(view.name for view in VIEWS if view.owned),
    *(view.through for view in VIEWS if view.through),
    SLOW_QUERIES,
    STATE,
)
ALL_VIEWS = (*BY_NAME, SLOW_QUERIES)

_DYNAMIC = """create function {name}() returns table ({columns})
language plpgsql stable set search_path = pg_catalog, pg_temp
as {body}"""

_BODY = """
#variable_conflict use_column
declare
    found record;
begin
    select * into found from ({statements}) s;
    if found.trouble is null then
        return query execute format({query}, found.place);
    {otherwise}end if;
end
"""

_TROUBLE = """else
        return query select split_part(found.trouble, ':', 1), null::bigint, null::bigint, null::bigint, null::timestamptz,
                            split_part(found.trouble, ': ', 2);
    """


def statements() -> Iterator[Composable]:
    """Make all views and functions, readable by pg_monitor alone."""
    for view in VIEWS:
        yield from view.statements()
    yield _dynamic(
        SLOW_QUERIES,
        "queryid bigint, role text, calls bigint, total_exec_time double precision, mean_exec_time double precision,"
        " max_exec_time double precision, stddev_exec_time double precision, share_percent numeric, rows bigint,"
        " shared_blks_hit bigint, shared_blks_read bigint, temp_blks_written bigint, query text",
    )
    yield verbatim("create view pgopt.slow_queries as select * from pgopt.slow_queries()")
    yield verbatim(
        "comment on view pgopt.slow_queries is"
        " 'what the database spends its time on; empty where pgopt.slow_queries_state() says why'"
    )
    yield _dynamic(
        STATE,
        "state text, entries bigint, most bigint, evictions bigint, stats_reset timestamptz, advice text",
        otherwise=_TROUBLE,
    )
    yield verbatim(
        "comment on function pgopt.slow_queries_state is 'whether pg_stat_statements is there, preloaded and not full'"
    )


@cache
def digest() -> str:
    """Tell one definition of all this from another: what was made by an older pgopt is made anew."""
    text = "".join(map(render, statements()))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _dynamic(name: str, columns: str, otherwise: str = "") -> Composable:
    """Make a function over pg_stat_statements, which may come or go, and be in any schema."""
    body = sql(
        _BODY,
        statements=query("statements", __name__),
        query=literal(render(query(name, __name__, place=verbatim("%1$I")))),
        otherwise=verbatim(otherwise),
    )
    return sql(_DYNAMIC, name=ident("pgopt", name), columns=verbatim(columns), body=literal(render(body)))
