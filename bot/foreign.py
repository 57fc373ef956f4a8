"""Files that strangers wrote: what stands in place of one, JSON read strictly, and the one net.

Whoever opens such a file asks here first, so that a pointer or a page in its place is called that,
on a Hub, in a folder and after fetching.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import sqlite3
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic_core import from_json  # takes bytes apart as they are, in a fifth of the memory

from bot.errors import CapacityError, SourceError
from bot.legible import legible

log = logging.getLogger(__name__)
DEEPEST = 64  # nesting of a JSON file
LARGEST_CONFIG = 4 << 20  # bytes of a config.json; lists of layers left in 16 bits take 1 MB
MARKS = (b",", b"[", b"{")  # no value of JSON comes without one of them, but the first
MOST_VALUES = 250_000  # of a JSON file; each takes up to 200 bytes of memory
MOST_ENTRIES = 20_000  # files in a model's folder
LONGEST_COUNT = 300  # digits of a whole number in a reply; more are none
START = 1_024  # bytes of a file that tell what it is

_NESTING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)

_PARTS = re.compile(rb'"[^"]*+"|[\[{,]')  # texts without escapes, and what begins values

# beginnings of what takes the place of a file, and what to do about it
_AGAIN = "download it again"
_INSTEAD: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    # git-lfs, docs/spec.md: the first line of a pointer is its version
    (
        re.compile(rb"version https?://(git-lfs\.github\.com|hawser\.github\.com)/spec/"),
        "a Git LFS pointer",
        f"run `git lfs pull` in its repository, or {_AGAIN}",
    ),
    (re.compile(rb"# xet version "), "a Xet pointer", _AGAIN),
    (
        re.compile(rb"\A(\.\./|/){0,10}(\.git/)?annex/objects/"),
        "a git-annex pointer",
        f"run `git annex get` in its repository, or {_AGAIN}",
    ),
    (
        re.compile(rb"<(!doctype html|html|head|body)\b", re.IGNORECASE),
        "a web page",
        f"{_AGAIN}, from an address with /resolve/ in place of /blob/",
    ),
    (
        re.compile(rb"<\?xml[^>]{0,200}\?>\s{0,8}<Error>|<Error><Code>"),
        "a storage server's refusal",
        _AGAIN,
    ),
    (
        re.compile(
            rb"(Entry not found|Repository not found|Invalid username or password"
            rb"|Access to model .{1,200} is restricted|Not Found)\s{0,8}\Z"
            rb'|\{"error":\s?"[^"]{1,300}"\}\s{0,8}\Z'
        ),
        "a server's refusal",
        _AGAIN,
    ),
)


def instead(start: bytes) -> tuple[str, str] | None:
    """What stands in a file's place (a pointer, a page, a refusal), and what to do; else None.

    `start` are the first `START` bytes, or all of a shorter file.
    """
    content = start[:START].removeprefix(b"\xef\xbb\xbf").lstrip()
    matches = ((what, todo) for begins, what, todo in _INSTEAD if begins.match(content))
    return next(matches, None)


def require_itself(start: bytes, name: object) -> None:
    """Raise SourceError where a pointer, a page or a refusal stands in place of the file `name`."""
    stand_in = instead(start)
    if stand_in:
        what, todo = stand_in
        raise SourceError(f"{printable(str(name))} is {what}, not the file itself; {todo}")


def require_file_itself(path: Path) -> None:
    """As `require_itself`, for a file of this machine that exists."""
    with path.open("rb") as file:
        require_itself(file.read(START), path)


def printable(text: str) -> str:
    """A stranger's word in an error: its end, on one line."""
    return legible(text, 200, end=True)


# ── whatever else they hold ─────────────────────────────────────────────────────────────────

# refusals of a file system that are about a name, and not about the disk
_OF_NAMES = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ELOOP)


@contextmanager
def read_of(what: str) -> Iterator[None]:
    """The net around the reading of one release: what nobody foresaw is said to be of `what`.

    Raises SourceError for it with where it arose, CapacityError where memory ran out. What is of
    this machine passes (its disk, its ledger, an interrupt), as do errors that have their words,
    and what any part of the bot raises to end its work.
    """
    try:
        yield
    except MemoryError as error:
        raise CapacityError(
            f"{printable(what)} takes more memory than there is; free some, then look again"
        ) from error
    except Exception as error:
        if _is_of_the_machine(error):
            raise
        raise SourceError(
            f"{printable(what)} cannot be read ({_where(error)}); choose another model, or report "
            "this line"
        ) from error


