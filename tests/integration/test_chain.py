"""The repository's own chain of revisions: every stop on the way up is the same on the way down, and as a script."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from pgopt import NeedsDatabase
from tests.contract.ledger import Writer, at_work
from tools.data import SYSTEMS, fill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

    from tests.databases import Database

ROOT = Path(__file__).parents[2]
CHAIN = ScriptDirectory(str(ROOT / "migrations"))
SCRIPTS = list(CHAIN.walk_revisions())[::-1]
REVISIONS = [script.revision for script in SCRIPTS]
# those that must see the database; migrations/README.md says which
UNSEEN = {"0004", "0010", "0015", "0019", "0027", "0031", "0032", "0034"}


def alembic(name: str, *arguments: str, database: Database | None = None, **options: Any) -> str:
    """Run a command of alembic in this process, and give the script that it wrote."""
    config = Config(str(ROOT / "alembic.ini"), output_buffer=io.StringIO())
    if database is None:
        getattr(command, name)(config, *arguments, **options)
    else:
        with database.engine().connect() as connection:
            config.attributes["connection"] = connection
            getattr(command, name)(config, *arguments, **options)
    assert isinstance(config.output_buffer, io.StringIO)
    return config.output_buffer.getvalue()


script = partial(alembic, sql=True)


def name_of(revision: str) -> str:
    """What a revision is called in the name of its file."""
    return Path(CHAIN.get_revision(revision).path).stem.removeprefix(f"{revision}_")


# -- up and down ---------------------------------------------------------------------------------------------------------


def test_each_revision_down_gives_back_what_was_there_and_its_script_does_the_same(database: Database) -> None:
    stops = {"base": database.dump()}
    for revision in REVISIONS:
        alembic("upgrade", revision, database=database)
        stops[revision] = database.dump()
    assert len(set(stops.values())) == len(stops) - len(HIDDEN), "a revision changes nothing"
    check_vibing2(database)
    check_models(database)
    check_jobs(database)
    starts = {last: first for first, last in parts()}
    for before, revision in reversed(list(pairwise(stops))):
        if revision in starts:
            check_scripts(database, stops, starts[revision], revision)
        alembic("downgrade", before, database=database)
        assert database.dump() == stops[before], f"downgrade of {revision}"
    assert database.value("select to_regnamespace('pgopt')") is None


def test_who_owns_the_database_and_is_no_superuser_can_go_up_and_down(database: Database) -> None:
    database.run(f'create role plain login; alter database "{database.name}" owner to plain')
    before = database.dump()
    plain = replace(database, server=replace(database.server, user="plain"))
    try:
        alembic("upgrade", "head", database=plain)
        alembic("downgrade", "base", database=plain)
        assert database.dump() == before
    finally:
        database.run(f'reassign owned by plain to "{database.server.user}"; drop owned by plain; drop role plain')


def check_vibing2(database: Database) -> None:
    """Its document promises so many indexes."""
    query = (
        "select count(*) from pg_indexes join pg_tables using (schemaname, tablename)"
        " where schemaname = 'vibing2' and indexname !~ '_(pkey|key)$'"
    )
    assert database.value(query) == 41


def check_models(database: Database) -> None:
    """The models of the applications say what there is, and it would be seen if they did not."""
    alembic("check", database=database)
    database.run("create table saas.surplus ()")
    with pytest.raises(CommandError, match=r"remove_table.*surplus"):
        alembic("check", database=database)
    database.run("drop table saas.surplus")


def check_jobs(database: Database) -> None:
    """What is to be done by the clock can be done, and changes nothing where there is nothing to do."""
    before = database.dump()
    for (command_,) in database.rows("select command from pgopt.job order by name"):
        database.run(command_)
    assert database.dump() == before


def check_scripts(database: Database, stops: dict[str, str], first: str, last: str) -> None:
    """A part of the chain is taken back and brought about again by psql."""
    database.psql(script("downgrade", f"{last}:{first}"))
    assert database.dump() == stops[first], f"script of {last}:{first}"
    if first == "base":
        # a script from the beginning makes it
        database.run("drop table alembic_version")
    database.psql(script("upgrade", f"{first}:{last}"))
    assert database.dump() == stops[last], f"script of {first}:{last}"
    assert database.value("select version_num from alembic_version") == last


def parts() -> Sequence[tuple[str, str]]:
    """The longest parts of the chain that can be written as a script."""
    found: list[tuple[str, str]] = []
    for before, revision in pairwise(["base", *REVISIONS]):
        if revision in UNSEEN:
            continue
        first = found.pop()[0] if found and found[-1][1] == before else before
        found.append((first, revision))
    return found


# they change the pgopt schema alone
HIDDEN = {"0001", "0026", "0027", "0028", "0037", "0038"}

WRITTEN = "ledger"
"""What a writer's rows have in them, and no generated one."""

