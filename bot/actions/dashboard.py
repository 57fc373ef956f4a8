"""The dashboard: one issue that shows the queue, and boxes to tick that command it.

The text holds no ages, so that it changes only when something happened. A box is obeyed when
everybody who edited the text since the bot last did may write to the repository.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bot.clients.github.github import GithubRepository
from bot.clients.github.github_replies import Issue
from bot.clients.hub.addresses import is_plain_link
from bot.clock import Clock, iso, moment
from bot.errors import AccessError, SettingsError, SourceError
from bot.legible import code_span
from bot.store.ledger import Ledger
from bot.store.queue import Queue
from bot.store.queue_tables import PAUSED, QueuedRelease

MARK = "<!-- apex-bot:dashboard -->"
TITLE = "apex-bot: releases"
LABEL = "apex-bot"
REMEMBERED = "dashboard"  # in the ledger: "OWNER/NAME NUMBER TIME OF OUR LAST EDIT"
LONGEST_BODY = 60_000  # letters; GitHub takes 65,536
SHOWN = {  # tasks of a state
    "asked": 100, "queued": 50, "starting": 50, "running": 50, "failed": 50, "published": 30,
    "ignored": 30,
}  # fmt: skip
INTRODUCTION = (
    "What apex-bot does with releases. It edits this text when something happens. A box that is "
    "ticked is a command; it is obeyed from people who may write to this repository."
)
BOX = re.compile(
    r"^- \[[xX]\] <!-- apex-bot:(approve|retry) ([\w.-]{1,96}/[\w.-]{1,96})@([0-9a-f]{40}) -->",
    re.MULTILINE | re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class Command:
    """A ticked box."""

    verb: Literal["approve", "retry"]
    repo: str
    commit: str


def dashboard_commands(body: str) -> tuple[Command, ...]:
    """The boxes that are ticked in a text."""
    return tuple(
        Command(verb="approve" if verb == "approve" else "retry", repo=repo, commit=commit)
        for verb, repo, commit in BOX.findall(body.replace("\r\n", "\n"))
    )


# ── the text ────────────────────────────────────────────────────────────────────────────────────


def dashboard_text(
    tasks: Sequence[QueuedRelease],
    counts: Mapping[str, int],
    troubles: Mapping[str, str],
    paused: str | None,
) -> str:
    """The issue's text.

    `counts` are the tasks there are in each state, `tasks` the latest of each; `troubles` says
    of running tasks, by id, why they stand still.
    """

    def running(task: QueuedRelease) -> str:
        return _running(task, troubles.get(task.id))

    sections = [MARK, INTRODUCTION]
    if paused is not None:
        sections.append(f"**Paused:** {code_span(paused)}. `bot resume` goes on.")
    for title, states, line in (
        ("Waiting for approval", ("asked",), _asked),
        ("Running", ("running", "starting", "queued"), running),
        ("Failed", ("failed",), _failed),
        ("Published", ("published",), _published),
        ("Ignored", ("ignored",), _ignored),
    ):
        items = [line(task) for state in states for task in tasks if task.state == state]
        total = max(len(items), sum(counts.get(state, 0) for state in states))
        if total > len(items):
            items.append(f"- and {total - len(items)} more, see `bot status`")
        if items:
            sections.append("\n".join((f"## {title} ({total})", "", *items)))
    return _fitting(sections)


def _asked(task: QueuedRelease) -> str:
    return f"{_box('approve', task)} {_name(task)} — {code_span(task.stale or task.reason)}"


def _running(task: QueuedRelease, trouble: str | None) -> str:
    if task.state == "queued":
        last = f": {code_span(task.error)}" if task.error else ""
        how = f"queued, tried {task.attempts}×{last}" if task.attempts else "queued"
        return f"- {_name(task)} — {how}"
    trouble_text = f" — {code_span(trouble)}" if trouble else ""
    return f"- {_name(task)} — attempt {task.attempts}, since {moment(task.changed)}{trouble_text}"


def _failed(task: QueuedRelease) -> str:
    return f"{_box('retry', task)} {_name(task)} — {code_span(task.error or 'no reason was given')}"


def _published(task: QueuedRelease) -> str:
    page = f" — [repository]({task.page})" if is_plain_link(task.page) else ""
    return f"- {_name(task)} — {moment(task.changed)}{page}"


def _ignored(task: QueuedRelease) -> str:
    return f"{_box('retry', task)} {_name(task)} — {code_span(task.error or 'by hand')}"


def _box(verb: str, task: QueuedRelease) -> str:
    return f"- [ ] <!-- apex-bot:{verb} {task.repo}@{task.commit} -->"


def _name(task: QueuedRelease) -> str:
    link = task.link or ""
    name = f"{code_span(task.repo)} at `{task.commit[:8]}`"
    return f"{name} ([run]({link}))" if is_plain_link(link) else name


def _fitting(sections: Sequence[str]) -> str:
    """The text, cut at the end of a line where GitHub would refuse it."""
    text = "\n\n".join(sections) + "\n"
    if len(text) <= LONGEST_BODY:
        return text
    shortened = text[:LONGEST_BODY].rpartition("\n")[0]
    return f"{shortened}\n\nThere is more than an issue can hold, see `bot status`.\n"


# ── the issue ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Obeyed:
    """The outcome of a ticked box."""

    command: Command
    done: bool
    text: str


def dashboard_turn(
    repository: GithubRepository, ledger: Ledger, clock: Clock, troubles: Mapping[str, str]
) -> tuple[Obeyed, ...]:
    """Do what ticked boxes say, then bring the text up to date. An issue that is closed stays.

    Raises what `GithubRepository` raises.
    """
    queue = Queue(ledger)
    issue = _issue(repository, ledger, clock)
    if issue is not None and not issue.open:
        return ()
    ticked = dashboard_commands(issue.body) if issue else ()
    outcomes: tuple[Obeyed, ...] = ()
    if issue is not None and ticked:
        refused = _stranger(repository, ledger, issue)
        outcomes = tuple(_obey(queue, command, refused, clock.now()) for command in ticked)
    every = [task for state, limit in SHOWN.items() for task in queue.tasks((state,), limit)]
    paused = ledger.remembered(PAUSED)
    body = dashboard_text(every, queue.counts(), troubles, paused[0] if paused else None)
    if issue is None:
        issue = repository.open_issue(TITLE, body, LABEL)
        _remember(repository, ledger, issue, clock)
    elif issue.body.replace("\r\n", "\n").strip() != body.strip():
        issue = repository.edit_issue(issue.number, body)
        _remember(repository, ledger, issue, clock)
    return outcomes


def _issue(repository: GithubRepository, ledger: Ledger, clock: Clock) -> Issue | None:
    """The dashboard: the one in the ledger, else the first of our own that has its mark."""
    remembered = ledger.remembered(REMEMBERED)
    if remembered is not None and remembered[0].split(" ")[0] == repository.name:
        try:
            return repository.issue(int(remembered[0].split(" ")[1]))
        except (AccessError, SettingsError):
            ledger.forget(REMEMBERED)  # it is gone: the next turn looks for another
            raise
    marked = [i for i in repository.issues(LABEL) if i.open and i.body.startswith(MARK)]
    if not marked:
        return None
    us = repository.editors(marked[0].number).viewer
    own_issue = next((issue for issue in marked if _same(issue.author, us)), None)
    if own_issue is not None:
        ledger.remember(REMEMBERED, f"{repository.name} {own_issue.number} -", clock.now())
    return own_issue


def _remember(repository: GithubRepository, ledger: Ledger, issue: Issue, clock: Clock) -> None:
    edited = iso(issue.updated_at.timestamp())
    ledger.remember(REMEMBERED, f"{repository.name} {issue.number} {edited}", clock.now())


def _stranger(repository: GithubRepository, ledger: Ledger, issue: Issue) -> str | None:
    """Why the boxes are not obeyed; None where all who may have ticked them may write."""
    remembered = ledger.remembered(REMEMBERED)
    ours = remembered[0].split(" ")[2] if remembered is not None else "-"
    history = repository.editors(issue.number)
    edits = [edit for edit in history.edits if (iso(edit.at.timestamp()) or "") >= ours]
    if not edits:
        return "nobody is known who ticked it"
    for login in dict.fromkeys(edit.login for edit in edits):
        if login is not None and _same(login, history.viewer):
            continue
        try:
            if login is None or not repository.may_write(login):
                return f"{login or 'somebody'} may not write to {repository.name}"
        except AccessError as error:
            return f"what {login} may do is not known: {error}"
    return None


def _same(login: str, other_login: str) -> bool:
    return login.removesuffix("[bot]").casefold() == other_login.removesuffix("[bot]").casefold()


def _obey(queue: Queue, command: Command, refused: str | None, now: float) -> Obeyed:
    if refused is not None:
        return Obeyed(command=command, done=False, text=refused)
    states = ("asked",) if command.verb == "approve" else ("failed", "ignored", "queued")
    tasks = [task for task in queue.tasks(states) if task.repo == command.repo]
    newest = max(tasks, key=lambda task: task.created, default=None)
    if newest is None or newest.commit != command.commit or newest.state == "queued":
        return Obeyed(command=command, done=False, text="nothing waits for it any more")
    try:
        (queue.approve if command.verb == "approve" else queue.retry)(command.repo, now)
    except SourceError as error:
        return Obeyed(command=command, done=False, text=str(error))
    return Obeyed(command=command, done=True, text="queued")
