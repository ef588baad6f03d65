"""Columns of live tables."""

from __future__ import annotations

from sqlalchemy import Numeric, case, column, func

from pgopt.operations import AddColumnOnline, Backfill, DropColumnOnline, InstallPgopt
from tests.contract.examples.base import Example
from tests.contract.examples.indexes import DEEP, LONG_INDEX, LONG_TABLE

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

BACKFILLED = [
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


# volatile, so that all rows would be made anew, and yet the same each time
TAG = """
create function tag() returns text volatile language plpgsql as $$ begin return 'tag'; end $$;
"""
FAMILY = """
create table animals (id int primary key, legs int); create table dogs (breed text, primary key (id)) inherits (animals);
insert into animals select g, 4 from generate_series(1, 1500) g;
insert into dogs select g, 4, 'b' || g % 7 from generate_series(1, 1500) g;
"""

ADDED = [
    Example(
        "add a column",
        TICKETS,
        AddColumnOnline("tickets", "note", "text"),
        writes=WRITES,
        scriptable=False,
    ),
    Example(
        "add a column with a constant, not null",
        TICKETS,
        AddColumnOnline("tickets", "weight", Numeric(8, 2), default=1.5, nullable=False),
        writes=WRITES,
        scriptable=False,
    ),
    Example(
        "add a column with a stable default and a collation",
        TICKETS,
        AddColumnOnline("tickets", "who", 'varchar(40) collate "C"', default="current_user || ' 100% :x'"),
        writes=WRITES,
        scriptable=False,
    ),
    Example(
        "add a column with a volatile default",
        TICKETS + TAG,
        AddColumnOnline("tickets", "tag", "text", default="tag()"),
        before=INSTALLED,
        writes=WRITES,
        scriptable=False,
    ),
    Example(
        "add a column with a volatile default, not null",
        TICKETS + TAG,
        AddColumnOnline("tickets", "tag", "varchar(9)", default=func.tag(), nullable=False),
        before=INSTALLED,
        writes=WRITES,
        scriptable=False,
    ),
    Example(
        "add a column of a plain domain",
        TICKETS + "create domain code as text",
        AddColumnOnline("tickets", "code", "code", default="'x'"),
        writes=WRITES,
        scriptable=False,
    ),
    Example(
        "add a column that is computed when it is read",
        TICKETS,
        AddColumnOnline("tickets", "twice", "int generated always as (touched * 2) virtual"),
        writes=WRITES,
        scriptable=False,
        since=18,
    ),
    Example(
        "add a column to partitions of partitions, volatile and not null",
        DEEP + "alter table metrics add primary key (site, at);" + TAG,
        AddColumnOnline("metrics", "tag", "text", default="tag()", nullable=False),
        before=INSTALLED,
        writes="update metrics set value = value + 1 where at = date '2020-01-01' + {n} % 3000",
        scriptable=False,
    ),
    Example(
        "add a column to a family, volatile",
        FAMILY + TAG,
        AddColumnOnline("animals", "tag", "text", default="tag()"),
        before=INSTALLED,
        writes="insert into animals values ({n} + 10000, 2); insert into dogs values ({n} + 10000, 4, 'b')",
        scriptable=False,
    ),
    Example(
        "add a mixed-case column in another schema, by a key that is said",
        """
        create schema "App";
        create table "App"."Project" ("projectId" bigint not null, "userName" text);
        create index on "App"."Project" ("projectId");
        insert into "App"."Project" select g, 'User ' || g from generate_series(1, 1500) g;
        """
        + TAG,
        AddColumnOnline(
            "Project", 'the "Tag" 1', "text", default="public.tag()", nullable=False, key=["projectId"], schema="App"
        ),
        before=INSTALLED,
        writes="""insert into "App"."Project" ("projectId", "userName") values ({n} + 5000, 'N{n}')""",
        scriptable=False,
    ),
    Example(
        "add a column with names of 63 bytes",
        f'create table "{LONG_TABLE}" (a int primary key); insert into "{LONG_TABLE}" values (1), (2);' + TAG,
        AddColumnOnline(LONG_TABLE, LONG_INDEX, "text", default="tag()", nullable=False),
        before=INSTALLED,
        writes=f'insert into "{LONG_TABLE}" values ({{n}} + 10)',
        scriptable=False,
    ),
    Example(
        "add a column to an empty table",
        "create table empty (id int primary key, a int);" + TAG,
        AddColumnOnline("empty", "b", "text", default="tag()", nullable=False),
        before=INSTALLED,
        scriptable=False,
    ),
]

DROPPED = [
    Example(
        "drop a column",
        TICKETS + "alter table tickets add tag text not null default 'x'",
        DropColumnOnline("tickets", "tag", "text", default="'x'", nullable=False),
        writes=WRITES,
        scriptable=False,
    ),
    Example(
        "drop a column of a family",
        FAMILY + TAG + "alter table animals add tag text default tag()",
        DropColumnOnline("animals", "tag", "text", default="tag()"),
        before=INSTALLED,
        writes="insert into animals values ({n} + 10000, 2); insert into dogs values ({n} + 10000, 4, 'b')",
        scriptable=False,
    ),
]

EXAMPLES = [*BACKFILLED, *ADDED, *DROPPED]