def _is_of_the_machine(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno not in _OF_NAMES
    ours = type(error).__module__.partition(".")[0] in ("bot", "click")
    return ours or isinstance(error, sqlite3.Error)


def _where(error: Exception) -> str:
    """An exception's kind, and the last line of ours that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if f"bot{os.sep}" in f.filename]
    return f"{type(error).__name__} at {ours[-1]}" if ours else type(error).__name__


# ── JSON ────────────────────────────────────────────────────────────────────────────────────


def strict_object(content: bytes, name: str, most: int = MOST_VALUES) -> dict[str, Any]:
    """A stranger's JSON file that must be an object, nested at most `DEEPEST` deep.

    A byte order mark is let through, as are NaN and Infinity: configs of state-space models hold
    them. Nothing is made of a file with more than `most` values. Raises SourceError.
    """
    require_itself(content, name)
    if sum(content.count(mark) for mark in MARKS) > most:
        raise SourceError(
            f"{name} holds more than the {most:,} values that apex-bot reads; choose another model"
        )
    try:
        value = from_json(content.removeprefix(b"\xef\xbb\xbf"))
    except ValueError as error:  # also integers of 5,000 digits, and half a surrogate pair
        raise _no_json(content, name) from error
    if not isinstance(value, dict):
        raise SourceError(f"{name} is not a JSON object; its maker has to repair it")
    if _deeper_than(value, DEEPEST):
        raise _too_deep(name)
    return value


def json_reply(content: bytes, name: str) -> Any:
    """A server's JSON reply, in which strangers' values stand: these never make it unreadable.

    Integers beyond any count are infinity, and halves of surrogate pairs stay. Raises SourceError
    where values of a stranger are nested deeper than Python reads, ValueError for what is no JSON.
    """
    try:
        return json.loads(content, parse_int=_counted)
    except RecursionError as error:
        raise _too_deep(name) from error


def json_rows(content: bytes, name: str) -> Any:
    """As `json_reply`, of many strangers at once: what is nested too deep is null."""
    try:
        return json.loads(content, parse_int=_counted)
    except RecursionError:
        log.info("%s holds values that are nested too deep", name)
        return json.loads(_pruned(content.decode("utf-8-sig")), parse_int=_counted)


def _counted(digits: str) -> int | float:
    return int(digits) if len(digits) <= LONGEST_COUNT else float(digits)


def _pruned(text: str) -> str:
    """JSON without what is nested deeper than `DEEPEST`."""
    parts, depth, since = list[str](), 0, 0
    for token in _NESTING.finditer(text):
        match token[0]:
            case "[" | "{":
                depth += 1
                if depth == DEEPEST + 1:
                    parts.append(f"{text[since : token.start()]}null")
            case "]" | "}":
                depth -= 1
                if depth == DEEPEST:
                    since = token.end()
            case _:
                pass
    return "".join((*parts, text[since:]))


def has_few_values(content: bytes, most: int = MOST_VALUES) -> bool:
    """Whether JSON holds at most so many values, what stands inside of texts not counted."""
    plain = content.replace(b"\\\\", b"").replace(b'\\"', b"")
    # each value comes with a mark, and with two texts where it has a name and is one
    return sum(1 for _ in islice(_PARTS.finditer(plain), 3 * most + 1)) <= 3 * most


def _no_json(content: bytes, name: str) -> SourceError:
    try:
        json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return SourceError(f"{name} is not UTF-8; its maker has to repair it")
    except RecursionError:
        return _too_deep(name)
    except ValueError:
        pass
    return SourceError(f"{name} is not JSON; its maker has to repair it")


def _too_deep(name: str) -> SourceError:
    return SourceError(
        f"{name} is nested deeper than the {DEEPEST} levels that apex-bot reads; "
        "choose another model"
    )


def read_json(path: Path, limit: int = LARGEST_CONFIG) -> dict[str, Any]:
    """A JSON object of a file here, as `json_object`. Raises SourceError where there is none."""
    return strict_object(read_bounded(path, limit), str(path))


def read_bounded(path: Path, limit: int) -> bytes:
    """A small file. Raises SourceError where there is none, or more than `limit` bytes."""
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError as error:
        raise SourceError(f"{path} does not exist; fetch the whole repository") from error
    if len(content) > limit:
        raise SourceError(
            f"{path} is larger than the {limit:,} bytes that apex-bot reads of it; "
            "choose another model"
        )
    return content


def last_lines(path: Path, limit: int = 1 << 20) -> list[str]:
    """The lines at the end of a log that others wrote: of at most `limit` bytes."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - limit, 0))
        return file.read(limit).decode("utf-8", "replace").splitlines()


def _deeper_than(value: Any, limit: int) -> bool:
    level: list[Any] = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def require_within(folder: Path) -> None:
    """Raise SourceError for a link in a model's folder that leads out of it, whatever its name.

    A cloned repository can hold a link to any file of its reader, whose content would stand in the
    converted model. In a cache of the Hub's own client (models--ORG--NAME/snapshots/COMMIT) files
    are links into the blobs of that very repository.
    """
    home = folder.resolve()
    allowed = [home]
    if home.parent.name == "snapshots":
        allowed.append(home.parent.parent / "blobs")
    for number, path in enumerate(_entries(folder)):
        if number == MOST_ENTRIES:
            raise SourceError(
                f"{folder} has more than {MOST_ENTRIES} files; name the folder of one model"
            )
        if path.is_symlink() and not any(path.resolve().is_relative_to(root) for root in allowed):
            raise SourceError(
                f"{printable(str(path))} is a link that leads out of {folder}; copy the file that "
                "you mean into its place, or remove it"
            )


def _entries(folder: Path) -> Iterator[Path]:
    """All below a folder but git's own, no link followed."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != ".git"]
        yield from (Path(place) / name for name in (*folders, *files))
