"""The steps of which the index operations are made."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from pgopt.errors import InvalidOperation
from pgopt.operations.index_losses import on_this_table, refuse_to_lose, tree_of
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
            f"{taken}, which is no index, has the name that an index of {table} would have: rename it, or choose another name"
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
