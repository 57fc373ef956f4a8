"""A folder or a repository on the Hub, read for the rules of defects.py."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from bot.clients.files import gguf
from bot.disk.hashes import sha256
from bot.disk.writing import decoded
from bot.errors import SettingsError, SourceError
from bot.foreign import START, instead, read_of
from bot.lint.card_rules import LONGEST_CARD
from bot.lint.contents import Head, LintedRepository, ListedFile
from bot.progress import Narrator
from bot.records.coding import from_json
from bot.records.releases import Release
from bot.records.results import Results
from bot.resolvers.llamacpp import is_model
from bot.workplace.pinning import as_repo
from bot.workplace.workplace import Workplace

CARD, RESULTS, SUMS = "README.md", "results.json", "SHA256SUMS"
MOST = 4000  # files of a repository
MOST_LAYERS = 100_000
LFS, LARGEST_POINTER = b"version https://git-lfs.github.com/spec/", 1024
POINTER = "is a pointer of Git LFS in the file's place; run `git lfs pull`, then upload it"
SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def read_repository(
    workplace: Workplace, name: str, revision: str, *, hashes: bool
) -> LintedRepository:
    """What is in a folder, or in ORG/NAME on the Hub, where hashes are the Hub's own.

    With `hashes` each file of a folder is read whole. Raises SourceError, AccessError,
    UnreachableError.
    """
    folder = Path(name).expanduser()
    with read_of(name):
        if folder.is_dir():
            return of_folder(folder, workplace.narrator, hashes=hashes)
        return _of_hub(workplace, as_repo(name), revision)


def of_folder(folder: Path, narrator: Narrator, *, hashes: bool) -> LintedRepository:
    """A folder as it would be published; hidden files and links out of it are left out."""
    paths = sorted(_inside(folder))[: MOST + 1]
    if len(paths) > MOST:
        raise SourceError(f"{folder} holds more than {MOST} files; name a repository's folder")
    with narrator.work(f"reading {folder.name}") as report:
        files = []
        for done, path in enumerate(paths):
            report(done, len(paths))
            digest = sha256(path) if hashes else None
            name = path.relative_to(folder).as_posix()
            files.append(ListedFile(path=name, bytes=path.stat().st_size, sha256=digest))
        report(len(paths), len(paths))
    scan = _Scan(tuple(files))
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if _is_pointer(path):
            scan.damaged[name] = POINTER
        elif path.suffix == ".gguf":
            scan.look(name, path)
    return _repository(scan, folder)


@dataclass
class _Scan:
    """What files say of themselves, and which cannot be read, with the reason."""

    files: tuple[ListedFile, ...]
    heads: dict[str, Head] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)

    def look(self, name: str, path: Path) -> None:
        """Read the header of a GGUF file that lies, or stands in for one, at `path`."""
        try:
            head = _head(name, path)
        except SourceError as error:
            self.damaged[name] = _reason(error, path)
            return
        if head is not None:
            self.heads[name] = head


def _is_pointer(path: Path) -> bool:
    if path.stat().st_size > LARGEST_POINTER:
        return False
    with path.open("rb") as file:
        return file.read(len(LFS)) == LFS


def _inside(folder: Path) -> Iterator[Path]:
    root = folder.resolve()
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file() and path.resolve().is_relative_to(root):
            yield path


def _head(name: str, path: Path) -> Head | None:
    """What a model file says of itself; None for shards after the first, and for what is no model.

    Raises SourceError for a file that is cut, damaged or longer than its header says.
    """
    model = gguf.read_gguf(path)
    _require_end(path, model)
    kind, layers = model.get("general.file_type"), model.get(".block_count", 0)
    extra = model.get(".nextn_predict_layers", 0)
    if model.get("general.type", "model") != "model" or model.get("split.no", 0) != 0:
        return None
    if not is_model(name) or not model.get("general.architecture"):
        return None
    if not all(isinstance(count, int) and 0 <= count < MOST_LAYERS for count in (layers, extra)):
        raise SourceError(f"{path} has a number of layers that is none; convert it again")
    if not layers:
        return None
    return Head(
        name=str(model.get("general.name", ""))[:200],
        file_type=kind if isinstance(kind, int) else None,
        layers=layers - extra,
        tensors=model.tensors,
    )


def _require_end(path: Path, model: gguf.GgufModel) -> None:
    """No bytes after the last tensor but its padding."""
    alignment = model.get("general.alignment", gguf.ALIGNMENT)
    unit = alignment if isinstance(alignment, int) and alignment > 0 else gguf.ALIGNMENT
    end = model.data_offset + sum(-(-tensor.bytes // unit) * unit for tensor in model.tensors)
    if path.stat().st_size > end:
        more = path.stat().st_size - end
        raise SourceError(f"{path} has {more:,} bytes after its last tensor; upload it again")


def _repository(scan: _Scan, folder: Path, repo_id: str | None = None) -> LintedRepository:
    card, sums, results = (_text(scan, folder, name) for name in (CARD, SUMS, RESULTS))
    return LintedRepository(
        files=scan.files,
        card=card,
        sums=None if sums is None else _parsed(scan, sums),
        results=None if results is None else _results(scan, results),
        heads=scan.heads,
        damaged=scan.damaged,
        repo_id=repo_id,
    )


def _text(scan: _Scan, folder: Path, name: str) -> str | None:
    """A small text file; None where it is not there or no text, which is damage."""
    path = folder / name
    if name in scan.damaged or not path.is_file():
        return None
    if path.stat().st_size > LONGEST_CARD:
        scan.damaged[name] = f"has more than {LONGEST_CARD:,} bytes; shorten it"
        return None
    content = path.read_bytes()
    if stand_in := instead(content[:START]):
        scan.damaged[name] = f"is {stand_in[0]}, not the file itself; {stand_in[1]}"
        return None
    try:
        return decoded(content, name)
    except SettingsError as error:
        scan.damaged[name] = str(error).removeprefix(f"{name} ")
        return None


def _parsed(scan: _Scan, text: str) -> dict[str, str]:
    """SHA256SUMS by path, as sha256sum writes and reads it."""
    sums = {}
    for number, line in enumerate(text.splitlines(), 1):
        digest, _, path = line.removeprefix("\\").partition(" ")
        if SHA256.fullmatch(digest) and path:
            sums[path.lstrip(" *").removeprefix("./")] = digest.lower()
        elif line.strip() and not line.startswith("#"):
            scan.damaged[SUMS] = f"line {number} is no hash with a name; make it again"
    return sums


def _results(scan: _Scan, text: str) -> Results | None:
    """Our results.json; None for a file of another program of that name."""
    try:
        return from_json(Results, text)
    except ValidationError as error:
        if any(detail["type"] == "json_invalid" for detail in error.errors()):
            scan.damaged[RESULTS] = "is not JSON, or was cut; make it again"
        return None


def _of_hub(workplace: Workplace, repo_id: str, revision: str) -> LintedRepository:
    """A repository by its listing, its small text files, and the headers of its models."""
    hub = workplace.hub
    release = hub.release(repo_id, revision)
    files = tuple(ListedFile(path=f.path, bytes=f.size, sha256=f.sha256) for f in release.files)
    sizes = {file.path: file.size for file in release.files}
    scan = _Scan(files)
    with tempfile.TemporaryDirectory(prefix="bot-lint-") as place:
        folder = Path(place)
        for name in (CARD, RESULTS, SUMS):
            if sizes.get(name, 0) > LONGEST_CARD:
                scan.damaged[name] = f"has more than {LONGEST_CARD:,} bytes; shorten it"
            elif name in sizes:
                hub.download(repo_id, release.commit, name, folder)
                if _is_pointer(folder / name):
                    scan.damaged[name] = POINTER
        _look_at_models(workplace, release, scan, folder)
        return _repository(scan, folder, repo_id)


def _look_at_models(workplace: Workplace, release: Release, scan: _Scan, folder: Path) -> None:
    models = [file for file in release.files if file.path.endswith(".gguf")]
    with workplace.narrator.work(f"reading headers of {release.repo_id}") as report:
        for done, file in enumerate(models):
            report(done, len(models))
            target = folder / "header.gguf"
            try:
                workplace.hub.gguf_header(release, file, target)
            except SourceError as error:
                scan.damaged[file.path] = _reason(error, target)
                continue
            scan.look(file.path, target)
        report(len(models), len(models))


def _reason(error: SourceError, path: Path) -> str:
    """What is wrong, without the place where a file was read."""
    return str(error).replace(f"{path}: ", "").replace(f"{path} ", "")
