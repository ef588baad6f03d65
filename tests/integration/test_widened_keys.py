"""Foreign keys to a table that becomes partitioned: widened by the partitions' column, or refused with the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg.errors import ForeignKeyViolation
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from pgopt import InvalidOperation, Monthly
from pgopt.operations import FinalizePartitioning, InstallPgopt, ManagePartitions, PartitionTable
from tests.integration.test_partitions import interrupting, perform, refused

if TYPE_CHECKING:
    from tests.databases import Database

TEAMS = """
create table teams (id int primary key, since date not null);
insert into teams select g, date '2026-01-01' + g from generate_series(1, 60) g;
create table players (id int primary key, team int, since date, number bigint, tag int not null default 1,
    born date generated always as (date '2026-01-01' + team) stored);
insert into players (id, team, since) select id, id, since from teams;
"""
REFERS = "alter table players add constraint in_team foreign key (team) references teams"
WIDEN = PartitionTable(
    "teams", Monthly("since"), widen_keys=True, incoming="widen", incoming_columns={"players": "since"}
)
DEFINITION = "select pg_get_constraintdef(oid) || ' ' || convalidated from pg_constraint where conname = 'in_team' and conparentid = 0"


@pytest.fixture
def teams(database: Database) -> Database:
    database.perform(InstallPgopt(1))
    database.run(TEAMS)
    return database


def widen(by: str | None, method: str = "copy") -> PartitionTable:
    columns = {"in_team": by} if by else None
    return PartitionTable(
        "teams",
        Monthly("since"),
        method="attach" if method == "attach" else "copy",
        widen_keys=True,
        incoming="widen",
        incoming_columns=columns,
    )


@pytest.mark.parametrize(
    ("more", "by", "said"),
    [
        ("", None, "needs a column with the since of what a row refers to: say incoming_columns={'in_team': ...}, after op.add_col"),
        ("", "sinec", "there is no such column: op.add_column_online('players', 'sinec', 'date')"),
        ("", "number", "is to be widened by number of type bigint: say a column of type date, as since is"),
        ("", "team", "contains team already"),
        ("on delete set null", "born", "would have to write to born, which is generated"),
        ("on delete set default", "since", "has SET DEFAULT, which cannot know the since of that row"),
        ("on update set null", "since", "has ON UPDATE SET NULL, which another since would bring about, too"),
        ("on delete set null (team)", "since", "has SET NULL of some columns"),
        ("not valid", "since", "is NOT VALID: ALTER TABLE ... VALIDATE CONSTRAINT first"),
        (";alter table players alter since set not null", "since", "since, which is NOT NULL, but team may be NULL"),
    ],
)  # fmt: skip
def test_what_would_not_be_the_same_is_refused(teams: Database, more: str, by: str | None, said: str) -> None:
    teams.run(f"{REFERS} {more}")
    assert said in refused(teams, widen(by))


def test_keys_of_several_columns_that_may_be_null_are_refused(teams: Database) -> None:
    teams.run(
        "alter table teams add kind int not null default 1, add unique (id, kind);"
        " alter table players add constraint in_team foreign key (team, tag) references teams (id, kind)"
    )
    assert "does not look at rows in which one of team is NULL" in refused(teams, widen("since"))
    teams.run("alter table players alter team set not null")
    before = teams.dump()
    teams.perform(widen("since"))
    assert teams.value(DEFINITION) == "FOREIGN KEY (team, tag, since) REFERENCES teams(id, kind, since) MATCH FULL true"
    teams.perform(widen("since").reverse())
    assert teams.dump() == before


def test_partitioned_tables_that_refer_are_refused(teams: Database) -> None:
    teams.run("create table p (team int references teams, since date) partition by range (since)")
    assert "p_team_fkey of public.p is of a partitioned table" in refused(teams, widen(None))


def test_those_of_partitioned_tables_are_dropped_where_they_can_come_back(teams: Database) -> None:
    teams.run(
        "create table p (team int references teams) partition by hash (team); create table p0 partition of p for values with (modulus 1, remainder 0)"
    )
    operation = PartitionTable("teams", Monthly("since"), widen_keys=True, incoming="drop")
    if teams.value("show server_version_num") < "180000":
        assert "p_team_fkey of public.p is of a partitioned table" in refused(teams, operation)
        return
    before = teams.dump()
    teams.perform(operation, operation.reverse())
    assert teams.dump() == before


def test_partitions_that_are_referred_to_are_kept_whatever_the_rule(teams: Database) -> None:
    teams.run(REFERS)
    teams.perform(WIDEN, FinalizePartitioning("teams"))
    teams.run("insert into teams values (900, '2026-07-07')")
    teams.perform(ManagePartitions("teams", premake=1, keep="1 month"))
    done = {said[2]: said[1] for said in teams.rows("select * from pgopt.maintain_partitions()")}
    assert done["public.teams_p202601"] == "skipped"
    assert done["public.teams_p202604"] == "detached"
    assert teams.value("select count(*) from players join teams on teams.id = team") == 60


def test_columns_of_no_foreign_key_are_refused(teams: Database) -> None:
    assert (
        "incoming_columns= names in_team, which is neither a foreign key to this table nor a table with one"
        in refused(teams, widen("since"))
    )
    with pytest.raises(InvalidOperation, match="say incoming='widen', too"):
        PartitionTable("teams", Monthly("since"), incoming="drop", incoming_columns={"players": "since"})


def test_two_keys_of_a_table_are_told_apart_by_name(teams: Database) -> None:
    teams.run(
        f"{REFERS}; alter table players add second int constraint also references teams, add second_since date;"
        " update players set (second, second_since) = (select id, since from teams where id = 61 - players.id)"
    )
    operation = PartitionTable(
        "teams",
        Monthly("since"),
        widen_keys=True,
        incoming="widen",
        incoming_columns={"also": "second_since", "public.players": "since"},
    )
    before = teams.dump()
    teams.perform(operation)
    assert teams.value(DEFINITION) == "FOREIGN KEY (team, since) REFERENCES teams(id, since) MATCH FULL true"
    assert teams.value(DEFINITION.replace("in_team", "also")).startswith("FOREIGN KEY (second, second_since)")
    teams.perform(operation.reverse())
    assert teams.dump() == before


def test_rows_whose_column_is_another_are_shown_before_anything_is_changed(teams: Database) -> None:
    teams.run(
        f"{REFERS}; update players set since = null where id = 3; update players set since = '2020-01-01' where id = 5"
    )
    said = refused(teams, WIDEN)
    assert "foreign key in_team of public.players cannot be widened by since: 2 rows of public.players" in said
    assert "(id: 3, 5)" in said


@pytest.mark.parametrize("method", ["copy", "attach"])
def test_rows_that_come_meanwhile_are_shown_before_the_swap(teams: Database, method: str) -> None:
    teams.run(REFERS)
    before = teams.dump()
    operation = widen("since", method)
    report = interrupting(
        "see that the rows which refer", lambda: teams.run("update players set since = null where id = 9")
    )
    with pytest.raises(InvalidOperation, match=r"cannot be widened by since: 1 rows .*\(id: 9\)"):
        perform(teams, operation, report)
    assert teams.value("select relkind = 'r' from pg_class where relname = 'teams'")
    assert teams.value(DEFINITION) == "FOREIGN KEY (team) REFERENCES teams(id) true"
    teams.run("update players set since = teams.since from teams where teams.id = team")
    teams.perform(operation)
    assert teams.value(DEFINITION) == "FOREIGN KEY (team, since) REFERENCES teams(id, since) MATCH FULL true"
    teams.perform(operation.reverse())
    assert teams.dump() == before


def test_it_says_what_it_said_and_refuses_what_it_refused(teams: Database) -> None:
    teams.run(
        f"{REFERS} on update cascade on delete set null deferrable; comment on constraint in_team on players is 'x'"
    )
    before = teams.dump()
    teams.perform(WIDEN)
    assert teams.value(DEFINITION) == (
        "FOREIGN KEY (team, since) REFERENCES teams(id, since) MATCH FULL ON UPDATE CASCADE ON DELETE SET NULL DEFERRABLE true"
    )
    assert (
        teams.value("select obj_description(oid) from pg_constraint where conname = 'in_team' and conparentid = 0")
        == "x"
    )
    # to another partition, and what refers to it goes along
    teams.run("update teams set since = '2026-03-03' where id = 4; delete from teams where id = 5")
    assert teams.rows("select team, since::text from players where id in (4, 5) order by id") == [
        (4, "2026-03-03"),
        (None, None),
    ]
    for wrong in ("(100, 7, null)", "(100, 7, '2026-03-03')", "(100, 99999, null)"):
        with pytest.raises((ForeignKeyViolation, IntegrityError)):
            teams.run(f"insert into players (id, team, since) values {wrong}")
    teams.run("insert into players (id) values (100)")
    teams.perform(WIDEN.reverse())
    assert teams.dump() == before


@pytest.mark.parametrize("method", ["copy", "attach"])
def test_the_way_back_is_open_when_it_is_final_and_when_rows_came_since(teams: Database, method: str) -> None:
    teams.run(REFERS)
    before = teams.dump()
    operation = widen("since", method)
    teams.perform(operation, *([FinalizePartitioning("teams")] if method == "copy" else []))
    day = teams.value("select (current_date + interval '3 months')::date::text")
    teams.run(f"insert into teams values (500, '{day}'); insert into players values (500, 500, '{day}')")
    teams.perform(operation.reverse())
    assert teams.dump() == before
    assert teams.value("select count(*) from teams join players on team = teams.id") == 61


def test_one_that_was_dropped_since_comes_back_if_nothing_has_lost_its_row(teams: Database) -> None:
    teams.run(REFERS)
    before = teams.dump()
    teams.perform(WIDEN)
    teams.run("alter table players drop constraint in_team; insert into players (id, team) values (700, 12345)")
    assert "foreign key in_team of public.players cannot be given back: 1 rows" in refused(teams, WIDEN.reverse())
    teams.run("delete from players where id = 700")
    teams.perform(WIDEN.reverse())
    assert teams.dump() == before


def test_the_preview_says_what_will_be_refused(teams: Database) -> None:
    from pgopt.server.catalog import Catalog
    from pgopt.server.session import Session

    teams.run(REFERS)
    with teams.engine().connect() as connection:
        said = WIDEN.notes(Catalog(Session(connection)))
    assert "in_team of public.players will refuse rows that refer to public.teams without since" in said
    assert any(each.startswith("in_team will refuse a change of since in rows that are referred to") for each in said)


@pytest.mark.parametrize("method", ["copy", "attach"])
def test_comments_of_foreign_keys_stay(database: Database, method: str) -> None:
    database.perform(InstallPgopt(1))
    database.run(
        "create table kinds (id int primary key); insert into kinds values (1);"
        " create table logs (id int primary key, at date not null, kind int constraint of_kind references kinds);"
        " insert into logs select g, date '2026-01-01' + g, 1 from generate_series(1, 90) g;"
        " create table notes (log int constraint of_log references logs);"
        " comment on constraint of_kind on logs is 'its kind'; comment on constraint of_log on notes is 'its log'"
    )
    before = database.dump()
    operation = PartitionTable(
        "logs", Monthly("at"), method="copy" if method == "copy" else "attach", widen_keys=True, incoming="drop"
    )
    database.perform(operation)
    kept = "select obj_description(oid) from pg_constraint where conname = 'of_kind' and conrelid = 'logs'::regclass"
    assert database.value(kept) == "its kind"
    database.perform(operation.reverse())
    assert database.dump() == before


@pytest.mark.parametrize("method", ["copy", "attach"])
def test_the_owner_of_the_tables_needs_no_more_rights(database: Database, method: str) -> None:
    database.run("create role widener login; grant create, usage on schema public to widener")
    try:
        database.run(
            f"create table towns (id int primary key); insert into towns values (1); grant references on towns to widener;"
            f" grant create on database {database.name} to widener; set role widener; {TEAMS} {REFERS};"
            " alter table teams add town int default 1 constraint in_town references towns"
        )
        engine = database.engine()
        event.listen(engine, "connect", lambda connection, _: connection.execute("set session authorization widener"))
        before = database.dump()
        operation = widen("since", method)
        database.perform(InstallPgopt(1), operation, operation.reverse(), InstallPgopt(1).reverse(), engine=engine)
        assert database.dump() == before
        database.run("alter table players owner to postgres")
        database.perform(InstallPgopt(1), engine=engine)
        with pytest.raises(
            InvalidOperation,
            match=r"in_team is of a table of another role, public\.players: its owner must drop it before",
        ):
            database.perform(operation, engine=engine)
    finally:
        database.run("drop owned by widener cascade; drop role widener")
