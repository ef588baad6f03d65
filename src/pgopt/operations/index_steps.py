"""The steps of which the index operations are made."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from pgopt.errors import InvalidOperation
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import column, column_name, ident, joined, literal, name_of, options, render, sql, verbatim
from pgopt.server.session import INSUFFICIENT_PRIVILEGE, server_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.operations.indexes import IndexOperation
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import IndexInfo, Relation

    Pairs = Sequence[tuple[str | None, str, str]]
    """Indexes by schema, each with the name that it has and that of the new one."""
    States = dict[int, tuple[object, ...]]
    """What others may say of an index and of its parts, by the tables on which they are."""


SYNTAX_OR_ACCESS = "42"
"""What the codes of errors begin with that are in a statement itself."""
FORMER = "dropped by pgopt, which has replaced it"
"""The comment on an index that has been replaced, until it is dropped."""


def create_statement(
    of: IndexOperation, name: Composable, table: Composable, *, concurrently: bool = False, only: bool = False
) -> Composable:
    """Write CREATE INDEX for a definition, under a name and on a table of the caller's choice."""
    nothing = verbatim("")
    return sql(
        "create {}index {}{} on {}{} using {} ({}){}{}{}{}{}",
        verbatim("unique ") if of.unique else nothing,
        verbatim("concurrently ") if concurrently else nothing,
        name,
        verbatim("only ") if only else nothing,
        table,
        ident(of.using),
        joined(map(column, of.columns)),
        sql(" include ({})", joined(map(column, of.include))) if of.include else nothing,
        verbatim(" nulls not distinct") if of.nulls_not_distinct else nothing,
        sql(" with ({})", options(of.storage)) if of.storage else nothing,
        sql(" tablespace {}", ident(of.tablespace)) if of.tablespace else nothing,
        sql(" where {}", verbatim(of.where)) if of.where is not None else nothing,
    )


def derived_name(of: IndexOperation) -> str:
    """Make a name of the table's and the columns'; a hash stands for what columns alone do not tell."""
    names = [column_name(text) for text in of.columns]
    plain = [name for name in names if name is not None]
    more = repr((of.columns, of.include, of.where, of.using, of.unique, of.nulls_not_distinct))
    if tuple(plain) == tuple(of.columns) and more == repr((of.columns, (), None, "btree", False, False)):
        return name_of("ix", of.table, *plain)
    return name_of("ix", of.table, *plain, hashlib.blake2b(more.encode(), digest_size=4).hexdigest())


# -- what is there already -----------------------------------------------------------------------------------------------


def is_same(db: Catalog, of: IndexOperation, index: IndexInfo, table: Relation) -> bool:
    """Whether an index is what the operation says, as the server reads both."""
    if of.tablespace is not None and db.tablespace_of(index) != of.tablespace:
        return False
    wanted = db.shape_of_new(table, partial(create_statement, of))
    return db.index_shape(index.oid) == wanted


def is_there(db: Catalog, of: IndexOperation, name: str, table: Relation) -> bool:
    """Whether the index is there under a name, and valid."""
    index = db.index(name, table.schema)
    return index is not None and index.valid and is_same(db, of, index, table)


def same_or_refuse(
    db: Catalog,
    of: IndexOperation,
    table: Relation,
    *,
    way_out: str = "replace_index_concurrently changes the definition of an index",
) -> None:
    """Take an equal index for the operation's own, and refuse another one of that name."""
    index = db.index(of.index_name, table.schema)
    if index is None:
        refuse_taken(db, of.index_name, table)
        return
    on_this_table(index, table, db)
    if index.constraint:
        raise InvalidOperation(
            f"index {index} belongs to the constraint {index.constraint}: choose another name, or leave that constraint its index"
        )
    if not is_same(db, of, index, table):
        wanted = render(create_statement(of, ident(of.index_name), table.ident))
        there = index.definition + (f" TABLESPACE {index.tablespace}" if index.tablespace else "")
        raise InvalidOperation(
            f"there is an index {index} already, and it is another one:\n  there is  {there}\n  wanted is {wanted}\n{way_out}"
        )


def refuse_taken(db: Catalog, name: str, table: Relation) -> None:
    """Refuse a name that something else has, where no index has it."""
    taken = db.relation(name, table.schema) if db.online and db.is_taken(name, table.schema) else None
    if taken is not None:
        raise InvalidOperation(
            f"{taken} has the name that an index of {table} would have, and is none: rename it, or choose another name"
        )


