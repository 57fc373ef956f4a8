"""Every path of a job, and the care files need: atomic writes, hashes, locks, free space."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from bot.errors import BusyError, CapacityError, SettingsError, SourceError

BLOCK = 4 << 20
GATE = "gate.txt"  # beside a release
MEASURED = "of"  # in a measure's folder: the path of its reference
LOOK_EVERY = 0.2  # seconds between looks at a lock that others hold
WORK = ".work"  # how a folder ends in which a converter works
ALONE, USED = ".lock", ".use"  # of a folder that jobs share: who fills it, who reads it
_USES: dict[Path, int] = {}  # descriptors of this process, by folder
LONGEST_PATH, LONGEST_NAME, DEEPEST = 400, 200, 8  # of a stranger's file


@dataclass(frozen=True)
class Workspace:
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

    def job(self, name: str, key: str) -> Job:
        """The folder of the job with this key."""
        return Job(self.root / "jobs" / f"{slug(name)}-{key[:12]}")


@dataclass(frozen=True)
class Job:
    """One job's folder: what is published lies in `release`, all else beside it."""

    folder: Path

    @property
    def release(self) -> Path:
        """Files of the repository, as they will be published."""
        return self.folder / "release"

    @property
    def imatrix(self) -> Path:
        """The importance matrix."""
        return self.release / "imatrix.gguf"

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
                while (file := _held(self.folder / name, kind)) is None:
                    if time.monotonic() >= end:
                        raise BusyError(
                            f"another bot works in {self.folder}; wait for it or stop it"
                        )
                    time.sleep(LOOK_EVERY)
                held.enter_context(file)
            self.release.mkdir(parents=True, exist_ok=True)
            yield


def _held(path: Path, kind: int) -> IO[str] | None:
    """A lock's file where the lock could be had at once, and was not removed meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")  # for reading too: on a network's folder a shared lock wants that
    if _taken(file, kind) and _is_there(file.fileno(), path):
        return file
    file.close()
    return None


def _is_there(descriptor: int, path: Path) -> bool:
    """Whether an open file still has its name: whoever gives a folder back takes locks, too."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _taken(file: IO[str], kind: int) -> bool:
    """Whether a lock could be had at once."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def inside(root: Path, path: Path) -> str:
    """How a path is named from `root`; absolute where it leads elsewhere."""
    for base in (root.absolute(), root.resolve()):
        if path.absolute().is_relative_to(base):
            return path.absolute().relative_to(base).as_posix()
    return str(path.absolute())


def slug(name: str) -> str:
    """A name of the outside as one harmless path component: `org/model` → `org--model`."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", name.replace("/", "--")).strip(".-")
    return clean[:120] or "model"


def is_safe(path: str) -> bool:
    """Whether `path`, a stranger's, stays below a folder on any system."""
    parts = path.split("/")
    return (
        0 < len(path) <= LONGEST_PATH
        and path.isprintable()
        and not re.search(r'[\\:*?"<>|]', path)
        and len(parts) <= DEEPEST
        and all(part.strip(" .") and len(part.encode()) <= LONGEST_NAME for part in parts)
        and not parts[0].startswith(".")
        and not PurePosixPath(path).is_absolute()
    )


def require_safe(path: str, repo_id: str) -> None:
    """Raise SourceError unless `path`, a stranger's, stays below a folder on any system."""
    if not is_safe(path):
        raise SourceError(f"{repo_id} has a file named {path[:80]!r}; do not use this model")


def remove(path: Path, place: Path) -> None:
    """Delete a file, or a folder with all that lies in it, that is proven to lie below `place`.

    What is not there is removed already. A link goes, and never what it leads to. Raises
    SourceError, and deletes nothing, where the folder that holds `path` lies elsewhere than it
    says: `..`, or a link on the way.
    """
    inside_of, parent = place.resolve(), path.parent.resolve()
    if path.name in ("", ".", "..") or not (parent / path.name).is_relative_to(inside_of):
        raise SourceError(f"{path} is not below {place} and is left alone; look at who named it")
    if parent / path.name == inside_of:
        raise SourceError(f"{path} is the whole of {place} and is left alone")
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder that jobs share, waiting for another process that does.

    The lock ends with its holder. Raises BusyError where the folder cannot be locked.
    """
    file = _locked(folder, ALONE, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(file)


def use(folder: Path) -> None:
    """Keep others from giving a folder back that jobs share, until this process ends."""
    known = _USES.get(folder)
    if known is not None and _is_there(known, folder / USED):
        return
    leave(folder)
    _USES[folder] = _locked(folder, USED, fcntl.LOCK_SH)


def leave(folder: Path) -> None:
    """Need a folder no more."""
    if (known := _USES.pop(folder, None)) is not None:
        os.close(known)


def _locked(folder: Path, name: str, kind: int) -> int:
    """A descriptor that holds a folder's lock, waited for; one that was removed counts as none."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, kind)
        except OSError as error:
            os.close(file)
            raise BusyError(
                f"{folder} cannot be locked ({error.strerror}); set workdir to a local disk"
            ) from error
        except BaseException:  # an interrupt while waiting
            os.close(file)
            raise
        if _is_there(file, folder / name):
            return file
        os.close(file)


