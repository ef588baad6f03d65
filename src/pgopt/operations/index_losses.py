"""What would be lost with an index: what others rest on, and what they have said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgopt.errors import InvalidOperation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import IndexInfo, Relation

    States = dict[int, tuple[object, ...]]
    """What others may say of an index and of its parts, by the tables on which they are."""


def on_this_table(index: IndexInfo, table: Relation, db: Catalog) -> None:
    """Refuse an index of another table."""
    if index.table != table.oid:
        raise InvalidOperation(
            f"index {index} is on {db.by_oid(index.table)}, not on {table}: say that table, or the name of another index"
        )


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
            f"has storage parameters of its own ({storage or 'none'}), which would not come back: ALTER INDEX ... SET as for {whole} first",
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
        (index.referenced_by, f"is used by foreign keys of {index.referenced_by}: drop them first"),
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
                f"index {each} was changed while its replacement was built, and that change would be lost: run again to see it"
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
