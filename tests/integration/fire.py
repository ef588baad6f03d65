"""Random statements against kept columns: tables of several kinds of keys, what is kept in them, and what should be there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psycopg

from pgopt.denormal.definition import tag_of
from pgopt.operations import DenormalizeAggregate, DenormalizeColumns, InstallPgopt
from pgopt.server.objects import Relation

if TYPE_CHECKING:
    import random

    from psycopg import Connection

    from pgopt.operations import Operation
    from tests.databases import Database

TICKETS_MOST, COMMENTS_MOST, PEOPLE_MOST = 8, 30, 5
TABLES = """
create table people (who {key} primary key, name text, about jsonb);
create table tickets ({columns}, code text, author {key}, area int not null default 0, primary key ({id}{area})){spread};
create index on tickets (author);
create table comments (n int primary key, {ticket_columns}, status text, value numeric, at int{reference}){partitioned};
create index on comments ({ticket_id});
"""
PARTITIONED = """ partition by range (n);
create table comments_1 partition of comments for values from (0) to (8);
create table comments_2 partition of comments for values from (8) to (16) partition by range (n);
create table comments_2a partition of comments_2 for values from (8) to (12);
create table comments_2b partition of comments_2 default;
create table comments_3 (like comments_1 including all);
alter table comments attach partition comments_3 default"""
SPREAD = {
    "": "",
    "area": """ partition by list (area);
create table tickets_0 partition of tickets for values in (0);
create table tickets_1 partition of tickets for values in (1) partition by hash ({one});
create table tickets_1a partition of tickets_1 for values with (modulus 2, remainder 0);
create table tickets_1b partition of tickets_1 for values with (modulus 2, remainder 1);
create table tickets_2 (area int not null default 2, author {key}, code text, {columns}, primary key ({id}, area));
alter table tickets attach partition tickets_2 for values in (2)""",
    "id": """ partition by hash ({one});