@contextmanager
def unused(folder: Path, names: Sequence[str] = (ALONE, USED)) -> Iterator[bool]:
    """Whether no process holds any of a folder's locks; where so, none does within the block."""
    with ExitStack() as held:
        paths = [folder / name for name in names] if folder.is_dir() else []
        files = [held.enter_context(path.open("a+")) for path in paths]
        yield all(_taken(file, fcntl.LOCK_EX) for file in files)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A partial file to fill; it takes `path`'s name, on disk for good, when the block ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    partial.unlink(missing_ok=True)
    yield partial
    finish(partial, path)


def copy(source: Path, target: Path, reserve: int) -> None:
    """A second copy of a file; what a stopped run left of it gives its room back first.

    Raises CapacityError unless it fits and `reserve` bytes stay free.
    """
    with writing(target) as partial:
        require_free(target.parent, source.stat().st_size, reserve)
        shutil.copyfile(source, partial)


def partial_of(path: Path) -> Path:
    """The name a file has while it is written."""
    return path.with_name(f"{path.name}.partial")


def finish(partial: Path, path: Path) -> None:
    """Give a whole file its name, on disk for good."""
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write a small file atomically, whoever else writes it at the same time: the last one counts.

    What processes left that were killed while they wrote it goes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft, descriptor = _draft(path)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            finish(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    for left in path.parent.glob(f"{glob.escape(path.name)}.{'[0-9a-f]' * 8}.partial"):
        _forget(left)


def _draft(path: Path) -> tuple[Path, int]:
    """A partial file of nobody else's, which is locked while its writer lives."""
    while True:
        draft = partial_of(path.with_name(f"{path.name}.{secrets.token_hex(4)}"))
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(OSError):  # without locks nobody takes it away either
            fcntl.flock(file, fcntl.LOCK_EX)
        if _is_there(file, draft):  # else it was taken for one that is left
            return draft, file
        os.close(file)


def _forget(draft: Path) -> None:
    """Remove a partial file whose writer is gone."""
    with suppress(OSError), draft.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.unlink()


def keep_text(path: Path, text: str) -> None:
    """Write a text unless it is there already, so that its time only changes with its content."""
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)


def as_text(data: bytes, name: str) -> str:
    """The text in a file's bytes, every one of them: line ends stay as they are.

    Raises SettingsError for what is no UTF-8. A zero byte is none either: UTF-16 and UTF-32 of
    plain English are valid UTF-8 but for these, and a model would be measured on noise.
    """
    at = data.find(0)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = error.start if at < 0 else min(at, error.start)
    if at < 0:
        return text
    raise SettingsError(
        f"{name} is not UTF-8 at byte {at:,}; convert it (`iconv -t UTF-8`), or name another"
    )


def git_blob_id(path: Path) -> str:
    """sha1 that git gives a small file's content (`git hash-object`)."""
    return blob_id(path.read_bytes())


def blob_id(content: bytes) -> str:
    """The same of the content itself."""
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest()


def sha256(path: Path) -> str:
    """Hash of a file of any size, read in blocks."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            hasher.update(block)
    return hasher.hexdigest()


def taken(path: Path) -> int:
    """Bytes of the disk that a file takes, which may have holes; 0 where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0
    return min(status.st_size, status.st_blocks * 512)  # of 512 bytes everywhere: stat(2)


def free_disk(folder: Path) -> int:
    """Bytes free where `folder` is, or will be."""
    return shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free


def require_free(folder: Path, needed: int, reserve: int) -> None:
    """Raise CapacityError unless `needed` bytes fit and `reserve` bytes stay free."""
    free = free_disk(folder)
    if needed + reserve > free:
        raise CapacityError(
            f"{folder} needs {needed / 1e9:.2f} GB and {reserve / 1e9:.2f} GB in reserve, "
            f"{free / 1e9:.2f} GB are free; free some or set workdir to a larger disk"
        )
