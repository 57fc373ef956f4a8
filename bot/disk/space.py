"""What files take on the disk, and what is free."""

from __future__ import annotations

import shutil
from pathlib import Path

from bot.errors import CapacityError


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
