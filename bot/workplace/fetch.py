"""A release's files → a folder here in which every file's hash is the Hub's.

The folder belongs to one commit and is shared by all jobs: whoever comes second waits for the
first and finds everything there. What was verified is remembered beside the files, by size and
time, so that nothing is hashed twice.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from bot.disk.hashes import BLOCK, sha256
from bot.disk.locks import alone, use
from bot.disk.paths import is_safe, require_safe
from bot.disk.space import require_free
from bot.disk.writing import write_text
from bot.errors import SourceError
from bot.records.releases import Release, RepoFile
from bot.tensors import weights

if TYPE_CHECKING:  # loading it takes longer than most questions that come by here
    from bot.clients.hub.hub import Hub

Report = Callable[[int, int], None]  # bytes here, bytes in all

FETCHERS = 8  # downloads side by side
MANIFEST = ".verified.json"
MOST_FILES = 3_000
SMALL = 256 << 20  # bytes that a tokenizer or config may have
NAMED = frozenset(
    {
        *("config.json", "generation_config.json", "tokenizer.json", "tokenizer.model"),
        *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
        *("vocab.txt", "merges.txt", "tekken.json", "params.json", weights.INDEX),
        *("spiece.model", "sentencepiece.bpe.model", "tiktoken.model"),
        *("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"),
    }
)
_PATTERNS = re.compile(
    r"chat_template\.(json|jinja)|additional_chat_templates/[^/]+\.jinja|[^/]+\.tiktoken"
    r"|tokenizer\.model\.v\d+|(LICEN[CS]E|NOTICE|COPYING|USE_POLICY)[^/]*(?<!\.py)",
    re.IGNORECASE,
)
_NEVER = re.compile(
    r"\.(py[cdoxw]?|pkl|pickle|bin|pt|pth|ckpt|so|dll|exe|sh|partial)$", re.IGNORECASE
)

# ── what to fetch ───────────────────────────────────────────────────────────────────────────


def plan_fetch(
    release: Release, chosen: weights.CheckpointFiles | None = None
) -> tuple[RepoFile, ...]:
    """The files that a build needs, weights first: the 16-bit GGUF, or what the converter reads.

    `chosen` are the files of a checkpoint. Never code, never pickles. Raises SourceError when
    there are no such weights or a name is unsafe.
    """
    files = _gguf(release) if chosen is None else _checkpoint(release, chosen)
    if len(files) > MOST_FILES:
        raise SourceError(
            f"{release.repo_id} has {len(files):,} files to fetch, more than the {MOST_FILES:,} "
            "that apex-bot fetches; choose another model"
        )
    for file in files:
        require_safe(file.path, release.repo_id)
    paths = [PurePosixPath(file.path) for file in files]
    folders = {parent for path in paths for parent in path.parents}
    if len(set(paths)) < len(paths) or not folders.isdisjoint(paths):
        raise SourceError(f"{release.repo_id} lists a file twice; do not use this model")
    return tuple(files)


def _gguf(release: Release) -> list[RepoFile]:
    model = weights.gguf(release)
    if not model:
        raise SourceError(f"{release.repo_id} has no whole 16-bit GGUF; choose another model")
    projector = weights.projector(release, model[0])
    return [*model, *([projector] if projector else []), *_words(release)]


def _checkpoint(release: Release, chosen: weights.CheckpointFiles) -> list[RepoFile]:
    lacks = chosen.lacks()
    if lacks:
        raise SourceError(f"{release.repo_id} {lacks}; wait for its maker or choose another model")
    return [*chosen.files, *converter_files(release)]


def converter_files(release: Release) -> list[RepoFile]:
    """What the converter reads beside weights: config, index, tokenizer, template; the licence."""
    small = [file for file in release.files if file.path in NAMED and file.size <= SMALL]
    return [*small, *_words(release)]


def _words(release: Release) -> list[RepoFile]:
    """Licence, chat template and odd tokenizers: files known by the shape of their names."""
    return [
        file
        for file in release.files
        if _PATTERNS.fullmatch(file.path) and not _NEVER.search(file.path) and file.size <= SMALL
    ]


# ── fetching ────────────────────────────────────────────────────────────────────────────────


def fetch(
    hub: Hub,
    release: Release,
    files: Sequence[RepoFile],
    folder: Path,
    *,
    workers: int,
    report: Report,
    reserve: int,
) -> Path:
    """Have `files` of the release's commit in `folder`, each verified; returns the folder.

    Interrupted at any instant, it goes on from there. Another process that fetches into `folder`
    is waited for. `report` is called with bytes. Raises SourceError for a file that comes damaged
    twice, CapacityError before anything is fetched that would not fit, BusyError where the folder
    cannot be locked, and what Hub.download raises.
    """
    for file in files:
        require_safe(file.path, release.repo_id)
        if not file.sha256 and not file.blob_id:
            raise SourceError(
                f"{release.repo_id} lists no hash of {file.path}; choose another model"
            )
    use(folder)
    with alone(folder):
        verified = Verified(folder)
        missing = [file for file in files if not verified.holds(file)]
        here = {file.path: bytes_here(folder, file) for file in missing}
        lacking = sum(file.size - here[file.path] for file in missing)
        require_free(folder, lacking, reserve)
        total = weights.total(files)
        progress = _Progress(report, total - lacking, total)
        tasks = [partial(_have, hub, release, file, verified, progress) for file in missing]
        _in_parallel(tasks, workers, progress.stop)
    return folder


@dataclass
class Verified:
    """Files of a folder whose hash was found right, remembered by size and time of change."""

    folder: Path
    _rows: dict[str, list[Any]] = field(init=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Read what is remembered; a damaged memory is none."""
        try:
            rows = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, RecursionError):
            rows = {}
        self._rows = rows if isinstance(rows, dict) else {}

    def holds(self, file: RepoFile) -> bool:
        """Whether the file is here, as the Hub lists it and unchanged since it was verified."""
        try:
            return self._rows.get(file.path) == self._row(file)
        except FileNotFoundError:
            return False

    def add(self, file: RepoFile) -> None:
        """Remember a file that was just verified."""
        with self._lock:
            self._rows[file.path] = self._row(file)
            write_text(self.folder / MANIFEST, json.dumps(self._rows, indent=1) + "\n")

    def _row(self, file: RepoFile) -> list[Any]:
        state = (self.folder / file.path).stat()
        return [file.sha256 or file.blob_id, state.st_size, state.st_mtime_ns]