create table tickets_0 partition of tickets for values with (modulus 2, remainder 0);
create table tickets_2 partition of tickets for values with (modulus 2, remainder 1)""",
}
PARTS = ["comments", "comments", "comments_1", "comments_2", "comments_2a", "comments_3"]
SPREADS = ["tickets", "tickets", "tickets_0", "tickets_2"]
ADDED = {
    "n": "count(*)",
    "open": "count(value) filter (where status = 'OPEN')",
    "total": "sum(value) filter (where status <> 'x')",
    "last": "max(at)",
    "first": "min(status)",
}
READ = {"all_at": "array_agg(at order by n)", "mean": "avg(value)", "any": "bool_or(value > 2)"}
COPIED = {"author_name": "name", "about": "about"}
REFUSED = (
    psycopg.errors.IntegrityError,
    psycopg.errors.CardinalityViolation,
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    # a row of another partition, which a trigger before the insert has changed
    psycopg.errors.FeatureNotSupported,
)


@dataclass(frozen=True)
class Kind:
    """What keys the tables have, and whether a foreign key refers from one to the other."""

    type: str
    literal: str
    """Of a number `{}`."""
    composite: bool = False
    referring: bool = True
    deferred: bool = False
    """Whether changes are folded in later."""
    partitioned: bool = False
    """Whether comments are, and partitions are written to, too."""
    spread: str = ""
    """By what tickets are partitioned, if they are: by an area of their own, or by their id."""

    def __str__(self) -> str:
        words = f"{'composite, ' * self.composite}{self.type}, {'a' if self.referring else 'no'} foreign key"
        words += f"{', deferred' * self.deferred}{', partitioned' * self.partitioned}"
        return f"{words}, spread by {self.spread}" if self.spread else words

    @property
    def id(self) -> list[str]:
        return ['"I:d %s"', "region"] if self.composite else ["id"]

    @property
    def ticket_id(self) -> list[str]:
        return ['"ticket Id"', "region"] if self.composite else ["ticket_id"]

    def key(self, number: int | None) -> str:
        """The values of a key, without parentheses."""
        one = "null" if number is None else self.literal.format(number)
        return f"{one}, 'r{(number or 0) % 2}'" if self.composite else one

    def person(self, number: int | None) -> str:
        """The value of a person's key."""
        return "null" if number is None else self.literal.format(number)

    @property
    def tables(self) -> str:
        types = [self.type, "text"]
        columns, ticket_columns = (
            ", ".join(f"{name} {kind}" for name, kind in zip(names, types, strict=False))
            for names in (self.id, self.ticket_id)
        )
        ticket_id = ", ".join(self.ticket_id)
        refers = f", foreign key ({ticket_id}) references tickets on update cascade on delete cascade"
        spread = SPREAD[self.spread].format(one=self.id[0], id=", ".join(self.id), key=self.type, columns=columns)
        return TABLES.format(
            spread=spread,
            area=", area" if self.spread == "area" else "",
            key=self.type,
            columns=columns,
            ticket_columns=ticket_columns,
            id=", ".join(self.id),
            ticket_id=ticket_id,
            reference=refers if self.referring else "",
            partitioned=PARTITIONED if self.partitioned else "",
        )

    @property
    def on(self) -> dict[str, str]:
        """By which columns tickets have their comments."""
        return {one.strip('"'): other.strip('"') for one, other in zip(self.id, self.ticket_id, strict=True)}

    @property
    def operations(self) -> list[Operation]:
        added, read = (
            DenormalizeAggregate("tickets", source="comments", on=self.on, columns=each) for each in (ADDED, READ)
        )
        names = DenormalizeColumns(
            "tickets",
            source="people",
            on={"author": "who"},
            columns=COPIED,
            defaults={"author_name": "'nobody'"},
        )
        kept = [added, read, names]
        if self.deferred:
            kept = [replace(each, deferred="every 1 hour") for each in kept]
        return [InstallPgopt(1), *kept]

    @property
    def wrong(self) -> str:
        """The query for what is not as it should be, computed from scratch, and about which no change waits."""
        return self._wrong([self._unless_waiting(each) for each in (ADDED, READ, COPIED)])

    @property
    def wrong_at_last(self) -> str:
        """The query for what is not as it should be when nothing waits."""
        return self._wrong(["true"] * 3)

    def _wrong(self, unless: list[str]) -> str:
        match = " and ".join(f"r.{other} = t.{one}" for one, other in zip(self.id, self.ticket_id, strict=True))
        differs = [" or ".join(f't."{name}" is distinct from s."{name}"' for name in each) for each in (ADDED, READ)]
        differs += [
            "t.author_name is distinct from case when p.who is null then 'nobody' else p.name end or t.about is distinct from p.about"
        ]
        whether = " or ".join(f"({one}) and {other}" for one, other in zip(differs, unless, strict=True))
        results = ", ".join(f'{text} as "{name}"' for name, text in {**ADDED, **READ}.items())
        return (
            f"select t.*, s.*, p.* from tickets t left join people p on p.who = t.author"
            f" cross join lateral (select {results} from comments r where {match}) s where {whether}"
        )

    def _unless_waiting(self, columns: dict[str, str]) -> str:
        if not self.deferred:
            return "true"
        names = ["author"] if columns is COPIED else self.id
        match = " and ".join(f"q.k{number} = t.{name}" for number, name in enumerate(names, 1))
        queue = f"pgopt.denormal_{tag_of(Relation(0, 'public', 'tickets', 'r'), list(columns))}_queue"
        return f"not exists (select from {queue} q where q.k1 is null or {match})"

    def prepare(self, database: Database) -> None:
        """Make the tables, and keep columns in them."""
        database.run(self.tables)
        database.perform(*self.operations)

    def fill(self, connection: Connection[Any]) -> None:
        """Give the tables a few rows to begin with."""
        connection.execute("truncate tickets, comments, people")
        for n in range(1, 5):
            connection.execute(
                f"insert into tickets values ({self.key(n)}, 'c', {self.person(n % 4)}, {n % (3 if self.spread else 1)})"
            )
            connection.execute(f"insert into people values ({self.person(n)}, 'p{n}')")
        for n in range(1, 9):
            connection.execute(f"insert into comments values ({n}, {self.key(n % 3 + 1)}, 'OPEN', {n}, {n})")


