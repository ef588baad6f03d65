"""The transaction in which a migration calls us: may we commit it, and what is lost if we are interrupted?"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from pgopt.errors import INSTALL, NotInstalled, UnsafeTransaction
from pgopt.plan.journal import Journal
from pgopt.plan.revisions import is_first
from pgopt.plan.undoing import UNDOING
from pgopt.server.quoting import ident, joined, literal, render, sql, verbatim
from pgopt.server.session import Session

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext
    from psycopg.sql import Composable
    from sqlalchemy.engine import Connection

    from pgopt.plan.settings import Settings
    from pgopt.plan.undoing import Begun

log = logging.getLogger("alembic.pgopt")


def prepare(context: MigrationContext, settings: Settings) -> Stamped:
    """Make sure that the open transaction may be committed, and that each stamp is."""
    connection = context.connection
    assert connection is not None
    if connection.in_nested_transaction():
        raise UnsafeTransaction(
            "an online operation commits, and a savepoint is open (begin_nested): call the operation outside of it"
        )
    # what is taken back is not stamped, and may be taken back once more
    worked = UNDOING not in context.opts and connection.in_transaction() and _has_worked(context)
    if worked and not settings.mixed_revisions:
        raise UnsafeTransaction(
            "this revision did transactional work before an online operation, which would be committed while the revision"
            " is not stamped: move the online operation to a revision of its own (or allow it by the setting"
            " mixed_revisions)"
        )
    stamped = _stamp_at_once(context, connection)
    # a block of autocommit has committed what came before it, whatever that was
    stamped.mixed = worked or (is_autocommit(connection) and _in_block(context))
    return stamped


def _stamp_at_once(context: MigrationContext, connection: Connection) -> Stamped:
    """See to it, once a run, that the stamp of each revision is committed with what the journal must forget."""
    for callback in context.on_version_apply_callbacks:
        if isinstance(callback, Stamped):
            return callback
    stamped = Stamped()
    stamped.versions = Session(connection).value(sql(_QUALIFIED, literal(render(_version_table(context)))))
    context.on_version_apply_callbacks = (*context.on_version_apply_callbacks, stamped)
    if is_autocommit(connection) and not _in_block(context):
        log.warning(
            "the engine has isolation_level='AUTOCOMMIT', so an interrupted revision of plain operations is left half-done and"
            " not stamped: take that out of create_engine(), online operations do not need it"
        )
    elif context._in_external_transaction:
        log.warning(
            "env.py executed something before context.configure(), so Alembic leaves the transaction to env.py, and pgopt"
            " commits it: call connection.commit() before context.configure()"
        )
    elif not context._transaction_per_migration:
        log.warning(
            "set transaction_per_migration=True in context.configure(): without it an interrupted upgrade can leave"
            " work of earlier revisions done and not stamped"
        )
    return stamped


class Stamped:
    """Called by Alembic in the transaction in which it has stamped a revision."""

    def __init__(self) -> None:
        self.installed = True
        """Whether the last operation found a journal: where there was none, nothing is to be forgotten."""
        self.versions: str | None = None
        """The version table, where it is found when the run begins."""
        self.mixed = False
        """Whether plain work of the running revision is committed with the operation that has begun last."""
        self.known = False
        """Whether the journal knows of the running revision."""
        self.last: Begun | None = None
        """The operation of it that was begun last."""
        self.met: Counter[tuple[str, str]] = Counter()
        """How many operations of which kin, and about what, the running revision has come by."""
        self.named: set[str] = set()
        """The names that its operations have made or taken away."""
        self.ended: set[Begun] = set()
        """The operations that it has come past, whether there was something to do or not."""

    def __call__(self, *, ctx: MigrationContext, step: Any, **_: Any) -> None:
        """Let the journal forget the revision, and commit where Alembic would not."""
        self.met.clear()
        self.named.clear()
        self.ended.clear()
        known, self.known, last, self.last = self.known, False, self.last, None
        if self.installed:
            down = not step.is_upgrade and not step.is_stamp
            for each in Journal.of(ctx, None).forget(step.up_revision_id, down=down, known=known, last=last):
                log.warning(
                    "left half-done: %s was interrupted, and nothing has gone on with it: was its table renamed, moved or detached since?",
                    each,
                )
        # the operations of this revision are committed, so its stamp must be
        commit_if_shared(ctx)

    def refuse_again(self, operation: Begun) -> None:
        """Refuse a name that serves twice in the running revision, where nobody remembers what was done before an interruption."""
        if again := sorted(self.named.intersection(operation.names)):
            raise NotInstalled(
                f"this revision uses the name of index {again[0].replace(' ', '.', 1)} twice, so after an interruption nobody could"
                f" tell what is done: add `{INSTALL}` to an earlier revision, or give each operation a revision of its own"
            )

    def come_past(self, operation: Begun) -> None:
        """Keep in mind that an operation has ended, whether there was something to do or not."""
        self.ended.add(operation)
        self.named.update(operation.names)

    def number(self, kin: str, about: str) -> int:
        """Count one more operation of the running revision."""
        self.met[kin, about] += 1
        return self.met[kin, about]

    def take_back(self, operation: Begun, kin: str) -> None:
        """Take back that it was counted: it has failed, and a revision that catches the error may try again."""
        self.met[kin, operation.about] -= 1


def is_autocommit(connection: Connection) -> bool:
    """Whether each statement stands for itself now: the engine is made so, or a migration has a block of it."""
    return bool(connection.connection.dbapi_connection.autocommit)  # type: ignore[union-attr]


def _in_block(context: MigrationContext) -> bool:
    """Whether Alembic has given up its transaction for a block of autocommit."""
    return context._transaction is None and not context._in_external_transaction


def commit_if_shared(context: MigrationContext) -> None:
    """Commit a transaction that other revisions share, or that env.py has begun."""
    if context._in_external_transaction or not context._transaction_per_migration:
        context.connection.connection.dbapi_connection.commit()  # type: ignore[union-attr]


def _has_worked(context: MigrationContext) -> bool:
    """Whether the revision that is running has changed something in the open transaction."""
    session = Session(context.connection)  # type: ignore[arg-type]
    if session.idle or session.value("select pg_current_xact_id_if_assigned()") is None:
        return False
    table = _version_table(context)
    external = context._in_external_transaction
    if (since_stamp := _worked_since_stamp(session, table)) is not None:
        return since_stamp
    if external or _just_made(session, table):
        return _worked_beside(session, table, external=external)
    # a stamp that deleted its row is not seen, and revisions before this one may have done what was done
    return context._transaction_per_migration or is_first(context) or _stamps_are_committed(context)


def _stamps_are_committed(context: MigrationContext) -> bool:
    return any(isinstance(each, Stamped) for each in context.on_version_apply_callbacks)


def _version_table(context: MigrationContext) -> Composable:
    return ident(context.version_table_schema, context.version_table)


_QUALIFIED = "select (pg_identify_object('pg_class'::regclass, to_regclass({}), 0)).identity"


def _just_made(session: Session, table: Composable) -> bool:
    """Whether Alembic made the version table in this transaction, as it does in that of the very first revision."""
    return bool(
        session.value(
            sql("select {} from pg_class where oid = to_regclass({})", verbatim(_OURS), literal(render(table)))
        )
    )


_OURS = "xmin::text = pg_current_xact_id()::xid::text"


def _worked_since_stamp(session: Session, table: Composable) -> bool | None:
    """Tell this revision's work from that of earlier ones in the same transaction, if one was stamped in it.

    The stamp is the last thing that Alembic writes for a revision. A command that writes has the next command id: if a
    write of ours has the id right after the stamp's, nothing was written in between.
    """
    written = sql("select max(cmin::text::int8) from {} where {}", table, verbatim(_OURS))
    stamped = session.value(written)
    if stamped is None:
        return None
    session.run(sql("update {} set version_num = version_num", table))
    return bool(session.value(written) > stamped + 1)


_CATALOGS = (
    *("pg_class", "pg_proc", "pg_extension", "pg_enum", "pg_collation", "pg_operator", "pg_opclass", "pg_cast"),
    *("pg_publication", "pg_event_trigger", "pg_foreign_server", "pg_ts_config", "pg_ts_dict", "pg_default_acl"),
)
"""Where there may be new rows of this transaction though it holds no lock of a table."""


def _worked_beside(session: Session, table: Composable, *, external: bool) -> bool:
    """Whether anything was changed but the version table, which Alembic may just have made.

    In a transaction of env.py's own a new schema is no work of the revision: it is where the version table goes.
    """
    catalogs = (*_CATALOGS, *(() if external else ("pg_namespace",)))
    changed = (sql("(select oid from {} where {})", ident(each), verbatim(_OURS)) for each in catalogs)
    return bool(
        session.value(
            sql(
                "select exists (select from pg_locks l join pg_class c on c.oid = l.relation"
                " where l.pid = pg_backend_pid() and l.locktype = 'relation'"
                " and l.mode not in ('AccessShareLock', 'RowShareLock')"
                " and c.relnamespace not in ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)"
                " and c.oid not in (select {t}::regclass::oid union select indexrelid from pg_index where indrelid = {t}::regclass))"
                " or exists ({changed} except select {t}::regclass::oid"
                " except select indexrelid from pg_index where indrelid = {t}::regclass)"
                " or exists (select from pg_type where {ours} and typtype in ('e', 'd', 'r'))",
                t=literal(render(table)),
                changed=joined(changed, " union "),
                ours=verbatim(_OURS),
            )
        )
    )
