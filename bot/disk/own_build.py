"""A build of llama.cpp of the user's own in place of the binding's: which, and by what it is known.

llama-cpp-python loads its libraries from the folder that `VARIABLE` names, at import; so this
module imports none of it, and whoever sets the variable does so before anything else.
"""

from __future__ import annotations

import os
from functools import cache
from hashlib import sha256
from pathlib import Path

from bot.errors import SettingsError

VARIABLE = "LLAMA_CPP_LIB_PATH"  # llama_cpp.py of llama-cpp-python
NAMES = ("llama", "ggml", "ggml-base")  # without which nothing works
ENDINGS = (".so", ".dylib", ".dll")
KNOWN_BY = ("*llama.*", "*ggml.*", "*ggml-base.*", "*ggml-cpu*.*")  # not drivers of devices


def own_folder() -> Path | None:
    """The folder of the libraries in use, where it is not the binding's own."""
    named = os.environ.get(VARIABLE)
    return Path(named).absolute() if named else None


def folders_of(folder: Path) -> tuple[Path, ...]:
    """Where the libraries of a folder really lie: itself, and where its links lead."""
    real = [path.resolve().parent for path in sorted(folder.glob("lib*")) if path.is_file()]
    return tuple(dict.fromkeys([folder.resolve(), *real]))


def library_in(folder: Path, name: str) -> Path | None:
    """A library's file by its name without `lib`; None where it is not there."""
    paths = sorted(folder.glob(f"*{name}.*"))
    stems = (name, f"lib{name}")
    return next((p for p in paths if p.suffix in ENDINGS and p.stem in stems), None)


def build_id(folder: Path) -> str:
    """By what a build is known in every key: 16 hexadecimal digits of its libraries' content.

    Raises SettingsError for a folder without llama.cpp's libraries.
    """
    for name in NAMES:
        if library_in(folder, name) is None:
            raise SettingsError(
                f"llama.library {folder} has no lib{name}; name the folder of a build with shared "
                "libraries (cmake -DBUILD_SHARED_LIBS=ON)"
            )
    real = sorted({p.resolve() for pattern in KNOWN_BY for p in folder.glob(pattern)})
    states = tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in real)
    return _digest(states)


@cache
def _digest(states: tuple[tuple[Path, int, int], ...]) -> str:
    hasher = sha256()
    for path, _, _ in states:
        hasher.update(sha256(path.read_bytes()).digest())
    return hasher.hexdigest()[:16]
