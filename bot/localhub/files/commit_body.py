"""The body of a commit request: one JSON object a line, parsed strictly and bounded.

{"key": "header", "value": {"summary": "…", "description": "…", "parentCommit": "<40 hex>"}}
{"key": "file", "value": {"path": "README.md", "content": "…", "encoding": "base64"}}
{"key": "lfsFile", "value": {"path": "a.gguf", "algo": "sha256", "oid": "…", "size": 1}}
{"key": "deletedFile", "value": {"path": "old.gguf"}}
{"key": "deletedFolder", "value": {"path": "old"}}
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.localhub.files.objects import SHA256
from bot.localhub.files.repository import COMMIT, Entry
from bot.serving.refusal import Refusal

REGULAR_LIMIT = 10 << 20  # bytes of a file inside a commit; larger ones are LFS
LINE_LIMIT = 15 << 20  # bytes: a regular file in base64 and its name
OPERATIONS = 25_000
PATH_LIMIT = 1024  # bytes
SIZE_LIMIT = 1 << 50  # bytes


@dataclass(frozen=True, kw_only=True)
class Put:
    """Make this file. `staged` is where the bytes of a regular file wait."""

    entry: Entry
    staged: Path | None


@dataclass(frozen=True, kw_only=True)
class Delete:
    """Remove a file, or a folder with all it holds."""

    path: str
    folder: bool


@dataclass(frozen=True, kw_only=True)
class Changes:
    """One commit as it was asked for."""

    title: str
    message: str
    parent: str | None
    operations: tuple[Put | Delete, ...]


def checked_path(path: Any) -> str:
    """A path inside a repository. Raises Refusal for what could mean anything else."""
    if not isinstance(path, str) or not path:
        raise Refusal(400, "A path is missing or empty")
    try:
        length = len(path.encode())
    except UnicodeEncodeError as error:
        raise Refusal(400, "A path is not valid Unicode") from error
    if length > PATH_LIMIT:
        raise Refusal(400, f"A path is longer than {PATH_LIMIT} bytes")
    if "\\" in path or any(unicodedata.category(sign).startswith("C") for sign in path):
        raise Refusal(400, f"Path {path!r} holds a backslash or a control character")
    for part in path.split("/"):
        if part in ("", ".", "..") or part.lower() == ".git":
            raise Refusal(400, f"Path {path!r} is absolute or has an empty, '.', '..' or .git part")
    return path


def parse_body(body: Path, staging: Path, held: Callable[[str], int | None]) -> Changes:
    """Read a request body that was spooled to disk; regular files are written to `staging`.

    A copy of a large file comes with its hash alone: `held` knows the sizes of what is here.
    Raises Refusal 400 or 413 naming what is wrong.
    """
    lines = _lines(body)
    key, header = next(lines, (None, {}))
    if key != "header" or not isinstance(header.get("summary"), str) or not header["summary"]:
        raise Refusal(400, "The first line of a commit is its header with a summary")
    parent = header.get("parentCommit")
    if parent is not None and not (isinstance(parent, str) and COMMIT.fullmatch(parent)):
        raise Refusal(400, "parentCommit is not a full commit sha")
    operations = []
    for number, (key, value) in enumerate(lines):
        if number >= OPERATIONS:
            raise Refusal(413, f"More than {OPERATIONS} operations in one commit")
        operations.append(_operation(key, value, staging / str(number), held))
    if not operations:
        raise Refusal(400, "The commit changes nothing")
    return Changes(
        title=header["summary"][:500],
        message=str(header.get("description") or "")[:100_000],
        parent=parent,
        operations=tuple(operations),
    )


def _lines(body: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    with body.open("rb") as file:
        while line := file.readline(LINE_LIMIT + 1):
            if len(line) > LINE_LIMIT:
                raise Refusal(413, "A file inside the commit is too large; send it as LFS")
            if not line.strip():
                continue
            try:
                data = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise Refusal(400, "A line of the commit is not JSON") from error
            if not isinstance(data, dict) or not isinstance(data.get("value"), dict):
                raise Refusal(400, "A line of the commit is not an object with key and value")
            yield data.get("key"), data["value"]


def _operation(
    key: Any, value: dict[str, Any], staged: Path, held: Callable[[str], int | None]
) -> Put | Delete:
    match key:
        case "file":
            return _regular(checked_path(value.get("path")), value, staged)
        case "lfsFile":
            return _lfs(checked_path(value.get("path")), value, held)
        case "deletedFile":
            return Delete(path=checked_path(value.get("path")), folder=False)
        case "deletedFolder":
            path = value.get("path")
            path = path.removesuffix("/") if isinstance(path, str) else path
            return Delete(path=checked_path(path), folder=True)
        case _:
            raise Refusal(400, f"Unknown operation {str(key)[:40]!r}")


def _regular(path: str, value: dict[str, Any], staged: Path) -> Put:
    data = body_contents(value)
    with staged.open("xb") as file:
        file.write(data)
        os.fsync(file.fileno())
    return Put(entry=regular_entry(path, data), staged=staged)


def body_contents(value: dict[str, Any]) -> bytes:
    """The bytes of a regular file as its encoding says. Raises Refusal."""
    path, content = value.get("path"), value.get("content")
    if not isinstance(content, str):
        raise Refusal(400, f"{path} has no content")
    try:
        if value.get("encoding") == "base64":
            data = base64.b64decode(content, validate=True)
        else:
            data = content.encode()
    except (binascii.Error, ValueError) as error:
        raise Refusal(400, f"The content of {path} is not what its encoding says") from error
    if len(data) > REGULAR_LIMIT:
        raise Refusal(413, f"{path} is larger than {REGULAR_LIMIT} bytes; send it as LFS")
    return data


def _lfs(path: str, value: dict[str, Any], held: Callable[[str], int | None]) -> Put:
    oid = value.get("oid")
    if value.get("algo", "sha256") != "sha256" or not isinstance(oid, str):
        raise Refusal(400, f"{path} is not named by a sha256")
    if not SHA256.fullmatch(oid):
        raise Refusal(400, f"The oid of {path} is not a sha256 in lower case")
    size = held(oid) if value.get("size") is None else value["size"]
    if type(size) is not int or not 0 <= size <= SIZE_LIMIT:
        raise Refusal(400, f"{path} has no size")
    return Put(entry=lfs_entry(path, oid, size), staged=None)


def lfs_entry(path: str, sha256: str, size: int) -> Entry:
    """The tree entry of a file that git knows by a pointer."""
    blob = git_blob(pointer(sha256, size))
    return Entry(path=path, size=size, blob_id=blob, sha256=sha256, lfs=True)


def regular_entry(path: str, data: bytes) -> Entry:
    """The tree entry of a file that git holds itself."""
    return Entry(
        path=path,
        size=len(data),
        blob_id=git_blob(data),
        sha256=hashlib.sha256(data).hexdigest(),
        lfs=False,
    )


def pointer(sha256: str, size: int) -> bytes:
    """What git holds in place of an LFS file (git-lfs, docs/spec.md)."""
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
    return text.encode()


def git_blob(data: bytes) -> str:
    """Git's name of a content: sha1 over a header and the bytes."""
    header = f"blob {len(data)}\0".encode()
    return hashlib.sha1(header + data, usedforsecurity=False).hexdigest()