def refuse_comment_of_others(db: Catalog, of: IndexOperation, table: Relation, known: Sequence[str | None]) -> None:
    """Refuse to write over a comment that nobody has said."""
    index = db.index(of.index_name, table.schema)
    if index is not None and index.comment not in (None, *known):
        raise InvalidOperation(
            f"index {index} has the comment {index.comment!r}, which would not come back: leave comment= out, or COMMENT ON INDEX ..."
            " IS NULL first"
        )


def refuse_unreadable(db: Catalog, of: IndexOperation, table: Relation) -> None:
    """Refuse, in a preview, a definition that the server would refuse, such as one with a misspelt column."""
    if not db.online or not db.thorough:
        return
    try:
        db.shape_of_new(table, partial(create_statement, of))
    except InvalidOperation:
        return  # this role may make nothing temporary
    except DBAPIError as error:
        failure = server_error(error)
        if (failure.code or "").startswith(SYNTAX_OR_ACCESS) and failure.code != INSUFFICIENT_PRIVILEGE:
            raise InvalidOperation(failure.sentence) from error


def on_this_table(index: IndexInfo, table: Relation, db: Catalog) -> None:
    """Refuse an index of another table."""
    if index.table != table.oid:
        raise InvalidOperation(f"index {index} is on {db.by_oid(index.table)}, not on {table}")


def tree_of(db: Catalog, index: IndexInfo) -> list[IndexInfo]:
    """Give an index, with its parts on the partitions where it has some."""
    parts = (db.index(each.name, each.schema) for each in db.index_tree(index)[1:])
    return [index, *(part for part in parts if part is not None)]


def refuse_to_drop(
    db: Catalog,
    tree: Sequence[IndexInfo],
    table: Relation,
    *,
    reversible: bool,
    comment: str | None = None,
    tablespace: str | None = None,
    say: str = "say",
) -> None:
    """Refuse what cannot be dropped, an index with its parts, or what would not come back with this comment, there."""
    index, *parts = tree
    on_this_table(index, table, db)
    place = db.tablespace_of(index)
    _refuse(
        index,
        [
            (index.constraint, f"belongs to the constraint {index.constraint}: drop that"),
            (index.parent, "is a part of the index on the partitioned table: drop that"),
            (
                reversible and place != db.tablespace_of_new(tablespace),
                f"lies in the tablespace {place}, where it would not come back: {say} tablespace={place!r}",
            ),
        ],
    )
    refuse_to_lose(index, table, reversible=reversible, comment=comment, say=say)
    for part in parts:
        _refuse_to_lose_part(db, part, index, reversible=reversible, tablespace=tablespace)


def _refuse_to_lose_part(
    db: Catalog, part: IndexInfo, whole: IndexInfo, *, reversible: bool, tablespace: str | None
) -> None:
    """Refuse to drop the part of an index that goes with it, and would not come back as it is."""
    table, owner, storage = db.by_oid(part.table), part.constraint, part.storage
    place, wanted = db.tablespace_of(part), db.tablespace_of_new(tablespace)
    reasons = [
        (owner, f"belongs to the constraint {owner} of {table}, which is a part of {whole}: drop that"),
        (
            reversible and storage != whole.storage,
            f"has storage parameters of its own ({storage or 'none'}), which would not come back: ALTER INDEX ... SET those of {whole} first",
        ),
        (
            reversible and not part.partitioned and place != wanted,
            f"lies in the tablespace {place}, where it would not come back: ALTER INDEX ... SET TABLESPACE {wanted} first",
        ),
    ]
    _refuse(part, reasons)
    refuse_to_lose(part, table, reversible=reversible)


def refuse_to_lose(
    index: IndexInfo, table: Relation, *, reversible: bool, comment: str | None = None, say: str | None = None
) -> None:
    """Refuse to drop what others rest on, or what would not come back with this comment, which somebody may say."""
    unsaid = "COMMENT ON INDEX ... IS NULL first"
    if say is not None:
        unsaid = f"{say} comment={index.comment!r}, or {unsaid}"
    reasons = [
        (index.referenced_by, f"is what foreign keys of {index.referenced_by} rest on: drop them first"),
        (index.replica_identity, f"is the replica identity of {table}: set another one first"),
        (
            reversible and index.clustered,
            f"is what {table} is clustered on, which would not come back: ALTER TABLE ... SET WITHOUT CLUSTER first",
        ),
        (
            reversible and index.comment not in (None, comment),
            f"has the comment {index.comment!r}, which would not come back: {unsaid}",
        ),
        (
            reversible and index.statistics,
            "has statistics targets, which would not come back: ALTER INDEX ... SET STATISTICS -1 first",
        ),
        (
            reversible and index.extension,
            f"depends on the extension {index.extension}, which would not come back: ALTER INDEX ... NO DEPENDS ON EXTENSION first",
        ),
    ]
    _refuse(index, reasons)


