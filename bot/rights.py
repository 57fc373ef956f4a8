"""Who may read what the bot writes: its user alone, or those who share the working folder, too.

The kernel sees to it when a file is made, so that none is open for an instant: umask(2).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

Access = Literal["owner", "group"]
DENIED: dict[Access, int] = {"owner": 0o077, "group": 0o007}
_MASKS: dict[str, int] = {}  # of this process: the user's own, and the one that holds


def close() -> None:
    """From here on everything is made for this user alone."""
    _MASKS["user"] = os.umask(DENIED["owner"])
    _MASKS["now"] = DENIED["owner"]


def share(access: Access) -> None:
    """Let others in as settings say; a process that was never closed stays as it is."""
    if _MASKS:
        os.umask(DENIED[access])
        _MASKS["now"] = DENIED[access]


def hand_out(*paths: Path) -> None:
    """Give what lies outside the working folder the rights that the user's own programs would."""
    for path in paths if _MASKS else ():
        path.chmod((0o777 if path.is_dir() else 0o666) & ~_MASKS["user"])


def private(path: Path) -> None:
    """Make an empty file for its owner, or find one, and end what others may do with it.

    In a shared working folder its group keeps what it may. Raises OSError where it cannot be made.
    """
    denied = _MASKS.get("now", DENIED["owner"])
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666 & ~denied)
    try:
        mode = os.fstat(file).st_mode & 0o777
        if mode & denied:
            with suppress(PermissionError):  # another user's, or a disk without rights of its own
                os.fchmod(file, mode & ~denied)
    finally:
        os.close(file)


def is_open(folder: Path, access: Access) -> bool:
    """Whether others may look into a folder than its owner, or its group where that may."""
    return bool(folder.stat().st_mode & DENIED[access])