KINDS = [
    Kind("int", "{}"),
    Kind("int", "{}", composite=True, referring=False),
    Kind("uuid", "md5('{}')::uuid"),
    Kind("text", "'Ke:y %{}'", referring=False),
    Kind("numeric", "{}.50"),
    Kind("timestamptz", "'2024-01-01'::timestamptz + {} * interval '1 day'", composite=True),
    Kind("text", "'Ke:y %{}'", composite=True, referring=False, deferred=True),
    Kind("uuid", "md5('{}')::uuid", deferred=True),
    Kind("int", "{}", partitioned=True),
    Kind("int", "{}", referring=False, deferred=True, partitioned=True),
    Kind("int", "{}", referring=False, spread="area"),
    Kind("uuid", "md5('{}')::uuid", spread="id"),
    Kind("text", "'Ke:y %{}'", composite=True, referring=False, deferred=True, spread="area"),
    Kind("numeric", "{}.50", referring=False, partitioned=True, spread="area"),
]


# -- statements ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gun:
    """Makes statements up; what it draws from decides them."""

    kind: Kind
    chance: random.Random

    def statement(self, *, old: bool = False) -> str:
        """Make one up; of those that a transaction with an old snapshot may run."""
        makers = [
            getattr(self, name)
            for name, times in WEIGHTS.items()
            for _ in range(times)
            if (not old or name in OLD) and (name != "move" or self.kind.spread)
        ]
        made: str = self.chance.choice(makers)()
        return made

    def insert(self) -> str:
        how = self.chance.choice(
            [
                "",
                "",
                " on conflict do nothing",
                CONFLICT.format(ids=self._ids("excluded."), key=", ".join(self.kind.ticket_id)),
            ]
        )
        return f"insert into {self._table()} values {self._rows(4)}{how}"

    def copy(self) -> str:
        """Rows that the server is to write out, and to take in by COPY."""
        first = COMMENTS_MOST * self._pick(100)
        rows = (f"({first + n}, {self._typed(self._key())}, 'OPEN', null, {n})" for n in range(1, 1 + self._pick(4)))
        return f"copy (values {', '.join(rows)}) to stdout"

    def merge(self) -> str:
        ids = ", ".join(self.kind.ticket_id)
        return (
            f"merge into comments c using (values {self._rows(3)}) v (n, {ids}, status, value, at) on c.n = v.n"
            f" when matched and c.at < 3 then delete when matched then update set ({ids}) = row ({self._ids('v.')}), value = v.value"
            f" when not matched then insert values (v.n, {self._ids('v.')}, v.status, v.value, v.at)"
        )

    def update(self) -> str:
        sets = [
            f"({', '.join(self.kind.ticket_id)}) = row ({self._key()})",
            f"status = {self._status()}",
            f"value = {self._value()}",
            "value = -value",
            "at = 6 - at",
            f"n = n + {COMMENTS_MOST}",
            "n = n",
        ]
        return f"update {self._table()} set {self.chance.choice(sets)} where {self._where()}"

    def delete(self) -> str:
        return f"delete from {self._table()} where {self._where()}"

    def truncate(self) -> str:
        comments = f"truncate {self._table()}"
        return self.chance.choice([comments, comments, "truncate tickets cascade", "truncate people"])

    def ticket(self) -> str:
        columns = ", ".join([*self.kind.id, "code", "author", "area"])
        values = f"{self._key(null=False)}, 'new', {self._person()}, {self._area()}"
        return f"insert into {self._tickets()} ({columns}) values ({values}) on conflict do nothing"

    def author(self) -> str:
        return f"update {self._tickets()} set author = {self._person()} where {self._ticket()}"

    def rename(self) -> str:
        return f"update tickets set ({', '.join(self.kind.id)}) = row ({self._key(null=False)}) where {self._ticket()}"

    def move(self) -> str:
        author = self.chance.choice(["", "", f", author = {self._person()}"])
        where = self.chance.choice([self._ticket(), self._ticket(), f"area = {self._area()}"])
        return self.chance.choice(
            [
                f"update tickets set area = {self._area()}{author} where {where}",
                f"update tickets set area = (area + 1) % 3{author} where {where}",
                f"merge into tickets t using (values ({self._area()})) v (a) on {where} when matched then update set area = v.a{author}",
                (
                    f"with gone as (delete from tickets where {where} returning {', '.join(self.kind.id)}, author) insert into tickets"
                    f" ({', '.join(self.kind.id)}, author, area) select *, {self._area()} from gone on conflict do nothing"
                ),
            ]
        )

    def close(self) -> str:
        return f"delete from {self._tickets()} where {self._ticket()}"

    def person(self) -> str:
        n = self._pick(PEOPLE_MOST)
        return f"insert into people values ({self.kind.person(n)}, 'p{self._pick(9)}') on conflict (who) do update set name = excluded.name"

    def people(self) -> str:
        one, other = (self.kind.person(self._pick(PEOPLE_MOST)) for _ in range(2))
        return self.chance.choice(
            [
                f"update people set about = '[{self._pick(9)}]' where who >= {one}",
                f"update people set who = {one} where who = {other}",
                f"delete from people where who = {one}",
            ]
        )

    def both(self) -> str:
        return f"with c as ({self.insert()}) {self.ticket()}"

    # -- pieces --------------------------------------------------------------------------------------------------------

    def _pick(self, most: int) -> int:
        return self.chance.randint(1, most)

    def _ids(self, of: str) -> str:
        return ", ".join(f"{of}{name}" for name in self.kind.ticket_id)

    def _table(self) -> str:
        return self.chance.choice(PARTS) if self.kind.partitioned else "comments"

    def _tickets(self) -> str:
        return self.chance.choice(SPREADS) if self.kind.spread else "tickets"

    def _area(self) -> int:
        return self._pick(3) - 1 if self.kind.spread else 0

    def _key(self, *, null: bool = True) -> str:
        return self.kind.key(None if null and self._pick(9) == 1 else self._pick(TICKETS_MOST))

    def _person(self) -> str:
        return self.kind.person(None if self._pick(6) == 1 else self._pick(PEOPLE_MOST))

    def _status(self) -> str:
        return self.chance.choice(["null", "'OPEN'", "'x'", "'done'"])

    def _value(self) -> str:
        return self.chance.choice(["null", "0", "1.50", "-1.5", "7", "'NaN'", "'infinity'"])

    def _rows(self, most: int) -> str:
        numbers = self.chance.sample(range(1, COMMENTS_MOST + 1), self._pick(most))
        return ", ".join(
            f"({n}, {self._typed(self._key())}, {self._status()}::text, {self._value()}::numeric, {self._pick(5)})"
            for n in numbers
        )

    def _typed(self, key: str) -> str:
        return key.replace("null", f"null::{self.kind.type}")

    def _ticket(self) -> str:
        return f"({', '.join(self.kind.id)}) = ({self._key(null=False)})"

    def _where(self) -> str:
        ids = ", ".join(self.kind.ticket_id)
        return self.chance.choice(
            [
                f"n = {self._pick(COMMENTS_MOST)}",
                f"n % 3 = {self._pick(3)}",
                f"({ids}) = ({self._key(null=False)})",
                f"({ids}) in (({self._key(null=False)}), ({self._key(null=False)}))",
                f"({ids}) is null",
                "status = 'OPEN'",
            ]
        )


CONFLICT = " on conflict (n) do update set ({key}) = row ({ids}), value = excluded.value, at = excluded.at"
WEIGHTS = {
    "insert": 6,
    "copy": 1,
    "merge": 3,
    "update": 6,
    "delete": 3,
    "truncate": 1,
    "ticket": 4,
    "author": 2,
    "rename": 1,
    "move": 3,
    "close": 1,
    "person": 2,
    "people": 2,
    "both": 1,
}
OLD = ("insert", "copy", "merge", "update", "delete")


def shoot(connection: Connection[Any], statement: str) -> None:
    """Run a statement; what it writes out goes to the comments."""
    if not statement.startswith("copy"):
        connection.execute(statement)
        return
    with connection.cursor() as cursor:
        with cursor.copy(statement) as out:
            lines = b"".join(bytes(part) for part in out)
        with cursor.copy("copy comments from stdin") as into:
            into.write(lines)
