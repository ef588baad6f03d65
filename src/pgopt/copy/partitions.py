"""Partitions of a table: which there are to be, how they are made, and what the table was before."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pgopt.copy.by import Hash, ListOf, Partitioning, list_of, range_of, remainder_of
from pgopt.copy.changes import Changes
from pgopt.copy.shape import (
    GONE,
    PACKAGE,
    PART,
    PARTED,
    PLAIN,
    QUALIFIED,
    Index,
    beside,
    foreign_keys_to,
    in_order,
    indexes_of,
    like,
    proof_of,
    tree,
)
from pgopt.errors import InvalidOperation
from pgopt.plan.step import Step
from pgopt.server.catalog import Relation
from pgopt.server.locks import Lock, Mode
from pgopt.server.queries import query
from pgopt.server.quoting import ident, joined, literal, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog

MOST = 1000
"""More partitions than that slow every plan of a query down, and are a mistake more often than a wish."""


def obstacles(db: Catalog, table: Relation, column: str) -> Iterator[str]:
    """Give what of a table cannot come along, and what is against the column as a partition key."""
    columns = {each.name: each for each in db.columns(table)}
    if column not in columns:
        yield f"it has no column {column!r}: it has {', '.join(columns)}"
    elif columns[column].generated:
        yield f"column {column!r} is generated, and cannot be a partition key"
    elif not columns[column].not_null:
        yield f"column {column!r} may be NULL, which no partition holds: op.set_not_null_online({table.name!r}, {column!r}) first"
    # what an interrupted run has left is no obstacle
    ours = [beside(index.name, PART) for index in db.indexes_on(table)]
    found = query("obstacles", PACKAGE, table=literal(table.oid), proof=literal(proof_of(table)), ours=literal(ours))
    yield from (said for (said,) in db.session.rows(found))


def was(db: Catalog, table: Relation, column: str) -> dict[str, Any]:
    """Write down what of a table its partitioned form does not tell."""
    with db.session.rolled_back():
        db.session.run(QUALIFIED)
        found, incoming = indexes_of(db, table), foreign_keys_to(db, table)
        keys = {
            index.name: {"constraint": index.constraint, "tail": index.tail}
            for index in found
            if index.widened(column) != index
        }
    return {
        "keys": keys,
        "key": db.key_of(table),
        "incoming": [
            {
                "schema": key.schema,
                "table": key.table,
                "name": key.name,
                "definition": key.definition,
                "columns": list(key.columns),
                "referent_columns": list(key.referent_columns),
                "match": key.match,
            }
            for key in incoming
        ],
        "storage": storage_of(db, table),
    }


def storage_of(db: Catalog, table: Relation) -> list[str]:
    """Give the storage parameters of a table as they are written in WITH."""
    row = db.session.value(
        sql(
            "select coalesce(c.reloptions, array[]::text[])"
            " || array(select 'toast.' || o from pg_class t, unnest(t.reloptions) o where t.oid = c.reltoastrelid)"
            " from pg_class c where c.oid = {}",
            literal(table.oid),
        )
    )
    return list(row)


@dataclass(frozen=True)
class Memory:
    """What `pgopt.partitioned` knows of a table."""

    by: dict[str, Any]
    premake: int
    was: dict[str, Any]
    plain: int | None = None
    attached: bool = False

    @classmethod
    def of(cls, db: Catalog, table: Relation) -> Memory | None:
        """Read what is known of a table."""
        row = db.session.row(
            sql(
                "select by::text, premake, was::text, plain::oid::int8, attached from pgopt.partitioned where relation = {}::oid",
                literal(table.oid),
            )
        )
        return row and cls(json.loads(row[0]), row[1], json.loads(row[2]), row[3], row[4])

    @classmethod
    def native(cls, db: Catalog, table: Relation) -> Memory:
        """Say what is to be known of a table that pgopt has not partitioned."""
        columns = db.session.rows(
            sql(
                "select a.attname from pg_partitioned_table p, unnest(p.partattrs::int2[]) k (n)"
                " left join pg_attribute a on a.attrelid = {} and a.attnum = k.n where p.partrelid = {}",
                literal(table.oid),
                literal(table.oid),
            )
        )
        if len(columns) != 1 or columns[0][0] is None:
            raise InvalidOperation(
                f"{table} is partitioned by more than one column, or by an expression: that cannot be undone"
            )
        leaf = next((each for each in db.descendants(table) if each.kind == "r"), None)
        storage = storage_of(db, leaf) if leaf else []
        return cls({"column": columns[0][0]}, 0, {"keys": {}, "key": None, "incoming": [], "storage": storage})

    def key(self, db: Catalog, table: Relation) -> Sequence[str]:
        """Give the columns that tell the rows apart."""
        found = self.was["key"] or db.key_of(table)
        if not found:
            raise InvalidOperation(f"{table} has no primary key, by which its rows are told apart: add one first")
        return found

    def narrowed(self, index: Index) -> Index:
        """Give an index as it was."""
        known = self.was["keys"].get(index.name)
        return replace(index, constraint=known["constraint"], tail=known["tail"]) if known else index

    def write(self, table: Relation, *, plain: int | None, attached: bool = False) -> Composable:
        """Remember it."""
        return sql(
            "insert into pgopt.partitioned (relation, by, premake, was, plain, attached) values ({}, {}, {}, {}, {}::oid, {})",
            *map(
                literal,
                (table.oid, json.dumps(self.by), self.premake, json.dumps(self.was), plain, attached),
            ),
        )

    def give_back(self, db: Catalog, *, table: Relation) -> Iterator[Composable]:  # noqa: ARG002
        """Give back what was dropped for the partitions' sake, and forget."""
        for key in self.was["incoming"]:
            yield sql(
                "alter table {} add constraint {} {} not valid",
                ident(key["schema"], key["table"]),
                ident(key["name"]),
                verbatim(key["definition"]),
            )
        yield sql("delete from pgopt.partitioned where relation = {}::oid", literal(table.oid))


