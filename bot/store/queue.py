"""The ledger's queue: what shall be built, what became of it, and what people said about it.

    asked → queued → starting → running → published
              ↑ after a while ──┴────┴──→ failed             any but the last three → ignored

A state changes in one transaction that looks at the state before, so of any number of processes
one does it. `starting` is held by a lease: whoever dies in it leaves the task to the next, who
asks the executor whether it was started.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from sqlite3 import Connection, Row

from bot.errors import SettingsError, SourceError
from bot.legible import legible
from bot.records.coding import digest
from bot.store.ledger import Ledger
from bot.store.sightings import Decided, created_of, opened, write_sighting

STARTING = 180.0  # seconds that a start may take
BUSY = 300.0  # seconds until a task that runs elsewhere is asked for again
AGREED = 3600.0  # seconds until it is looked again whether a person merged a release
FIRST_RETRY, LONGEST_RETRY = 600.0, 86_400.0  # seconds
OPEN = ("asked", "queued", "starting", "running")
PAUSED = "paused"
NOTES = ("ordered", "cancelled", "stalled")  # about runs on GitHub, in the ledger's memory


@dataclass(frozen=True, kw_only=True)
class QueuedRelease:
    """A release at one commit that shall be built."""

    id: str
    repo: str
    commit: str
    weights: str
    tiers: tuple[str, ...]
    reason: str
    state: str
    attempts: int
    due: float
    error: str | None
    link: str | None
    created: float
    changed: float
    page: str | None = None  # of the published repository, where its run told
    faults: int = 0  # attempts that failed for a reason of its own
    look: str | None = None  # whose end its next start asks for: a person's, another bot's ("busy")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the queue knows that bears on a release."""

    ignored: str | None = None  # because of what
    same: QueuedRelease | None = None  # of the same commit or weights under another name
    same_created: str | None = None  # when that repository was made, ISO 8601, UTC
    own: QueuedRelease | None = None  # the latest of this repository


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that people may want to hear of."""

    id: int
    at: float
    kind: str
    repo: str | None
    text: str
    link: str | None


class Queue:
    """Tasks and events of one ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    # ── deciding ────────────────────────────────────────────────────────────────────────────

    def memory(self, repo: str, commit: str, weights: str | None) -> Memory:
        """What bears on a release at a commit with these weights."""
        with self.ledger.reading() as db:
            ignored = db.execute("SELECT because FROM ignored WHERE repo = ?", (repo,)).fetchone()
            same = _twin(db, repo, commit, weights)
            own = db.execute(
                "SELECT * FROM tasks WHERE repo = ? ORDER BY created DESC, rowid DESC LIMIT 1",
                (repo,),
            ).fetchone()
            twin_created = _created_at(db, same["repo"]) if same else None
        return Memory(
            ignored=ignored["because"] if ignored else None,
            same=_task(same) if same else None,
            same_created=twin_created,
            own=_task(own) if own else None,
        )

    def propose(
        self,
        decided: Decided,
        tiers: Sequence[str],
        now: float,
        *,
        needs_approval: bool,
        news: float | None = None,
    ) -> QueuedRelease | None:
        """Keep a decision to build and its task, in one transaction.

        None when there is a task already, of this commit or of these weights elsewhere. One that
        waited for an approval that is not needed any more is queued; so is one that failed before
        `news`, the time from which on something is otherwise than it was. What was not started yet
        gives way: an older task of the same repository, and that of a copy to its original.
        """
        state = "asked" if needs_approval else "queued"
        with self.ledger.writing() as db:
            write_sighting(db, decided, now)
            task_row = db.execute(
                "SELECT id, state, changed FROM tasks WHERE commit_id = ? AND repo = ?",
                (decided.commit, decided.repo),
            ).fetchone()
            if task_row is not None:
                if task_row["state"] == "asked" and not needs_approval:
                    _change(db, task_row["id"], "asked", "queued", now, due=now)
                if (
                    task_row["state"] == "failed"
                    and news is not None
                    and task_row["changed"] < news
                ):
                    _change(db, task_row["id"], "failed", state, now, due=now)
                    _anew(db, task_row["id"], now)
                    event(
                        db,
                        now,
                        state,
                        decided.repo,
                        f"again, as something changed: {decided.reason}",
                    )
                return None
            twin = _twin(db, decided.repo, decided.commit, decided.weights)
            if twin is not None:
                ours = is_original(decided.created, _task(twin), _created_at(db, twin["repo"]))
                if not ours:
                    return None
                because = f"its original {decided.repo} took its place"
                _change(db, twin["id"], twin["state"], "ignored", now, error=because)
            db.execute(
                "UPDATE tasks SET state = 'ignored', error = 'a newer commit took its place',"
                " changed = ? WHERE repo = ? AND state IN ('asked', 'queued')",
                (now, decided.repo),
            )
            task = digest([decided.repo, decided.commit])[:16]
            db.execute(
                "INSERT INTO tasks (id, repo, commit_id, weights, tiers, reason, state, due,"
                " created, changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    task, decided.repo, decided.commit, decided.weights, json.dumps(list(tiers)),
                    decided.reason, state, now, now, now,
                ),
            )  # fmt: skip
            event(db, now, state, decided.repo, decided.reason)
            return _task_by_id(db, task)

    # ── doing ───────────────────────────────────────────────────────────────────────────────

    def claim(self, now: float, *, at_once: int, per_hour: int) -> QueuedRelease | None:
        """Take the next task to start, or one whose starter died; None where nothing may start.

        What waits for a person is only looked at: one such look at a time, beside the builds, and
        neither it nor a look whether another bot is done counts as a build of the hour.
        """
        with self.ledger.writing() as db:
            if _paused(db):
                return None
            orphan = db.execute(
                "SELECT * FROM tasks WHERE state = 'starting' AND lease <= ?"
                " ORDER BY lease LIMIT 1",
                (now,),
            ).fetchone()
            if orphan is not None:
                db.execute(
                    "UPDATE tasks SET lease = ? WHERE id = ?", (now + STARTING, orphan["id"])
                )
                return _task_by_id(db, orphan["id"])
            row = _next_build(db, now, at_once, per_hour) or _next_look(db, now)
            if row is None:
                return None
            db.execute(
                "UPDATE tasks SET state = 'starting', lease = ?, attempts = attempts + 1,"
                " changed = ? WHERE id = ?",
                (now + STARTING, now, row["id"]),
            )
            kind = "started" if row["look"] is None else "looked"
            event(db, now, kind, row["repo"], f"attempt {row['attempts'] + 1}")
            return _task_by_id(db, row["id"])

    def running(self) -> list[QueuedRelease]:
        """Tasks that an executor has."""
        return self.tasks(("running",))

    def started(self, task: QueuedRelease, link: str | None, now: float) -> None:
        """The executor has the task."""
        with self.ledger.writing() as db:
            _change(db, task.id, "starting", "running", now, link=link)

    def published(
        self,
        task: QueuedRelease,
        link: str | None,
        now: float,
        *,
        page: str | None = None,
        lacks: Sequence[str] = (),
    ) -> None:
        """The task is done; `page` is the address of the repository, where it is known.

        `lacks` are parts of the model that could not be converted, each with the reason.
        """
        with self.ledger.writing() as db:
            if _change(db, task.id, task.state, "published", now, link=link, page=page):
                text = "; ".join((f"attempt {task.attempts}", *lacks))
                event(db, now, "published", task.repo, text, page or link)

    def failed(
        self,
        task: QueuedRelease,
        error: str,
        link: str | None,
        now: float,
        *,
        attempts: int,
        final: bool,
        repeats: bool = False,
        patience: float | None = None,
    ) -> None:
        """The task failed: later once more, ten minutes at first and then ever later, or given up.

        `final` says that another attempt would fail in the same way; what `repeats` does, when the
        one before ended in the same words. What is no fault of the
        release is not given up after `attempts`, but after `patience` seconds.
        """
        with self.ledger.writing() as db:
            if patience is None:
                db.execute("UPDATE tasks SET faults = faults + 1 WHERE id = ?", (task.id,))
                before = _task_by_id(db, task.id)
                faults, final = before.faults, final or (repeats and before.error == error)
                over = final or faults >= attempts
            else:
                faults, over = 0, now - task.created >= patience
            wait = min(FIRST_RETRY * 4 ** min(task.attempts - 1, 9), LONGEST_RETRY)
            if not _change(
                db, task.id, task.state, "failed" if over else "queued", now,
                due=now + wait, error=error, link=link,
            ):  # fmt: skip
                return
            counted = f", failure {faults} of {attempts}" if faults and not final else ""
            tries = f"attempt {task.attempts}{counted}"
            event(db, now, "gave_up" if over else "failed", task.repo, f"{tries}: {error}", link)

    def elsewhere(self, task: QueuedRelease, now: float) -> None:
        """Another process works on the task: ask again later, without counting an attempt."""
        with self.ledger.writing() as db:
            if _change(db, task.id, task.state, "queued", now, due=now + BUSY):
                _uncount(db, task, now, "busy")

    def waits(self, task: QueuedRelease, link: str, now: float) -> None:
        """A person has to merge the pull request `link` first: look again later, uncounted."""
        text = f"waits for a person: merge {link} to publish, or close it"
        with self.ledger.writing() as db:
            if _change(
                db, task.id, task.state, "queued", now, due=now + AGREED, error=text, link=link
            ):
                _uncount(db, task, now, "person")
                if task.error != text:
                    event(db, now, "asked", task.repo, text, link)

    def resumed(self, link: str, now: float) -> QueuedRelease | None:
        """What failed with this link runs again; None where no task did."""
        with self.ledger.writing() as db:
            row = db.execute(
                "SELECT id, state, repo FROM tasks WHERE link = ?"
                " AND state IN ('failed', 'queued')",
                (link,),
            ).fetchone()
            if row is None or not _change(db, row["id"], row["state"], "running", now):
                return None
            event(db, now, "retried", row["repo"], "runs again", link)
            return _task_by_id(db, row["id"])

    # ── people ──────────────────────────────────────────────────────────────────────────────

    def approve(self, repo: str, now: float) -> QueuedRelease:
        """Queue what was asked. Raises SourceError when nothing was."""
        with self.ledger.writing() as db:
            task = self._latest(db, repo, ("asked",))
            if task is None:
                raise SourceError(f"nothing was asked about {repo}; see `bot status`")
            _change(db, task.id, "asked", "queued", now, due=now)
            event(db, now, "approved", repo, "approved")
            return _task_by_id(db, task.id)

    def retry(self, repo: str, now: float) -> QueuedRelease | None:
        """Queue what failed or was ignored, with all attempts again.

        None when there is no such task; the release is then looked at again. Raises SourceError
        when it was never seen.
        """
        with self.ledger.writing() as db:
            db.execute("DELETE FROM ignored WHERE repo = ?", (repo,))
            looked = db.execute(
                "UPDATE releases SET look_at = ?, commit_id = '' WHERE repo = ?", (now, repo)
            )
            task = self._latest(db, repo, ("failed", "ignored", "queued"))
            if task is None and not looked.rowcount:
                raise SourceError(f"{repo} was never seen; `bot publish {repo}` builds it now")
            if task is None:
                return None
            _change(db, task.id, task.state, "queued", now, due=now)
            _anew(db, task.id, now)
            event(db, now, "retried", repo, "queued again")
            return _task_by_id(db, task.id)

    def ignore(self, repo: str, because: str, now: float) -> None:
        """Never build a repository, until `retry`. What runs already goes on."""
        with self.ledger.writing() as db:
            db.execute("INSERT OR REPLACE INTO ignored VALUES (?, ?, ?)", (repo, because, now))
            db.execute(
                "UPDATE tasks SET state = 'ignored', error = ?, changed = ?"
                " WHERE repo = ? AND state IN ('asked', 'queued', 'failed')",
                (because, now, repo),
            )
            event(db, now, "ignored", repo, because)

    def pause(self, because: str, now: float) -> None:
        """Start nothing until `resume`; looking and deciding go on."""
        self.ledger.remember(PAUSED, because, now)

    def resume(self) -> None:
        """Start what is queued again."""
        self.ledger.forget(PAUSED)

    def prune(self, before: float) -> None:
        """Forget events, and notes about runs that are over, of before a time."""
        with self.ledger.writing() as db:
            db.execute("DELETE FROM events WHERE at < ?", (before,))
            for kind in NOTES:
                db.execute(
                    "DELETE FROM remembered WHERE at < ? AND name GLOB ?", (before, f"{kind}:*")
                )

    # ── asking ──────────────────────────────────────────────────────────────────────────────

    def tasks(self, states: Sequence[str], limit: int = 1000) -> list[QueuedRelease]:
        """Tasks in some states, the latest change first."""
        marks = ",".join("?" * len(states))
        with self.ledger.reading() as db:
            rows = db.execute(
                f"SELECT * FROM tasks WHERE state IN ({marks})"  # noqa: S608 - marks only
                " ORDER BY changed DESC, id LIMIT ?",
                (*states, limit),
            ).fetchall()
        return [_task(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """How many tasks there are in each state."""
        with self.ledger.reading() as db:
            return dict(db.execute("SELECT state, count(*) FROM tasks GROUP BY state").fetchall())

    def events(self, limit: int, repo: str | None = None) -> list[Event]:
        """The latest events, of one repository or of all; latest first."""
        with self.ledger.reading() as db:
            rows = db.execute(
                "SELECT * FROM events WHERE ?1 IS NULL OR repo = ?1 ORDER BY id DESC LIMIT ?2",
                (repo, limit),
            ).fetchall()
        return [_event(row) for row in rows]

    def untold(self, kinds: Sequence[str], since: float, limit: int) -> list[Event]:
        """Events of some kinds that no notification went out for, oldest first."""
        marks = ",".join("?" * len(kinds))
        with self.ledger.reading() as db:
            rows = db.execute(
                f"SELECT * FROM events WHERE told = 0 AND kind IN ({marks})"  # noqa: S608 - marks
                " AND at >= ? ORDER BY id LIMIT ?",
                (*kinds, since, limit),
            ).fetchall()
        return [_event(row) for row in rows]

    def told(self, event_id: int) -> None:
        """A notification of this event went out."""
        with self.ledger.writing(lazily=True) as db:
            db.execute("UPDATE events SET told = 1 WHERE id = ?", (event_id,))

    def say(
        self, now: float, kind: str, text: str, repo: str | None = None, link: str | None = None
    ) -> None:
        """Keep an event."""
        with self.ledger.writing(lazily=True) as db:
            event(db, now, kind, repo, text, link)

    def _latest(self, db: Connection, repo: str, states: Sequence[str]) -> QueuedRelease | None:
        marks = ",".join("?" * len(states))
        row = db.execute(
            f"SELECT * FROM tasks WHERE repo = ? AND state IN ({marks})"  # noqa: S608 - marks only
            " ORDER BY created DESC, rowid DESC LIMIT 1",
            (repo, *states),
        ).fetchone()
        return _task(row) if row else None


def is_original(created: str | None, twin: QueuedRelease, twin_created: str | None) -> bool:
    """Whether a repository goes before its twin, each with the time at which it was made.

    The older one does, unless work on the other has begun. Times are ISO 8601 in UTC.
    """
    return twin.state in ("asked", "queued") and bool(
        created and twin_created and created < twin_created
    )


def _twin(db: Connection, repo: str, commit: str, weights: str | None) -> Row | None:
    """The task of a commit or weights under another name; one that failed blocks nobody."""
    row: Row | None = db.execute(
        "SELECT * FROM tasks WHERE (commit_id = ? OR weights = ?) AND repo <> ?"
        " AND state NOT IN ('failed', 'ignored') ORDER BY created LIMIT 1",
        (commit, weights, repo),
    ).fetchone()
    return row


def _created_at(db: Connection, repo: str) -> str | None:
    """When a repository was made, by the latest decision about it."""
    row = db.execute(
        "SELECT facts FROM decisions WHERE repo = ? ORDER BY id DESC LIMIT 1", (repo,)
    ).fetchone()
    try:
        return created_of(opened(row["facts"])) if row else None
    except SettingsError:  # it is not known, which keeps what is queued
        return None


def event(
    db: Connection, now: float, kind: str, repo: str | None, text: str, link: str | None = None
) -> None:
    """Keep an event within a transaction."""
    db.execute(
        "INSERT INTO events (at, kind, repo, text, link) VALUES (?, ?, ?, ?, ?)",
        (now, kind, repo, legible(text), link),
    )


def _change(
    db: Connection,
    task: str,
    before: str,
    after: str,
    now: float,
    *,
    due: float | None = None,
    error: str | None = None,
    link: str | None = None,
    page: str | None = None,
) -> bool:
    """From one state to another; False when somebody else changed it meanwhile."""
    return bool(
        db.execute(
            "UPDATE tasks SET state = ?, changed = ?, lease = NULL, due = coalesce(?, due),"
            " error = coalesce(?, error), link = coalesce(?, link), page = coalesce(?, page),"
            " look = CASE WHEN ?1 IN ('running', 'starting') THEN look END"
            " WHERE id = ? AND state = ?",
            (after, now, due, error and legible(error), link, page, task, before),
        ).rowcount
    )


def _anew(db: Connection, task: str, now: float) -> None:
    """All attempts again."""
    db.execute(
        "UPDATE tasks SET attempts = 0, faults = 0, error = NULL, created = ? WHERE id = ?",
        (now, task),
    )


def _uncount(db: Connection, task: QueuedRelease, now: float, look: str) -> None:
    """An attempt is known by its number and the time: the next shall be another.

    What was started turned out to be a look, and did not build.
    """
    db.execute(
        "UPDATE tasks SET attempts = attempts - 1, created = ?, look = ? WHERE id = ?",
        (now, look, task.id),
    )
    db.execute(
        "UPDATE events SET kind = 'looked' WHERE id = (SELECT max(id) FROM events"
        " WHERE repo = ? AND kind = 'started')",
        (task.repo,),
    )


def _next_build(db: Connection, now: float, at_once: int, per_hour: int) -> Row | None:
    """The queued task that was due first, if the limits let another build begin."""
    busy = _count(
        db,
        "SELECT count(*) FROM tasks WHERE state IN ('starting', 'running')"
        " AND look IS NOT 'person'",
    )
    recent = _count(db, "SELECT count(*) FROM events WHERE kind = 'started' AND at > ?", now - 3600)
    if busy >= at_once:
        return None
    looks_only = recent >= per_hour
    row: Row | None = db.execute(
        "SELECT * FROM tasks WHERE state = 'queued' AND due <= ? AND look IS NOT 'person'"
        " AND (look = 'busy' OR NOT ?) ORDER BY due, created LIMIT 1",
        (now, looks_only),
    ).fetchone()
    return row


def _next_look(db: Connection, now: float) -> Row | None:
    """A task that waits for a person, unless another is looked at now."""
    if _count(
        db,
        "SELECT count(*) FROM tasks WHERE state IN ('starting', 'running') AND look = 'person'",
    ):
        return None
    row: Row | None = db.execute(
        "SELECT * FROM tasks WHERE state = 'queued' AND due <= ? AND look = 'person'"
        " ORDER BY due, created LIMIT 1",
        (now,),
    ).fetchone()
    return row


def _paused(db: Connection) -> bool:
    row = db.execute("SELECT 1 FROM remembered WHERE name = ?", (PAUSED,)).fetchone()
    return row is not None


def _count(db: Connection, question: str, *parameters: float) -> int:
    return int(db.execute(question, parameters).fetchone()[0])


def _task_by_id(db: Connection, task: str) -> QueuedRelease:
    return _task(db.execute("SELECT * FROM tasks WHERE id = ?", (task,)).fetchone())


def _task(row: Row) -> QueuedRelease:
    return QueuedRelease(
        id=row["id"],
        repo=row["repo"],
        commit=row["commit_id"],
        weights=row["weights"],
        tiers=_tiers(row),
        reason=row["reason"],
        state=row["state"],
        attempts=row["attempts"],
        due=row["due"],
        error=row["error"],
        link=row["link"],
        created=row["created"],
        changed=row["changed"],
        page=row["page"],
        faults=row["faults"],
        look=row["look"],
    )


def _tiers(row: Row) -> tuple[str, ...]:
    try:
        tiers = json.loads(row["tiers"])
    except (ValueError, TypeError, RecursionError):
        tiers = None
    if not isinstance(tiers, list) or not all(isinstance(tier, str) for tier in tiers):
        raise SettingsError(
            f"the ledger's task of {row['repo']} is damaged; put a copy of the ledger in its place "
            "(`bot db backup` makes one)"
        )
    return tuple(tiers)


def _event(row: Row) -> Event:
    return Event(
        id=row["id"],
        at=row["at"],
        kind=row["kind"],
        repo=row["repo"],
        text=row["text"],
        link=row["link"],
    )
