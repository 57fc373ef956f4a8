"""The converter's packages: exact versions with the hashes of their files, of every platform.

packages.lock is made of packages.in, whose head says how. What it lists behind a condition is what
torch wants on Linux where it is built for CUDA.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

from bot.errors import BuildError

LOCK = Path(__file__).resolve().parent / "packages.lock"
# wheels of the very version without CUDA, which PyTorch publishes apart from the index
WITHOUT_CUDA = ("6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",)
_ENTRY = re.compile(
    r"^([a-z0-9-]+)==([0-9a-z.+]+)( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+ *\n",
    re.MULTILINE,
)


@cache
def lock_entries() -> dict[str, str]:
    """Each package's lines. Raises BuildError where a line of the lock is none of a package's."""
    text = LOCK.read_text(encoding="utf-8")
    entries = {entry[1]: entry[0] for entry in _ENTRY.finditer(text)}
    if "".join(entries.values()) != text:
        raise BuildError(f"{LOCK} is damaged; install apex-bot again")
    return entries


def whole_lock() -> str:
    """All of it, as pip reads requirements."""
    return "".join(lock_entries().values())


def everywhere() -> str:
    """Packages that every system needs, without torch itself, as pip reads requirements."""
    entries = [entry for name, entry in lock_entries().items() if name != "torch"]
    return "".join(entry for entry in entries if " ; " not in entry)


def without_cuda() -> str:
    """torch without CUDA, which needs no further package, as pip reads requirements."""
    hashes = "".join(f" --hash=sha256:{sha}" for sha in WITHOUT_CUDA)
    return f"torch=={version('torch')}+cpu{hashes}\n"


def version(name: str) -> str:
    """A package's version."""
    return lock_entries()[name].split()[0].partition("==")[2]


def lock_digest() -> str:
    """Hash of all versions and hashes."""
    return hashlib.sha256((whole_lock() + without_cuda()).encode()).hexdigest()
