"""What a local GitHub keeps of a repository, and how it runs its workflows.

A dispatched run is executed in a thread by a function of the test's choice, in a folder that
holds the files of its branch.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from tests.local_github.workflow import Workflow, parsed

Result = Literal["success", "failure", "cancelled", "skipped"]
# (folder of the branch's files, workflow file, event, run's environment, log) -> result by job
Execute = Callable[
    [Path, str, dict[str, Any], dict[str, str], Path], Mapping[str, Result]
]  # the log is written by the function, and served as every job's
FOLDER = ".github/workflows"


def now() -> str:
    """The time as GitHub writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(kw_only=True)
class Run:
    """A run of a workflow."""

    id: int
    workflow: str
    title: str
    event_name: str
    event: dict[str, Any]
    ref: str
    sha: str
    group: str | None
    created: str = field(default_factory=now)
    updated: str = field(default_factory=now)
    status: str = "queued"
    conclusion: str | None = None
    attempt: int = 1
    results: dict[str, Result] = field(default_factory=dict)
    labels: dict[str, list[str]] = field(default_factory=dict)
    started: str | None = None
    cancelling: bool = False

    @property
    def open(self) -> bool:
        return self.status != "completed"


@dataclass(kw_only=True)
class Issue:
    """An issue and who edited its text when."""

    number: int
    title: str
    body: str
    author: str
    labels: list[str]
    state: str = "open"
    created: str = field(default_factory=now)
    updated: str = field(default_factory=now)
    edits: list[tuple[str, str]] = field(default_factory=list)


@dataclass(kw_only=True)
class Pull:
    """A pull request from one branch into another."""

    number: int
    title: str
    body: str
    head: str
    base: str
    author: str
    state: str = "open"
    merged: str | None = None
    created: str = field(default_factory=now)


@dataclass(kw_only=True)
class Runner:
    """A self-hosted runner."""

    name: str
    labels: tuple[str, ...] = ("self-hosted", "linux", "x64", "gpu")
    online: bool = True


class Repository:
    """A repository: branches of files, runs, issues, pull requests, runners, people."""

    def __init__(self, name: str, folder: Path, execute: Execute) -> None:
        self.name, self.folder, self.execute = name, folder, execute
        self.url = ""  # of the API
        self.branches: dict[str, dict[str, bytes]] = {"main": {}}
        self.runs: list[Run] = []
        self.issues: list[Issue] = []
        self.pulls: list[Pull] = []
        self.runners = [Runner(name="gpu-1")]
        self.people = {"owner": "admin", "writer": "write", "reader": "read"}
        self.lock = threading.RLock()
        self.errors: list[BaseException] = []
        self._held = threading.Event()
        self._held.set()
        self._threads: list[threading.Thread] = []
        self._groups: dict[str, threading.Lock] = {}

    # ── files ───────────────────────────────────────────────────────────────────────────────

    def push(self, files: Mapping[str, bytes], branch: str = "main") -> None:
        """Put files on a branch."""
        self.branches.setdefault(branch, {}).update(files)

    def sha(self, branch: str) -> str:
        """The commit that a branch is at: a digest of its files."""
        found = hashlib.sha1(usedforsecurity=False)
        for path, content in sorted(self.branches[branch].items()):
            found.update(path.encode() + b"\0" + blob_sha(content).encode())
        return found.hexdigest()

    def workflow(self, name: str, branch: str = "main") -> Workflow | None:
        """A workflow of a branch."""
        text = self.branches[branch].get(f"{FOLDER}/{name}")
        return parsed(text) if text is not None else None

    def merge(self, number: int) -> None:
        """Merge a pull request."""
        pull = next(pull for pull in self.pulls if pull.number == number)
        self.push(self.branches[pull.head], pull.base)
        pull.state, pull.merged = "closed", now()

    # ── runs ────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def held(self) -> Iterator[None]:
        """No run leaves the queue within the block."""
        self._held.clear()
        try:
            yield
        finally:
            self._held.set()

    def begin(self, workflow: str, event_name: str, event: dict[str, Any], ref: str) -> Run:
        """A new run, in its queue."""
        file = self.workflow(workflow, ref)
        assert file is not None
        with self.lock:
            run = Run(
                id=17_301_938_000 + len(self.runs) + 1,
                workflow=workflow,
                title=file.title(event),
                event_name=event_name,
                event=event,
                ref=ref,
                sha=self.sha(ref),
                group=file.group_of(event),
                labels={job: file.labels(job) for job in file.jobs},
            )
            self.runs.append(run)
            self._replace_waiting(run)
        self._go(run)
        return run

    def again(self, run: Run) -> None:
        """The next attempt of a run that is over."""
        with self.lock:
            run.attempt += 1
            run.status, run.conclusion, run.updated = "queued", None, now()
        self._go(run)

    def cancel(self, run: Run) -> None:
        """End a run; one that really runs ends when its last steps have run."""
        interrupt = getattr(self.execute, "interrupt", None)
        with self.lock:
            if run.status == "in_progress" and interrupt is not None:
                run.cancelling = True
                interrupt(self.log(run))
                return
            run.status, run.conclusion, run.updated = "completed", "cancelled", now()

    def wait(self, seconds: float = 60.0) -> None:
        """Until every run is over that can be."""
        for thread in self._threads:
            thread.join(seconds)
            assert not thread.is_alive(), "a run does not end"

    def log(self, run: Run) -> Path:
        """Where a run's log is."""
        return self.folder / str(run.id) / f"log-{run.attempt}"

    def _replace_waiting(self, newest: Run) -> None:
        """Of a group's waiting runs GitHub keeps the newest, and cancels the others."""
        if newest.group is None:
            return
        same = [r for r in self.runs if r.group == newest.group and r is not newest and r.open]
        if any(run.status == "in_progress" for run in same):
            for run in same:
                if run.status != "in_progress":
                    self.cancel(run)

    def _go(self, run: Run) -> None:
        thread = threading.Thread(target=self._run, args=(run,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, run: Run) -> None:
        try:
            self._held.wait()
            able = [r for r in self.runners if r.online]
            if not able:
                return  # it stays in the queue
            lock = self._groups.setdefault(run.group or str(run.id), threading.Lock())
            with lock:
                self._work(run)
        except BaseException as error:
            self.errors.append(error)
            raise

    def _work(self, run: Run) -> None:
        with self.lock:
            if not run.open:
                return
            run.status, run.started, run.updated = "in_progress", now(), now()
        checkout = self.folder / str(run.id) / f"checkout-{run.attempt}"
        for path, content in self.branches[run.ref].items():
            (checkout / path).parent.mkdir(parents=True, exist_ok=True)
            (checkout / path).write_bytes(content)
        environment = {
            "GITHUB_RUN_ID": str(run.id),
            "GITHUB_RUN_ATTEMPT": str(run.attempt),
            "GITHUB_REPOSITORY": self.name,
            "GITHUB_API_URL": self.url,
            "GITHUB_EVENT_NAME": run.event_name,
            "GITHUB_REF_NAME": run.ref,
            "GITHUB_SHA": run.sha,
        }
        results = self.execute(checkout, run.workflow, run.event, environment, self.log(run))
        with self.lock:
            if not run.open:
                return  # cancelled meanwhile
            run.results = dict(results)
            bad = "failure" in results.values()
            ended = "cancelled" if run.cancelling else "failure" if bad else "success"
            run.status, run.conclusion, run.cancelling = "completed", ended, False
            run.updated = now()


def blob_sha(content: bytes) -> str:
    """git's name of a file's content."""
    header = b"blob %d\0" % len(content)
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