@dataclass(frozen=True)
class Layout:
    """The partitions that a table is to have, while they are not in use yet."""

    table: Relation
    by: Partitioning
    said: dict[str, Any]
    premake: int
    start: str | None
    default: bool

    @property
    def parent(self) -> str:
        """The name of the partitioned table that is not in use yet."""
        return beside(self.table.name, PARTED)

    def make(self) -> Step:
        """Make the partitioned table with partitions for all rows that are there, and some ahead."""
        return Step(
            f"make the partitions of {self.table}",
            self._make,
            locks=[Lock(Mode.ACCESS_SHARE, self.table.name, self.table.schema)],
            done=lambda db: db.relation(self.parent, self.table.schema) is not None,
        )

    def _make(self, db: Catalog) -> Iterator[Composable]:
        self._refuse_unlisted(db, self.table)
        bounds = list(self._bounds(db, *self.ends(db, self.table)))
        yield like(self.table, self.parent, sql("partition by {}", self.by.clause()))
        yield from self.owned_by(db, ident(self.table.schema, self.parent))
        if not isinstance(self.by, Hash):
            # while rows are copied, none may be refused
            yield from self.add_default(db)
        for name, bound in bounds:
            yield from self.add(db, name, bound)

    def make_room(self) -> Step:
        """Make partitions for rows that came meanwhile and have none yet."""
        # a list has room for what is in it, and no more can be made
        done = (lambda _: True) if isinstance(self.by, ListOf) else self._has_room
        return Step(f"make room for new rows of {self.table}", self._make_room, done=done)

    def close(self, db: Catalog) -> Iterator[Composable]:
        """Take the default away again, unless it is wanted."""
        if self.default or isinstance(self.by, Hash):
            return
        if not self._has_room(db):
            self._refuse_unlisted(db, db.table(self.name(db, "default"), self.table.schema))
            yield from self._make_room(db)
        yield sql("drop table {}", self._default(db))

    def _default(self, db: Catalog) -> Composable:
        return ident(self.table.schema, self.name(db, "default"))

    def _refuse_unlisted(self, db: Catalog, table: Relation) -> None:
        """Refuse rows that are in none of the lists."""
        if not isinstance(self.by, ListOf) or self.default:
            return
        column = ident(self.by.column)
        listed = joined(literal(value) for values in self.by.values.values() for value in values)
        found = db.session.rows(
            sql("select distinct {} from {} where {} not in ({}) limit 5", column, table.ident, column, listed)
        )
        if found:
            raise InvalidOperation(
                f"rows of {self.table} have a {self.by.column} that is in no list ({', '.join(str(row[0]) for row in found)}): add it"
                " to one, or say default=True"
            )

    def _has_room(self, db: Catalog) -> bool:
        if self.default or isinstance(self.by, Hash):
            return True
        if db.relation(self.name(db, "default"), self.table.schema) is None:
            return True
        return not db.session.value(sql("select exists (select from {})", self._default(db)))

    def _make_room(self, db: Catalog) -> Iterator[Composable]:
        default, parent = self._default(db), ident(self.table.schema, self.parent)
        there = db.table(self.name(db, "default"), self.table.schema)
        known = {each.name for each in db.descendants(db.table(self.parent, self.table.schema))}
        bounds = [each for each in self._bounds(db, *self.ends(db, there)) if each[0] not in known]
        columns = joined(ident(each.name) for each in db.columns(there) if not each.generated)
        yield sql("alter table {} detach partition {}", parent, default)
        for name, bound in bounds:
            yield from self.add(db, name, bound)
        yield sql("insert into {} ({}) overriding system value select {} from {}", parent, columns, columns, default)
        yield sql("truncate {}", default)
        yield sql("alter table {} attach partition {} default", parent, default)

    def add_default(self, db: Catalog) -> Iterator[Composable]:
        """Make the partition of what no other one holds."""
        yield from self.add(db, self.name(db, "default"), verbatim("default"))

    def after(self, db: Catalog, bound: str | None) -> Iterator[tuple[str, Composable]]:
        """Give the partitions that follow a first one, by name and bounds."""
        if isinstance(self.by, ListOf):
            yield from list(self._bounds(db, None, None))[1:]
            return
        rows = db.session.rows(
            sql(
                "select * from pgopt.periods({by}, {bound}, pgopt.later({by}, {bound}, {ahead}))",
                by=literal(json.dumps(self.said)),
                bound=literal(bound),
                ahead=literal(max(self.premake, 1) - 1),
            )
        )
        for suffix, lower, upper in rows:
            yield self.name(db, suffix), range_of(lower, upper)

    def first(self, db: Catalog) -> Iterator[tuple[str, Composable]]:
        """Give the partitions of a table that has no rows yet, by name and bounds."""
        yield from self._bounds(db, None, None)
        if self.default:
            yield self.name(db, "default"), verbatim("default")

    def ends(self, db: Catalog, table: Relation) -> tuple[str | None, str | None]:
        """Give the least and the greatest key that are there."""
        if isinstance(self.by, Hash | ListOf):
            return None, None
        column = ident(self.by.column)
        # t.: or the text that it gives would be what is in order
        first, last = (
            db.session.value(
                sql("select t.{}::text from {} t order by t.{} {} limit 1", column, table.ident, column, verbatim(way))
            )
            for way in ("asc", "desc")
        )
        if "infinity" in (first or "", last or "") or "-infinity" in (first or "", last or ""):
            raise InvalidOperation(
                f"{table} has rows with an infinite {self.by.column}, which no partition holds: change or delete them"
            )
        return first, last

    def _bounds(self, db: Catalog, first: str | None, last: str | None) -> Iterator[tuple[str, Composable]]:
        if isinstance(self.by, ListOf):
            for name, values in self.by.values.items():
                yield self.name(db, name), list_of(values)
        elif isinstance(self.by, Hash):
            for number in range(self.by.partitions):
                yield self.name(db, f"h{number}"), remainder_of(self.by.partitions, number)
        else:
            yield from self._ranges(db, first, last)

    def _ranges(self, db: Catalog, first: str | None, last: str | None) -> Iterator[tuple[str, Composable]]:
        rows = db.session.rows(
            query(
                "ranges",
                PACKAGE,
                by=literal(json.dumps(self.said)),
                first=literal(first),
                last=literal(last),
                start=literal(self.start),
                premake=literal(self.premake),
                most=literal(MOST),
            )
        )
        if len(rows) > MOST:
            raise InvalidOperation(
                f"{self.table} has rows from {first} to {last}, which is more than {MOST} partitions: say start=, before which all"
                " rows share one, or a longer period"
            )
        for suffix, lower, upper in rows:
            yield self.name(db, suffix), range_of(lower, upper)

    def name(self, db: Catalog, suffix: str) -> str:
        """Name a partition."""
        return str(
            db.session.value(sql("select pgopt.partition_name({}, {})", literal(self.table.name), literal(suffix)))
        )

    def add(self, db: Catalog, name: str, bound: Composable) -> Iterator[Composable]:
        """Make a partition, with the owner and the storage parameters of the table."""
        storage = storage_of(db, self.table)
        table = ident(self.table.schema, name)
        yield sql(
            "create table {} partition of {} {}{}",
            table,
            ident(self.table.schema, self.parent),
            bound,
            verbatim(f" with ({', '.join(storage)})" if storage else ""),
        )
        yield from self.owned_by(db, table)
        back = Changes(self.table.schema, self.table.name, PLAIN)
        if back.exists(db):
            yield from back.watch(Relation(0, self.table.schema, name, "r"))

    def owned_by(self, db: Catalog, table: Composable) -> Iterator[Composable]:
        """Give a table to the owner of the one that it is made for."""
        owner = db.session.value(
            sql("select pg_get_userbyid(relowner) from pg_class where oid = {}", literal(self.table.oid))
        )
        yield sql("alter table {} owner to {}", table, ident(owner))


