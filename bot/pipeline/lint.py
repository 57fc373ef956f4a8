"""A folder or a repository on the Hub, read for bot.present.lint."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from bot.clients import gguf
from bot.errors import SourceError
from bot.pipeline.models import Pipeline, as_repo
from bot.present.lint import LONGEST_CARD, Head, Listed, Repository
from bot.progress import Narrator
from bot.records import Release, Results, from_json
from bot.workspace import sha256

CARD, RESULTS, SUMS = "README.md", "results.json", "SHA256SUMS"
MOST = 4000  # files of a repository


def read(pipeline: Pipeline, name: str, revision: str, *, hashes: bool) -> Repository:
    """What is in a folder, or in ORG/NAME on the Hub, where hashes are the Hub's own.

    With `hashes` each file of a folder is read whole. Raises SourceError, AccessError,
    UnreachableError.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return of_folder(folder, pipeline.narrator, hashes=hashes)
    return _of_hub(pipeline, as_repo(name), revision)


def of_folder(folder: Path, narrator: Narrator, *, hashes: bool) -> Repository:
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
            files.append(Listed(path=name, bytes=path.stat().st_size, sha256=digest))
        report(len(paths), len(paths))
    heads = {
        path.relative_to(folder).as_posix(): head
        for path in paths
        if path.suffix == ".gguf" and (head := _head(path)) is not None
    }
    return _repository(tuple(files), folder, heads)


def _inside(folder: Path) -> Iterator[Path]:
    root = folder.resolve()
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file() and path.resolve().is_relative_to(root):
            yield path


def _head(path: Path) -> Head | None:
    """What a model file says of itself; None for shards after the first, and other GGUF files."""
    try:
        model = gguf.read(path)
    except SourceError:
        return None
    if not model.get("general.architecture") or "mmproj" in path.name:
        return None
    kind, layers = model.get("general.file_type"), model.get(".block_count", 0)
    extra = model.get(".nextn_predict_layers", 0)
    if not layers:
        return None
    return Head(
        name=str(model.get("general.name", ""))[:200],
        file_type=kind if isinstance(kind, int) else None,
        layers=int(layers) - int(extra or 0),
        tensors=model.tensors,
    )


def _repository(
    files: tuple[Listed, ...],
    folder: Path,
    heads: dict[str, Head],
    repo_id: str | None = None,
) -> Repository:
    card, sums = _text(folder / CARD), _text(folder / SUMS)
    return Repository(
        files=files,
        card=card,
        sums=None if sums is None else _parsed(sums),
        results=_results(folder / RESULTS),
        heads=heads,
        repo_id=repo_id,
    )


def _text(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return file.read(LONGEST_CARD).decode("utf-8", "replace")


def _parsed(text: str) -> dict[str, str]:
    """SHA256SUMS by path; lines of another form are skipped."""
    found = {}
    for line in text.splitlines():
        digest, _, path = line.partition(" ")
        if len(digest) == 64 and path:
            found[path.lstrip(" *")] = digest.lower()
    return found


def _results(path: Path) -> Results | None:
    """Our results.json; None for none, or for a file of another program of that name."""
    text = _text(path)
    if text is None:
        return None
    try:
        return from_json(Results, text)
    except ValidationError:
        return None


def _of_hub(pipeline: Pipeline, repo_id: str, revision: str) -> Repository:
    """A repository by its listing, its small text files, and the headers of its models."""
    hub = pipeline.hub
    release = hub.release(repo_id, revision)
    files = tuple(Listed(path=f.path, bytes=f.size, sha256=f.sha256) for f in release.files)
    sizes = {file.path: file.size for file in release.files}
    with tempfile.TemporaryDirectory(prefix="bot-lint-") as place:
        folder = Path(place)
        for name in (CARD, RESULTS, SUMS):
            if 0 < sizes.get(name, 0) <= LONGEST_CARD:
                hub.download(repo_id, release.commit, name, folder)
        return _repository(files, folder, _hub_heads(pipeline, release, folder), repo_id)


def _hub_heads(pipeline: Pipeline, release: Release, folder: Path) -> dict[str, Head]:
    found = {}
    models = [f for f in release.files if f.path.endswith(".gguf") and "mmproj" not in f.path]
    with pipeline.narrator.work(f"reading headers of {release.repo_id}") as report:
        for done, file in enumerate(models):
            report(done, len(models))
            target = folder / "header.gguf"
            try:
                pipeline.hub.gguf_header(release, file, target)
            except SourceError:
                continue
            if (head := _head(target)) is not None:
                found[file.path] = head
        report(len(models), len(models))
    return found
