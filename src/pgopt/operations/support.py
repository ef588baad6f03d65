"""The `pgopt` schema, in which operations keep what they must remember."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgopt import schema
from pgopt.errors import InvalidOperation
from pgopt.operations.base import StateOperation, operation
from pgopt.plan.step import Step
from pgopt.server.queries import query
from pgopt.server.quoting import block, dollars, literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog


@operation("install_pgopt")
class InstallPgopt(StateOperation):
    """Bring the `pgopt` schema to a version: the tables in which batches, half-done revisions and policies are kept.

    Say the version that pgopt had when you wrote the revision; a later revision says the next one. Locks nothing that is
    there before::

        op.install_pgopt(version=1)
    """

    version: int

    def check(self) -> None:
        _check_version(self.version)

    def reverse(self) -> UninstallPgopt:
        return UninstallPgopt(self.version)

    @property
    def brings_journal(self) -> bool:
        return True

    def plan(self, db: Catalog) -> Iterator[Step]:
        there, before = (db.installed(), db.asked_for()) if db.online else (0, 0)
        for version in range(before + 1, self.version + 1):
            yield Step(
                f"ask for version {version} of the pgopt schema, which is there"
                if version <= there
                else f"install version {version} of the pgopt schema",
                [
                    *(_statements(version, "up") if version > there else ()),
                    sql(
                        "insert into pgopt.version values ({}, {}, {})",
                        literal(version),
                        db.memory.said,
                        literal(before),
                    ),
                ],
                done=lambda db, version=version: db.asked_for() >= version,  # type: ignore[misc]
            )


@operation("uninstall_pgopt")
class UninstallPgopt(StateOperation):
    """Take the `pgopt` schema back to what it was before `install_pgopt` with this version.

    Where the revisions of others have asked for it, too, such as those of another tenant, it stays until the last of them does.
    """

    version: int

    def check(self) -> None:
        _check_version(self.version)

    def reverse(self) -> InstallPgopt:
        return InstallPgopt(self.version)

    def plan(self, db: Catalog) -> Iterator[Step]:
        if db.online and db.installed() < self.version:
            return
        before = db.asked_for_before(self.version) if db.online else 0
        for version in range(self.version, before, -1):
            others = db.others_asked_for(version) if db.online else ()
            yield self._leave(db, version, others) if others else self._take_down(db, version)

    def _leave(self, db: Catalog, version: int, others: Sequence[str]) -> Step:
        def refuse(db: Catalog) -> None:
            if not db.others_asked_for(version):
                raise InvalidOperation("others have left the pgopt schema at the same time: run again")

        return Step(
            f"leave version {version} of the pgopt schema to {', '.join(others)}",
            [
                # of two that leave at once, the second one takes it down
                sql(_ALONE),
                sql("delete from pgopt.version where (version, chain) = ({}, {})", literal(version), db.memory.said),
            ],
            done=lambda db: db.asked_for() < version,
            refuse=refuse,
        )

    def _take_down(self, db: Catalog, version: int) -> Step:
        if db.online:
            if (there := db.installed()) > self.version:
                raise InvalidOperation(f"version {there} of the pgopt schema is installed: uninstall that first")
            self._check_unused(db)
        return Step(
            f"uninstall version {version} of the pgopt schema",
            [
                sql(_ALONE),
                dollars(
                    lambda tag: sql(
                        _REFUSAL,
                        tag=tag,
                        others=query("asked_for", version=literal(version), chain=db.memory.said),
                        message=literal("the revisions of others need the pgopt schema, too: run this online, again"),
                    )
                ),
                sql("delete from pgopt.version where version = {}", literal(version)),
                *_statements(version, "down"),
            ],
            done=lambda db: db.installed() < version,
        )

    def _check_unused(self, db: Catalog) -> None:
        others = sql(
            "select revision, chain from pgopt.run where (chain, revision) <> ({0}, {1}) union all"
            " select revision, chain from pgopt.progress where revision <> '' and (chain, revision) <> ({0}, {1}) limit 1",
            literal(db.memory.chain),
            literal(db.memory.revision),
        )
        for revision, chain in db.session.rows(others):
            raise InvalidOperation(
                f"revision {revision} (of {chain}) is half-done, as the pgopt schema remembers: finish it, or take it back, first"
            )
        for question in schema.scripts(self.version, "unused"):
            for (needed,) in db.session.rows(question):
                raise InvalidOperation(needed)


_ALONE = "lock table pgopt.version in share row exclusive mode"
_REFUSAL = """do {tag}
begin
    if exists ({others}) then
        raise exception using message = {message};
    end if;
end
{tag}"""


def _check_version(version: int) -> None:
    if not 1 <= version <= schema.LATEST:
        raise InvalidOperation(f"this pgopt has versions 1 to {schema.LATEST} of its schema, not {version}")


def _statements(version: int, direction: str) -> list[Composable]:
    return [block([verbatim(text.strip().removesuffix(";"))]) for text in schema.scripts(version, direction)]
