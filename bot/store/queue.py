"""The ledger's queue: what shall be built, what became of it, and what people said about it.

    asked → queued → starting → running → published
              ↑ after a while ──┴────┴──→ failed             any but the last three → ignored

A state changes in one transaction that looks at the state before, so of any number of processes
one does it. `starting` is held by a lease: whoever dies in it leaves the task to the next, who
asks the executor whether it was started.
"""

from __future__ import annotations

from collections.abc import Sequence
from sqlite3 import Connection, Row

from bot.errors import SourceError
from bot.legible import legible
from bot.store.ledger import Ledger
from bot.store.queue_tables import (
    PAUSED,
    Event,
    Memory,
    Order,
    QueuedRelease,
    change_state,
    created_at_of,
    event_of,
    insert_task,
    is_original,
    is_paused,
    next_build,
    next_look,
    reset_attempts,
    task_by_id,
    task_of,
    twin_of,
    uncount_attempt,
    write_event,
)
from bot.store.sightings import Decided, write_sighting

STARTING = 180.0  # seconds that a start may take
BUSY = 300.0  # seconds until a task that runs elsewhere is asked for again
AGREED = 3600.0  # seconds until it is looked again whether a person merged a release
FIRST_RETRY, LONGEST_RETRY = 600.0, 86_400.0  # seconds


