"""Columns of live tables."""

from __future__ import annotations

from sqlalchemy import case, column, func

from pgopt.operations import Backfill, InstallPgopt
from tests.contract.examples.base import Example
from tests.contract.examples.indexes import DEEP

INSTALLED = (InstallPgopt(1),)

TICKETS = """
create table tickets (id bigint generated always as identity primary key, title text not null, priority text,
                      touched int not null default 0);
insert into tickets (title, priority) select 'ticket ' || g, case when g % 3 = 0 then 'HIGH' end
    from generate_series(1, 3000) g;
"""

# inserted rows are the affair of a default
WRITES = """
insert into tickets (title, priority) values ('new {n}', 'NEW');
update tickets set title = 'written {n}' where id = {n} % 3000 + 1;
delete from tickets where title = 'new' || ({n} - 5);
"""

EXAMPLES = [
    Example(
        "backfill of all rows, each once",
        TICKETS,
        Backfill("tickets", set={"touched": "touched + 1"}),
        before=INSTALLED,
        writes=WRITES,
        scriptable=False,
        named=True,
    ),
    Example(
        "backfill of some rows, by a key that is said",
        TICKETS,
        Backfill(
            "tickets",
            set={"priority": "'LOW'", "touched": 7},
            where="priority is null and title not like '%5 :x \\%'",
            key=["id"],
        ),
        before=INSTALLED,
        writes=WRITES,
        named=True,
    ),
    Example(
        "backfill with SQLAlchemy expressions",
        TICKETS,
        Backfill(
            "tickets",
            set={
                "priority": case((column("title").like("%7"), "it's 100% :x"), else_=func.lower(column("title"))),
                "touched": column("id") % 5,
            },
            where=column("priority").is_(None),
            key=["id"],
        ),
        before=INSTALLED,
        writes=WRITES,
    ),
    Example(
        "backfill by a key of two columns",
        """
        create table lines (order_id int, line smallint, total numeric, primary key (order_id, line));
        insert into lines select g / 7, g % 7, g from generate_series(1, 2500) g;
        """,
        Backfill("lines", set={"total": "total * 2"}, key=["order_id", "line"]),
        before=INSTALLED,
        writes="insert into lines values ({n} + 100000, 1, 0); delete from lines where (order_id, line) = ({n} % 300, 3)",
    ),
    Example(
        "backfill by uuid",
        """
        create table sessions (id uuid primary key default gen_random_uuid(), n int, seen timestamptz);
        insert into sessions (n) select g from generate_series(1, 2500) g;
        """,
        Backfill("sessions", set={"seen": "'2024-01-02 03:04:05+00'"}, where="seen is null"),
        before=INSTALLED,
        writes="""
            insert into sessions (n, seen) values (-1, '2024-01-01 00:00:00+00');
            update sessions set n = n + 1 where n = {n} % 2500;
        """,
        scriptable=False,
    ),
    Example(
        "backfill over partitions",
        DEEP + "alter table metrics add unit text; alter table metrics add primary key (site, at);",
        Backfill("metrics", set={"unit": "'m' || site"}, where="unit is null"),
        before=INSTALLED,
        writes="update metrics set value = value + 1 where at = date '2020-01-01' + {n} % 3000",
        scriptable=False,
        named=True,
    ),
    Example(
        "backfill of mixed-case names in another schema",
        """
        create schema "App";
        create table "App"."Project" ("projectId" bigint generated always as identity primary key, "userName" text,
                                      "Name lower" text);
        insert into "App"."Project" ("userName") select 'User ' || g from generate_series(1, 1500) g;
        """,
        Backfill(
            "Project",
            set={"Name lower": 'lower("userName")'},
            where='"Name lower" is null',
            key=["projectId"],
            schema="App",
        ),
        before=INSTALLED,
        writes="""
            insert into "App"."Project" ("userName", "Name lower") values ('N{n}', 'n{n}');
            update "App"."Project" set "userName" = "userName" where "projectId" = {n} % 1500;
        """,
    ),
    Example(
        "backfill by text in a collation",
        """
        create table words (word varchar(40) collate "C" primary key, length int);
        insert into words select chr(64 + g % 60) || ' it''s \\ ' || g, null from generate_series(1, 2000) g;
        """,
        Backfill("words", set={"length": "length(word)"}, key=["word"]),
        before=INSTALLED,
        writes="insert into words values ('new {n}', 7); delete from words where word = 'new ' || ({n} - 5)",
    ),
    Example(
        "backfill by time",
        """
        create table readings (sensor int, at timestamptz, value float8, clean float8, primary key (sensor, at));
        insert into readings select g % 4, timestamptz '2024-03-31 00:00:00+00' + g * interval '7 minutes 1 microsecond', g
            from generate_series(1, 2000) g;
        """,
        Backfill("readings", set={"clean": "round(value)"}, key=["sensor", "at"]),
        before=INSTALLED,
        writes="insert into readings values (9, timestamptz '2025-01-01 00:00:00+00' + {n} * interval '1 s', 1, 1)",
    ),
    Example(
        "backfill without a primary key, by a unique index",
        """
        create table codes (code text not null, other text, tag text);
        create unique index on codes (other); create unique index on codes (code);
        insert into codes select 'c' || g, nullif('o' || g, 'o7') from generate_series(1, 1500) g;
        """,
        Backfill("codes", set={"tag": "upper(code)"}),
        before=INSTALLED,
        writes="insert into codes values ('n{n}', 'p{n}', 'N{n}'); update codes set tag = tag where code = 'c{n}'",
        scriptable=False,
    ),
    Example(
        "backfill of an empty table",
        "create table empty (id int primary key, a int)",
        Backfill("empty", set={"a": 1}, key=["id"]),
        before=INSTALLED,
    ),
]