class _Stopped(Exception):
    """A download ends because another one failed, or at the user's wish."""


class _Progress:
    """Bytes of all workers together, and the way to end them: what is here stays."""

    def __init__(self, report: Report, done: int, total: int) -> None:
        self._report, self._done, self._total = report, done, total
        self._lock = threading.Lock()
        self.stop = threading.Event()
        report(done, total)

    def __call__(self, count: int) -> None:
        if self.stop.is_set():
            raise _Stopped
        with self._lock:
            self._done += count
            self._report(self._done, self._total)


def _have(
    hub: Hub, release: Release, file: RepoFile, verified: Verified, progress: _Progress
) -> None:
    """One file, here and right; damaged, it is fetched once more from its first byte."""
    path = verified.folder / file.path
    for _ in range(2):
        if not path.is_file() or path.stat().st_size != file.size:
            hub.download(release.repo_id, release.commit, file.path, verified.folder, progress)
        if path.stat().st_size == file.size and has_listed_hash(path, file):
            verified.add(file)
            return
        progress(-min(path.stat().st_size, file.size))
        path.unlink()
    raise SourceError(
        f"{release.repo_id}/{file.path} came damaged twice; run the same command again later"
    )


def has_listed_hash(path: Path, file: RepoFile) -> bool:
    """Whether content matches the Hub's hash: sha256 of LFS files, git's blob hash of others."""
    if file.sha256:
        return sha256(path) == file.sha256
    hasher = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            hasher.update(block)
    return hasher.hexdigest() == file.blob_id


def bytes_here(folder: Path, file: RepoFile) -> int:
    """Bytes of a file that need not come again: whole from elsewhere, or partial."""
    for name in (file.path, f"{file.path}.partial") if is_safe(file.path) else ():
        with suppress(FileNotFoundError):
            size = (folder / name).stat().st_size
            if size == file.size or (size < file.size and name != file.path):
                return size
    return 0


def _in_parallel(tasks: Sequence[Callable[[], None]], workers: int, stop: threading.Event) -> None:
    """Run the tasks; at the first error, or an interruption, the others end too."""
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        running = [pool.submit(task) for task in tasks]
        try:
            done, rest = wait(running, return_when=FIRST_EXCEPTION)
            if rest:
                stop.set()
        except BaseException:
            stop.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=stop.is_set())
    errors = [error for task in done if (error := task.exception())]
    if errors:
        raise errors[0]
