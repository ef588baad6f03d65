"""The `pgopt` schema, in which operations keep what they must remember."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgopt import schema
from pgopt.errors import InvalidOperation
from pgopt.operations.base import StateOperation, operation
from pgopt.plan.step import Step
from pgopt.server.quoting import block, literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        before = db.installed() if db.online else 0
        for version in range(before + 1, self.version + 1):
            yield Step(
                f"install version {version} of the pgopt schema",
                [
                    *_statements(version, "up"),
                    sql("insert into pgopt.version values ({}, {})", literal(version), literal(before)),
                ],
                done=lambda db, version=version: db.installed() >= version,  # type: ignore[misc]
            )


@operation("uninstall_pgopt")
class UninstallPgopt(StateOperation):
    """Take the `pgopt` schema back to what it was before `install_pgopt` with this version."""

    version: int

    def check(self) -> None:
        _check_version(self.version)

    def reverse(self) -> InstallPgopt:
        return InstallPgopt(self.version)

    def plan(self, db: Catalog) -> Iterator[Step]:
        there = db.installed() if db.online else self.version
        if there > self.version:
            raise InvalidOperation(f"version {there} of the pgopt schema is installed: uninstall that first")
        if there < self.version:
            return
        before = db.installed_over(self.version) if db.online else 0
        if db.online:
            self._check_unused(db)
        for version in range(self.version, before, -1):
            down = _statements(version, "down")
            forget = sql("delete from pgopt.version where version = {}", literal(version))
            yield Step(
                f"uninstall version {version} of the pgopt schema",
                [forget, *down],
                done=lambda db, version=version: db.installed() < version,  # type: ignore[misc]
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
                f"the pgopt schema still holds how far revision {revision} came (of {chain}): finish that, or take it back, first"
            )
        for query in schema.scripts(self.version, "unused"):
            for (needed,) in db.session.rows(query):
                raise InvalidOperation(needed)


def _check_version(version: int) -> None:
    if not 1 <= version <= schema.LATEST:
        raise InvalidOperation(f"this pgopt has versions 1 to {schema.LATEST} of its schema, not {version}")


def _statements(version: int, direction: str) -> list[Composable]:
    return [block([verbatim(text.strip().removesuffix(";"))]) for text in schema.scripts(version, direction)]