# -- after the swap ------------------------------------------------------------------------------------------------------


def settle_foreign_keys(name: str, schema: str | None) -> Iterator[Step]:
    """Check the foreign keys of and to a table that were added for new rows only."""

    def found(db: Catalog, which: str) -> Sequence[Any]:
        return db.session.rows(query(which, PACKAGE, table=literal(db.table(name, schema).oid)))

    yield Step(
        f"see that the foreign keys of {name} hold",
        [],
        done=lambda db: not found(db, "unsettled"),
        clear=lambda db: (_validate(*key) for key in found(db, "unsettled")),
    )
    yield Step(
        f"see that {name} has the foreign keys of its partitions",
        [],
        done=lambda db: not found(db, "adoptable"),
        clear=lambda db: (_adopt(db, db.table(name, schema), *key) for key in found(db, "adoptable")),
    )


def _validate(name: str, owner: str, schema: str, referent: str, referent_schema: str) -> Step:
    return Step(
        f"check the rows of {owner} against {name}",
        sql("alter table {} validate constraint {}", ident(schema, owner), ident(name)),
        locks=[
            Lock(Mode.SHARE_UPDATE_EXCLUSIVE, owner, schema),
            *(
                [Lock(Mode.ROW_SHARE, referent, referent_schema)]
                if (referent, referent_schema) != (owner, schema)
                else []
            ),
        ],
    )