class Queue:
    """Tasks and events of one ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    # ── deciding ────────────────────────────────────────────────────────────────────────────

    def memory(self, repo: str, commit: str, weights: str | None) -> Memory:
        """What bears on a release at a commit with these weights."""
        with self.ledger.reading() as db:
            ignored = db.execute("SELECT because FROM ignored WHERE repo = ?", (repo,)).fetchone()
            same = twin_of(db, repo, commit, weights)
            own = db.execute(
                "SELECT * FROM tasks WHERE repo = ? ORDER BY created DESC, rowid DESC LIMIT 1",
                (repo,),
            ).fetchone()
            twin_created = created_at_of(db, same["repo"]) if same else None
        return Memory(
            ignored=ignored["because"] if ignored else None,
            same=task_of(same) if same else None,
            same_created=twin_created,
            own=task_of(own) if own else None,
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
            task = db.execute(
                "SELECT id, state, changed FROM tasks WHERE commit_id = ? AND repo = ?",
                (decided.commit, decided.repo),
            ).fetchone()
            if task is not None:
                _propose_again(db, task, decided, state, now, news)
                return None
            if not _takes_the_place_of_its_twin(db, decided, now):
                return None
            db.execute(
                "UPDATE tasks SET state = 'ignored', error = 'a newer commit took its place',"
                " changed = ? WHERE repo = ? AND state IN ('asked', 'queued')",
                (now, decided.repo),
            )
            task_id = insert_task(db, decided, tiers, state, now)
            write_event(db, now, state, decided.repo, decided.reason)
            return task_by_id(db, task_id)

    # ── doing ───────────────────────────────────────────────────────────────────────────────

    def claim(
        self,
        now: float,
        *,
        at_once: int,
        per_hour: int,
        hours_per_tb: float = 0.0,
        small_gb: float = 0.0,
    ) -> QueuedRelease | None:
        """Take the next task to start, or one whose starter died; None where nothing may start.

        A task stands where it would if it were due `hours_per_tb` later for each 10^12 bytes of
        its weights: what is due after that time never overtakes it. Of several places, one is kept
        for tasks of at most `small_gb` (10^9 bytes), and for larger ones from that time on; 0
        keeps none.

        What waits for a person is only looked at: one such look at a time, beside the builds, and
        neither it nor a look whether another bot is done counts as a build of the hour.
        """
        order = Order(
            at_once=at_once, per_hour=per_hour, hours_per_tb=hours_per_tb, small_gb=small_gb
        )
        with self.ledger.writing() as db:
            if is_paused(db):
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
                return task_by_id(db, orphan["id"])
            row = next_build(db, now, order) or next_look(db, now)
            if row is None:
                return None
            db.execute(
                "UPDATE tasks SET state = 'starting', lease = ?, attempts = attempts + 1,"
                " changed = ? WHERE id = ?",
                (now + STARTING, now, row["id"]),
            )
            kind = "started" if row["look"] is None else "looked"
            write_event(db, now, kind, row["repo"], f"attempt {row['attempts'] + 1}")
            return task_by_id(db, row["id"])

    def running(self) -> list[QueuedRelease]:
        """Tasks that an executor has."""
        return self.tasks(("running",))

    def started(self, task: QueuedRelease, link: str | None, now: float) -> None:
        """The executor has the task."""
        with self.ledger.writing() as db:
            change_state(db, task.id, "starting", "running", now, link=link)

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
            if change_state(db, task.id, task.state, "published", now, link=link, page=page):
                db.execute("UPDATE tasks SET stale = NULL WHERE id = ?", (task.id,))
                text = "; ".join((f"attempt {task.attempts}", *lacks))
                write_event(db, now, "published", task.repo, text, page or link)

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
                before = task_by_id(db, task.id)
                faults, final = before.faults, final or (repeats and before.error == error)
                over = final or faults >= attempts
            else:
                faults, over = 0, now - task.created >= patience
            wait = min(FIRST_RETRY * 4 ** min(task.attempts - 1, 9), LONGEST_RETRY)
            if not change_state(
                db, task.id, task.state, "failed" if over else "queued", now,
                due=now + wait, error=error, link=link,
            ):  # fmt: skip
                return
            counted = f", failure {faults} of {attempts}" if faults and not final else ""
            tries = f"attempt {task.attempts}{counted}"
            write_event(
                db, now, "gave_up" if over else "failed", task.repo, f"{tries}: {error}", link
            )

    def elsewhere(self, task: QueuedRelease, now: float) -> None:
        """Another process works on the task: ask again later, without counting an attempt."""
        with self.ledger.writing() as db:
            if change_state(db, task.id, task.state, "queued", now, due=now + BUSY):
                uncount_attempt(db, task, now, "busy")

    def waits(self, task: QueuedRelease, link: str, now: float) -> None:
        """A person has to merge the pull request `link` first: look again later, uncounted."""
        text = f"waits for a person: merge {link} to publish, or close it"
        with self.ledger.writing() as db:
            if change_state(
                db, task.id, task.state, "queued", now, due=now + AGREED, error=text, link=link
            ):
                uncount_attempt(db, task, now, "person")
                if task.error != text:
                    write_event(db, now, "asked", task.repo, text, link)

    def stale(self, task: QueuedRelease, wrong: str, then: str, now: float) -> None:
        """Mark what was published: something is wrong with it. `then`: rebuild, ask or leave.

        A mark that stands already is no news.
        """
        with self.ledger.writing() as db:
            marked = db.execute(
                "UPDATE tasks SET stale = ? WHERE id = ? AND state = 'published'"
                " AND stale IS NOT ?",
                (legible(wrong), task.id, legible(wrong)),
            )
            if not marked.rowcount:
                return
            write_event(db, now, "stale", task.repo, wrong, task.page or task.link)
            if then != "leave":
                state = "queued" if then == "rebuild" else "asked"
                change_state(db, task.id, "published", state, now, due=now)
                reset_attempts(db, task.id, now)

    def resumed(self, link: str, now: float) -> QueuedRelease | None:
        """What failed with this link runs again; None where no task did."""
        with self.ledger.writing() as db:
            row = db.execute(
                "SELECT id, state, repo FROM tasks WHERE link = ?"
                " AND state IN ('failed', 'queued')",
                (link,),
            ).fetchone()
            if row is None or not change_state(db, row["id"], row["state"], "running", now):
                return None
            write_event(db, now, "retried", row["repo"], "runs again", link)
            return task_by_id(db, row["id"])

    # ── people ──────────────────────────────────────────────────────────────────────────────

    def approve(self, repo: str, now: float) -> QueuedRelease:
        """Queue what was asked. Raises SourceError when nothing was."""
        with self.ledger.writing() as db:
            task = self._latest(db, repo, ("asked",))
            if task is None:
                raise SourceError(f"nothing was asked about {repo}; see `bot status`")
            change_state(db, task.id, "asked", "queued", now, due=now)
            write_event(db, now, "approved", repo, "approved")
            return task_by_id(db, task.id)

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
            change_state(db, task.id, task.state, "queued", now, due=now)
            reset_attempts(db, task.id, now)
            write_event(db, now, "retried", repo, "queued again")
            return task_by_id(db, task.id)

    def ignore(self, repo: str, because: str, now: float) -> None:
        """Never build a repository, until `retry`. What runs already goes on."""
        with self.ledger.writing() as db:
            db.execute("INSERT OR REPLACE INTO ignored VALUES (?, ?, ?)", (repo, because, now))
            db.execute(
                "UPDATE tasks SET state = 'ignored', error = ?, changed = ?"
                " WHERE repo = ? AND state IN ('asked', 'queued', 'failed')",
                (because, now, repo),
            )
            write_event(db, now, "ignored", repo, because)

    def pause(self, because: str, now: float) -> None:
        """Start nothing until `resume`; looking and deciding go on."""
        self.ledger.remember(PAUSED, because, now)

    def resume(self) -> None:
        """Start what is queued again."""
        self.ledger.forget(PAUSED)

    # ── asking ──────────────────────────────────────────────────────────────────────────────

    def tasks(self, states: Sequence[str], limit: int = 1000) -> list[QueuedRelease]:
        """Tasks in some states, the latest change first."""
        question = "SELECT * FROM tasks WHERE state = ? ORDER BY changed DESC, id LIMIT ?"
        with self.ledger.reading() as db:  # state by state: so none but the latest are read
            rows = [row for state in states for row in db.execute(question, (state, limit))]
        rows.sort(key=lambda row: (-row["changed"], row["id"]))
        return [task_of(row) for row in rows[:limit]]

    def counts(self) -> dict[str, int]:
        """How many tasks there are in each state."""
        with self.ledger.reading() as db:
            return dict(db.execute("SELECT state, count(*) FROM tasks GROUP BY state").fetchall())

    def events(self, limit: int, repo: str | None = None) -> list[Event]:
        """The latest events, of one repository or of all; latest first."""
        of_one = ("WHERE repo = ?", (repo,)) if repo is not None else ("", ())
        with self.ledger.reading() as db:
            rows = db.execute(
                f"SELECT * FROM events {of_one[0]} ORDER BY id DESC LIMIT ?",  # noqa: S608 - ours
                (*of_one[1], limit),
            ).fetchall()
        return [event_of(row) for row in rows]

    def untold(self, kinds: Sequence[str], since: float, limit: int) -> list[Event]:
        """Events of some kinds that no notification went out for, oldest first."""
        marks = ",".join("?" * len(kinds))
        with self.ledger.reading() as db:
            rows = db.execute(
                f"SELECT * FROM events WHERE told = 0 AND kind IN ({marks})"  # noqa: S608 - marks
                " AND at >= ? ORDER BY id LIMIT ?",
                (*kinds, since, limit),
            ).fetchall()
        return [event_of(row) for row in rows]

    def told(self, event_id: int) -> None:
        """A notification of this event went out."""
        with self.ledger.writing(lazily=True) as db:
            db.execute("UPDATE events SET told = 1 WHERE id = ?", (event_id,))

    def say(
        self, now: float, kind: str, text: str, repo: str | None = None, link: str | None = None
    ) -> None:
        """Keep an event."""
        with self.ledger.writing(lazily=True) as db:
            write_event(db, now, kind, repo, text, link)

    def _latest(self, db: Connection, repo: str, states: Sequence[str]) -> QueuedRelease | None:
        marks = ",".join("?" * len(states))
        row = db.execute(
            f"SELECT * FROM tasks WHERE repo = ? AND state IN ({marks})"  # noqa: S608 - marks only
            " ORDER BY created DESC, rowid DESC LIMIT 1",
            (repo, *states),
        ).fetchone()
        return task_of(row) if row else None


def _propose_again(
    db: Connection, task: Row, decided: Decided, state: str, now: float, news: float | None
) -> None:
    """Queue a task that waited for an approval needed no more, or failed before `news`."""
    if task["state"] == "asked" and state == "queued":
        change_state(db, task["id"], "asked", "queued", now, due=now)
    if task["state"] == "failed" and news is not None and task["changed"] < news:
        change_state(db, task["id"], "failed", state, now, due=now)
        reset_attempts(db, task["id"], now)
        text = f"again, as something changed: {decided.reason}"
        write_event(db, now, state, decided.repo, text)


def _takes_the_place_of_its_twin(db: Connection, decided: Decided, now: float) -> bool:
    """False where another repository's task of the same commit or weights goes first."""
    twin = twin_of(db, decided.repo, decided.commit, decided.weights)
    if twin is None:
        return True
    if not is_original(decided.created, task_of(twin), created_at_of(db, twin["repo"])):
        return False
    because = f"its original {decided.repo} took its place"
    change_state(db, twin["id"], twin["state"], "ignored", now, error=because)
    return True