def refuse_changed(db: Catalog, tree: Sequence[IndexInfo], was: States) -> None:
    """Refuse to drop an index of which somebody has said something since, other than what its operation or its notes say."""
    now = _states(db, tree)
    for each in tree:
        # a partition may have come since, and an index that was built anew has another number
        if was.get(each.table, now[each.table]) != now[each.table]:
            raise InvalidOperation(
                f"index {each} was changed while its replacement was built, which would be lost: run again to see what there is"
            )


def state_of(db: Catalog, name: str, table: Relation) -> States:
    """Give what would be lost with an index and with its parts, for the table of each."""
    index = db.index(name, table.schema)
    return _states(db, tree_of(db, index)) if index is not None else {}


def _states(db: Catalog, tree: Sequence[IndexInfo]) -> States:
    # parts cannot be defined otherwise than the whole
    shape = db.index_shape(tree[0].oid)
    return {
        each.table: (
            *(shape, each.storage, each.tablespace, each.comment),
            *(each.clustered, each.statistics, each.extension),
        )
        for each in tree
    }


def _refuse(index: IndexInfo, reasons: Sequence[tuple[object, str]]) -> None:
    for holds, reason in reasons:
        if holds:
            raise InvalidOperation(f"index {index} {reason}")


def refuse_of_others(db: Catalog, name: str, table: Relation, replaced: str, ours: Iterable[IndexOperation]) -> None:
    """Refuse to drop an index that has the name of what stands beside another for a while, and is none that we have made."""
    index = db.index(name, table.schema)
    if index is None:
        taken = db.relation(name, table.schema) if db.online else None
        if taken is not None:
            raise InvalidOperation(
                f"{taken} has the name that the replacement of {replaced} takes for a while: rename it"
            )
        return
    free = index.table == table.oid and index.constraint is None and index.parent is None
    if free and (not index.valid or index.comment == FORMER or any(is_same(db, each, index, table) for each in ours)):
        return
    raise InvalidOperation(
        f"index {index} on {db.by_oid(index.table)} has the name that the replacement of {replaced} takes for a while, and"
        f" is not known to be the old or the new {replaced}: rename it, or drop it if an interrupted run has built it"
    )


# -- steps on one table --------------------------------------------------------------------------------------------------


def build(of: IndexOperation, name: str, table: Relation) -> Step:
    """Build an index concurrently under a name."""
    return build_by(create_statement(of, ident(name), table.ident, concurrently=True), name, table)


def build_by(statement: Composable, name: str, table: Relation) -> Step:
    """Build an index concurrently by a statement."""
    return Step(
        f"build {name} on {table}",
        statement,
        locks=[Lock(Mode.SHARE_UPDATE_EXCLUSIVE, table.name, table.schema)],
        transaction=False,
        done=partial(is_valid, name=name, schema=table.schema),
        clear=partial(_invalid, name=name, table=table),
    )


def see_that_nothing_rests_on(index: IndexInfo, table: Relation) -> Step:
    """Look at a unique index again before it is dropped, when whoever may be about to make it the replica identity is through.

    PostgreSQL lets that one be dropped, and refuses the application's UPDATE and DELETE from then on. Who comes later, while the drop
    waits, comes after it.
    """

    def refuse(db: Catalog) -> None:
        there = db.index(index.name, index.schema)
        if there is not None:
            refuse_to_lose(there, table, reversible=False)

    return Step(
        f"see that nothing rests on {index.name}",
        sql("lock table {} in access share mode", table.ident),
        locks=[Lock(Mode.ACCESS_SHARE, table.name, table.schema)],
        done=lambda db: db.index(index.name, index.schema) is None,
        refuse=refuse,
    )


def drop(name: str, table: Relation) -> Step:
    """Drop an index concurrently."""
    return Step(
        f"drop {name} on {table}",
        sql("drop index concurrently {}", ident(table.schema, name)),
        locks=[
            Lock(Mode.SHARE_UPDATE_EXCLUSIVE, table.name, table.schema),
            Lock(Mode.ACCESS_EXCLUSIVE, name, table.schema, is_index=True),
        ],
        transaction=False,
        done=partial(is_gone, name=name, schema=table.schema),
        explain=partial(_out_of_use, name=name, schema=table.schema),
    )


def _out_of_use(db: Catalog, *, name: str, schema: str | None) -> str:
    """Say what a DROP that was broken off leaves: an index that nobody uses."""
    index = db.index(name, schema)
    if index is None or index.valid:
        return ""
    return f"{name} is INVALID, and no query uses it: run again, or take this back"


