"""bot.lock: which file of a Hub each data set was at its first use; every later use is held to it.

    {"version": 1,
     "files": {"datasets/ORG/NAME/PATH": {"commit": "…", "sha256": "…", "bytes": 1290590}}}

It lies beside bot.yaml and belongs into the same version control. `commit` is null where the file
came from a folder. `datasets/ORG/NAME/` is all of a data set: its hash is that of paths and hashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from bot.disk.writing import write_text
from bot.errors import SettingsError
from bot.records.coding import from_json, to_json

FILE = "bot.lock"
LARGEST = 1 << 20  # bytes of a lock


@dataclass(frozen=True, kw_only=True)
class LockedFile:
    """A file as it was at its first use."""

    commit: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class _Lock:
    version: Literal[1]
    files: Mapping[str, LockedFile]


def lock_key(kind: str, repository: str, path: str) -> str:
    """What a file is called in the lock: `kind` is dataset or model."""
    return f"{kind}s/{repository}/{path}"


def read_lock(path: Path) -> Mapping[str, LockedFile]:
    """The rows of a lock; none where there is no file. Raises SettingsError for a damaged one."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}); mend it") from error
    try:
        if len(content) > LARGEST:
            raise ValueError("too large")
        return from_json(_Lock, content).files
    except (ValidationError, ValueError) as error:
        raise SettingsError(
            f"{path} is no lock of data sets; take it from version control, or remove it so that "
            "the data sets of today are recorded"
        ) from error


def add_to_lock(path: Path, rows: Mapping[str, LockedFile]) -> Mapping[str, LockedFile]:
    """Record files at their first use; what stands there already stays. Returns all rows.

    The caller keeps others from writing meanwhile. Raises SettingsError where it cannot be written.
    """
    known = read_lock(path)
    files = dict(sorted({**rows, **known}.items()))
    if files != known:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, to_json(_Lock(version=1, files=files)))
        except OSError as error:
            raise SettingsError(
                f"{path} cannot be written ({error.strerror}), and data sets are recorded there "
                "at their first use; set `lock` to a file that can be"
            ) from error
    return files
