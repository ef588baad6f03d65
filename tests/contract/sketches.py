"""Revisions drawn at random, each with the way back from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

IMPORTS = "from pgopt import Hash, IntRange, Monthly"

TABLES = [("t", None), ("t", "other"), ("parts", None)]
COLUMNS = ["status", "v", "w"]
KEYS = [("id",), ("id", "tag"), ("tag", "id")]

SETUP = """
create schema other;
create table t (id bigint primary key, v int not null default 0, w int not null default 0, status text not null default 'x');
create table other.t (like t including all);
create table parts (like t including all) partition by range (id);
create table parts_1 partition of parts for values from (0) to (15);
create table parts_2 partition of parts for values from (15) to (100);
insert into t select n, n, 0, 's' || n % 3 from generate_series(1, 40) n;
insert into other.t select * from t where id <= 25;
insert into parts select * from t where id <= 30;
create index i1 on t (status);
create index i1 on other.t (v);
alter table t add constraint c1 check (v > -1000);
alter table other.t add constraint c1 check (v > -1000);
create table refs (id bigint primary key, tag text not null default 'r');
insert into refs select generate_series(-2000, 2000);
create table lines (id bigint primary key, t_id bigint not null references t on delete cascade, n int not null default 1);
create index on lines (t_id);
insert into lines select n, 1 + n % 40, n % 7 from generate_series(1, 60) n;
alter table t add n int;
update t set n = id;
create table more (like parts including all);
insert into more select 100 + n, n, 0, 'm' from generate_series(1, 20) n;
create table big (id bigint primary key, at date not null, v int not null default 0, w int not null default 0);
insert into big select n, date '2026-01-01' + n, n from generate_series(1, 50) n;
create index big_at on big (at);
"""

Drawn = tuple[str, str] | None
"""An operation and what takes it back, as a migration says them; the second may be nothing."""

PAIRS: Sequence[tuple[str, str, Sequence[str]]] = [
    *(
        (f"create_{kind}_online", f"drop_{kind}_online", said)
        for kind, said in [
            *(
                ("foreign_key", [f"({name!r}, {table!r}, 'refs', [{column!r}], ['id'])" for column in ("v", "w")])
                for table in ("t", "parts", "big")
                for name in ("fk1", "fk2")
            ),
            *(("unique_constraint", [f"('uq1', {table!r}, ['id', 'w'])"]) for table in ("t", "parts", "big")),
        ]
    ),
    ("set_not_null_online", "drop_not_null", ["('t', 'n')"]),
    *(
        (
            "create_materialized_view",
            "drop_materialized_view",
            [
                f"({name!r}, 'select v, count(*) as n from {table} group by v', unique=['v']{depends})"
                for table in ("t", "parts", "big")
                for depends in ("", f", depends_on=[{table!r}]")
            ],
        )
        for name in ("mv1", "mv2")
    ),
    (
        "partition_table",
        "unpartition_table",
        [f"('t', {by}, incoming='drop')" for by in ("Hash('id', 3)", "IntRange('id', step=20)")],
    ),
    (
        "partition_table",
        "unpartition_table",
        [
            "('big', Monthly('at'), widen_keys=True)",
            "('big', Monthly('at'), widen_keys=True, default=True)",
            "('big', IntRange('id', step=30), method='attach')",
            "('big', IntRange('id', step=10))",
        ],
    ),
    ("detach_partition", "attach_partition", ["('parts', 'parts_2', lower=15, upper=100)"]),
    ("attach_partition", "detach_partition", ["('parts', 'more', lower=100, upper=200)"]),
    ("split_partition", "merge_partitions", ["('parts', 'parts_1', at=[5, 10], into=['p_a', 'p_b', 'p_c'])"]),
    (
        "denormalize_columns",
        "drop_denormalized_columns",
        ["('lines', source='t', on={'t_id': 'id'}, columns={'t_status': 'status', 't_v': 'v'})"],
    ),
    (
        "denormalize_aggregate",
        "drop_denormalized_aggregate",
        ["('t', source='lines', on={'id': 't_id'}, columns={'lines': 'count(*)', 'most': 'max(n)'})"],
    ),
    *(
        ("set_storage_parameters", "reset_storage_parameters", [f"({name!r}, {{'fillfactor': 70}})"])
        for name in ("t", "big", "i1")
    ),
    *(("set_column_statistics", "reset_column_statistics", [f"({table!r}, 'v', 500)"]) for table in ("t", "big")),
    *(
        ("create_statistics", "drop_statistics", [f"('st_{table}', {table!r}, ['v', 'w'])"])
        for table in ("t", "parts", "big")
    ),
    ("schedule_job", "unschedule_job", ["('nightly', 'select 1', cron='0 3 * * *')"]),
    ("manage_partitions", "unmanage_partitions", ["('big', premake=2)"]),
]
"""Operations of all families, what takes each back, and with which arguments."""
GIVES_BACK = ("reset_", "unmanage_")
"""What gives back what its revision has found: nothing does that twice in one."""


@dataclass
class Sketch:
    """What is there, as far as operations are drawn that change it."""

    chance: random.Random
    indexes: dict[tuple[str | None, str], tuple[tuple[str, str | None], str]] = field(
        default_factory=lambda: {(None, "i1"): (TABLES[0], "status"), ("other", "i1"): (TABLES[1], "v")}
    )
    checks: dict[tuple[tuple[str, str | None], str], str] = field(
        default_factory=lambda: {(TABLES[0], "c1"): "v > -1000", (TABLES[1], "c1"): "v > -1000"}
    )
    columns: dict[tuple[tuple[str, str | None], str], str] = field(default_factory=dict)
    paired: dict[int, str] = field(default_factory=dict)
    key: tuple[str, ...] = KEYS[0]

    def revision(self) -> tuple[str, str]:
        """Draw some operations, and the way back from them; the database may refuse those that do not go together."""
        kinds = [self.create, self.drop, self.rename, self.replace, self.reindex, self.check, self.uncheck]
        kinds += [self.add, self.remove, self.fill, self.fill_new]
        all_of_them = [*kinds, self.change_key, *[self.pair] * len(kinds)]
        # names serve twice where there is little to draw from
        kinds = self.chance.choice(
            [kinds, kinds[:5], kinds[5:7], kinds[7:], kinds[9:], all_of_them, [self.pair], [self.pair, self.fill]]
        )
        drawn = [each for each in (self.chance.choice(kinds)() for _ in range(self.chance.randint(2, 6))) if each]
        up, down = [each for each, _ in drawn], [each for _, each in reversed(drawn) if each]
        return "\n".join([IMPORTS, *up]), "\n".join([IMPORTS, *down])

    def _table(self) -> tuple[str, str | None]:
        return self.chance.choice(TABLES)

    def _index(self) -> tuple[tuple[str | None, str], tuple[str, str | None], str] | None:
        if not self.indexes:
            return None
        at = self.chance.choice(list(self.indexes))
        return at, *self.indexes[at]

    def create(self) -> Drawn:
        table, name, column = self._table(), self.chance.choice(["i1", "i2", "i3"]), self.chance.choice(COLUMNS)
        if (table[1], name) in self.indexes:
            return None
        self.indexes[table[1], name] = table, column
        said = f"({name!r}, {table[0]!r}, [{column!r}]{_schema(table)})"
        return f"op.create_index_concurrently{said}", f"op.drop_index_concurrently{said}"

    def drop(self) -> Drawn:
        if (found := self._index()) is None:
            return None
        at, table, column = found
        del self.indexes[at]
        said = f"({at[1]!r}, {table[0]!r}, [{column!r}]{_schema(table)})"
        return f"op.drop_index_concurrently{said}", f"op.create_index_concurrently{said}"

    def rename(self) -> Drawn:
        name = self.chance.choice(["i1", "i2", "i3"])
        if (found := self._index()) is None or ((at := found[0])[0], name) in self.indexes:
            return None
        self.indexes[at[0], name] = self.indexes.pop(at)
        rename = f"op.rename_index({{!r}}, {{!r}}{_schema(found[1])})".format
        return rename(at[1], name), rename(name, at[1])

    def replace(self) -> Drawn:
        column = self.chance.choice(COLUMNS)
        if (found := self._index()) is None or found[2] == column:
            return None
        at, table, old = found
        self.indexes[at] = table, column
        replace = (
            f"op.replace_index_concurrently({at[1]!r}, {table[0]!r}, [{{!r}}], old=[{{!r}}]{_schema(table)})".format
        )
        return replace(column, old), replace(old, column)

    def reindex(self) -> Drawn:
        found = self._index()
        return found and (f"op.reindex_concurrently({found[0][1]!r}{_schema(found[1])})", "")

    def check(self) -> Drawn:
        table, name = self._table(), self.chance.choice(["c1", "c2"])
        if (table, name) in self.checks:
            return None
        text = self.checks[table, name] = self.chance.choice(["v > -1000", "w > -1000", "v > -2000"])
        said = f"({name!r}, {table[0]!r}, {text!r}{_schema(table)})"
        return f"op.create_check_constraint_online{said}", f"op.drop_check_constraint_online{said}"

    def uncheck(self) -> Drawn:
        if not self.checks:
            return None
        table, name = self.chance.choice(list(self.checks))
        said = f"({name!r}, {table[0]!r}, {self.checks.pop((table, name))!r}{_schema(table)})"
        return f"op.drop_check_constraint_online{said}", f"op.create_check_constraint_online{said}"

    def add(self) -> Drawn:
        table, name = self._table(), self.chance.choice(["a1", "a2"])
        if (table, name) in self.columns:
            return None
        default = self.chance.choice(["", ", default='7'", ", default='(random() * 0 + 3)::int'"])
        said = self.columns[table, name] = f"({table[0]!r}, {name!r}, 'int'{default}{_schema(table)})"
        return f"op.add_column_online{said}", f"op.drop_column_online{said}"

    def remove(self) -> Drawn:
        if not self.columns:
            return None
        said = self.columns.pop(self.chance.choice(list(self.columns)))
        return f"op.drop_column_online{said}", f"op.add_column_online{said}"

    def fill(self) -> Drawn:
        table, column, by = (
            self.chance.choice([*TABLES, ("big", None)]),
            self.chance.choice(["v", "w"]),
            self.chance.choice([1, 10, 100]),
        )
        where = self.chance.choice(["", "", ", where='id > 5'"])
        fill = f"op.backfill({table[0]!r}, set={{{{{column!r}: '{column} {{}} {by}'}}}}{where}{_schema(table)})".format
        return fill("+"), fill("-")

    def fill_new(self) -> Drawn:
        if not self.columns:
            return None
        table, name = self.chance.choice(list(self.columns))
        return f"op.backfill({table[0]!r}, set={{{name!r}: 'v + 1'}}{_schema(table)})", ""

    def pair(self) -> Drawn:
        which = self.chance.randrange(len(PAIRS))
        make, drop, arguments = PAIRS[which]
        if which in self.paired and drop.startswith(GIVES_BACK):
            return None
        if which in self.paired:
            said = self.paired.pop(which)
            make, drop = drop, make
        else:
            said = self.paired[which] = self.chance.choice(arguments)
        return f"op.{make}{said}", f"op.{drop}{said}"

    def change_key(self) -> Drawn:
        self.key, old = self.chance.choice([each for each in KEYS if each != self.key]), self.key
        replace = "op.replace_primary_key_online('refs_pkey', 'refs', {!r}, old={!r})".format
        return replace(self.key, old), replace(old, self.key)


def _schema(table: tuple[str, str | None]) -> str:
    return f", schema={table[1]!r}" if table[1] else ""
