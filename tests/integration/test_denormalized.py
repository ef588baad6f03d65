"""Columns that triggers keep: right after any statement, beside other transactions, and under the rights that writers have."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pgopt import IntRange, InvalidOperation, PgoptError
from pgopt.errors import StatementFailed
from pgopt.operations import DenormalizeAggregate, DenormalizeColumns, InstallPgopt, PartitionTable, VerifyDenormalized

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from psycopg import Connection

    from tests.databases import Database


TABLES = """
create table tickets (id int primary key, code text not null unique, author int);
create table comments (id int primary key, ticket_id int {reference}, status text, value numeric, at int, next int references comments on delete cascade);
create index on comments (ticket_id);
create index on tickets (author);
create table people (id int primary key, name text, about jsonb);
"""
REFERENCE = "references tickets on update cascade on delete cascade"
ADDED = DenormalizeAggregate(
    "tickets",
    source="comments",
    on={"id": "ticket_id"},
    columns={
        "n": "count(*)",
        "open": "count(value) filter (where status = 'OPEN')",
        "total": "sum(value) filter (where status <> 'x')",
        "last": "max(at)",
        "first": "min(status)",
    },
)
READ = DenormalizeAggregate(
    "tickets",
    source="comments",
    on={"id": "ticket_id"},
    columns={"all_at": "array_agg(at order by id)", "mean": "avg(value)", "kinds": "count(distinct status)"},
)
COPIED = DenormalizeColumns(
    "tickets",
    source="people",
    on={"author": "id"},
    columns={"author_name": "name", "about": "about"},
    defaults={"author_name": "'nobody'"},
)
ALL = (ADDED, READ, COPIED)


def views(database: Database) -> list[str]:
    """The views that show what has drifted."""
    return [
        name for (name,) in database.rows("select format('pgopt.denormal_%s', tag) from pgopt.denormalized order by id")
    ]


def drift(connection: Connection[Any], names: Sequence[str]) -> list[Any]:
    """Rows that are not what they should be, all seen at one moment."""
    return [
        row
        for name in names
        for row in connection.execute(f"select '{name}', d.* from {name} d where drifted").fetchall()
    ]


# -- any statements ------------------------------------------------------------------------------------------------------

TICKET, COMMENT, PERSON = (st.integers(1, n) for n in (6, 12, 4))
WHERE = st.one_of(
    COMMENT.map(lambda n: f"id = {n}"),
    TICKET.map(lambda n: f"ticket_id = {n}"),
    TICKET.map(lambda n: f"ticket_id in ({n}, {n + 1}, {n + 2})"),
    st.sampled_from(["true", "false", "ticket_id is null", "status = 'OPEN'"]),
)
VALUE = st.sampled_from(["null", "0", "1.50", "-1.5", "7", "'NaN'", "'infinity'"])
STATUS = st.sampled_from(["null", "'OPEN'", "'x'", "'done'"])
KEY = st.one_of(st.just("null"), TICKET.map(str))
ROW = st.builds(
    lambda i, t, s, v, a: f"({i}, {t}::int, {s}::text, {v}::numeric, {a})",
    COMMENT,
    KEY,
    STATUS,
    VALUE,
    st.integers(1, 5),
)
ROWS = st.lists(ROW, min_size=1, max_size=4, unique_by=lambda row: row.split(",")[0]).map(", ".join)
SET = st.one_of(
    KEY.map(lambda key: f"ticket_id = {key}"),
    st.just("ticket_id = ticket_id % 6 + 1"),
    STATUS.map(lambda status: f"status = {status}"),
    VALUE.map(lambda value: f"value = {value}"),
    st.just("value = -value"),
    st.just("at = 6 - at"),
    st.just("next = nullif(id, 1) - 1"),
    st.just("id = id"),
)
CONFLICT = "on conflict (id) do update set ticket_id = excluded.ticket_id, value = excluded.value, at = excluded.at"
COMMENTS = "insert into comments (id, ticket_id, status, value, at)"
STATEMENTS = st.one_of(
    ROWS.map(lambda rows: f"{COMMENTS} values {rows}"),
    ROWS.map(lambda rows: f"{COMMENTS} values {rows} on conflict do nothing"),
    ROWS.map(lambda rows: f"{COMMENTS} values {rows} {CONFLICT}"),
    st.builds(lambda s, w: f"update comments set {s} where {w}", SET, WHERE),
    WHERE.map(lambda where: f"delete from comments where {where}"),
    st.sampled_from(["truncate comments", "truncate tickets cascade", "truncate people"]),
    st.builds(
        lambda rows, where: (
            f"merge into comments c using (values {rows}) v (id, ticket_id, status, value, at) on c.id = v.id"
            f" when matched and c.at < 3 then delete when matched then update set ticket_id = v.ticket_id, value = v.value"
            f" when not matched then insert (id, ticket_id, status, value, at) values (v.id, v.ticket_id, v.status, v.value, v.at)"
        ),
        ROWS,
        WHERE,
    ),
    st.builds(
        lambda t, p: f"insert into tickets (id, code, author) values ({t}, 'c{t}', {p}) on conflict do nothing",
        TICKET,
        PERSON,
    ),
    st.builds(
        lambda t, p: f"update tickets set author = {p} where id = {t}", TICKET, st.one_of(PERSON, st.just("null"))
    ),
    st.builds(
        lambda t, u: f"update tickets set id = {u} where id = {t} and not exists (select from tickets where id = {u})",
        TICKET,
        TICKET,
    ),
    TICKET.map(lambda t: f"delete from tickets where id = {t}"),
    st.builds(
        lambda p, n: (
            f"insert into people values ({p}, 'p{n}', '{n}') on conflict (id) do update set name = excluded.name"
        ),
        PERSON,
        TICKET,
    ),
    st.builds(
        lambda p, q: f"update people set id = {q} where id = {p} and not exists (select from people where id = {q})",
        PERSON,
        PERSON,
    ),
    PERSON.map(lambda p: f"delete from people where id = {p}"),
    PERSON.map(lambda p: f"update people set about = '[{p}]' where id >= {p}"),
    # both tables in one command
    st.builds(
        lambda rows, t: (
            f"with c as ({COMMENTS} values {rows} {CONFLICT}) insert into tickets values ({t}, 'c{t}', 1) on conflict do nothing"
        ),
        ROWS,
        TICKET,
    ),
    st.builds(
        lambda where, t: (
            f"with c as (delete from comments where {where}) update tickets set id = {t} where id = (select max(id) from tickets)"
            f" and not exists (select from tickets where id = {t})"
        ),
        WHERE,
        TICKET,
    ),
)
REFUSED = (psycopg.errors.IntegrityError, psycopg.errors.CardinalityViolation)


def run_all(database: Database, statements: Sequence[str], chance: random.Random) -> None:
    """Run statements, some of them in one transaction or taken back, and look after each for what has drifted."""
    names = views(database)
    with database.connect() as connection:
        connection.execute("truncate tickets, comments, people")
        connection.execute("insert into tickets select g, 'c' || g, g % 5 from generate_series(1, 4) g")
        connection.execute("insert into people select g, 'p' || g from generate_series(1, 2) g")
        for statement in statements:
            connection.autocommit = chance.random() < 0.7
            try:
                with connection.transaction(force_rollback=chance.random() < 0.1):
                    connection.execute(statement)
                    assert drift(connection, names) == [], statement
            except REFUSED:
                pass
            assert drift(connection, names) == [], statement
            if connection.autocommit is False and chance.random() < 0.3:
                connection.rollback()
            connection.commit()


@pytest.fixture(params=[REFERENCE, ""], ids=["with a foreign key", "without one"])
def kept(request: pytest.FixtureRequest, database: Database) -> Database:
    """Tables of which one is kept by all means."""
    database.run(TABLES.replace("{reference}", request.param))
    database.perform(InstallPgopt(1), *ALL)
    return database


@settings(
    max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(statements=st.lists(STATEMENTS, min_size=10, max_size=25), seed=st.integers(0, 1000))
def test_columns_are_right_after_any_statement(kept: Database, statements: list[str], seed: int) -> None:
    run_all(kept, statements, random.Random(seed))


def test_copy_is_a_statement_like_others(kept: Database) -> None:
    kept.run("insert into tickets select g, 'c' || g, 1 from generate_series(1, 3) g")
    with kept.connect() as connection:
        with connection.cursor().copy("copy comments (id, ticket_id, value, at) from stdin") as copy:
            for number in range(100):
                copy.write_row((number, number % 4 or None, number, number))
        with connection.cursor().copy("copy tickets (id, code, author) from stdin") as copy:
            copy.write_row((9, "c9", 1))
        assert connection.execute("select n, last from tickets where id = 3").fetchall() == [(25, 99)]
        assert drift(connection, views(kept)) == []


@pytest.mark.parametrize(
    "statement",
    [
        f"{COMMENTS} values (1, 1, 'OPEN', 2, 1), (2, 1, 'OPEN', 3, 1) {CONFLICT}",
        (
            "merge into comments c using (values (1, 2), (2, 3), (3, 4)) v (id, value) on c.id = v.id"
            " when matched and c.id = 3 then delete when matched then update set value = v.value"
            " when not matched then insert (id, ticket_id, status, value, at) values (v.id, 1, 'OPEN', v.value, 1)"
        ),
    ],
)
def test_a_sum_that_was_no_number_is_added_to_once(kept: Database, statement: str) -> None:
    kept.run(
        "insert into tickets values (1, 'c1', 1); insert into comments values (1, 1, 'OPEN', 'NaN', 1), (3, 1, 'OPEN', 9, 1)"
    )
    kept.run(statement)
    with kept.connect() as connection:
        assert drift(connection, views(kept)) == []


COUNTING = """
create function count_up() returns trigger language plpgsql as $$
begin
    insert into tickets (id, code) select distinct ticket_id, 'made ' || ticket_id from comments where ticket_id is not null on conflict do nothing;
    update tickets set id = id + 100 where id = 5;
    delete from comments where id = new.id + 1;
    return null;
