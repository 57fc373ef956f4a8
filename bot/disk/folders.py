"""Every folder of the bot's own, and of a job."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bot.disk.locks import LOOK_EVERY, lock_now
from bot.disk.paths import slug
from bot.errors import BusyError

GATE = "gate.txt"  # beside a release


MEASURED = "of"  # in a measure's folder: the path of its reference


WORK = ".work"  # how a folder ends in which a converter works


@dataclass(frozen=True)
class Folders:
    """The folder that holds sources, jobs and the ledger."""

    root: Path

    @property
    def ledger(self) -> Path:
        """The SQLite file of the ledger."""
        return self.root / "ledger.sqlite"

    @property
    def toolchain(self) -> Path:
        """llama.cpp's converter and the environment it runs in."""
        return self.root / "toolchain"

    @property
    def kernels(self) -> Path:
        """Kernels as machine code, and for which types they make the library's bytes."""
        return self.root / "kernels"

    def sources(self, repo_id: str, commit: str) -> Path:
        """Where the files of a repository at a commit are kept, shared by all jobs."""
        return self.root / "sources" / slug(repo_id) / commit

    def converted(self, repo_id: str, commit: str) -> Path:
        """Where the 16-bit GGUF made of a checkpoint is kept, shared by all jobs."""
        return self.root / "converted" / slug(repo_id) / commit

    def texts(self, repository: str, commit: str) -> Path:
        """Where texts and tasks of a repository at a commit are kept, shared by all jobs."""
        return self.root / "texts" / slug(repository) / commit

    def measure(self, key: str) -> Path:
        """Where what belongs to one measure lies, shared by all jobs."""
        return self.root / "measures" / key[:16]

    def order(self, model: str, commit: str) -> Path:
        """Where jobs of one release on several machines tell each other how far they are."""
        return self.root / "orders" / f"{slug(model)}-{commit[:12]}"

    def job(self, name: str, key: str) -> JobFolder:
        """The folder of the job with this key."""
        return JobFolder(self.root / "jobs" / f"{slug(name)}-{key[:12]}")


# as it is published: LocalAI and other programs take the last .gguf of a repository for the model
MATRIX = "imatrix.gguf_file"
SENSITIVITY = "sensitivity.json"  # how much each tensor matters, where tiers were fitted


@dataclass(frozen=True)
class JobFolder:
    """One job's folder: what is published lies in `release`, all else beside it."""

    folder: Path

    @property
    def release(self) -> Path:
        """Files of the repository, as they will be published."""
        return self.folder / "release"

    @property
    def imatrix(self) -> Path:
        """The importance matrix."""
        return self.release / MATRIX

    @property
    def baselines(self) -> Path:
        """Files to compare with; they are measured and not published."""
        return self.folder / "baselines"

    @property
    def checkpoint(self) -> Path:
        """What calibrating had seen when it last took a note."""
        return self.handed / "imatrix.checkpoint"

    @property
    def handed(self) -> Path:
        """What a child may write that works on the model."""
        return self.folder / "handed"

    @property
    def timeline(self) -> Path:
        """When what was done."""
        return self.folder / "timeline.json"

    @property
    def results(self) -> Path:
        """results.json."""
        return self.release / "results.json"

    @property
    def plots(self) -> Path:
        """The folder of plots."""
        return self.release / "plots"

    @property
    def gate(self) -> Path:
        """What the gate said, for people."""
        return self.folder / GATE

    @property
    def published(self) -> Path:
        """What it was published as; there is none before."""
        return self.folder / "published.json"

    @property
    def sums(self) -> Path:
        """SHA256SUMS."""
        return self.release / "SHA256SUMS"

    @property
    def card(self) -> Path:
        """README.md."""
        return self.release / "README.md"

    @contextmanager
    def locked(self, part: str = "", patience: float = 0.0) -> Iterator[None]:
        """Hold the job, or a part of it beside other parts; ends with the process.

        Raises BusyError when another process of ours holds it, and still does after `patience`
        seconds.
        """
        end = time.monotonic() + patience
        with ExitStack() as held:
            for name in ("lock", *((f"lock-{part}",) if part else ())):
                kind = fcntl.LOCK_SH if part and name == "lock" else fcntl.LOCK_EX
                while (file := lock_now(self.folder / name, kind)) is None:
                    if time.monotonic() >= end:
                        raise BusyError(
                            f"another bot works in {self.folder}; wait for it or stop it"
                        )
                    time.sleep(LOOK_EVERY)
                held.enter_context(file)
            self.release.mkdir(parents=True, exist_ok=True)
            yield