def comment(of: IndexOperation, name: str, table: Relation) -> Step:
    """Comment on an index."""

    def done(db: Catalog) -> bool:
        index = db.index(name, table.schema)
        return index is not None and index.comment == of.comment

    return Step(
        f"comment on {name}",
        sql("comment on index {} is {}", ident(table.schema, name), literal(of.comment)),
        locks=[Lock(Mode.SHARE_UPDATE_EXCLUSIVE, name, table.schema, is_index=True)],
        done=done,
    )


def new_name(name: str) -> str:
    """Name what is built beside an index."""
    return name_of(name, "pgopt_new")


def old_name(name: str) -> str:
    """Name what an index was."""
    return name_of(name, "pgopt_old")


def swap_names(
    name: str,
    pairs: Pairs,
    *,
    mark: bool,
    refuse: Callable[[Catalog, Sequence[IndexInfo]], None],
    anew: Callable[[Catalog], Pairs] | None = None,
) -> Step:
    """Let new indexes take the names of old ones, each with its schema, in one transaction.

    A mark tells the next run, should this one be interrupted, which index it may drop where nobody says how that is defined. There may
    be others by then, for which to look anew, and the old one may have come to be needed while the new one was built.
    """

    def refuse_old(db: Catalog) -> None:
        index = db.index(old_name(name), schema)
        if index is not None:
            # which have their own names again when this is rolled back
            own = {(schema, old_name(old)): old for schema, old, _ in pairs}
            tree = [(each, own.get((each.schema, each.name), each.name)) for each in tree_of(db, index)]
            refuse(db, [replace(each, name=name, constraint=each.constraint and name) for each, name in tree])

    schema, _, first = pairs[0]
    return Step(
        f"swap {name} for the new one",
        _renames(pairs) if anew is None else lambda db: _renames(anew(db)),
        locks=[
            Lock(Mode.SHARE_UPDATE_EXCLUSIVE, each, schema, is_index=True)
            for schema, old, new in pairs
            for each in (old, new)
        ],
        done=partial(is_gone, name=first, schema=schema),
        refuse=refuse_old,
        last=[sql("comment on index {} is {}", ident(schema, old_name(name)), literal(FORMER))] if mark else [],
    )


def _renames(pairs: Pairs) -> Sequence[Composable]:
    rename = "alter index {} rename to {}"
    return [
        statement
        for schema, old, new in pairs
        for statement in (
            sql(rename, ident(schema, old), ident(old_name(old))),
            sql(rename, ident(schema, new), ident(old)),
        )
    ]


def is_valid(db: Catalog, *, name: str, schema: str | None) -> bool:
    """Whether an index is there and used."""
    index = db.index(name, schema)
    return index is not None and index.valid


def is_gone(db: Catalog, *, name: str, schema: str | None) -> bool:
    """Whether there is no index of that name."""
    return db.index(name, schema) is None


def _invalid(db: Catalog, *, name: str, table: Relation) -> Iterator[Step]:
    """Drop what an interrupted build has left: it is kept up by every write, and read by nobody."""
    index = db.index(name, table.schema)
    if index is not None and not index.valid:
        _not_at_work(index)
        yield drop(name, table)


def _not_at_work(index: IndexInfo) -> None:
    if index.built_by is not None:
        raise InvalidOperation(f"index {index} is being built by pid {index.built_by} now: wait for that to end")


# -- rebuilding ----------------------------------------------------------------------------------------------------------


def reindex(target: Relation, table: Relation | None) -> Step:
    """Rebuild one index of a table, or all of them where the target is the table."""
    index = None if target is table else target
    return Step(
        f"rebuild {index.name}" if index else f"rebuild the indexes of {table}",
        sql("reindex {} concurrently {}", verbatim("index" if index else "table"), target.ident),
        locks=[Lock(Mode.SHARE_UPDATE_EXCLUSIVE, table.name, table.schema)] if table else [],
        transaction=False,
        clear=partial(_leftovers, table=table, name=index.name if index else None),
    )


def _leftovers(db: Catalog, *, table: Relation | None, name: str | None) -> Iterator[Step]:
    """Drop the ``_ccnew`` and ``_ccold`` indexes of an interrupted REINDEX CONCURRENTLY."""
    if table is None:
        return
    # the server cuts long names to make room for the suffix
    start = re.escape(name.encode()[:50].decode(errors="ignore")) if name else ""
    for index in db.invalid_indexes(table, f"^{start}.*_cc(new|old)[0-9]*$"):
        if index.built_by is None:
            # not always the table: REINDEX TABLE rebuilds the index of its TOAST table, too
            yield drop(index.name, db.by_oid(index.table))