end $$;
create trigger a_first after insert on comments for each row execute function count_up();
create trigger zz_last after insert on comments for each row when (new.at > 3) execute function count_up();
"""


def test_triggers_that_write_to_both_tables_meanwhile_are_counted_once(database: Database) -> None:
    database.run(TABLES.replace("{reference}", "") + COUNTING)
    database.perform(InstallPgopt(1), *ALL)
    with database.connect() as connection:
        for start in (0, 100, 200):
            connection.execute(
                f"insert into comments (id, ticket_id, status, value, at) select {start} + g, g % 7, 'OPEN', g, g % 5 from generate_series(1, 40, 3) g"
            )
            assert drift(connection, views(database)) == []
        connection.execute(
            "do $$ begin insert into tickets values (50, 'c50'); insert into comments values (900, 50, 'x', 1, 1);"
            " insert into comments values (901, 50, 'x', 1, 1); end $$"
        )
        assert connection.execute("select n from tickets where id = 50").fetchall() == [(2,)]
        assert drift(connection, views(database)) == []


# -- rights --------------------------------------------------------------------------------------------------------------


def test_writers_need_no_rights_on_the_other_table(kept: Database) -> None:
    kept.run(
        "create role writer; grant select, insert, update, delete, truncate on comments to writer; grant select, insert, update on tickets to writer;"
        " alter table people enable row level security; alter table tickets enable row level security;"
        " create policy own on tickets to writer using (id < 3)"
    )
    try:
        kept.run("insert into people values (1, 'p1'); insert into tickets values (1, 'c1', 1), (7, 'c7', 1)")
        with kept.connect() as connection:
            connection.execute("set role writer")
            connection.execute("insert into comments values (1, 7, 'OPEN', 2, 3)")
            connection.execute("insert into tickets values (2, 'c2', 1)")
            connection.execute("reset role")
            assert connection.execute("select n, author_name from tickets order by id").fetchall() == [
                (0, "p1"),
                (0, "p1"),
                (1, "p1"),
            ]
            assert drift(connection, views(kept)) == []
            connection.execute("set role writer")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("select * from pgopt.denormalized")
    finally:
        kept.run("drop owned by writer; drop role writer")


PATHS = """
create schema app; create table app.audit (id int, who text);
create function note() returns trigger language plpgsql as $$ begin insert into audit values (new.id, session_user); return null; end $$;
create trigger note after update on tickets for each row execute function note();
"""
# what a writer could put before the server's own, to have the owner of the triggers run it
EVIL = """
create schema evil; create function evil.boom(anyelement, anyelement) returns boolean language plpgsql as $$ begin raise 'boom'; end $$;
create function evil.equal(int, int) returns boolean language plpgsql as $$ begin raise 'boom'; end $$;
create operator evil.= (leftarg = int, rightarg = int, function = evil.equal);
create function evil.plus(bigint, bigint) returns bigint language plpgsql as $$ begin raise 'boom'; end $$;
create operator evil.+ (leftarg = bigint, rightarg = bigint, function = evil.plus);
create operator evil.- (leftarg = bigint, rightarg = bigint, function = evil.plus);
create domain evil.int4 as text check (value = 'boom'); create domain evil.text as pg_catalog.int4 check (value = 7);
create domain evil.numeric as pg_catalog.text check (value = 'boom'); create domain evil.int8 as pg_catalog.text check (value = 'boom');
create function evil.unnest(int[]) returns setof int language plpgsql as $$ begin raise 'boom'; end $$;
create function evil.current_setting(pg_catalog.text, boolean) returns pg_catalog.text language plpgsql as $$ begin raise 'boom'; end $$;
create function evil.set_config(pg_catalog.text, pg_catalog.text, boolean) returns pg_catalog.text language plpgsql as $$ begin raise 'boom'; end $$;
"""


def test_triggers_run_with_the_search_path_of_the_writer_and_are_not_deceived_by_it(kept: Database) -> None:
    kept.run(PATHS + EVIL)
    kept.run("insert into people values (1, 'p1'); insert into tickets values (1, 'c1', 1), (2, 'c2', 1)")
    with kept.connect() as connection:
        for path in ("app, public", "evil, pg_catalog, app, public"):
            connection.execute(f"set search_path = {path}")
            for statement in (
                "insert into comments values (1, 1, 'OPEN', 2, 3), (2, 2, 'x', 1, 1)",
                "update comments set ticket_id = 3 operator(pg_catalog.-) ticket_id, value = value operator(pg_catalog.*) 2",
                "update people set name = name || path.n from (values ('!')) path (n)",
                "update tickets set id = id operator(pg_catalog.*) 10 where id operator(pg_catalog.=) 2",
                "update tickets set author = null; update tickets set author = 1",
                "delete from comments",
                "insert into comments values (1, 1, 'OPEN', 2, 3)",
                "truncate comments",
                "update tickets set id = id operator(pg_catalog./) 10 where id operator(pg_catalog.=) 20",
            ):
                try:
                    connection.execute(statement)
                except psycopg.errors.ForeignKeyViolation:
                    connection.execute("set search_path = app, public")
            connection.execute("set search_path = public")
            assert drift(connection, views(kept)) == []
        assert connection.execute("select count(*) > 20 from app.audit").fetchall() == [(True,)]


def test_an_owner_who_is_no_superuser_can_do_it(database: Database) -> None:
    database.run("create role owner_of_all")
    try:
        database.run(
            "grant create on database " + database.name + " to owner_of_all; grant all on schema public to owner_of_all"
        )
        database.run("set role owner_of_all; " + TABLES.replace("{reference}", REFERENCE))
        engine = database.engine(connect_args={"options": "-c role=owner_of_all"})
        before = database.dump()
        database.perform(InstallPgopt(1), *ALL, VerifyDenormalized("tickets"), engine=engine)
        database.run("insert into tickets values (1, 'c1', 1); insert into comments values (1, 1, 'OPEN', 2, 3)")
        assert database.rows("select n, author_name, all_at from tickets") == [(1, "nobody", [3])]
        database.perform(*(each.reverse() for each in reversed(ALL)), engine=engine)
        assert database.dump() == before
    finally:
        database.run("drop owned by owner_of_all; drop role owner_of_all")


def test_a_policy_that_comes_later_and_hides_rows_of_the_source_is_an_error(database: Database) -> None:
    database.run("create role owner_of_all")
    try:
        database.run(
            f"grant create on database {database.name} to owner_of_all; grant all on schema public to owner_of_all"
        )
        database.run("set role owner_of_all; " + TABLES.replace("{reference}", REFERENCE))
        engine = database.engine(connect_args={"options": "-c role=owner_of_all"})
        database.perform(InstallPgopt(1), copied(), engine=engine)
        database.run("insert into people values (1, 'one'); insert into tickets values (1, 'c1', 1)")
        database.run("alter table people enable row level security, force row level security")
        with pytest.raises(
            psycopg.errors.InsufficientPrivilege, match="would be affected by row-level security policy"
        ):
            database.run("update people set name = 'other'")
    finally:
        database.run("drop owned by owner_of_all; drop role owner_of_all")


# -- what is refused -----------------------------------------------------------------------------------------------------


def aggregate(**changes: Any) -> DenormalizeAggregate:
    said: dict[str, Any] = {"source": "comments", "on": {"id": "ticket_id"}, "columns": {"n": "count(*)"}}
    return DenormalizeAggregate("tickets", **{**said, **changes})


def copied(**changes: Any) -> DenormalizeColumns:
    said: dict[str, Any] = {"source": "people", "on": {"author": "id"}, "columns": {"author_name": "name"}}
    return DenormalizeColumns("tickets", **{**said, **changes})


REFUSALS = [
    (aggregate(columns={"code": "count(*)"}), "there is a column 'code' of public.tickets already"),
    (aggregate(columns={"n": "count(*) filter (where at > extract(epoch from now()))"}), "changes by itself"),
    (aggregate(columns={"n": "max(random())"}), "changes by itself"),
    (
        aggregate(columns={"n": "count(*) filter (where id in (select id from people))"}),
        "uses table public.people: it may read rows",
    ),
    (aggregate(columns={"n": "count(*) filter (where shaky(id))"}), "uses function public.shaky"),
    (aggregate(columns={"n": "array_agg(at)"}), "has no defined order: write ORDER BY"),
    (aggregate(columns={"n": "avg(at::float8)"}), "depends on the order of the rows: cast the values to numeric"),
    (aggregate(columns={"n": "value"}), "must appear in the GROUP BY clause"),
    (aggregate(on={"id": "status"}), "there is no index on public.comments that begins with status"),
    (aggregate(on={"id": "at"}), "there is no index on public.comments that begins with at"),
    (
        aggregate(on={"id": "ticket_id", "author": "id"}),
        "there is no index on public.comments that begins with ticket_id, id",
    ),
    (aggregate(on={"code": "ticket_id"}), "operator does not exist: text = integer"),
    (aggregate(on={"id": "other"}), "public.comments has no column 'other': it has id, ticket_id"),
    (
        copied(source="parted", on={"id": "id"}),
        "public.parted is partitioned: only aggregates and deferred columns can be kept from it",
    ),
    (aggregate(source="below", on={"id": "id"}), "public.below is in an inheritance tree"),
    (aggregate(source="summary", on={"id": "id"}), "public.summary is a materialized view"),
    (
        copied(source="comments", on={"id": "ticket_id"}, columns={"x": "status"}),
        "several rows of public.comments may have the same ticket_id",
    ),
    (copied(columns={"x": "count(*)"}), "must appear in the GROUP BY clause"),
    (copied(on={"code": "about"}, columns={"x": "name"}), "column 'about' of public.people|several rows"),
    (copied(defaults={"author_name": "now()::text"}), "changes by itself"),
    (
        DenormalizeAggregate("keyless", source="comments", on={"id": "ticket_id"}, columns={"n": "count(*)"}),
        "public.keyless has no primary key",
    ),
]
MORE = """
create table parted (id int, at date) partition by list (id); create table above (id int); create table below () inherits (above);
create materialized view summary as select 1 as id; create table keyless (id int); create index on keyless (id);
create function shaky(int) returns boolean volatile language sql as 'select true';
create index on comments using brin (at); create index on comments (ticket_id) include (id); create index on tickets (id, author);
"""


@pytest.mark.parametrize(("operation", "sentence"), REFUSALS, ids=[sentence for _, sentence in REFUSALS])
def test_what_could_not_be_kept_right_is_refused_before_anything_is_changed(
    database: Database, operation: DenormalizeAggregate, sentence: str
) -> None:
    database.run(TABLES.replace("{reference}", REFERENCE) + MORE)
    database.perform(InstallPgopt(1))
    before = database.dump()
    with pytest.raises(PgoptError, match=sentence):
        database.perform(operation)
    assert database.dump() == before
    assert database.value("select count(*) from pgopt.denormalized") == 0


def test_arguments_that_cannot_be_right() -> None:
    with pytest.raises(InvalidOperation, match="say on="):
        aggregate(on={})
    with pytest.raises(InvalidOperation, match="none of the columns"):
        copied(defaults={"other": "1"})
    with pytest.raises(InvalidOperation, match="64 bytes"):
        aggregate(columns={"c" * 64: "count(*)"})


def test_the_same_columns_are_not_kept_in_two_ways(kept: Database) -> None:
    with pytest.raises(
        InvalidOperation,
        match=r"n, open, total, last, first of public.tickets are kept already, with another definition",
    ):
        kept.perform(aggregate())


def test_what_is_used_stays(kept: Database) -> None:
    kept.run("create index best on tickets (total)")
    with pytest.raises(
        InvalidOperation, match=r"column 'total' of public.tickets is used by index best: drop that first"
    ):
        kept.perform(ADDED.reverse())
    with pytest.raises(InvalidOperation, match="columns of tickets are kept by triggers that need the schema"):
        kept.perform(InstallPgopt(1).reverse())
    for table in ("comments", "tickets"):
        with pytest.raises(
            InvalidOperation, match=r"trigger zz_pgopt_\w+ keeps columns by it, and would not see its partitions"
        ):
            kept.perform(PartitionTable(table, IntRange("id", step=100), widen_keys=True))
    # nothing that a trigger reads goes away under it
    for statement in (
        "alter table comments drop column value",
        "drop table people",
        "alter table comments alter at type bigint",
    ):
        with pytest.raises((psycopg.errors.DependentObjectsStillExist, psycopg.errors.FeatureNotSupported)):
            kept.run(statement)


def test_kept_columns_cannot_be_written_where_that_is_said(database: Database) -> None:
    database.run(TABLES.replace("{reference}", REFERENCE))
    database.perform(InstallPgopt(1), aggregate(read_only=True))
    database.run("insert into tickets (id, code, n) values (1, 'c1', 77); insert into comments values (1, 1)")
    assert database.value("select n from tickets") == 1
    with pytest.raises(
        psycopg.errors.GeneratedAlways, match=r"n of public.tickets cannot be written: triggers keep them equal"
    ):
        database.run("update tickets set n = 5")
    database.run("update tickets set n = n, code = 'other'; delete from comments")
    assert database.value("select n from tickets") == 0


# -- what has drifted ----------------------------------------------------------------------------------------------------

DRIFT = """
insert into tickets select g, 'c' || g, 1 from generate_series(1, 9) g;
set session_replication_role = replica;
insert into comments select g, g % 5 + 1, 'OPEN', 1, g from generate_series(1, 50) g;
update tickets set author_name = 'Zoë' where id = 9;
"""


def test_drift_is_told_and_repaired(kept: Database, tmp_path: Path) -> None:
    verify(kept, tmp_path, 0, "n, open, total, last, first of public.tickets are what public.comments says")
    kept.run(DRIFT)
    with pytest.raises(
        StatementFailed,
        match=r"5 rows of public.tickets differ in n, .* says: id 1 has n 0, .* should have n 10, .*: say repair=True",
    ):
        kept.perform(VerifyDenormalized("tickets"))
    with pytest.raises(
        StatementFailed,
        match=r"1 row of public.tickets .*: id 9 has author_name Zoë, about NULL, and should have author_name nobody",
    ):
        kept.perform(VerifyDenormalized("tickets", columns=["about"]))
    kept.perform(
        VerifyDenormalized("tickets", columns=["about"], repair=True), VerifyDenormalized("tickets", columns=["about"])
    )
    assert json.loads(verify(kept, tmp_path, 1, "id", "--json", "public.tickets"))[0]["rows"] == 5
    verify(kept, tmp_path, 0, "are what public.comments says", "--repair")
    verify(kept, tmp_path, 1, "pgopt keeps no columns of comments", "comments")
    with pytest.raises(InvalidOperation, match=r"column 'code' of public.tickets is not kept by pgopt"):
        kept.perform(VerifyDenormalized("tickets", columns=["code"]))
    with pytest.raises(InvalidOperation, match=r"no columns of public.people are kept by pgopt"):
        kept.perform(VerifyDenormalized("people"))


def verify(database: Database, folder: Path, code: int, said: str, *arguments: str) -> str:
    """Run `pgopt verify`, and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "pgopt.cli.main", "verify", "--url", database.server.url(database.name), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    return done.stdout
