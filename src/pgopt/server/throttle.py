"""Reasons to go slower: standbys that lag, and too much WAL."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgopt.server.session import Session

LOOK_EVERY = 1.0


class Throttle:
    """Looks at the server at most once a second."""

    def __init__(self, session: Session, lag: float, wal_rate: float) -> None:
        self.session = session
        self.lag = lag
        self.wal_rate = wal_rate
        self.looked = time.monotonic()
        self.position = self._position() if wal_rate else 0

    def reasons(self) -> Iterator[tuple[str, float]]:
        """Give each reason to wait with the seconds, until there is none."""
        if time.monotonic() - self.looked < LOOK_EVERY:
            return
        if self.wal_rate:
            yield from self._too_much_wal()
        while self.lag and (behind := self._behind()) > self.lag:
            yield f"a standby is {behind:.0f} s behind", LOOK_EVERY
        self.looked = time.monotonic()

    def _too_much_wal(self) -> Iterator[tuple[str, float]]:
        now, elapsed = self._position(), time.monotonic() - self.looked
        written = now - self.position
        self.position = now
        if (pause := written / self.wal_rate - elapsed) > 0:
            yield f"{written / elapsed / 1e6:.0f} MB of WAL a second", pause
            self.position = self._position()

    def _behind(self) -> float:
        query = "select coalesce(max(extract(epoch from replay_lag)), 0)::float8 from pg_stat_replication"
        return float(self.session.value(query))

    def _position(self) -> int:
        return int(self.session.value("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8"))
