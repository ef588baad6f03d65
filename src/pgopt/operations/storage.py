"""Storage parameters of live tables, indexes and materialized views: autovacuum, fillfactor and the like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from pgopt.errors import InvalidOperation, NotReversible
from pgopt.operations.base import StateOperation, operation
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.objects import KINDS
from pgopt.server.queries import query
from pgopt.server.quoting import dollars, joined, literal, option_text, options, parameter, sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation, Storage, TableNamed
    from pgopt.server.undo import KeptTree

# PostgreSQL takes ACCESS EXCLUSIVE for all others
_WEAK = (
    "autovacuum_",
    "vacuum_",
    "log_auto",
    "fillfactor",
    "toast_tuple_target",
    "parallel_workers",
    "deduplicate_items",
)


@dataclass(frozen=True, repr=False)
class StorageOperation(StateOperation):
    """Parameters of one table, index or materialized view, or of all leaves of a partitioned one."""

    name: str
    parameters: Mapping[str, Any] | Sequence[str]
    _: KW_ONLY
    schema: str | None = None

    def check(self) -> None:
        """Refuse what says nothing."""
        if isinstance(self.parameters, str) or not self.parameters:
            raise InvalidOperation(f"{self.title} says {self.parameters!r}: write parameters={{'fillfactor': 80}}")

    def subject(self, db: Catalog) -> TableNamed:
        """Name the table, whose index this may be."""
        relation = self.relation(db)
        index = db.index(relation.name, relation.schema) if relation.kind in "iI" else None
        return (db.by_oid(index.table) if index else relation).named

    def relation(self, db: Catalog) -> Relation:
        """Look up what has the parameters."""
        found = db.relation(self.name, self.schema)
        if found is None:
            where = f" in schema {self.schema!r}" if self.schema else ""
            raise InvalidOperation(f"there is no table, index or materialized view {self.name!r}{where}")
        if found.kind not in "rpmiI":
            raise InvalidOperation(f"{found} is a {KINDS[found.kind]}, not a table, an index or a materialized view")
        return found

    def kept(self, db: Catalog) -> KeptTree:
        """Give the places where it is written down what each parameter was."""
        return db.memory.of_tree("set_storage_parameters", self.relation(db), list(self.parameters))

    def locks(self, db: Catalog, leaves: Iterable[Storage], *, all_of_them: bool) -> list[Lock]:
        """Give the locks on the leaves, and on the tables between them and the root."""
        relation = self.relation(db)
        between = [each for each in db.partitions(relation) if each.kind == "p"] if relation.partitioned else []
        found = [Lock(Mode.ACCESS_SHARE, each.name, each.schema) for each in between]
        for leaf in leaves:
            mode = max(_mode(name) for name in [*self.parameters, *(leaf.parameters if all_of_them else ())])
            found.append(Lock(mode, leaf.relation.name, leaf.relation.schema, is_index=leaf.relation.kind == "i"))
        return found

    def leaves(self, db: Catalog, relation: Relation) -> Sequence[Storage]:
        """Give what really has parameters: a partitioned table or index has none of its own."""
        db.require_pgopt()
        leaves = db.storage(relation)
        if not leaves:
            raise InvalidOperation(
                f"{relation} has no partitions, and only those have storage parameters: make one first"
            )
        return leaves


@operation("set_storage_parameters")
class SetStorageParameters(StorageOperation):
    """Set storage parameters of a table, an index or a materialized view; ``None`` puts one back to its default.

    Takes SHARE UPDATE EXCLUSIVE for an instant, which nobody but other DDL waits for; ACCESS EXCLUSIVE for those few that
    PostgreSQL wants it for, such as ``user_catalog_table`` and most of the indexes'. On a partitioned table or index all
    leaves are set, and partition maintenance gives to each new partition what its siblings have. Each leaf's own values
    are written down and given back by `reset_storage_parameters`. Rows that are there are not rewritten. Needs
    `install_pgopt`::

        op.set_storage_parameters(
            "tickets", {"fillfactor": 85, "autovacuum_vacuum_scale_factor": 0.02, "toast.autovacuum_enabled": True}
        )
    """

    parameters: Mapping[str, Any]

    def check(self) -> None:
        super().check()
        if not isinstance(self.parameters, Mapping):
            raise InvalidOperation(f"{self.title} says no values: write parameters={{'fillfactor': 80}}")

    def reverse(self) -> ResetStorageParameters:
        return ResetStorageParameters(self.name, self.parameters, schema=self.schema)

    def plan(self, db: Catalog) -> Iterator[Step]:
        relation, kept = self.relation(db), self.kept(db)
        leaves = self.leaves(db, relation)
        self._check_toast(leaves)
        keep = kept.keep(query("storage_was", relation=kept.regclass, names=literal(list(self.parameters))))
        yield Step(
            f"set {', '.join(self.parameters)} of {relation}",
            # on the way down there is nobody who would take it back
            [kept.forget() if db.memory.down else keep, *map(self._alter, leaves)],
            locks=self.locks(db, leaves, all_of_them=False),
            done=lambda db: self._is_set(db, relation) and db.remembers_as_wanted(kept),
        )

    def _alter(self, leaf: Storage) -> Composable:
        given = {name: value for name, value in self.parameters.items() if value is not None}
        gone = [parameter(name) for name, value in self.parameters.items() if value is None]
        parts = [sql("set ({})", options(given))] * bool(given) + [sql("reset ({})", joined(gone))] * bool(gone)
        return sql("alter table {} {}", leaf.relation.ident, joined(parts))

    def _is_set(self, db: Catalog, relation: Relation) -> bool:
        return all(
            leaf.parameters.get(name) == (None if value is None else option_text(value))
            for leaf in db.storage(relation)
            for name, value in self.parameters.items()
        )

    def _check_toast(self, leaves: Iterable[Storage]) -> None:
        # PostgreSQL says nothing, and sets nothing
        wanted = [name for name in self.parameters if name.startswith("toast.")]
        for leaf in leaves:
            if wanted and not leaf.has_toast:
                raise InvalidOperation(
                    f"{leaf.relation} has no TOAST table that {wanted[0]} could be set of: leave it out"
                )


@operation("reset_storage_parameters")
class ResetStorageParameters(StorageOperation):
    """Give back the storage parameters that `set_storage_parameters` has found, to each leaf its own.

    Takes the locks that setting them took. What somebody has set beside them meanwhile stays. Where nothing was set in this
    revision there is nothing to give back. With the values, as for `set_storage_parameters`, it can be undone; the names
    alone will do without. Needs `install_pgopt`::

        op.reset_storage_parameters("tickets", ["fillfactor", "autovacuum_vacuum_scale_factor"])
    """

    def reverse(self) -> SetStorageParameters:
        if not isinstance(self.parameters, Mapping):
            raise NotReversible(f"{self.title}: say the values, {{'fillfactor': 80}}, so that they can be set again")
        return SetStorageParameters(self.name, self.parameters, schema=self.schema)

    def notes(self, db: Catalog) -> Sequence[str]:
        unknown = [name for name in self.parameters if name not in db.remembered(self.kept(db))] if db.online else []
        if not unknown:
            return ()
        said = f"nothing is written down of {', '.join(unknown)} of {self.name}, so nothing is given back"
        return (f"{said}: for the default, use set_storage_parameters with None",)

    def plan(self, db: Catalog) -> Iterator[Step]:
        relation, kept = self.relation(db), self.kept(db)
        leaves = self.leaves(db, relation)
        restore = dollars(
            lambda tag: query(
                "storage_restore",
                tag=tag,
                where=kept.where,
                relation=kept.regclass,
                tree=kept.tree,
            )
        )
        yield Step(
            f"give {', '.join(self.parameters)} of {relation} back",
            restore,
            locks=self.locks(db, leaves, all_of_them=True),
            done=lambda db: not db.remembered(kept),
        )


def _mode(name: str) -> Mode:
    weak = name.removeprefix("toast.").startswith(_WEAK)
    return Mode.SHARE_UPDATE_EXCLUSIVE if weak else Mode.ACCESS_EXCLUSIVE
