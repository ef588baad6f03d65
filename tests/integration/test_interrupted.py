"""Revisions of several operations that were interrupted, then run again or taken back: nothing twice, nothing left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.exc import DBAPIError

from pgopt import HalfDone, InvalidOperation, NotInstalled, PgoptError
from tests.databases import wait_until
from tests.integration.alembic_project import Project, index, no_index

if TYPE_CHECKING:
    from pathlib import Path

    from tests.databases import Database

TABLE = """
create table tickets (id bigint primary key, other bigint not null unique, status text not null default 'x', v int not null default 0,
    w int not null default 0, at timestamptz not null default now());
insert into tickets (id, other) select n, n from generate_series(1, 100) n;
create index on tickets (at);
"""
FAIL = "op.execute('select 1 / 0')"
SMALL = "settings={'batch_rows': 10, 'batch_most': 10}"
# what is carried out, and not looked at
RAISE = "if 'pgopt_looking' not in op.get_context().opts:\n    raise pgopt.PgoptError('no')"
MIXED = "settings={'mixed_revisions': True}"
INDEX, NO_INDEX = index("ix_last", column="v"), no_index("ix_last", column="v")


def fill(how: str, what: str = "v", table: str = "tickets", rest: str = "") -> str:
    return f"op.backfill({table!r}, set={{{what!r}: {f'{what} {how}'!r}}}{rest}, {SMALL})"


@pytest.fixture
def tickets(database: Database) -> Database:
    database.run(TABLE)
    return database


@pytest.fixture
def project(tickets: Database, tmp_path: Path) -> Project:
    found = Project.with_run(tmp_path, tickets.server.url(tickets.name))
    found.revision("a", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    found.upgrade()
    return found


def write(project: Project, up: str, down: str) -> None:
    project.revision("b", f"import pgopt\n{up}", f"import pgopt\n{down}", after="a")


def interrupt(project: Project, first: str, rest: str, down: str = "pass") -> None:
    """Run a revision that fails in between, and write it as it should be."""
    write(project, f"{first}\n{FAIL}\n{rest}", down)
    with pytest.raises(DBAPIError):
        project.upgrade("b")
    write(project, f"{first}\n{rest}", down)


def interrupt_at(tickets: Database, row: int, table: str = "tickets") -> None:
    """Have the batch that comes to a row fail, until `go_on`."""
    tickets.run(
        "create or replace function no() returns trigger language plpgsql as $$ begin raise 'not this row'; end $$;"
        f" create trigger no before update on {table} for each row when (old.id = {row}) execute function no()"
    )


def go_on(tickets: Database, table: str = "tickets") -> None:
    tickets.run(f"drop trigger no on {table}; drop function no()")


def values(tickets: Database, column: str = "v", table: str = "tickets") -> list[Any]:
    return [value for (value,) in tickets.rows(f"select distinct {column} from {table} order by 1")]


def remembered(tickets: Database) -> int:
    return int(tickets.value("select (select count(*) from pgopt.run) + (select count(*) from pgopt.progress)"))


@dataclass(frozen=True)
class Case:
    """A revision in two parts, between which it is interrupted."""

    name: str
    first: str
    rest: str = INDEX
    down: str = NO_INDEX
    setup: str = ""

    def __str__(self) -> str:
        return self.name


# -- run again -----------------------------------------------------------------------------------------------------------

AGAIN = [
    Case(
        "partitions after a backfill",
        f"{fill('+ 1')}\nop.partition_table('tickets', by=pgopt.IntRange('id', 50))",
        setup="alter table tickets drop constraint tickets_other_key",
    ),
    Case(
        "another key after a backfill",
        f"{fill('+ 1')}\nop.replace_primary_key_online('tickets_pkey', 'tickets', ['other'], old=['id'])",
    ),
    Case(
        "a column for a while",
        "op.add_column_online('tickets', 'tmp', 'int')\n"
        "op.backfill('tickets', set={'tmp': '1'})\n"
        f"{fill('+ tmp')}\n"
        "op.drop_column_online('tickets', 'tmp', 'int')",
    ),
    Case(
        "a partition that is attached after a backfill",
        f"{fill('+ 1', table='logs')}\n{fill('+ 1')}\nop.attach_partition('logs', 'logs_2', lower='100', upper='200')",
        setup="create table logs (id int primary key, v int) partition by range (id);"
        " create table logs_1 partition of logs for values from (0) to (100); insert into logs values (1, 0);"
        " create table logs_2 (id int primary key, v int); insert into logs_2 values (100, 1);"
        " alter table logs_2 add constraint logs_2_range check (id >= 100 and id < 200)",
    ),
    Case("a backfill that comes twice", f"{fill('+ 1')}\n{index('ix_one')}\n{fill('- 1')}", f"{fill('+ 1')}\n{INDEX}"),
    Case(
        "an index that comes twice",
        f"{INDEX}\n{fill('+ 1')}\n{NO_INDEX}",
        INDEX,
    ),
    Case(
        "a view that goes with its index",
        "op.drop_index_concurrently('ix_seen', 'seen', ['id'])\nop.drop_materialized_view('seen', 'select id from tickets')\n"
        f"{fill('+ 1')}",
        setup="create materialized view seen as select id from tickets; create index ix_seen on seen (id)",
    ),
]


@pytest.mark.parametrize("case", AGAIN, ids=str)
def test_what_came_to_its_end_is_not_done_again(case: Case, project: Project, tickets: Database) -> None:
    tickets.run(case.setup)
    interrupt(project, case.first, case.rest)
    project.upgrade("b")
    assert values(tickets) == [1]
    assert tickets.value("select count(*) from pg_class where relname = 'ix_last'") == 1
    if "logs" in case.setup:
        assert values(tickets, table="logs") == [1]
    assert remembered(tickets) == 0


def test_what_had_not_ended_is_not_taken_for_done_where_the_order_is_another(
    project: Project, tickets: Database
) -> None:
    tickets.run("create table other as select * from tickets; alter table other add primary key (id)")
    add = "op.add_column_online({!r}, 'token', 'uuid', default='gen_random_uuid()', nullable=False, settings={})".format
    small = {"batch_rows": 10, "batch_most": 10}
    write(project, f"{add('other', small)}\n{add('tickets', small)}", "pass")
    interrupt_at(tickets, 55, "other")
    with pytest.raises(PgoptError, match="not this row"):
        project.upgrade("b")
    go_on(tickets, "other")
    write(project, f"{add('tickets', small)}\n{add('other', small)}", "pass")
    project.upgrade("b")
    for table in ("tickets", "other"):
        assert tickets.value(f"select count(token) from {table}") == 100


@pytest.mark.parametrize("by", ["schema", "search_path"])
@pytest.mark.parametrize("undone", [False, True])
def test_a_tenant_that_comes_first_is_in_nobodys_place(
    by: str, project: Project, tickets: Database, *, undone: bool
) -> None:
    make = "create schema {0}; create table {0}.t (id int primary key, v int not null default 0);".format
    make_with_rows = "{} insert into {}.t (id) select generate_series(1, 30);".format
    tickets.run("".join(make_with_rows(make(name), name) for name in ("m1", "m2")))
    names = "sa.text(\"select nspname from pg_namespace where nspname like 'm_' order by 1\")"
    loop = f"for (name,) in op.get_bind().execute({names}).all():\n".format
    said = ", schema=name" if by == "schema" else ""
    path = "" if by == "schema" else "    op.execute(f'set search_path to {name}')\n"
    back = "" if by == "schema" else "    op.execute('set search_path to public')\n"
    up, down = (f"{loop()}{path}    {fill(how, table='t', rest=said)}\n{back}" for how in ("+ 1", "- 1"))
    write(project, up, down)
    interrupt_at(tickets, 15, "m2.t")
    with pytest.raises(PgoptError, match="not this row"):
        project.upgrade("b")
    go_on(tickets, "m2.t")
    tickets.run(make_with_rows(make("m0"), "m0"))
    if undone:
        project.undo("b")
    else:
        project.upgrade("b")
    assert [values(tickets, table=f"{name}.t") for name in ("m0", "m1", "m2")] == [[0 if undone else 1]] * 3


TENANT = "create schema {0}; create table {0}.t (id int primary key, v int not null default 0); insert into {0}.t values (1);"


@pytest.mark.parametrize(
    "operations",
    [
        [fill("+ 1", table="t"), index("ix_t", table="t", column="v")],
        [index("ix_t", table="t", column="v"), "op.set_not_null_online('t', 'v')"],
        ["op.rename_index('t_pkey', 'pk_t')", "op.create_check_constraint_online('ck_t', 't', 'v >= 0')"],
    ],
    ids=["backfill", "index", "rename"],
)
def test_a_tenant_without_the_table_is_not_taken_for_done(
    operations: list[str], project: Project, tickets: Database
) -> None:
    tickets.run("".join(TENANT.format(name) for name in ("m1", "m2")) + "create schema m3")
    body = "\n".join(f"    {each}" for each in operations)
    loop = "for name in {}:\n    op.execute(f'set search_path to {{name}}')\n{}\nop.execute('set search_path to public')".format
    for names in (("m1", "m2", "m3"), ("m1", "m2", "m3"), ("m3", "m2", "m1")):
        write(project, loop(names, body), "pass")
        with pytest.raises(InvalidOperation, match=r"there is no (table|index) 't"):
            project.upgrade("b")
    tickets.run(TENANT.format("m3").partition(";")[2])
    project.upgrade("b")
    added = [values(tickets, table=f"{name}.t") for name in ("m1", "m2", "m3")]
    assert added == [[1 if "backfill" in body else 0]] * 3
    assert tickets.value("select count(*) from pg_class where relname in ('ix_t', 'pk_t')") == 3


@pytest.mark.parametrize("half", [False, True])
def test_an_undo_goes_on_where_the_table_was_made_whole_again_by_the_one_before(
    project: Project, tickets: Database, *, half: bool
) -> None:
    """The batches were those of partitions that are gone."""
    tickets.run("create table big (id int primary key, v int not null default 0)")
    tickets.run("insert into big (id) select generate_series(1, 60)")
    before = tickets.dump()
    by = "'big', by=pgopt.IntRange('id', 20)"
    up, down = (
        f"op.partition_table({by})\n{fill('+ 1', table='big')}",
        f"{fill('- 1', table='big')}\nop.unpartition_table({by})",
    )
    fail = FAIL
    if half:
        fail = "pass"
        tickets.run("create function no() returns trigger language plpgsql as $$ begin raise 'not this row'; end $$")
        tickets.run(
            "create trigger no before update on big for each row when (new.id = 33 and new.v = 1) execute function no()"
        )
        before = tickets.dump()
    write(project, f"{up}\n{fail}", f"{down}\n{RAISE}")
    with pytest.raises((PgoptError, DBAPIError)):
        project.upgrade("b")
    for _ in range(2):
        with pytest.raises(PgoptError, match=r"^no$"):
            project.undo("b")
    write(project, f"{up}\n{fail}", down)
    project.undo("b")
    assert values(tickets, table="big") == [0]
    assert tickets.dump() == before


def test_a_tenant_that_is_gone_stands_for_no_other(project: Project, tickets: Database) -> None:
    tickets.run("".join(TENANT.format(name) for name in ("m1", "m2", "m3")))
    names = "sa.text(\"select nspname from pg_namespace where nspname like 'm_' order by 1\")"
    loop = f"for (name,) in op.get_bind().execute({names}).all():\n    {fill('+ 1', table='t', rest=', schema=name')}"
    write(project, loop, "pass")
    interrupt_at(tickets, 1, "m2.t")
    with pytest.raises(PgoptError, match="not this row"):
        project.upgrade("b")
    go_on(tickets, "m2.t")
    tickets.run("drop schema m1 cascade; alter table m3.t rename to away")
    with pytest.raises(InvalidOperation, match="there is no table 't' in schema 'm3'"):
        project.upgrade("b")
    tickets.run("alter table m3.away rename to t")
    project.upgrade("b")
    assert [values(tickets, table=f"{name}.t") for name in ("m2", "m3")] == [[1]] * 2


def test_batches_that_were_begun_by_one_key_are_not_begun_by_another(project: Project, tickets: Database) -> None:
    tickets.run("create table free (id int not null unique, o int not null unique, v int not null default 0)")
    tickets.run("insert into free (id, o) select n, 101 - n from generate_series(1, 100) n")
    write(project, fill("+ 1", table="free"), "pass")
    interrupt_at(tickets, 55, "free")
    with pytest.raises(PgoptError, match="not this row"):
        project.upgrade("b")
    go_on(tickets, "free")
    tickets.run("alter table free add primary key (o)")
    with pytest.raises(InvalidOperation, match=r"was begun by \(id\), and would go by \(o\) now.*say key=\['id'\]"):
        project.upgrade("b")
    write(project, fill("+ 1", table="free", rest=", key=['id']"), "pass")
    project.upgrade("b")
    assert values(tickets, table="free") == [1]


def test_a_run_that_somebody_has_taken_out_of_the_journal_begins_anew(project: Project, tickets: Database) -> None:
    write(project, fill("+ 1"), fill("- 1"))
    interrupt_at(tickets, 55)
    with pytest.raises(PgoptError, match="not this row"):
        project.upgrade("b")
    go_on(tickets)
    tickets.run("update tickets set v = 0; delete from pgopt.run")
    project.upgrade("b")
    assert values(tickets) == [1]


def test_an_error_that_a_revision_catches_is_no_other_run(project: Project, tickets: Database) -> None:
    caught = (
        "try:\n    op.create_unique_constraint_online('uq', 'tickets', ['v'])\nexcept pgopt.PgoptError:\n    pass\n"
    )
    write(project, f"{caught}\n{INDEX}", "pass")
    project.upgrade("b")
    assert remembered(tickets) == 0


def test_rows_that_are_left_half_done_are_told(project: Project, tickets: Database) -> None:
    write(project, fill("+ 1"), "pass")
    interrupt_at(tickets, 55)
    with pytest.raises(PgoptError, match="not this row"):
        project.upgrade("b")
    go_on(tickets)
    tickets.run(f"create schema app; alter database {tickets.name} set search_path = app, public")
    tickets.run("alter table public.tickets set schema app")
    said = project.must("upgrade", "b")
    assert "left half-done: backfill v of public.tickets was interrupted, and nothing has gone on with it" in said


@pytest.mark.parametrize("undone", [False, True])
def test_columns_that_come_in_another_order_are_the_same(project: Project, tickets: Database, *, undone: bool) -> None:
    """As those of a Python set do, in each process."""

    def both(names: str, how: str) -> str:
        return f"op.backfill('tickets', set={ {name: f'{name} {how} 1' for name in names} }, {SMALL})"

    write(project, both("vw", "+"), both("vw", "-"))
    interrupt_at(tickets, 55)
    with pytest.raises(PgoptError, match="not this row"):
        project.upgrade("b")
    go_on(tickets)
    write(project, both("wv", "+"), both("wv", "-"))
    if undone:
        project.undo("b")
    else:
        project.upgrade("b")
    assert tickets.rows("select distinct v, w from tickets") == [(0, 0) if undone else (1, 1)]


def test_another_search_path_is_no_other_chain(project: Project, tickets: Database) -> None:
    interrupt(project, fill("+ 1"), INDEX, f"{NO_INDEX}\n{fill('- 1')}")
    tickets.run(f'create schema "An App"; alter database {tickets.name} set search_path = "An App", public')
    with pytest.raises(HalfDone):
        project.downgrade("base")
    project.upgrade("b")
    assert values(tickets) == [1]
    assert remembered(tickets) == 0


def test_a_script_of_a_half_done_revision_stops(project: Project, tickets: Database) -> None:
    filled = fill("+ 1", rest=", key=['id']")
    interrupt(project, filled, INDEX)
    script = project.run("upgrade", "a:b", sql=True)
    with pytest.raises(AssertionError, match="revision b was interrupted: finish it online"):
        tickets.psql(script)
    assert values(tickets) == [1]
    project.upgrade("b")
    project.run("stamp", "a")
    tickets.psql(script.replace("CREATE INDEX", "CREATE INDEX IF NOT EXISTS").replace("create index", "--"))
    assert values(tickets) == [2]


def test_a_name_that_serves_twice_needs_somebody_to_remember(project: Project, tickets: Database) -> None:
    project.downgrade("base")
    rename = "op.rename_index('ix_last', 'ix_first')"
    stubborn = f"try:\n    {rename}\nexcept Exception:\n    {rename}"
    for again in (rename, stubborn):
        project.revision("c", f"{INDEX}\n{again}", after=None)
        with pytest.raises(NotInstalled, match=r"this revision uses the name of index public\.ix_last twice"):
            project.upgrade("c")
    project.revision("c", INDEX, after=None)
    project.upgrade("c")
    assert tickets.value("select count(*) from pg_class where relname = 'ix_last'") == 1


def test_the_same_words_mean_other_work_where_they_stand(project: Project, tickets: Database) -> None:
    tickets.run(
        "create table logs (id int primary key, v int) partition by range (id);"
        " create table logs_1 partition of logs for values from (0) to (100); insert into logs values (1, 0)"
    )
    both = f"{fill('+ 1', table='logs')}\n{fill('+ 1', table='logs_1')}"
    back_to_one = "\n".join(f"op.backfill('tickets', set={{'v': {value!r}}})" for value in (1, 2, "1"))
    write(project, f"{both}\n{back_to_one}", "pass")
    project.upgrade("b")
    assert values(tickets, table="logs") == [2]
    assert values(tickets) == [1]


def test_a_backfill_that_is_tried_again_goes_on(project: Project, tickets: Database) -> None:
    interrupt_at(tickets, 55)
    again = (
        "for attempt in range(2):\n    try:\n"
        f"        {fill('+ 1')}\n        break\n"
        "    except pgopt.PgoptError:\n"
        "        op.get_bind().exec_driver_sql('drop trigger no on tickets')\n"
        "        op.get_bind().commit()\n"
    )
    write(project, again, "pass")
    project.upgrade("b")
    assert values(tickets) == [1]


# -- taken back ----------------------------------------------------------------------------------------------------------

FIRST, LAST = ", where='id <= 50'", ", where='id > 50'"
BOTH = "op.backfill('tickets', set={{'v': 'v {0} 1', 'w': 'w {0} 1'}})".format

BACK = [
    Case(
        "the order of the revision",
        f"{fill('+ 1', rest=FIRST)}\n{index('ix_one')}",
        fill("+ 1000", rest=LAST),
        f"{fill('- 1', rest=FIRST)}\n{fill('- 1000', rest=LAST)}\n{no_index('ix_one')}",
    ),
    Case(
        "another order of columns",
        BOTH("+"),
        down=f"{NO_INDEX}\nop.backfill('tickets', set={{'w': 'w - 1', 'v': 'v - 1'}})",
    ),
    Case("one by one", BOTH("+"), down=f"{NO_INDEX}\n{fill('- 1', 'w')}\n{fill('- 1')}"),
    Case(
        "tables whose names begin alike",
        fill("+ 1", table="tickets (old)"),
        fill("+ 1"),
        f"{fill('- 1')}\n{fill('- 1', table='tickets (old)')}",
        setup='create table "tickets (old)" as select * from tickets; alter table "tickets (old)" add primary key (id)',
    ),
]


@pytest.mark.parametrize("case", BACK, ids=str)
def test_rows_are_set_back_that_were_set(case: Case, project: Project, tickets: Database) -> None:
    tickets.run(case.setup)
    before, rows = tickets.dump(), tickets.contents()
    interrupt(project, case.first, case.rest, case.down)
    assert tickets.contents() != rows
    project.undo("b")
    assert (tickets.dump(), tickets.contents()) == (before, rows)
    project.upgrade("b")
    project.downgrade("a")
    assert (tickets.dump(), tickets.contents()) == (before, rows)


def test_rows_are_set_back_where_the_table_is_spelled_otherwise(project: Project, tickets: Database) -> None:
    interrupt(project, fill("+ 1"), INDEX, f"{NO_INDEX}\n{fill('- 1', rest=', schema=$')}".replace("$", "'public'"))
    project.undo("b")
    assert values(tickets) == [0]


def test_rows_are_set_back_whose_table_was_named_with_its_schema_before(project: Project, tickets: Database) -> None:
    write(project, fill("+ 1", rest=", schema='public'"), fill("- 1"))
    interrupt_at(tickets, 55)
    with pytest.raises(PgoptError, match="not this row"):
        project.upgrade("b")
    go_on(tickets)
    write(project, fill("+ 1"), fill("- 1"))
    assert "but for what is left" not in project.must("undo", "b", program="pgopt")
    assert values(tickets) == [0]


def test_rows_are_set_back_in_the_table_that_is_whole_again(project: Project, tickets: Database) -> None:
    tickets.run("alter table tickets drop constraint tickets_other_key")
    before, rows = tickets.dump(), tickets.contents()
    first = f"{fill('+ 1')}\nop.partition_table('tickets', by=pgopt.IntRange('id', 50))"
    interrupt(project, first, INDEX, f"{NO_INDEX}\nop.unpartition_table('tickets')\n{fill('- 1')}")
    project.undo("b")
    assert (tickets.dump(), tickets.contents()) == (before, rows)


def test_rows_are_set_back_in_the_partitions_that_have_them_since(project: Project, tickets: Database) -> None:
    tickets.run("alter table tickets drop constraint tickets_other_key")
    first = f"{fill('+ 1')}\nop.partition_table('tickets', by=pgopt.IntRange('id', 50))"
    interrupt(project, first, INDEX, f"{NO_INDEX}\n{fill('- 1')}\nop.unpartition_table('tickets')")
    project.undo("b")
    assert values(tickets) == [0]


@pytest.mark.parametrize("again", [False, True])
def test_rows_are_set_back_by_the_key_by_which_they_were_set(
    project: Project, tickets: Database, *, again: bool
) -> None:
    key = "op.replace_primary_key_online('tickets_pkey', 'tickets', {}, old={})".format
    up, down = key(["other"], ["id"]), key(["id"], ["other"])
    tickets.run("update tickets set other = 1101 - id")
    write(project, f"{up}\n{fill('+ 1')}", f"{down}\n{fill('- 1')}")
    interrupt_at(tickets, 50)
    with pytest.raises(PgoptError, match="not this row"):
        project.upgrade("b")
    assert values(tickets) == [0, 1]
    go_on(tickets)
    if again:
        interrupt_at(tickets, 75)
        with pytest.raises(PgoptError, match="not this row"):
            project.undo("b")
        go_on(tickets)
    project.undo("b")
    assert values(tickets) == [0]


def test_an_undo_that_fails_in_the_middle_of_batches_comes_to_its_end_first(
    project: Project, tickets: Database
) -> None:
    write(project, fill("+ 1"), fill("- 1"))
    interrupt_at(tickets, 65)
    with pytest.raises(PgoptError, match="not this row"):
        project.upgrade("b")
    go_on(tickets)
    interrupt_at(tickets, 35)
    with pytest.raises(PgoptError, match="not this row"):
        project.undo("b")
    go_on(tickets)
    with pytest.raises(HalfDone, match="let `pgopt undo b` come to its end"):
        project.upgrade("b")
    project.undo("b")
    assert values(tickets) == [0]


def test_an_undo_that_fails_where_a_name_serves_twice_comes_to_its_end_first(
    project: Project, tickets: Database
) -> None:
    tickets.run("alter table tickets add d int")
    anew = "op.drop_column_online('tickets', 'd', 'int')\nop.add_column_online('tickets', 'd', 'bigint')"
    back = "op.drop_column_online('tickets', 'd', 'bigint')\nop.add_column_online('tickets', 'd', 'int')"
    interrupt(project, f"{anew}\n{INDEX}", index("ix_one"), f"{NO_INDEX}\n{RAISE}\n{back}")
    tickets.run("update tickets set d = id")
    with pytest.raises(PgoptError, match="no"):
        project.undo("b")
    with pytest.raises(HalfDone, match="let `pgopt undo b` come to its end"):
        project.upgrade("b")
    assert tickets.value("select count(d) from tickets") == 100


def test_an_undo_tells_its_own_operations_from_those_that_it_takes_back(project: Project, tickets: Database) -> None:
    add = "op.add_column_online('tickets', 'd', 'int')"
    drop = "op.drop_column_online('tickets', 'd', 'int')"
    write(project, f"{add}\n{drop}\n{INDEX}", f"{NO_INDEX}\n{add}\n{drop}")
    project.upgrade("b")
    before = tickets.dump()
    write(project, f"{add}\n{RAISE}\n{drop}\n{INDEX}", f"{NO_INDEX}\n{add}\n{drop}\n{FAIL}")
    with pytest.raises(DBAPIError):
        project.downgrade("a")
    with pytest.raises(PgoptError, match="no"):
        project.undo("b")
    write(project, f"{add}\n{drop}\n{INDEX}", f"{NO_INDEX}\n{add}\n{drop}")
    project.undo("b")
    assert tickets.dump() == before


KEPT = [
    Case(
        "a policy",
        f"{fill('+ 1')}\nop.create_retention_policy('tickets', column='at', keep='7 days')",
        down=f"op.drop_retention_policy('tickets')\n{fill('- 1')}",
        setup="op.create_retention_policy('tickets', column='at', keep='7 days')",
    ),
    Case(
        "a materialized view",
        f"{fill('+ 1')}\nop.create_materialized_view('seen', 'select id from tickets')\nop.refresh_materialized_view('seen')",
        down=f"op.drop_materialized_view('seen')\n{fill('- 1')}",
        setup="op.create_materialized_view('seen', 'select id from tickets')",
    ),
]


@pytest.mark.parametrize("case", KEPT, ids=str)
def test_what_was_there_before_stays(case: Case, project: Project, tickets: Database) -> None:
    project.revision("a2", case.setup)
    project.upgrade("a2")
    there = "select (select count(*) from pgopt.retention_policy), (select count(*) from pg_matviews)"
    before = tickets.rows(there)
    for body in (f"{case.first}\n{FAIL}", case.first):
        project.revision("b", f"import pgopt\n{body}", case.down, after="a2")
        if body != case.first:
            with pytest.raises(DBAPIError):
                project.upgrade("b")
    project.undo("b")
    assert tickets.rows(there) == before
    assert values(tickets) == [0]


REFUSED = [
    Case("one for two", fill("+ 1"), f"{INDEX}\n{fill('+ 1')}", f"{fill('- 2')}\n{NO_INDEX}"),
    Case("two that cannot be told apart", f"{fill('+ 1')}", fill("* 5"), f"{fill('- 1')}\n{fill('/ 5')}"),
]


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_what_cannot_be_told_is_refused_before_anything_is_changed(
    case: Case, project: Project, tickets: Database
) -> None:
    interrupt(project, f"{case.first}\n{index('ix_one')}", case.rest, f"{case.down}\n{no_index('ix_one')}")
    before, rows = tickets.dump(), tickets.contents()
    with pytest.raises(InvalidOperation, match="some rows were set before the interruption, but it is not known which"):
        project.undo("b")
    assert (tickets.dump(), tickets.contents()) == (before, rows)
    project.upgrade("b")
    assert remembered(tickets) == 0


UNSEEN = [
    Case(
        "what it does no more",
        "if not [each for each in sa.inspect(op.get_bind()).get_columns('tickets') if each['name'] == 'z']:\n"
        f"    op.add_column_online('tickets', 'z', 'int')\n    {fill('+ 1')}",
        down=f"{NO_INDEX}\n{fill('- 1')}",
    ),
    Case(
        "what comes after SQL of its own",
        f"{fill('+ 1', rest=FIRST)}",
        "op.get_bind().execute(sa.text('update tickets set w = 1'))\n" + fill("+ 1000", rest=LAST),
        f"{fill('- 1000', rest=LAST)}\n{fill('- 1', rest=FIRST)}",
    ),
]


@pytest.mark.parametrize("case", UNSEEN, ids=str)
def test_what_is_not_seen_when_the_revision_is_looked_at_is_not_guessed(
    case: Case, project: Project, tickets: Database
) -> None:
    interrupt(project, f"{case.first}\n{index('ix_one')}", case.rest, f"{no_index('ix_one')}\n{case.down}")
    rows = tickets.contents()
    with pytest.raises(InvalidOperation, match="some rows were set before the interruption, but it is not known which"):
        project.undo("b")
    assert tickets.contents() == rows


@pytest.mark.parametrize(
    "statement",
    [
        "/* it was */ update tickets set v = v - 1",
        "-- it was\nupdate tickets set v = v - 1",
        "alter table tickets drop if exists z; update tickets set v = v - 1",
        "select less()",
        "comment on table tickets is E'it\\'s not'; update tickets set v = v - 1 where status <> 'y'",
    ],
)
@pytest.mark.parametrize("how", ["op.execute({!r})", "op.get_bind().execute(sa.text({!r}))"])
def test_rows_of_a_mixed_revision_are_nobodys_guess(
    statement: str, how: str, project: Project, tickets: Database
) -> None:
    tickets.run("create function less() returns void language sql as 'update tickets set v = v - 1'")
    project.replace(
        project.env, "pgopt.env.run(context", "pgopt.env.run(context, settings=Settings(mixed_revisions=True)"
    )
    first = f"op.execute('alter table tickets add z int')\n{INDEX}"
    interrupt(project, first, "op.execute('update tickets set v = v + 1')", f"{how.format(statement)}\n{NO_INDEX}")
    with pytest.raises(InvalidOperation, match="it is not known"):
        project.undo("b")
    assert values(tickets) == [0]


def test_plain_work_is_remembered_that_an_operation_commits_and_is_refused(project: Project, tickets: Database) -> None:
    tickets.run("create index ix_last on tickets (status)")
    mixed = INDEX.replace(")", f", {MIXED})")
    write(project, f"op.execute('alter table tickets add z int')\n{mixed}", "op.execute('alter table tickets drop z')")
    with pytest.raises(InvalidOperation, match="it is another one"):
        project.upgrade("b")
    assert tickets.value("select count(*) from pg_attribute where attname = 'z'") == 1
    project.undo("b")
    assert tickets.value("select count(*) from pg_attribute where attname = 'z'") == 0


# -- what an undo looks at -----------------------------------------------------------------------------------------------


def test_an_upgrade_that_waits_for_its_own_work_is_taken_back(project: Project, tickets: Database) -> None:
    loop = (
        "with op.get_context().autocommit_block():\n"
        "    while op.get_bind().execute(sa.text('select exists (select from tickets where v = 0)')).scalar():\n"
        "        op.execute('update tickets set v = 1 where id in (select id from tickets where v = 0 limit 10)')\n"
        "        raise pgopt.PgoptError('no')\n"
    )
    write(project, f"{INDEX}\n{loop}", NO_INDEX)
    with pytest.raises(PgoptError, match="no"):
        project.upgrade("b")
    write(project, f"{INDEX}\n{loop.replace(loop.splitlines()[-1], '')}", NO_INDEX)
    project.undo("b")
    assert remembered(tickets) == 0


def test_a_downgrade_without_an_end_is_refused(project: Project) -> None:
    loop = (
        "while op.get_bind().execute(sa.text('select true')).scalar():\n    op.execute('alter table tickets add z int')"
    )
    interrupt(project, INDEX, "pass", f"{NO_INDEX}\n{loop}")
    with pytest.raises(InvalidOperation, match="with nothing carried out, it does not come to its end"):
        project.undo("b")
    project.upgrade("b")


@pytest.mark.parametrize(
    "reads",
    [
        "op.get_bind().execution_options(stream_results=True)",
        "op.get_bind().execute(sa.text('with x as (select 1 as n) select n from x')).scalar_one()",
        "op.get_bind().execute(sa.text('/* one */ (select 1)')).scalar_one()",
        "op.get_bind().execute(sa.text('values (1)')).scalar_one()",
    ],
)
def test_who_only_reads_is_not_in_the_way(reads: str, project: Project, tickets: Database) -> None:
    interrupt(project, INDEX, "pass", f"{reads}\n{NO_INDEX}")
    project.undo("b")
    assert remembered(tickets) == 0


def test_statements_of_others_without_parameters_are_seen(project: Project, tickets: Database) -> None:
    own = "op.get_bind().exec_driver_sql(\"update tickets set v = 5 where status like 'x%'\", execution_options={'no_parameters': True})"
    interrupt(project, INDEX, "pass", f"{own}\n{NO_INDEX}")
    with pytest.raises(InvalidOperation, match="sends SQL past Alembic's operations"):
        project.undo("b")
    assert values(tickets) == [0]


def test_nothing_is_done_by_looking_where_each_statement_is_committed(tickets: Database, tmp_path: Path) -> None:
    project = Project.from_template(tmp_path, tickets.server.url(tickets.name))
    project.configure("transaction_per_migration=True")
    project.replace(project.env, "poolclass=pool.NullPool", "poolclass=pool.NullPool, isolation_level='AUTOCOMMIT'")
    project.revision("a", "op.install_pgopt(version=1)")
    project.upgrade("a")
    own = "op.get_bind().execute(sa.text('update tickets set v = v {} 1'))".format
    interrupt(project, INDEX, own("+"), f"{own('-')}\n{NO_INDEX}")
    with pytest.raises(InvalidOperation, match="sends SQL past Alembic's operations"):
        project.undo("b")
    assert values(tickets) == [0]


@pytest.mark.parametrize(
    "plain", ["alter type mood add value 'c'", "create collation cc (locale = 'C')", "create publication pp"]
)
def test_plain_work_that_locks_no_table_is_seen(plain: str, tickets: Database, tmp_path: Path) -> None:
    tickets.run("create type mood as enum ('a', 'b')")
    project = Project.from_template(tmp_path, tickets.server.url(tickets.name))
    project.replace(project.env, "connectable.connect()", "connectable.begin()")
    project.revision("a", f"op.execute({plain!r})\n{INDEX}")
    with pytest.raises(PgoptError, match="did transactional work before an online operation"):
        project.upgrade("a")


# -- partitions that come meanwhile --------------------------------------------------------------------------------------


def test_a_replaced_index_has_its_names_on_partitions_that_come_meanwhile(project: Project, tickets: Database) -> None:
    tickets.run(
        "create table logs (id int not null, at int not null, k int) partition by range (at);"
        " create table logs_1 partition of logs for values from (0) to (10);"
        " create table logs_2 partition of logs for values from (10) to (20) partition by list (k);"
        " create table logs_2a partition of logs_2 for values in (1); create index ix on logs (k)"
    )
    replaced = "op.replace_index_concurrently('ix', 'logs', {}, old={})".format
    write(project, replaced(["at"], ["k"]), replaced(["k"], ["at"]))
    with tickets.connect() as writer:
        writer.execute("begin; insert into logs_1 values (1, 1, 1)")
        process = project.start("upgrade", "b")
        wait_until(
            "it waits for the writer",
            lambda: tickets.value(
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
                " and query ilike 'create index concurrently%'"
            ),
        )
        tickets.run("create table logs_2b partition of logs_2 for values in (77)")
        writer.execute("commit")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert not tickets.value("select count(*) from pg_class where relname like '%pgopt%' and relkind in ('i', 'I')")
    project.downgrade("a")
    assert not tickets.value("select count(*) from pg_class where relname like '%pgopt%' and relkind in ('i', 'I')")
