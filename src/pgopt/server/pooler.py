"""Poolers that give a client another session of the server for each transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgopt.errors import PoolerInBetween

if TYPE_CHECKING:
    from pgopt.server.session import Session


def refuse_pooler(session: Session, *, keeps_sessions: bool) -> None:
    """Refuse a connection through a pooler, where neither an advisory lock nor a setting need be there at the next statement.

    A pooler has to invent the process that it tells its client at the beginning, so one question tells of it. Of its mode
    only its operator knows::

        refuse_pooler(session, keeps_sessions=settings.session_pooler)
    """
    if keeps_sessions:
        return
    if (told := _pid_told(session)) is not None and told != session.pid:
        raise PoolerInBetween(
            "a pooler is between pgopt and the server, and may give it another session for each transaction, without its locks and"
            " settings: say the server's own address, or set PGOPT_SESSION_POOLER=1 where the pooler keeps a session for each client"
        )


def _pid_told(session: Session) -> int | None:
    """Give the process that the other side has named when the driver connected."""
    driver: Any = session.connection.connection.driver_connection
    if (info := getattr(driver, "info", None)) is not None:
        return int(info.backend_pid)
    # asyncpg's
    ask = getattr(driver, "get_server_pid", None)
    return None if ask is None else int(ask())
