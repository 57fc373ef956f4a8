"""The ledger's memory of a Hub: what was listed, decided and why, how far feeds were read."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from sqlite3 import Connection, Row
from typing import Any

from bot.errors import SettingsError
from bot.store.ledger import Ledger

LEASE = 900.0  # seconds: longer than any wait for the request budget
MANY = 500  # names in one question to SQLite
DAMAGED = "the ledger's facts of a decision are damaged"
AGAIN = "`bot retry` of that model has it looked at again"
MOST_HINTS = 2_000  # releases that webhooks may ask to look at before polling catches up


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """A repository as it was last decided about."""

    repo: str
    commit: str
    kind: str
    outcome: str
    first_seen: float
    weights: str | None
    weights_at: float | None
    look_at: float | None


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A decision to be kept, with all that it rested on."""

    repo: str
    commit: str
    kind: str
    outcome: str
    reason: str
    until: float | None
    look_at: float | None
    weights: str | None
    weights_at: float | None
    facts: Mapping[str, Any]
    texts: Mapping[str, str] = field(default_factory=dict)  # hashes beside the weights, by path
    bytes: int | None = None  # of the weights

    @property
    def created(self) -> str | None:
        """When the repository was made: ISO 8601, UTC."""
        return created_of(self.facts)


@dataclass(frozen=True, kw_only=True)
class Past:
    """A decision that was kept."""

    id: int
    repo: str
    commit: str
    at: float
    kind: str
    outcome: str
    reason: str
    until: float | None


@dataclass(frozen=True, kw_only=True)
class Feed:
    """How far a listing was read."""

    name: str
    mark: float | None
    etag: str | None
    looked: float | None


