"""The state of the watcher as a table."""

from __future__ import annotations

from bot.clock import span
from bot.legible import legible
from bot.store.board import Board
from bot.store.queue_tables import QueuedRelease
from bot.wording.columns import table

LONGEST = 56  # letters of a reason
NAME = 52  # letters of a release's name


def board_text(board: Board) -> str:
    """What `bot status` prints."""
    sections = [_head(board)]
    if board.tasks:
        sections.append(_tasks(board, board.tasks))
    if board.published:
        sections.append(_tasks(board, board.published))
    if board.waiting:
        rows = [
            (_short(w.decision.repo, NAME), w.decision.outcome, _age(board, w.decision.at),
             _until(board, w.look_at), _short(w.decision.reason))
            for w in board.waiting
        ]  # fmt: skip
        sections.append(table(("waits", "for", "since", "next look", "why"), rows, left=5))
    return "\n\n".join(sections)


def _head(board: Board) -> str:
    states = ("asked", "queued", "starting", "running", "failed", "published", "ignored")
    counts = ", ".join(f"{board.counts[s]} {s}" for s in states if board.counts.get(s))
    waiting = sum(board.waiting_counts.values())
    health = board.trouble or f"watching, last whole look {_age(board, board.looked)} ago"
    spent = ", ".join(f"{board.spent.get(b, 0)} of {n} {b}" for b, n in board.allowed.items())
    lines = [
        health,
        f"{counts or 'nothing queued yet'}; {waiting} waiting",
        f"requests in five minutes: {spent}",
    ]
    if board.paused is not None:
        lines.insert(0, f"PAUSED: {legible(board.paused)}; `bot resume` goes on")
    return "\n".join(lines)


def _tasks(board: Board, tasks: tuple[QueuedRelease, ...]) -> str:
    rows = [
        (
            task.state,
            _short(task.repo, NAME),
            task.commit[:8],
            _age(board, task.changed),
            str(task.attempts or ""),
            _short(_why(task)),
        )
        for task in tasks
    ]
    task_table = table(("state", "release", "commit", "since", "tries", "why"), rows, left=6)
    links = [
        (_short(task.repo, NAME), link) for task in tasks for link in (task.page, task.link) if link
    ]
    return "\n\n".join((task_table, *([_links(links)] if links else [])))


def _why(task: QueuedRelease) -> str:
    if task.stale is not None:
        return f"stale: {task.stale}"
    return "" if task.state == "published" else task.error or task.reason


def _links(links: list[tuple[str, str]]) -> str:
    """Never cut: a link is there to be copied."""
    width = max(len(name) for name, _ in links)
    return "\n".join(f"{name:<{width}}  {legible(link)}" for name, link in links)


def _age(board: Board, at: float | None) -> str:
    return span(board.now - at) if at is not None else "never"


def _until(board: Board, at: float | None) -> str:
    if at is None:
        return "when it changes"
    return f"in {span(at - board.now)}" if at > board.now else "now"


def _short(text: str, longest: int = LONGEST) -> str:
    return legible(text, longest)
