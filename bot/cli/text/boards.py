"""The state of the watcher as a table."""

from __future__ import annotations

from bot.clock import span
from bot.legible import legible
from bot.store.board import Board
from bot.store.queue import QueuedRelease
from bot.wording.columns import table

LONGEST = 56  # letters of a reason
NAME = 52  # letters of a release's name


def text(found: Board) -> str:
    """What `bot status` prints."""
    parts = [_head(found)]
    if found.tasks:
        parts.append(_tasks(found, found.tasks))
    if found.published:
        parts.append(_tasks(found, found.published))
    if found.waiting:
        rows = [
            (_short(w.decision.repo, NAME), w.decision.outcome, _age(found, w.decision.at),
             _until(found, w.look_at), _short(w.decision.reason))
            for w in found.waiting
        ]  # fmt: skip
        parts.append(table(("waits", "for", "since", "next look", "why"), rows, left=5))
    return "\n\n".join(parts)


def _head(found: Board) -> str:
    states = ("asked", "queued", "starting", "running", "failed", "published", "ignored")
    counts = ", ".join(f"{found.counts[s]} {s}" for s in states if found.counts.get(s))
    waiting = sum(found.waiting_counts.values())
    well = found.trouble or f"watching, last whole look {_age(found, found.looked)} ago"
    spent = ", ".join(f"{found.spent.get(b, 0)} of {n} {b}" for b, n in found.allowed.items())
    lines = [
        well,
        f"{counts or 'nothing queued yet'}; {waiting} waiting",
        f"requests in five minutes: {spent}",
    ]
    if found.paused is not None:
        lines.insert(0, f"PAUSED: {legible(found.paused)}; `bot resume` goes on")
    return "\n".join(lines)


def _tasks(found: Board, tasks: tuple[QueuedRelease, ...]) -> str:
    rows = [
        (
            task.state,
            _short(task.repo, NAME),
            task.commit[:8],
            _age(found, task.changed),
            str(task.attempts or ""),
            _short("" if task.state == "published" else task.error or task.reason),
        )
        for task in tasks
    ]
    made = table(("state", "release", "commit", "since", "tries", "why"), rows, left=6)
    links = [
        (_short(task.repo, NAME), link) for task in tasks for link in (task.page, task.link) if link
    ]
    return "\n\n".join((made, *([_links(links)] if links else [])))


def _links(links: list[tuple[str, str]]) -> str:
    """Never cut: a link is there to be copied."""
    width = max(len(name) for name, _ in links)
    return "\n".join(f"{name:<{width}}  {legible(link)}" for name, link in links)


def _age(found: Board, at: float | None) -> str:
    return span(found.now - at) if at is not None else "never"


def _until(found: Board, at: float | None) -> str:
    if at is None:
        return "when it changes"
    return f"in {span(at - found.now)}" if at > found.now else "now"


def _short(text: str, longest: int = LONGEST) -> str:
    return legible(text, longest)
