"""The help desk's HTTP API serves its list by keyset, from one index."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import make_url
from starlette.testclient import TestClient

from tests.integration.test_examples import EXAMPLES, alembic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from tests.databases import Database


@pytest.fixture
def helpdesk(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The modules of the application, as if it were run in its folder, on the test's database."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "helpdesk_api"))
    monkeypatch.setenv("DATABASE_URL", database.server.url(database.name))
    before = set(sys.modules)
    yield importlib.import_module("serve")
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(EXAMPLES) in str(sys.modules[name].__file__):
            del sys.modules[name]


def test_helpdesk_api(database: Database, helpdesk: ModuleType) -> None:
    before = database.dump()
    url = make_url(database.server.url(database.name))
    helpdesk.prepare(url)
    helpdesk.prepare(url)
    with TestClient(helpdesk.application(url)) as client:
        titles: list[str] = []
        after: str | None = ""
        pages = 0
        while after is not None:
            said = client.get(f"/tickets?organization=1{after and f'&after={after}'}").json()
            titles += [ticket["title"] for ticket in said["tickets"]]
            after, pages = said["next"], pages + 1
        assert titles == [f"Ticket {5 * number}" for number in range(1, 1001)], "newest first, each once"
        assert pages == 50
        said = client.get("/dashboard?organization=1").json()
        assert sum(said["tickets"].values()) == 1000
        assert said["warning"] is None
        database.run("update pgopt.materialized set fresh_at = now() - interval '6 minutes'")
        assert client.get("/dashboard?organization=1").json()["warning"] == "these figures may be outdated"
        database.run("insert into tickets (organization_id, title) values (1, 'new')")
        for (command,) in database.rows("select command from pgopt.job"):
            database.run(command)
        said = client.get("/dashboard?organization=1").json()
        assert (sum(said["tickets"].values()), said["warning"]) == (1001, None)
        for wrong in ("", "?organization=one", "?organization=1&after=there"):
            assert client.get(f"/tickets{wrong}").status_code == 400
        said = client.get("/health/database?detailed=true").json()
        assert said["status"] == "ok"
        assert said["connections"]["active"] >= 1
        assert {"organizations", "tickets"} <= said["tables"].keys()
    assert "No new upgrade operations detected" in alembic("helpdesk_api", database, "check")
    alembic("helpdesk_api", database, "downgrade", "base")
    assert database.dump() == before


def test_a_page_of_the_helpdesk_is_one_range_of_its_covering_index(database: Database, helpdesk: ModuleType) -> None:
    url = make_url(database.server.url(database.name))
    helpdesk.prepare(url)
    database.run("vacuum (analyze) tickets")
    queries = sys.modules["queries"]
    after = database.rows(
        "select created_at, id from tickets where organization_id = 1 order by 1 desc offset 500 limit 1"
    )
    page = queries.ticket_page(1, after[0]).compile(database.engine(), compile_kwargs={"literal_binds": True})
    [(plan,)] = database.rows(f"explain (format json) {page}")
    scan = plan[0]["Plan"]["Plans"][0]
    assert (scan["Node Type"], scan["Index Name"]) == ("Index Only Scan", "ix_tickets_list")
    assert "ROW(created_at, id) < ROW(" in scan["Index Cond"]
    assert "Filter" not in scan
