"""What Alembic is running: revisions on their way, in the chain of a version table, read from its context and its loop."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, LiteralString
from weakref import WeakKeyDictionary

from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError, to_tuple

from pgopt.plan.undoing import UNDOING
from pgopt.server.quoting import ident, literal, render, sql
from pgopt.server.session import Session
from pgopt.server.undo import Memory

UP, DOWN = "upgrade", "downgrade"


@dataclass(frozen=True)
class Revision:
    """A revision on its way up or down, in the chain of one version table."""

    chain: str
    id: str
    direction: str

    @property
    def opposite(self) -> Revision:
        """The same revision the other way."""
        return Revision(self.chain, self.id, DOWN if self.direction == UP else UP)


def chain_of(context: MigrationContext) -> str:
    """Name the chain of revisions by its version table.

    Where env.py goes through schemas by the search path, each has a version table of its own.
    """
    schema = context.version_table_schema
    if schema is None and not context.as_sql:
        if context not in _SCHEMAS:
            _SCHEMAS[context] = _schema_of_versions(context)
        schema = _SCHEMAS[context]
    return f"{schema}.{context.version_table}" if schema else context.version_table


_SCHEMAS: WeakKeyDictionary[MigrationContext, str | None] = WeakKeyDictionary()


def _schema_of_versions(context: MigrationContext) -> str | None:
    """Find where the version table is, or is going to be; nothing for the usual place."""
    if context.connection is None:
        return context.dialect.default_schema_name
    named = literal(render(ident(context.version_table)))
    found = Session(context.connection).value(sql(SCHEMA_OF_VERSIONS, named))
    return None if found is None else str(found)


SCHEMA_OF_VERSIONS: LiteralString = (
    "select nullif(coalesce((select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
    " where c.oid = to_regclass({})), current_schema()), 'public')"
)


def current_revision(context: MigrationContext) -> Revision | None:
    """Tell which revision Alembic is running.

    Alembic hands the step to nobody but its own loop, so it is read there.
    """
    if (undoing := context.opts.get(UNDOING)) is not None:
        return Revision(chain_of(context), *undoing)
    return revision_of(context, _loop().get("step"))


def known_heads(context: MigrationContext) -> set[str] | None:
    """Give the heads that Alembic has seen and made, where it runs revisions."""
    maintainer = _loop().get("head_maintainer")
    return set(maintainer.heads) if maintainer is not None and UNDOING not in context.opts else None


def memory_of(revision: Revision | None) -> Memory:
    """Give the place where a revision writes down what was there."""
    return Memory(revision.chain, revision.id, revision.direction == DOWN) if revision else Memory()


def is_first(context: MigrationContext) -> bool:
    """Tell whether Alembic is running the first revision of its run."""
    names = _loop()
    return (
        UNDOING in context.opts or names.get("heads") is None or set(names["heads"]) == names["head_maintainer"].heads
    )


def handed_over() -> dict[str, Any]:
    """Give what env.py hands to each revision: the name of the engine, where there are several databases."""
    return dict(_loop().get("kw", {}))


def _loop() -> dict[str, Any]:
    """Give the variables of the loop in which Alembic runs revisions, where we are called by it."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code is MigrationContext.run_migrations.__code__:
            return frame.f_locals
    return {}


def revision_of(context: MigrationContext, step: Any) -> Revision | None:
    """Read a step of Alembic; stamps are not revisions."""
    script = getattr(step, "revision", None)
    if script is None:
        return None
    return Revision(chain_of(context), script.revision, UP if step.is_upgrade else DOWN)


def stamped_revisions(context: MigrationContext) -> set[str]:
    """Give the revisions that the version table says are done."""
    heads = context.get_current_heads()
    if context.script is None or not heads:
        return set(heads)
    return {script.revision for script in context.script.walk_revisions("base", heads)}  # type: ignore[arg-type]


def is_missing(context: MigrationContext, revision: str) -> bool:
    """Whether the file of a revision is gone."""
    try:
        return context.script is not None and context.script.get_revision(revision) is None
    except CommandError:
        return True


def below(context: MigrationContext | None, revision: str) -> str:
    """Say to `alembic downgrade` how far a revision alone is taken back: there may be other heads."""
    script = context and context.script and context.script.get_revision(revision)
    parents = to_tuple(script.down_revision, default=()) if script else ()
    return parents[0] if len(parents) > 1 else f"{revision}@-1"