def _adopt(db: Catalog, table: Relation, name: str, definition: str, referent: int) -> Step:
    """Add a foreign key to a partitioned table whose partitions have it: that scans nothing."""
    referents = tree(db, db.by_oid(referent))
    return Step(
        f"add {name} to {table}, which adopts those of its partitions",
        sql("alter table {} add constraint {} {}", table.ident, ident(name), verbatim(definition)),
        locks=[
            *(Lock(Mode.SHARE_ROW_EXCLUSIVE, each.name, each.schema) for each in tree(db, table)),
            *(Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema) for each in referents),
        ],
    )


def analyze(name: str, schema: str | None) -> Step:
    """Gather statistics of a partitioned table as a whole, which autovacuum never does."""
    query = "select reltuples >= 0 from pg_class where oid = {}"
    return Step(
        f"analyze {name}",
        sql("analyze {}", ident(schema, name)),
        locks=[Lock(Mode.SHARE_UPDATE_EXCLUSIVE, name, schema)],
        done=lambda db: bool(db.session.value(sql(query, literal(db.table(name, schema).oid)))),
    )


# -- the way back --------------------------------------------------------------------------------------------------------


def is_kept_up(db: Catalog, table: Relation) -> bool:
    """Whether the old table is kept beside a partitioned one, and follows it."""
    return bool(
        db.session.value(
            sql("select exists (select from pgopt.copy where source = {}::oid and ready)", literal(table.oid))
        )
    )


