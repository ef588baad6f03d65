"""Extensions of the server: made where they are missing, and dropped only by who made them."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields
from typing import TYPE_CHECKING, Any

from pgopt.errors import InvalidOperation
from pgopt.operations.base import StateOperation, operation
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import check_name, ident, joined, literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Extension
    from pgopt.server.undo import Kept


@dataclass(frozen=True, repr=False)
class ExtensionOperation(StateOperation):
    """An extension, and where and in which version it is."""

    name: str
    _: KW_ONLY
    schema: str | None = None
    version: str | None = None
    cascade: bool = False

    def check(self) -> None:
        """Refuse what cannot be a name."""
        check_name(self.name, "an extension")

    def created(self, db: Catalog) -> Kept:
        """Give the place where it is written down which extensions were made, since others may have come with it."""
        return db.memory.of("create_extension", self.name)

    def dropped(self, db: Catalog) -> Kept:
        """Give the place where it is written down what was dropped."""
        return db.memory.of("drop_extension", self.name)

    def same_or_refuse(self, db: Catalog) -> Extension | None:
        """Take an equal extension for the operation's own, and refuse another one."""
        there = db.extension(self.name)
        if there is None:
            return None
        for what in ("schema", "version"):
            wanted, found = getattr(self, what), getattr(there, what)
            if wanted is not None and wanted != found:
                raise InvalidOperation(
                    f"extension {self.name} is there already, with {what} {found!r} and not {wanted!r}: say that, or change it"
                    " by op.execute('alter extension …')"
                )
        return there


@operation("create_extension")
class CreateExtension(ExtensionOperation):
    """Make an extension, unless it is there; ``cascade`` makes those that it needs, too. Locks nothing that is there before.

    Its inverse drops what this one made, and nothing that was there before. Needs `install_pgopt`::

        op.create_extension("pg_trgm")
        op.create_extension("earthdistance", schema="extensions", cascade=True)
    """

    def reverse(self) -> DropExtension:
        return DropExtension(**_definition(self))

    def plan(self, db: Catalog) -> Iterator[Step]:
        db.require_pgopt()
        there, was = self.same_or_refuse(db), db.was(self.dropped(db))
        if there is None and not db.has_extension(self.name):
            raise InvalidOperation(f"this server has no extension {self.name!r}: install its package there first")
        create = self._create(was or {})
        yield Step(
            f"make extension {self.name}",
            [create, *self._restored(db, was)] if was or db.memory.down else self._remembered(db, create),
            done=lambda db: db.extension(self.name) is not None,
        )

    def _create(self, was: Mapping[str, Any]) -> Composable:
        schema, version = self.schema or was.get("schema"), self.version or was.get("version")
        return sql(
            "create extension {}{}{}{}",
            ident(self.name),
            sql(" schema {}", ident(schema)) if schema else verbatim(""),
            sql(" version {}", literal(version)) if version else verbatim(""),
            verbatim(" cascade" if self.cascade else ""),
        )

    def _remembered(self, db: Catalog, create: Composable) -> list[Composable]:
        kept = self.created(db)
        before = sql("select jsonb_agg(extname) from pg_extension")
        made = sql("select jsonb_agg(e.extname) from pg_extension e where not undo.was ? e.extname::text")
        return [
            # one that somebody else has dropped since
            kept.forget(),
            kept.keep(before),
            create,
            sql("update pgopt.undo set was = ({}) where {}", made, kept.where),
        ]

    def _restored(self, db: Catalog, was: Mapping[str, Any] | None) -> list[Composable]:
        if was is None:
            return []
        comment = sql("comment on extension {} is {}", ident(self.name), literal(was["comment"]))
        return [comment, self.dropped(db).forget()]


@operation("drop_extension")
class DropExtension(ExtensionOperation):
    """Drop an extension that nothing depends on. On a downgrade one that `create_extension` has not made stays.

    Takes ACCESS EXCLUSIVE on its own tables and views for an instant. Its schema, version and comment are written down, so
    that its inverse makes it as it was. Needs `install_pgopt`::

        op.drop_extension("pg_trgm")
    """

    def reverse(self) -> CreateExtension:
        return CreateExtension(**_definition(self))

    def notes(self, db: Catalog) -> Sequence[str]:
        if self._stays(db) and db.extension(self.name) is not None:
            return (f"extension {self.name} stays, since this revision has not made it",)
        return ()

    def plan(self, db: Catalog) -> Iterator[Step]:
        db.require_pgopt()
        if self._stays(db):
            return
        there, made = self.same_or_refuse(db), db.was(self.created(db))
        if there is not None and made is None:
            _refuse_rows(db, there)
        yield Step(
            f"drop extension {self.name}",
            self._drop(db, there) if made is None else self._take_back(db, made),
            locks=_locks(db, made or [self.name]),
            done=lambda db: db.extension(self.name) is None and db.was(self.created(db)) is None,
        )

    def _stays(self, db: Catalog) -> bool:
        return db.memory.down and db.was(self.created(db)) is None

    def _drop(self, db: Catalog, there: Extension | None) -> list[Composable]:
        was = {"schema": there.schema, "version": there.version, "comment": there.comment} if there else {}
        dropped = self.dropped(db)
        return [
            dropped.forget(),
            dropped.keep(
                sql("select jsonb_build_object({})", joined(map(literal, [x for pair in was.items() for x in pair])))
            ),
            sql("drop extension {}", ident(self.name)),
        ]

    def _take_back(self, db: Catalog, made: Sequence[str]) -> list[Composable]:
        # somebody may have dropped some of them meanwhile
        return [sql("drop extension if exists {}", joined(map(ident, made))), self.created(db).forget()]


def _definition(of: ExtensionOperation) -> dict[str, Any]:
    return {each.name: getattr(of, each.name) for each in fields(ExtensionOperation)}


def _locks(db: Catalog, names: Sequence[str]) -> list[Lock]:
    extensions = [extension for name in names if (extension := db.extension(name)) is not None]
    relations = [db.by_oid(oid) for extension in extensions for oid in extension.relations]
    return [Lock(Mode.ACCESS_EXCLUSIVE, each.name, each.schema) for each in relations]


def _refuse_rows(db: Catalog, extension: Extension) -> None:
    """Refuse to lose what somebody has put into an extension's own tables."""
    for oid in extension.with_rows:
        table = db.by_oid(oid)
        if table.kind == "r" and db.has_rows(table):
            raise InvalidOperation(
                f"table {table} of extension {extension.name} holds rows, which would not come back: delete them first"
            )