class Sightings:
    """Releases, decisions and feeds of one ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    # ── releases ────────────────────────────────────────────────────────────────────────────

    def known(self, repos: Sequence[str]) -> dict[str, Sighting]:
        """What is known of these repositories."""
        sightings: dict[str, Sighting] = {}
        with self.ledger.reading() as db:
            for start in range(0, len(repos), MANY):
                part = repos[start : start + MANY]
                marks = ",".join("?" * len(part))
                rows = db.execute(
                    f"SELECT * FROM releases WHERE repo IN ({marks})",  # noqa: S608 - marks only
                    part,
                )
                sightings |= {row["repo"]: _sighting(row) for row in rows}
        return sightings

    def due(self, now: float, limit: int) -> list[Sighting]:
        """Releases to look at again by now, the longest due first."""
        with self.ledger.reading() as db:
            rows = db.execute(
                "SELECT * FROM releases WHERE look_at <= ? ORDER BY look_at LIMIT ?", (now, limit)
            ).fetchall()
        return [_sighting(row) for row in rows]

    def look_again(self, repo: str, at: float) -> None:
        """Have a release looked at again at a time."""
        with self.ledger.writing(lazily=True) as db:
            db.execute("UPDATE releases SET look_at = ? WHERE repo = ?", (at, repo))

    def reconsider(self, outcomes: Sequence[str], at: float) -> int:
        """Have all releases of some outcomes decided anew from a time on; how many there are."""
        marks = ",".join("?" * len(outcomes))
        with self.ledger.writing() as db:
            return db.execute(
                # without its commit, nothing is known of a release
                f"UPDATE releases SET look_at = ?, commit_id = '' WHERE outcome IN ({marks})",  # noqa: S608 - marks only
                (at, *outcomes),
            ).rowcount

    def reconsider_failed(self, at: float) -> int:
        """Have releases whose build failed decided anew from a time on; how many there are."""
        with self.ledger.writing() as db:
            return db.execute(
                "UPDATE releases SET look_at = ?, commit_id = ''"
                " WHERE repo IN (SELECT repo FROM tasks WHERE state = 'failed')",
                (at,),
            ).rowcount

    def hint(self, repo: str, commit: str | None, now: float) -> bool:
        """Somebody says that a repository changed; whether that was news.

        Only a time to look is kept, so a repeated or invented hint costs one look at most.
        """
        with self.ledger.writing(lazily=True) as db:
            row = db.execute(
                "SELECT commit_id, look_at FROM releases WHERE repo = ?", (repo,)
            ).fetchone()
            if row is None:
                waiting = db.execute(
                    "SELECT count(*) FROM releases WHERE kind = 'wait' AND outcome = 'hinted'"
                ).fetchone()[0]
                if waiting >= MOST_HINTS:
                    return False
                db.execute(
                    "INSERT INTO releases (repo, commit_id, first_seen, kind, outcome, look_at)"
                    " VALUES (?, '', ?, 'wait', 'hinted', ?)",
                    (repo, now, now),
                )
                return True
            if row["commit_id"] == commit or (row["look_at"] or now + 1) <= now:
                return False
            db.execute("UPDATE releases SET look_at = ? WHERE repo = ?", (now, repo))
            return True

    def renamed(self, old: str, new: str) -> None:
        """A repository has another name now; its past goes with it."""
        with self.ledger.writing() as db:
            db.execute("UPDATE OR IGNORE releases SET repo = ? WHERE repo = ?", (new, old))
            db.execute("DELETE FROM releases WHERE repo = ?", (old,))
            for table in ("decisions", "tasks"):
                db.execute(f"UPDATE {table} SET repo = ? WHERE repo = ?", (new, old))  # noqa: S608
            db.execute("UPDATE OR IGNORE ignored SET repo = ? WHERE repo = ?", (new, old))

    # ── decisions ───────────────────────────────────────────────────────────────────────────

    def record(self, decided: Iterable[Decided], now: float) -> None:
        """Keep decisions, all or none."""
        with self.ledger.writing(lazily=True) as db:
            for decision in decided:
                write_sighting(db, decision, now)

    def is_known(self, repo: str) -> bool:
        """Whether a repository was ever seen, whatever is still kept of it."""
        return bool(self.known([repo]))

    def history(self, repo: str) -> list[Past]:
        """All decisions about a repository, oldest first."""
        with self.ledger.reading() as db:
            rows = db.execute("SELECT * FROM decisions WHERE repo = ? ORDER BY id", (repo,))
            return [_past(row) for row in rows]

    def since(self, at: float) -> Iterator[Past]:
        """All decisions made since a time, oldest first, read as they are asked for."""
        with self.ledger.reading() as db:
            yield from map(
                _past, db.execute("SELECT * FROM decisions WHERE at >= ? ORDER BY at, id", (at,))
            )

    def facts(self, decision: int) -> dict[str, Any]:
        """What a decision rested on."""
        with self.ledger.reading() as db:
            row = db.execute("SELECT facts FROM decisions WHERE id = ?", (decision,)).fetchone()
        return opened(row["facts"])

    def waiting(self, limit: int) -> list[tuple[Past, float | None]]:
        """The latest decision of each release that waits, with when it is looked at again."""
        with self.ledger.reading() as db:
            rows = db.execute(
                "SELECT d.*, r.look_at FROM releases r JOIN decisions d ON d.id ="
                " (SELECT max(id) FROM decisions WHERE repo = r.repo)"
                " WHERE r.kind = 'wait'"
                # most of all wait for weights that never come; in these words it is an index's
                " ORDER BY r.outcome = 'no_weights_yet', r.decided DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [(_past(row), row["look_at"]) for row in rows]

    def counts(self) -> dict[str, int]:
        """How many releases wait, by outcome."""
        with self.ledger.reading() as db:
            rows = db.execute(
                "SELECT outcome, count(*) FROM releases WHERE kind = 'wait' GROUP BY outcome"
            )
            return {row[0]: row[1] for row in rows}

    # ── feeds ───────────────────────────────────────────────────────────────────────────────

    def take(
        self,
        name: str,
        holder: str,
        now: float,
        *,
        is_dead: Callable[[str], bool] = lambda _holder: False,
    ) -> Feed | None:
        """Begin to read a feed; None while another watcher, which lives, reads it."""
        with self.ledger.writing() as db:
            db.execute("INSERT OR IGNORE INTO feeds (name) VALUES (?)", (name,))
            row = db.execute("SELECT * FROM feeds WHERE name = ?", (name,)).fetchone()
            is_taken = row["lease"] is not None and row["lease"] > now and row["holder"] != holder
            if is_taken and not is_dead(row["holder"]):
                return None
            db.execute(
                "UPDATE feeds SET holder = ?, lease = ? WHERE name = ?", (holder, now + LEASE, name)
            )
        return Feed(name=name, mark=row["mark"], etag=row["etag"], looked=row["looked"])

    def hold(self, name: str, holder: str, now: float) -> bool:
        """Go on reading a feed; False when another watcher took it over meanwhile."""
        with self.ledger.writing(lazily=True) as db:
            return bool(
                db.execute(
                    "UPDATE feeds SET lease = ? WHERE name = ? AND holder = ?",
                    (now + LEASE, name, holder),
                ).rowcount
            )

    def leave(self, name: str, holder: str) -> None:
        """End reading a feed before its end: nothing is kept of it."""
        with self.ledger.writing() as db:
            db.execute(
                "UPDATE feeds SET lease = NULL WHERE name = ? AND holder = ?", (name, holder)
            )

    def read(self, feed: Feed, holder: str) -> None:
        """A feed was read to its end: keep its mark."""
        with self.ledger.writing() as db:
            db.execute(
                "UPDATE feeds SET mark = ?, etag = ?, looked = ?, lease = NULL"
                " WHERE name = ? AND holder = ?",
                (feed.mark, feed.etag, feed.looked, feed.name, holder),
            )

    def feeds(self) -> list[Feed]:
        """All feeds that were ever read."""
        with self.ledger.reading() as db:
            rows = db.execute("SELECT name, mark, etag, looked FROM feeds ORDER BY name")
            return [Feed(**row) for row in map(dict, rows)]


def opened(packed: bytes) -> dict[str, Any]:
    """The facts of a decision, as they are kept. Raises SettingsError for damaged ones."""
    try:
        facts = json.loads(zlib.decompress(packed))
    except (zlib.error, ValueError, TypeError, RecursionError) as error:
        raise SettingsError(f"{DAMAGED} ({error}); {AGAIN}") from error
    if not isinstance(facts, dict):
        raise SettingsError(f"{DAMAGED}; {AGAIN}")
    return facts


def created_of(facts: Mapping[str, Any]) -> str | None:
    """When the repository that facts are of was made: ISO 8601, UTC."""
    listed = facts.get("listed")
    created = listed.get("created_at") if isinstance(listed, Mapping) else None
    return created if isinstance(created, str) else None


def write_sighting(db: Connection, decided: Decided, now: float) -> None:
    """One decision: a new row unless the latest about this repository says the same."""
    latest = db.execute(
        "SELECT commit_id, kind, outcome, reason, until, at FROM decisions WHERE repo = ?"
        " ORDER BY id DESC LIMIT 1",
        (decided.repo,),
    ).fetchone()
    is_news = latest is None or tuple(latest)[:-1] != (
        decided.commit, decided.kind, decided.outcome, decided.reason, decided.until,
    )  # fmt: skip
    if is_news:
        packed = zlib.compress(json.dumps(decided.facts, separators=(",", ":")).encode(), 3)
        db.execute(
            "INSERT INTO decisions (repo, commit_id, at, kind, outcome, reason, until, facts)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                decided.repo,
                decided.commit,
                now,
                decided.kind,
                decided.outcome,
                decided.reason,
                decided.until,
                packed,
            ),
        )
    db.execute(
        "INSERT INTO releases (repo, commit_id, weights, weights_at, first_seen, kind, outcome,"
        " look_at, decided) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (repo) DO UPDATE SET commit_id = excluded.commit_id,"
        " weights = coalesce(excluded.weights, weights),"
        " weights_at = coalesce(excluded.weights_at, weights_at),"
        " kind = excluded.kind, outcome = excluded.outcome, look_at = excluded.look_at,"
        " decided = excluded.decided",
        (
            decided.repo, decided.commit, decided.weights, decided.weights_at, now,
            decided.kind, decided.outcome, decided.look_at, now if is_news else latest["at"],
        ),
    )  # fmt: skip


def _sighting(row: Row) -> Sighting:
    return Sighting(
        repo=row["repo"],
        commit=row["commit_id"],
        kind=row["kind"],
        outcome=row["outcome"],
        first_seen=row["first_seen"],
        weights=row["weights"],
        weights_at=row["weights_at"],
        look_at=row["look_at"],
    )


def _past(row: Row) -> Past:
    return Past(
        id=row["id"],
        repo=row["repo"],
        commit=row["commit_id"],
        at=row["at"],
        kind=row["kind"],
        outcome=row["outcome"],
        reason=row["reason"],
        until=row["until"],
    )