def make_plain(table: Relation, memory: Memory) -> Step:
    """Make the table that a partitioned one is to become."""
    name, storage = beside(table.name, PLAIN), memory.was["storage"]

    def statements(db: Catalog) -> Iterator[Composable]:
        owner = db.session.value(
            sql("select pg_get_userbyid(relowner) from pg_class where oid = {}", literal(table.oid))
        )
        yield like(table, name, verbatim(f"with ({', '.join(storage)})" if storage else ""))
        yield sql("alter table {} owner to {}", ident(table.schema, name), ident(owner))

    locks = [Lock(Mode.ACCESS_SHARE, table.name, table.schema)]
    return Step(f"make {name}", statements, locks=locks, done=lambda db: db.relation(name, table.schema) is not None)


def refuse_duplicates(db: Catalog, table: Relation, memory: Memory) -> None:
    """Refuse a way back to keys that are there more than once by now."""
    # the old table has the rows that nobody has touched since, and its keys hold for them
    changes = Changes(table.schema, table.name, PLAIN)
    among = changes.keys_in(memory.key(db, table)) if is_kept_up(db, table) else verbatim("true")
    added = memory.by["column"]
    column = render(ident(added)), added
    for index in indexes_of(db, table):
        if index.name not in memory.was["keys"]:
            continue
        keys = [key for key in index.keys if key not in column]
        found = _duplicates(db, table, keys, among, index)
        if found:
            raise InvalidOperation(
                f"{table} cannot go back to its key {index.name} without {added}: there more than once are by now"
                f" ({', '.join(keys)}: {', '.join(found)}); mend them and run again"
            )


def _duplicates(db: Catalog, table: Relation, keys: Sequence[str], among: Composable, index: Index) -> list[str]:
    known = " and ".join(f"({key}) is not null" for key in keys) if not index.nulls_are_equal else "true"
    rows = db.session.rows(
        sql(
            "select {keys} from {table} r where ({known}) and ({predicate}) and {among} group by {keys} having count(*) > 1 limit 5",
            keys=verbatim(", ".join(keys)),
            table=table.ident,
            known=verbatim(known),
            predicate=verbatim(index.predicate or "true"),
            among=among,
        )
    )
    return [str(row[0]) if len(row) == 1 else str(tuple(row)) for row in rows]


def clean_up(name: str, schema: str | None, *, only: str | None = None) -> Step:
    """Drop what an interrupted way there, or a finished way back, has left beside a table."""

    def left(db: Catalog) -> list[str]:
        table = db.table(name, schema)
        forms = [GONE, *([PLAIN] if not is_kept_up(db, table) else [])] if table.partitioned else [GONE, PLAIN, PARTED]
        return [form for form in forms if only in (None, form) and _is_beside(db, table, form)]

    def steps(db: Catalog) -> Iterator[Step]:
        for form in left(db):
            yield _drop(db, db.table(name, schema), form)

    what = "nothing of before" if only else "nothing"
    return Step(f"see that {what} is left beside {name}", [], done=lambda db: not left(db), clear=steps)


def _is_beside(db: Catalog, table: Relation, form: str) -> bool:
    return db.relation(beside(table.name, form), table.schema) is not None or Changes(
        table.schema, table.name, form
    ).exists(db)


def _drop(db: Catalog, table: Relation, form: str) -> Step:
    """Drop what is beside a table in one form, with the log of the changes on their way there."""
    name = beside(table.name, form)
    changes = Changes(table.schema, table.name, form)

    def statements(_: Catalog) -> Iterator[Composable]:
        yield from changes.drop()
        if form != GONE:
            yield sql("delete from pgopt.copy where source = {}::oid", literal(table.oid))
        yield sql("drop table if exists {}", ident(table.schema, name))

    there = db.relation(name, table.schema)
    dropped = tree(db, there) if there else []
    return Step(
        f"drop {name}",
        statements,
        locks=[
            *(
                Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema)
                for each in in_order((), [*changes.watched(db), *dropped], ())
            ),
            *(Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema, is_index=True) for each in db.indexes_on(*dropped)),
        ],
    )


def let_go(db: Catalog, table: Relation) -> Step:
    """Drop the old table of a partitioned one, with the log that kept it up."""
    step = _drop(db, table, PLAIN)
    forget = sql(
        "update pgopt.partitioned set plain = null where relation = {}::oid and not attached", literal(table.oid)
    )
    return replace(
        step,
        sql=lambda db: [*step.compose(db), forget],
        done=lambda db: not _is_beside(db, table, PLAIN),
    )
