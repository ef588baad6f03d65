"""`pgopt explain SQL`: what a statement does and where its time goes, told for a person; nothing of it stays."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgopt import env
from pgopt.cli.options import Arguments, ConfigFiles, Section, Url, config_of, url_of
from pgopt.cli.plan import WIDTH, size
from pgopt.errors import PgoptError
from pgopt.server.quoting import render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy.engine import URL

    Node = Mapping[str, Any]

ROWS = 1000
"""Below so many, nothing is worth a remark."""
OFF = 10
"""How far an estimate may be from the truth."""


def explain(
    statement: Annotated[str, typer.Argument(metavar="SQL", help="One statement.", show_default=False)],
    config: ConfigFiles = None,
    name: Section = "alembic",
    x: Arguments = None,
    url: Url = None,
    write: Annotated[bool, typer.Option(help="Let it write; writes are rolled back, but take locks.")] = False,  # noqa: FBT002
    timeout: Annotated[float, typer.Option(help="Give up after so many seconds.")] = 10,
) -> None:
    """Run a statement in a transaction that is rolled back, and say where its time went."""
    found = run(url_of(url, config_of(config, name, x)), statement, write=write, timeout=timeout)
    typer.echo("\n".join(text(found)))


def run(url: URL, statement: str, *, write: bool = False, timeout: float = 10) -> dict[str, Any]:
    """Give the plan of a statement that was carried out and rolled back."""
    import psycopg

    with env.connect(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT") as connection:
        driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
        explained = render(sql("explain (analyze, buffers, format json) {}", verbatim(statement)))
        driver.execute("begin read write" if write else "begin read only")
        try:
            limit = f"{round(timeout * 1000)}ms"
            driver.execute(
                "select set_config('statement_timeout', %s, true), set_config('lock_timeout', '2s', true)", [limit]
            )
            # a prepared statement is one statement: none that follows it can end the transaction
            rows = driver.execute(explained, prepare=True).fetchall()
        except psycopg.Error as error:
            raise PgoptError(_sentence(error, timeout)) from error
        finally:
            driver.execute("rollback")
    found: dict[str, Any] = rows[0][0][0]
    return found


def _sentence(error: Any, timeout: float) -> str:
    import psycopg

    said = f"the statement cannot be explained: {error.diag.message_primary or error}"
    match error:
        case psycopg.errors.QueryCanceled():
            return f"the statement was cancelled after {timeout:g} s: raise --timeout, or give it less to do"
        case psycopg.errors.ReadOnlySqlTransaction():
            return f"{said}: say --write to run it and roll it back"
        case psycopg.errors.UndefinedParameter() | psycopg.errors.ProtocolViolation():
            return f"{said}: write values in the places of parameters"
    return said


def text(found: Mapping[str, Any]) -> Iterator[str]:
    """Say it in lines of at most a hundred columns: each node with its rows, its own time and what it read, then what stands out."""
    whole = max(found["Execution Time"], 0.001)
    nodes = list(_nodes(found["Plan"], 0))
    for depth, node in nodes:
        own = _own_time(node)
        rows = f"{_rows(node):,.0f} rows"
        yield f"{'  ' * depth}{_title(node)}"[:WIDTH]
        yield f"{'  ' * depth}    {rows}, {own:,.1f} ms ({100 * own / whole:.0f} %), {_blocks(node)}"[:WIDTH]
        for label in ("Index Cond", "Recheck Cond", "Hash Cond", "Merge Cond", "Join Filter", "Filter", "Sort Key"):
            if label in node:
                said = ", ".join(node[label]) if isinstance(node[label], list) else node[label]
                yield f"{'  ' * depth}    {label.lower()}: {said}"[:WIDTH]
    remarks = [remark for _, node in nodes for remark in _remarks(node)]
    if remarks:
        yield ""
    for remark in remarks:
        yield from textwrap.wrap(remark, WIDTH, initial_indent="→ ", subsequent_indent="  ")
    yield ""
    yield f"planned in {found['Planning Time']:,.1f} ms, carried out in {found['Execution Time']:,.1f} ms, rolled back"


def _nodes(node: Node, depth: int) -> Iterator[tuple[int, Node]]:
    yield depth, node
    for child in node.get("Plans", ()):
        yield from _nodes(child, depth + 1)


def _title(node: Node) -> str:
    words = [node["Node Type"]]
    if "Index Name" in node:
        words += ["by", node["Index Name"]]
    if "Relation Name" in node:
        words += ["on", node["Relation Name"]]
    if node.get("Actual Loops", 1) > 1:
        words.append(f"({node['Actual Loops']:,} times)")
    return " ".join(words)


def _time(node: Node) -> float:
    return float(node.get("Actual Total Time", 0)) * float(node.get("Actual Loops", 1))


def _own_time(node: Node) -> float:
    """Give the time of a node without that of what is below it."""
    return max(_time(node) - sum(map(_time, node.get("Plans", ()))), 0.0)


def _rows(node: Node) -> float:
    return float(node.get("Actual Rows", 0)) * float(node.get("Actual Loops", 1))


def _blocks(node: Node) -> str:
    hit, read = node.get("Shared Hit Blocks", 0), node.get("Shared Read Blocks", 0)
    return f"{size(8192 * (hit + read))} looked at, {size(8192 * read)} of them not in memory"


def _remarks(node: Node) -> Iterator[str]:
    actual, planned = float(node.get("Actual Rows", 0)), float(node["Plan Rows"])
    table = node.get("Relation Name")
    if table and max(actual, planned) >= ROWS and max(actual, planned) / max(min(actual, planned), 1) >= OFF:
        yield f'{planned:,.0f} rows of {table} were expected and {actual:,.0f} came: op.analyze("{table}")'
    lost = float(node.get("Rows Removed by Filter", 0)) * float(node.get("Actual Loops", 1))
    if table and lost >= ROWS and lost >= OFF * _rows(node):
        yield f"{lost:,.0f} rows of {table} were read in vain: an index for {node.get('Filter', 'the filter')} would find them"
    if node.get("Sort Space Type") == "Disk":
        yield f"{size(1024 * node['Sort Space Used'])} were sorted on disk: more work_mem, or an index in that order"
    if node.get("Hash Batches", 1) > 1:
        yield f"the hash table did not fit into memory and took {node['Hash Batches']} batches: more work_mem"
    if node.get("Lossy Heap Blocks", 0):
        yield f"the bitmap of {table} did not fit into memory: more work_mem"
