"""The queries that the plans of the reference chain name use the indexes that were made for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.queries import QUERIES, Query
from tests.integration.test_chain import REVISIONS, alembic, alone, revisions_of
from tools.data import SYSTEMS, fill

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.databases import Database

PAGES = [query for query in QUERIES if "(created_at, id) <" in query.text or '("createdAt", id) <' in query.text]


@pytest.mark.parametrize("system", [each for each in SYSTEMS if any(q.index for q in QUERIES if q.system == each)])
def test_queries_use_their_indexes_and_all_that_is_measured_runs(database: Database, system: str) -> None:
    alembic("upgrade", REVISIONS[0], database=database)
    baseline, *optimisations = revisions_of(system)
    alone("upgrade", baseline, database)
    with database.connect() as connection:
        fill(connection, system, 30_000)
    for revision in optimisations:
        alone("upgrade", revision, database)
    database.run("vacuum (analyze)")
    for query in (each for each in QUERIES if each.system == system and each.index):
        scans = list(nodes(explain(database, query)))
        read = {node["Index Name"] for node in scans if "Index Name" in node}
        names = {root_of(database, system, each) for each in read if matters(database, system, each)}
        assert names == {query.index}, query.name
        if query in PAGES:
            check_page(query, scans)
    with database.connect() as connection:
        for query in (each for each in QUERIES if each.system == system):
            with query.beside(connection):
                query.work(connection, after=True)()


def matters(database: Database, system: str, index: str) -> bool:
    """Whether another index would be slower: a partition whose time has just begun has a few rows."""
    return bool(
        database.value(
            "select not c.relispartition or c.reltuples >= 500 from pg_index i join pg_class c on c.oid = i.indrelid"
            f" where i.indexrelid = to_regclass('{system}.\"{index}\"')"
        )
    )


def check_page(query: Query, nodes: list[dict[str, Any]]) -> None:
    """A page is one range of the index: nothing is sorted, and no row is read in vain."""
    kinds = {node["Node Type"] for node in nodes}
    assert kinds <= {"Limit", "Append", "Index Scan", "Index Only Scan"}, f"{query.name}: {kinds}"
    read = [node for node in nodes if "Index Name" in node and node["Actual Loops"]]
    for node in read:
        assert "ROW(" in node["Index Cond"], query.name
        assert "Filter" not in node, query.name
        assert node.get("Index Searches", 1) == 1, query.name
    rows = sum(node["Actual Rows"] for node in read)
    assert rows == nodes[0]["Actual Rows"] > 0, query.name


def test_there_are_pages_of_each_kind() -> None:
    assert {query.index for query in PAGES} == {
        "idx_tickets_keyset",
        "idx_tickets_org_keyset",
        "idx_activity_events_user_type_keyset",
        "idx_workouts_user_keyset",
        "idx_message_project_cursor",
    }


def explain(database: Database, query: Query) -> dict[str, Any]:
    """What a query did."""
    with database.connect() as connection:
        given = query.given(connection)
        row = connection.execute(f"explain (analyze, format json) {query.text}".encode(), given).fetchone()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All nodes of a plan from the top."""
    yield plan
    for each in plan.get("Plans", []):
        yield from nodes(each)


def root_of(database: Database, system: str, index: str) -> str:
    """The index of a partitioned table that an index of a partition belongs to, or itself."""
    return str(
        database.value(
            "select relname from pg_class where oid ="
            f" (select coalesce(pg_partition_root(oid), oid) from pg_class where oid = to_regclass('{system}.\"{index}\"'))"
        )
    )
