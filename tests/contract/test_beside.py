"""Promise 5 for what others say of a table meanwhile, at any statement: up and down again, it is as it would be without us."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from psycopg.errors import LockNotAvailable
from sqlalchemy import NullPool, create_engine, event

from pgopt.errors import PgoptError
from pgopt.operations import (
    CreateCheckConstraintOnline,
    CreateForeignKeyOnline,
    CreateIndexConcurrently,
    CreateUniqueConstraintOnline,
    DropIndexConcurrently,
    RenameIndex,
    ReplaceIndexConcurrently,
    SetNotNullOnline,
)
from tests.contract.killpoints import IN_TURN, SEED

if TYPE_CHECKING:
    from tests.databases import Database

DRAWN = int(os.environ.get("PGOPT_BESIDE", "40" if IN_TURN else "150"))
"""How many are drawn; the seed says which."""

APPLICATION = """
create table t (id int primary key, a int not null, b text, c int, d text, e int);
insert into t select g, g, 'x' || g, g % 10, 'y' from generate_series(1, 300) g;
create unique index t_a on t (a);
create index t_c on t (c) include (d) with (fillfactor = 80);
create index t_b on t (lower(b)) where c > 3;
comment on index t_b is 'mine';
create table r (id int primary key, t_a int);
insert into r select g, g from generate_series(1, 300) g;
create schema "S x";
create table p (id int not null, k int not null, a int not null, b text, e int) partition by range (k);
create table p1 partition of p for values from (0) to (10);
create table "P 2" partition of p for values from (10) to (20) partition by list (a);
create table "S x"."P 2a" partition of "P 2" for values in (1, 2, 3);
insert into p select g, g % 20, 1 + g % 3, 'b' || g from generate_series(1, 300) g;
create index p_e on p (e);
create index p1_own on p1 (a);
"""
PLAIN = [
    CreateIndexConcurrently("t_n", "t", ["c", "d"]),
    CreateIndexConcurrently("t_u", "t", ["id", "a"], unique=True, comment="hm"),
    DropIndexConcurrently("t_c", "t", ["c"], include=["d"], storage={"fillfactor": 80}),
    DropIndexConcurrently("t_b", "t", ["lower(b)"], where="c > 3", comment="mine"),
    ReplaceIndexConcurrently(
        "t_c", "t", ["c", "a"], old={"columns": ["c"], "include": ["d"], "storage": {"fillfactor": 80}}
    ),
    RenameIndex("t_c", "t_c2"),
    CreateForeignKeyOnline("r_t", "r", "t", ["t_a"], ["a"]),
    CreateUniqueConstraintOnline("t_id_a", "t", ["id", "a"]),
    CreateCheckConstraintOnline("t_checked", "t", "c >= 0"),
    SetNotNullOnline("t", "b"),
]
PARTITIONED = [
    CreateIndexConcurrently("p_n", "p", ["a", "b"]),
    CreateUniqueConstraintOnline("p_unique", "p", ["k", "a", "id"]),
    CreateCheckConstraintOnline("p_checked", "p", "a >= 0"),
    SetNotNullOnline("p", "b"),
]
BESIDE_PLAIN = [
    "comment on table t is 'theirs'",
    "comment on index t_a is 'theirs'",
    "alter table t replica identity using index t_a",
    "alter table t cluster on t_a",
    "alter index t_a set (fillfactor = 70)",
    "alter table t alter column e type bigint",
    "alter table t drop column e",
    "alter table t rename column e to theirs",
    "alter table t add column theirs int default 1",
    "create index theirs on t (a, e)",
    "create index theirs on t (c, d)",
    "create trigger theirs before update on t for each row execute function suppress_redundant_updates_trigger()",
    "alter table t add constraint theirs check (id > 0)",
    "alter table t enable row level security; create policy theirs on t using (true)",
    "update t set b = b || 'z' where id % 7 = 0",
    "insert into t values (1001, 1001, 'q', 3, 'u')",
    "delete from r where id < 20",
    "alter table t set (autovacuum_vacuum_cost_delay = 1)",
    "reindex table t",
    "vacuum analyze t",
]
BESIDE_PARTITIONED = [
    "comment on table p1 is 'theirs'",
    "create table p4 partition of p for values from (30) to (40)",
    """create table "P 2b" partition of "P 2" for values in (7)""",
    "alter table p drop column e",
    "alter table p alter column e type bigint",
    "create index theirs on p (a)",
    "create index theirs on p1 (a, b)",
    "alter index p1_own rename to theirs",
    "alter table p1 cluster on p1_own",
    "update p set e = 1 where id % 7 = 0",
    "insert into p values (1001, 3, 3, 'q')",
    "reindex table p1",
]


OF_THE_INDEX = {
    "alter index t_c set (fillfactor = 70)": "select reloptions = '{fillfactor=70}' from pg_class where relname = 't_c'",
    "comment on index t_c is 'theirs'": "select obj_description('t_c'::regclass) = 'theirs'",
    "alter table t cluster on t_c": "select indisclustered from pg_index where indexrelid = 't_c'::regclass",
    "alter index t_c rename to theirs": "select true from pg_class where relname = 'theirs'",
}


@pytest.mark.parametrize("number", range(DRAWN))
def test_what_others_say_meanwhile_is_as_if_nothing_else_were_done(number: int, database: Database) -> None:
    chance = random.Random(f"{SEED} beside {number}")
    operations, sayings = chance.choice(
        [(PLAIN, BESIDE_PLAIN), (PLAIN, BESIDE_PLAIN), (PARTITIONED, BESIDE_PARTITIONED)]
    )
    operation, theirs = chance.choice(operations), chance.choice(sayings)
    told = f"PGOPT_KILL_SEED={SEED}, {operation!r}, {theirs!r}"

    database.run(APPLICATION)
    database.run(theirs)
    wanted = Counter(database.dump().splitlines()), database.contents()
    database.run('drop table t, r, p cascade; drop schema "S x"')
    database.run(APPLICATION)

    beside = Beside(database, theirs, at := chance.randint(1, 30))
    database.perform(operation, engine=beside.engine)
    assert beside.said or beside.say(), told
    database.perform(operation)
    database.perform(operation.reverse())
    assert (Counter(database.dump().splitlines()), database.contents()) == wanted, f"{told}, at statement {at}"


@pytest.mark.parametrize("number", range(DRAWN // 4))
def test_what_others_say_of_an_index_that_is_replaced_is_refused_or_kept(number: int, database: Database) -> None:
    chance = random.Random(f"{SEED} of it {number}")
    operation = next(each for each in PLAIN if isinstance(each, ReplaceIndexConcurrently))
    theirs, kept = chance.choice(list(OF_THE_INDEX.items()))
    database.run(APPLICATION)
    beside = Beside(database, theirs, at := chance.randint(1, 40))
    try:
        database.perform(operation, engine=beside.engine)
    except PgoptError:
        assert beside.said
    told = f"PGOPT_KILL_SEED={SEED}, {theirs!r} at statement {at}"
    assert beside.said or beside.say(), told
    assert database.value(kept), told


class Beside:
    """Somebody who says something when so many statements have been sent, or a statement later where we are in the way."""

    def __init__(self, database: Database, theirs: str, at: int) -> None:
        self.database, self.theirs, self.at = database, theirs, at
        self.sent, self.said = 0, False
        self.engine = create_engine(database.server.url(database.name), poolclass=NullPool)
        event.listen(self.engine, "before_cursor_execute", self._hear)

    def _hear(self, *_: object) -> None:
        self.sent += 1
        if self.sent >= self.at and not self.said:
            self.said = self.say()

    def say(self) -> bool:
        """Say it, and tell whether that was possible."""
        with self.database.connect() as other:
            other.execute("set lock_timeout = '50ms'")
            try:
                other.execute(self.theirs)
            except LockNotAvailable:
                return False
        return True
