"""The page of `pgopt health --html`, as a browser shows it: wide and narrow, by day and by night."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.engine import make_url

from pgopt import PgoptError
from pgopt.cli import health
from pgopt.monitoring.charts import Line, Point
from pgopt.monitoring.report import amount, duration, size
from pgopt.operations import InstallPgopt, InstallSnapshots
from tests.components import CHROMIUM, needs
from tests.integration.test_health import FAULTS, pgopt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from pgopt.monitoring.checks import Health
    from tests.databases import Database

EVIL = "<script>document.title='seen'</script>&\"'"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # root, as in a container, has no sandbox
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


def written(database: Database, folder: Path) -> tuple[Path, Health]:
    """The page of a database, and what it was made of: to look again would be to see another moment."""
    page = folder / "health.html"
    return page, health.run(make_url(database.server.url(database.name)), page)


def shown(browser: Browser, page: Path, *, width: int, dark: bool) -> dict[str, Any]:
    """What a browser makes of it."""
    asked_for: list[str] = []
    said: list[str] = []
    with browser.new_page(viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light") as tab:
        tab.on("request", lambda request: asked_for.append(request.url))
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(page.as_uri())
        return {
            "title": tab.title(),
            "asked for": asked_for,
            "said": said,
            "wide": tab.evaluate("document.documentElement.scrollWidth"),
            "paper": tab.evaluate("getComputedStyle(document.body).backgroundColor"),
            "ink": tab.evaluate("getComputedStyle(document.body).color"),
            "subjects": tab.locator(".finding .subject").all_inner_texts(),
            "mends": tab.locator(".finding pre").all_inner_texts(),
            "charts": tab.locator("figure svg").count(),
            "lines": tab.locator("figure svg polyline").count(),
            "tallest": tab.evaluate(
                "Math.max(0, ...[...document.querySelectorAll('.line')].map(e => e.getBBox().height))"
            ),
            "tables": tab.locator("#sizes td.name").all_inner_texts(),
            "text": tab.inner_text("body"),
            "small": tab.evaluate(
                "[...document.querySelectorAll('p, td, pre, h2, .subject')].filter(e => e.innerText"
                " && e.getClientRects().length && parseFloat(getComputedStyle(e).fontSize) < 12).length"
            ),
        }


@pytest.fixture
def faulty(database: Database) -> Database:
    """A database with faults and snapshots, in which names and words are what nobody expects."""
    database.perform(InstallPgopt(1), InstallSnapshots())
    database.run(FAULTS)
    with database.connect() as connection:
        quoted = '"' + EVIL.replace('"', '""') + '"'
        connection.execute(
            f"create table {quoted} (id int primary key) with (autovacuum_enabled = off); insert into {quoted} select generate_series(1, 20000)"
        )
        connection.execute("create table " + "x" * 63 + " (id int primary key)")
        for turn in range(1, 4):
            connection.execute("select pg_stat_force_next_flush()")
            connection.execute("select pgopt.take_snapshot()")
            connection.execute(f"insert into {quoted} select {turn} * 100000 + generate_series(1, 3000)")
    return database


@needs(CHROMIUM)
def test_the_page_is_whole_and_fits(faulty: Database, browser: Browser, tmp_path: Path) -> None:
    page, found = written(faulty, tmp_path)
    for width in (390, 1280):
        seen = shown(browser, page, width=width, dark=False)
        assert seen["asked for"] == [page.as_uri()], "the page needs nothing but itself"
        assert seen["said"] == []
        assert seen["title"] == f"{faulty.name}: health"
        assert seen["wide"] <= width
        assert seen["small"] == 0
        assert seen["subjects"] == [" ".join(finding.subject.split()) for finding in found.findings]
        assert seen["mends"] == [finding.mend for finding in found.findings]
        assert EVIL in seen["tables"]
        assert seen["charts"] == seen["lines"] >= 6
        assert seen["tallest"] > 20
        assert all(f"pg_stat_statements is {why}" not in seen["text"] for why in ("ok", "full"))
    assert "<script" not in page.read_text()


@needs(CHROMIUM)
def test_the_page_by_night(faulty: Database, browser: Browser, tmp_path: Path) -> None:
    page, _ = written(faulty, tmp_path)
    day, night = (shown(browser, page, width=800, dark=dark) for dark in (False, True))

    def light(colour: str) -> float:
        return sum(int(part) for part in colour.strip("rgb()").split(",")) / 3

    assert light(day["paper"]) - light(day["ink"]) > 150
    assert light(night["ink"]) - light(night["paper"]) > 150


@needs(CHROMIUM)
def test_the_page_of_a_database_without_anything(database: Database, browser: Browser, tmp_path: Path) -> None:
    seen = shown(browser, written(database, tmp_path)[0], width=390, dark=True)
    assert "Nothing was found" in seen["text"]
    assert "op.install_snapshots()" in seen["text"]
    assert (seen["charts"], seen["subjects"], seen["said"]) == (0, [], [])


def test_as_a_command_it_says_the_same_as_without(faulty: Database, tmp_path: Path) -> None:
    url = faulty.server.url(faulty.name)
    done = pgopt("health", "--url", url, "--html", "page.html", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert "sequence_headroom: numbers" in done.stdout
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    done = pgopt("health", "--url", url, "--html", "nowhere/page.html", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pgopt: the page cannot be written: ")


def test_where_it_cannot_be_written(database: Database) -> None:
    with pytest.raises(PgoptError, match="cannot be written"):
        written(database, Path("/nowhere"))


def test_a_line_is_not_drawn_over_what_is_not_known() -> None:
    points = [Point(at, value) for at, value in enumerate([1.0, 2.0, None, 3.0, 5.0])]
    assert Line("t", points, amount).draw().count("<polyline") == 2
    assert "Not enough" in Line("t", points[:1], amount).draw()
    assert "NaN" not in Line("t", [Point(0, 0.0), Point(0, 0.0)], amount).draw()
    assert Line("t", [Point(0, 1.0), Point(1, 1.0, reset=True)], amount).draw().count("counters were reset") == 1


def test_figures_are_said_shortly() -> None:
    assert [size(each) for each in (0, 8192, 1_000_000, 5e9, -3 * 1024)] == [
        "0 B",
        "8 kB",
        "977 kB",
        "4.66 GB",
        "-3 kB",
    ]
    assert [amount(each) for each in (0, 0.25, 999, 1500, 2_000_000)] == ["0", "0.25", "999", "1.5 k", "2 M"]
    assert [duration(each) for each in (0.0021, 5, 90, 7200, 200_000)] == ["2.1 ms", "5 s", "1.5 min", "2 h", "2.31 d"]
