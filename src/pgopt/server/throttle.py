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
        self.position = self._position() if wal_rate or lag else 0
        # when the server had written how much
        self.marks = [(self.looked, self.position)]

    @property
    def blind(self) -> bool:
        """Whether there are standbys, and this role cannot see how they are."""
        hidden = "select exists (select from pg_stat_replication where state is null)"
        return bool(self.lag and self.session.value(hidden))

    def reasons(self) -> Iterator[tuple[str, float]]:
        """Give each reason to wait with the seconds, until there is none."""
        if time.monotonic() - self.looked < LOOK_EVERY:
            return
        if self.wal_rate:
            yield from self._too_much_wal()
        if self.lag:
            yield from self._late_standbys()
        self.looked = time.monotonic()

    def _too_much_wal(self) -> Iterator[tuple[str, float]]:
        now, elapsed = self._position(), time.monotonic() - self.looked
        written = now - self.position
        self.position = now
        if (pause := written / self.wal_rate - elapsed) > 0:
            yield f"{written / elapsed / 1e6:.0f} MB of WAL a second", pause
            self.position = self._position()

    def _late_standbys(self) -> Iterator[tuple[str, float]]:
        while (latest := self._latest())[0] > self.lag:
            behind, name = latest
            yield f"standby {name} is {behind:.0f} s behind", LOOK_EVERY
        self.marks.append((time.monotonic(), self._position()))

    def _latest(self) -> tuple[float, str]:
        """Give the standby that is furthest behind, and how long ago that was written which it has not replayed.

        `replay_lag` does not tell: it is how late the last thing was that the standby has replayed, and neither grows
        while nothing is replayed, nor falls when the standby has caught up and nothing more is written.
        """
        standbys = self.session.rows(
            "select application_name, pg_wal_lsn_diff(replay_lsn, '0/0')::int8,"
            " coalesce(extract(epoch from replay_lag), 0)::float8 from pg_stat_replication where replay_lsn is not null"
        )
        now = time.monotonic()
        least = min((replayed for _, replayed, _ in standbys), default=self.marks[-1][1])
        # the last one stays for a standby that is still to come
        self.marks = [mark for mark in self.marks if mark[1] > least] or self.marks[-1:]
        found = [(0.0, "")]
        for name, replayed, lag in standbys:
            if missing := [at for at, position in self.marks if position > replayed]:
                # it may have been late before we looked for the first time
                found.append((max(now - missing[0], lag), name))
        return max(found)

    def _position(self) -> int:
        return int(self.session.value("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8"))
