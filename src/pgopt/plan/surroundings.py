"""The transaction in which a migration calls us: may we commit it, and what is lost if we are interrupted?"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pgopt.errors import UnsafeTransaction
from pgopt.plan.journal import Journal, chain_of
from pgopt.server.quoting import ident, literal, render, sql
from pgopt.server.session import Session

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

    from pgopt.plan.settings import Settings

log = logging.getLogger("alembic.pgopt")


def prepare(context: MigrationContext, settings: Settings) -> None:
    """Make sure that the open transaction may be committed, and that each stamp is."""
    connection = context.connection
    assert connection is not None
    if connection.in_nested_transaction():
        raise UnsafeTransaction(
            "an online operation commits, and a savepoint is open (begin_nested): call the operation outside of it"
        )
    if not settings.mixed_revisions and connection.in_transaction() and _has_worked(context):
        raise UnsafeTransaction(
            "this revision did transactional work before an online operation, which would be committed while the revision"
            " is not stamped: move the online operation to a revision of its own (or allow it by the setting"
            " mixed_revisions)"
        )
    _stamp_at_once(context)


def _stamp_at_once(context: MigrationContext) -> None:
    """See to it, once a run, that the stamp of each revision is committed with what the journal must forget."""
    if any(isinstance(callback, _Stamped) for callback in context.on_version_apply_callbacks):
        return
    context.on_version_apply_callbacks = (*context.on_version_apply_callbacks, _Stamped())
    if context._in_external_transaction:
        log.warning(
            "env.py executed something before context.configure(), so Alembic leaves the transaction to env.py, and pgopt"
            " commits it: call connection.commit() before context.configure()"
        )
    elif not context._transaction_per_migration:
        log.warning(
            "set transaction_per_migration=True in context.configure(): without it an interrupted upgrade can leave"
            " work of earlier revisions done and not stamped"
        )


class _Stamped:
    """Called by Alembic in the transaction in which it has stamped a revision."""

    def __call__(self, *, ctx: MigrationContext, step: Any, **_: Any) -> None:
        session = Session(ctx.connection)  # type: ignore[arg-type]
        Journal(session, chain_of(ctx), None).forget(step.up_revision_id)
        if ctx._in_external_transaction or not ctx._transaction_per_migration:
            # the operations of this revision are committed, so its stamp must be
            ctx.connection.connection.dbapi_connection.commit()  # type: ignore[union-attr]


def _has_worked(context: MigrationContext) -> bool:
    """Whether the revision that is running has changed something in the open transaction."""
    session = Session(context.connection)  # type: ignore[arg-type]
    if session.value("select pg_current_xact_id_if_assigned()") is None:
        return False
    if context._transaction_per_migration and not context._in_external_transaction:
        return True
    return _worked_since_stamp(session, ident(context.version_table_schema, context.version_table))


def _worked_since_stamp(session: Session, table: Any) -> bool:
    """Tell this revision's work from that of earlier ones in the same transaction, which were stamped in it.

    The stamp is the last thing that Alembic writes for a revision. A command that writes has the next command id: if a
    write of ours has the id right after the stamp's, nothing was written in between.
    """
    written = sql(
        "select max(cmin::text::int8) from {} where xmin::text = pg_current_xact_id()::xid::text",
        table,
    )
    stamped = session.value(written)
    if stamped is None:
        return _holds_locks_beside(session, table)
    session.run(sql("update {} set version_num = version_num", table))
    return bool(session.value(written) > stamped + 1)


def _holds_locks_beside(session: Session, table: Any) -> bool:
    """Whether anything but the version table, which Alembic may just have made, was written to."""
    name = literal(render(table))
    return bool(
        session.value(
            sql(
                "select exists (select from pg_locks l join pg_class c on c.oid = l.relation"
                " where l.pid = pg_backend_pid() and l.locktype = 'relation' and c.relnamespace <> 'pg_catalog'::regnamespace"
                " and l.mode not in ('AccessShareLock', 'RowShareLock')"
                " and c.oid <> {t}::regclass"
                " and c.oid not in (select indexrelid from pg_index where indrelid = {t}::regclass)"
                " and c.relnamespace <> 'pg_toast'::regnamespace)",
                t=name,
            )
        )
    )
