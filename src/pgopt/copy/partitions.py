"""What is done around a swap: what stands against it, what follows it, and what an interrupted one has left."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pgopt.copy.changes import Changes
from pgopt.copy.followers import left_on
from pgopt.copy.shape import (
    GONE,
    PACKAGE,
    PART,
    PARTED,
    PLAIN,
    Index,
    beside,
    in_order,
    indexes_of,
    like,
    obstacles_to,
    proof_of,
    tree,
)
from pgopt.errors import InvalidOperation
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.queries import query
from pgopt.server.quoting import ident, joined, literal, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.copy.memory import Memory
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation


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
    yield from obstacles_to(db, table, proof_of(table), ours)


def published(db: Catalog, table: Relation, column: str, *, publish: bool, copied: bool) -> Iterator[str]:
    """Give what of its publications stands against another table taking the place of one, whose rows are copied or not."""
    said = {"publish": publish, "copied": copied, "table": table.oid, "column": column}
    found = query("published", PACKAGE, **{name: literal(value) for name, value in said.items()})
    yield from (said for (said,) in db.session.rows(found))


def kept(db: Catalog, table: Relation) -> Iterator[str]:
    """Give the trigger by which columns are kept in a table or from it, whose functions know it as partitioned."""
    for (name,) in db.session.rows(sql(_KEPT_BY, literal(table.oid))):
        yield f"trigger {name} keeps columns by it: drop the denormalized columns first"


def publications(db: Catalog, table: Relation) -> list[str]:
    """Give the publications that name a table, or all of its schema or database."""
    return [name for (name,) in db.session.rows(sql(_PUBLISHED_BY, literal(table.schema), literal(table.name)))]


def reading_partitions(db: Catalog, table: Relation, following: Sequence[Relation]) -> Iterator[str]:
    """Give the views that read a partition itself, which will be gone, beside those that follow the table."""
    parts = db.descendants(table)
    known = [each.oid for each in (*following, *left_on(db, *parts))]
    rows = db.session.rows(sql(_READING, literal([each.oid for each in parts]), literal(known)))
    yield from (f"{view} reads {part} itself, which will be gone: drop it first" for view, part in rows)


_KEPT_BY = (
    "select min(tgname::text) from pg_trigger where tgrelid = {} and tgname ~ '^zz_pgopt_[0-9a-f]{{8}}_'"
    " group by left(tgname::text, 17) order by 1"
)
_PUBLISHED_BY = "select pubname from pg_publication_tables where (schemaname, tablename) = ({}, {}) order by 1"
_READING = """
select distinct v.oid::regclass::text, d.refobjid::regclass::text
from pg_depend d
join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
join pg_class v on v.oid = r.ev_class
where d.refclassid = 'pg_class'::regclass and d.refobjid = any({}::oid[]) and v.oid <> all({}::oid[])
order by 1, 2
"""


# -- after the swap ------------------------------------------------------------------------------------------------------


def settle_foreign_keys(name: str, schema: str | None) -> Iterator[Step]:
    """Check the foreign keys of and to a table that were added for new rows only."""

    def found(db: Catalog, which: str) -> Sequence[Any]:
        return db.session.rows(query(which, PACKAGE, table=literal(db.table(name, schema).oid)))

    yield Step(
        f"see that the foreign keys of {name} hold",
        [],
        done=lambda db: not found(db, "unsettled"),
        clear=lambda db: (_validate(db, *key) for key in found(db, "unsettled")),
    )
    yield Step(
        f"see that {name} has the foreign keys of its partitions",
        [],
        done=lambda db: not found(db, "adoptable"),
        clear=lambda db: (_adopt(db, db.table(name, schema), *key) for key in found(db, "adoptable")),
    )


def unsettled_foreign_keys(db: Catalog, table: Relation) -> Iterator[Step]:
    """Check the foreign keys of a table and of its partitions where an interrupted run has not."""
    steps = settle_foreign_keys(table.name, table.schema)
    yield from (step for step in steps if step.done is not None and not step.done(db))


def _validate(db: Catalog, name: str, owner: int, referent: int) -> Step:
    table, other = db.by_oid(owner), db.by_oid(referent)
    tables = tree(db, table)
    modes = {each.oid: Mode.ACCESS_SHARE for each in tree(db, other)} | {other.oid: Mode.ROW_SHARE}
    modes |= {each.oid: Mode.SHARE_UPDATE_EXCLUSIVE for each in tables}
    return Step(
        f"check the rows of {table.name} against {name}",
        sql("alter table {} validate constraint {}", table.ident, ident(name)),
        locks=[Lock(modes[each.oid], each.name, each.schema) for each in in_order(tables, [], tree(db, other))],
    )


def _adopt(db: Catalog, table: Relation, name: str, definition: str, referent: int, comment: str | None) -> Step:
    """Add a foreign key to a partitioned table whose partitions have it: that scans nothing."""
    referents, constraint = tree(db, db.by_oid(referent)), ident(name)
    said = [sql("comment on constraint {} on {} is {}", constraint, table.ident, literal(comment))] if comment else []
    modes = {each.oid: Mode.SHARE_ROW_EXCLUSIVE for each in tree(db, table)}
    modes |= {each.oid: Mode.ACCESS_EXCLUSIVE for each in referents}
    return Step(
        f"add {name} to {table}, which adopts those of its partitions",
        [sql("alter table {} add constraint {} {}", table.ident, constraint, verbatim(definition)), *said],
        locks=[Lock(modes[each.oid], each.name, each.schema) for each in in_order(tree(db, table), [], referents)],
    )


def refuse_unwatched(db: Catalog, table: Relation) -> None:
    """Refuse to bring back an old table that has not been told of all rows: of partitions that came or went by other means."""
    watched = {each.oid: each for each in Changes(table.schema, table.name, PLAIN).watched(db, whole=True)}
    there = {each.oid: each for each in tree(db, table)}
    plain = beside(table.name, PLAIN)
    for oid in there.keys() ^ watched.keys():
        said = (
            f"partition {there[oid]} was added without pgopt, so {plain} may lack rows of it"
            if oid in there
            else f"{watched[oid]} was detached without pgopt, and {plain} still has its rows"
        )
        raise InvalidOperation(
            f"{said}: op.finalize_partitioning({table.name!r}) first, then the way back copies all rows"
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
        yield from like(table, name, verbatim(f"with ({', '.join(storage)})" if storage else ""))
        yield sql("alter table {} owner to {}", ident(table.schema, name), ident(owner))

    locks = [Lock(Mode.ACCESS_SHARE, table.name, table.schema)]
    return Step(f"make {name}", statements, locks=locks, done=lambda db: db.relation(name, table.schema) is not None)


def refuse_duplicates(db: Catalog, table: Relation, memory: Memory) -> None:
    """Refuse a way back to keys that are there more than once by now."""
    # the old table has the rows that nobody has touched since, and its keys hold for them
    changes = Changes(table.schema, table.name, PLAIN)
    among = changes.keys_in(db, table, memory.key(db, table)) if is_kept_up(db, table) else verbatim("true")
    added = memory.by["column"]
    column = render(ident(added)), added
    for index in indexes_of(db, table):
        if index.name not in memory.was["keys"]:
            continue
        keys = [key for key in index.keys if key not in column]
        found = _duplicates(db, table, keys, among, index)
        if found:
            raise InvalidOperation(
                f"{table} cannot go back to its key {index.name} without {added}: some keys are there more than once by now"
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
        if left:
            yield sql("drop materialized view {}", joined(each.ident for each in left))
        yield sql("drop table if exists {}", ident(table.schema, name))

    there = db.relation(name, table.schema)
    dropped = tree(db, there) if there else []
    left = left_on(db, *dropped)
    return Step(
        f"drop {name}",
        statements,
        locks=[
            *(Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema, by_owner=True) for each in left),
            *(
                Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema)
                for each in in_order((), [*changes.watched(db), *dropped], ())
            ),
            *(
                Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema, is_index=True)
                for each in db.indexes_on(*dropped, *left)
            ),
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
