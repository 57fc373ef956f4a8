"""How many requests the Hub is sent: a sliding window in the ledger, shared by all watchers.

The Hub counts in fixed windows of five minutes whose start nobody knows; what is never exceeded
in any five minutes is never exceeded in those either.
"""

from __future__ import annotations

from bot.clients.hub.connection import Bucket
from bot.clock import Clock
from bot.settings.running import Budget
from bot.store.ledger import Ledger

WINDOW = 300.0  # seconds
SLOT = 10.0  # seconds that are counted together
NAP = 30.0  # seconds after which others may have changed what is allowed


class RequestBudget:
    """The gate that a watcher's requests pass."""

    def __init__(self, ledger: Ledger, allowed: Budget, clock: Clock) -> None:
        self._ledger, self._allowed, self._clock = ledger, allowed, clock

    def pass_one(self, bucket: Bucket) -> None:
        """Count one request; wait before as long as the budget or the Hub demands it."""
        while (wait := self._try(bucket)) > 0:
            self._clock.sleep(min(wait, NAP))

    def limited(self, bucket: Bucket, wait: float) -> None:
        """Send nothing more of this kind for `wait` seconds, nobody."""
        until = self._clock.now() + wait
        with self._ledger.writing(lazily=True) as db:
            db.execute(
                "INSERT INTO held VALUES (?, ?)"
                " ON CONFLICT (bucket) DO UPDATE SET until = max(until, excluded.until)",
                (bucket, until),
            )

    def spent(self, bucket: Bucket) -> int:
        """Requests of the last five minutes."""
        with self._ledger.reading() as db:
            row = db.execute(
                "SELECT coalesce(sum(requests), 0) FROM spent WHERE bucket = ? AND slot > ?",
                (bucket, self._oldest()),
            ).fetchone()
        return int(row[0])

    def _oldest(self) -> int:
        """The last slot that lies wholly before the window."""
        return int((self._clock.now() - WINDOW) // SLOT) - 1

    def _try(self, bucket: Bucket) -> float:
        """Count a request and return 0, or seconds to wait."""
        now, oldest = self._clock.now(), self._oldest()
        with self._ledger.writing(lazily=True) as db:
            held = db.execute("SELECT until FROM held WHERE bucket = ?", (bucket,)).fetchone()
            if held is not None and held["until"] > now:
                return float(held["until"] - now)
            rows = db.execute(
                "SELECT slot, requests FROM spent WHERE bucket = ? AND slot > ? ORDER BY slot",
                (bucket, oldest),
            ).fetchall()
            if sum(row["requests"] for row in rows) >= getattr(self._allowed, bucket):
                return float((rows[0]["slot"] + 1) * SLOT + WINDOW - now + 0.01)
            db.execute("DELETE FROM spent WHERE bucket = ? AND slot <= ?", (bucket, oldest))
            db.execute(
                "INSERT INTO spent VALUES (?, ?, 1)"
                " ON CONFLICT (bucket, slot) DO UPDATE SET requests = requests + 1",
                (bucket, int(now // SLOT)),
            )
        return 0.0