# each turn writes one row to each of these tables, touches it again, and takes every third away
WRITES = {
    "insightdesk": """
        insert into insightdesk.tickets (id, title, organization_id, created_by_id)
            select 'ledger {n}', 'ledger', organization_id, id from insightdesk.users limit 1;
        update insightdesk.tickets set assignee_id = created_by_id, status = 'IN_PROGRESS' where id = 'ledger {n}';
        delete from insightdesk.tickets where id = 'ledger {n}' and {n} % 3 = 0;
        insert into insightdesk.audit_logs (action, entity_type, entity_id, organization_id) values ('ledger', 't', '{n}', '');
        update insightdesk.audit_logs set metadata = '{{}}' where entity_id = '{n}' and action = 'ledger';
        delete from insightdesk.audit_logs where entity_id = '{n}' and action = 'ledger' and {n} % 3 = 0
    """,
    "saas": """
        insert into saas.transactions (user_id, amount, kind, description)
            select id, {n}, 'fee', 'ledger {n}' from saas.users limit 1;
        update saas.transactions set amount = amount + 1 where description = 'ledger {n}';
        delete from saas.transactions where description = 'ledger {n}' and {n} % 3 = 0
    """,
    "musclemap": """
        insert into musclemap.activity_events (user_id, event_type, payload)
            select id, 'ledger', '{{"n": {n}}}' from musclemap.users limit 1;
        update musclemap.activity_events set payload = payload || '{{"seen": true}}'
            where event_type = 'ledger' and payload @> '{{"n": {n}}}';
        delete from musclemap.activity_events where event_type = 'ledger' and payload @> '{{"n": {n}}}' and {n} % 3 = 0;
        insert into musclemap.xp_history (user_id, amount, reason)
            select id, {n}, 'ledger' from musclemap.users limit 1;
        delete from musclemap.xp_history where reason = 'ledger' and amount = {n} and {n} % 3 = 0;
        insert into musclemap.request_logs (method, path, status, milliseconds) values ('GET', '/ledger', 200, {n});
        delete from musclemap.request_logs where path = '/ledger' and milliseconds = {n} and {n} % 3 = 0
    """,
    "proposals": """
        insert into proposals.proposals (id, title, customer_id, created_by, value)
            select 'ledger {n}', 'ledger', c.id, u.id, {n} from proposals.customers c, proposals.users u limit 1;
        insert into proposals.proposal_products (id, proposal_id, product_id, quantity, unit_price)
            select 'ledger {n}', 'ledger {n}', id, {n}, 1 from proposals.products limit 1;
        delete from proposals.proposals where id = 'ledger {n}' and {n} % 3 = 0;
        insert into proposals.audit_logs (id, action, entity, entity_id) values ('ledger {n}', 'CREATE', 'proposal', '{n}');
        update proposals.audit_logs set details = '{{}}' where id = 'ledger {n}';
        delete from proposals.audit_logs where id = 'ledger {n}' and {n} % 3 = 0
    """,
    "vibing2": """
        insert into vibing2."Project" (id, "userId", name, type)
            select 'ledger {n}', id, 'ledger', 'web' from vibing2."User" limit 1;
        update vibing2."Project" set likes = likes + 1 where id = 'ledger {n}';
        insert into vibing2."Message" (id, "projectId", role, content) values ('ledger {n}', 'ledger {n}', 'user', 'ledger');
        delete from vibing2."Project" where id = 'ledger {n}' and {n} % 3 = 0
    """,
}
LEDGERS = {
    "insightdesk": ("tickets", "audit_logs"),
    "saas": ("transactions",),
    "musclemap": ("activity_events", "xp_history", "request_logs"),
    "proposals": ("proposals", "proposal_products", "audit_logs"),
    "vibing2": ('"Project"', '"Message"'),
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_filled_system_that_is_written_to_goes_up_and_down(database: Database, system: str) -> None:
    alembic("upgrade", REVISIONS[0], database=database)
    baseline, *optimisations = revisions_of(system)
    alone("upgrade", baseline, database)
    with database.connect() as connection:
        fill(connection, system, 10_000)
    stops = [dump_of(database, system)]
    columns = {table: names for table, names in database.columns().items() if table.startswith(f"{system}.")}
    before = rows_of(database, columns)
    with at_work([up := Writer(database, write(WRITES[system]))]) as more:
        for revision in optimisations:
            alone("upgrade", revision, database)
            more()
            stops.append(dump_of(database, system))
    assert len(set(stops)) == len(stops) - len(HIDDEN.intersection(optimisations)), "a revision changes nothing"
    check_rows(database, system, columns, before, up.done)
    with at_work([down := Writer(database, write(WRITES[system], after=up.done))]) as more:
        for revision, dump in zip(optimisations[::-1], stops[-2::-1], strict=True):
            alone("downgrade", revision, database)
            more()
            assert dump_of(database, system) == dump, f"downgrade of {revision}"
    check_rows(database, system, columns, before, up.done + down.done)


def test_a_system_is_filled_by_a_command(database: Database) -> None:
    alembic("upgrade", REVISIONS[0], database=database)
    alone("upgrade", revisions_of("saas")[0], database)
    command_ = [sys.executable, "-m", "tools.data", "saas", "--rows=500", f"--url={database.server.url(database.name)}"]
    subprocess.run(command_, cwd=ROOT, check=True)
    assert database.value("select count(*) from saas.transactions") == 350
    assert database.value("select count(*) from saas.dashboard_summary_mv") == 10


def alone(direction: str, revision: str, database: Database) -> None:
    """Carry one revision out and leave the other systems' out."""
    before = f"{int(revision) - 1:04}"
    first, last = (before, revision) if direction == "upgrade" else (revision, before)
    alembic("stamp", first, database=database)
    alembic(direction, last, database=database)


def revisions_of(system: str) -> list[str]:
    """The revisions of a system: first the one that makes its tables."""
    return [each for each in REVISIONS if name_of(each) == system or name_of(each).startswith(f"{system}_")]


def dump_of(database: Database, system: str) -> str:
    """What pg_dump says of the tables of a system."""
    return database.server.run("pg_dump", database.name, "--schema-only", "--restrict-key=pgopt", f"--schema={system}")


def write(statements: str, after: int = 0) -> Any:
    """Make a writer's work of some statements; its turns have numbers of their own."""

    def work(connection: Connection[Any], turn: int) -> None:
        connection.execute(statements.format(n=after + turn + 1))

    return work


def check_rows(
    database: Database, system: str, columns: dict[str, list[str]], before: dict[str, list[str]], turns: int
) -> None:
    """All rows that were there are there, and those that the writers have left."""
    found = rows_of(database, columns)
    for table, rows in before.items():
        assert [row for row in found[table] if WRITTEN not in row] == rows, table
    left = {table: sum(WRITTEN in row for row in found[f"{system}.{table}"]) for table in LEDGERS[system]}
    assert left == dict.fromkeys(LEDGERS[system], turns - sum(turn % 3 == 0 for turn in range(1, turns + 1)))


def rows_of(database: Database, columns: dict[str, list[str]]) -> dict[str, list[str]]:
    """The rows of the tables of a system."""
    return {table: rows for table, rows in database.contents(columns).items() if table in columns}


# -- what is said --------------------------------------------------------------------------------------------------------


def test_the_page_of_the_chain_says_what_must_see_the_database() -> None:
    lines = (ROOT / "migrations" / "README.md").read_text().splitlines()
    said = {line.split("|")[1].strip(): line.split("|")[3].strip() for line in lines if line.startswith("| 0")}
    assert list(said) == REVISIONS
    assert {revision for revision, scriptable in said.items() if scriptable != "yes"} == UNSEEN
    for before, revision in pairwise(["base", *REVISIONS]):
        if revision in UNSEEN:
            with pytest.raises(NeedsDatabase, match="it must see the database"):
                script("upgrade", f"{before}:{revision}")
        else:
            assert script("upgrade", f"{before}:{revision}")


@pytest.mark.parametrize("revision", REVISIONS)
def test_each_revision_says_what_it_does(revision: str) -> None:
    found = CHAIN.get_revision(revision)
    assert found is not None
    assert found.doc.endswith(".")
    assert Path(found.path).name.startswith(f"{revision}_")
    assert name_of(revision).split("_")[0] in {*SYSTEMS, "install", "jobs", "monitoring"}, "it is named for its system"
