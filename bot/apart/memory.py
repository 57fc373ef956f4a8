"""How much memory a process may still take, in a container too."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

# of memory.stat: what the kernel gives back when it is wanted. cgroup-v2.rst; the names with
# `total_`, which count children too, are cgroup-v1/memory.rst's
_CACHE = ("inactive_file", "active_file", "slab_reclaimable")
_CACHE_V1 = ("total_inactive_file", "total_active_file")


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that a process of ours may take: the machine's, or less where a cgroup or a limit of
    this process (RLIMIT_DATA, as of `ulimit -d`) says so.

    Files that the kernel keeps in memory count as free. `root` is where /proc and /sys lie.
    """
    lines = _lines(root / "proc/meminfo") if sys.platform == "linux" else []
    available = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")]
    free = available[0] if available else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([free, *_left(root), *_limit()])


def _limit() -> Iterator[int]:
    """What the system lets a process of this user's have; files that are mapped do not count."""
    most = resource.getrlimit(resource.RLIMIT_DATA)[0]
    if most != resource.RLIM_INFINITY:
        yield most


def _left(root: Path) -> Iterator[int]:
    """What each cgroup above this process leaves of its limit."""
    base = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _of_all(base, path, "memory.max", "memory.current", *_CACHE)
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
            yield from _of_all(base / "memory", path, *names, *_CACHE_V1)


def _of_all(base: Path, path: str, limit: str, usage: str, *cache: str) -> Iterator[int]:
    """A container may see its own cgroup as the root, whatever the path says: both are asked."""
    own = base / path.strip("/")
    for folder in (own, *own.parents):
        if not folder.is_relative_to(base):
            return
        most, used = _lines(folder / limit), _lines(folder / usage)
        if most and used and most[0].isdigit():
            counts = dict(line.split()[:2] for line in _lines(folder / "memory.stat"))
            cached = sum(int(counts.get(name, 0)) for name in cache)
            yield max(int(most[0]) - max(int(used[0]) - cached, 0), 0)


def _lines(path: Path) -> list[str]:
    """A file of the kernel's; nothing where there is none, or it may not be read."""
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
