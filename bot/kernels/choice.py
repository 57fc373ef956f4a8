"""Which types are quantized by our kernels, and by which not, with the reason.

A kernel is used where it makes the same bytes as the installed library: tried once for each
library, version of the kernels and processor, on blocks of chosen classes, in which libraries that
were compiled to round otherwise differ. What is known is kept beside the compiled code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from importlib.metadata import version as version_of
from pathlib import Path
from types import ModuleType

from bot.clients.llama.library import base_digest
from bot.disk.locks import alone
from bot.disk.writing import write_text
from bot.kernels.kernel import Kernel
from bot.kernels.trial import differing
from bot.records.coding import digest

KINDS = (
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ1_M"),
    *("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"),
)
EQUAL, DIFFERENT, UNCOMPILED = "equal", "different", "uncompiled"  # outcomes of a trial
WORDS = {
    EQUAL: "our kernel",
    DIFFERENT: "the library (the kernel's bytes differ from its)",
    UNCOMPILED: "the library (Numba cannot compile the kernel for this processor)",
}
LARGEST_RECORD = 1 << 16  # bytes of what is known
_ROOM = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """The kernels of this machine, compiled in `folder` when they are first asked for.

    Without a folder there are none.
    """

    folder: Path | None

    def kernel(self, kind: str) -> Kernel | None:
        """The kernel of a type, if there is one that makes the library's bytes."""
        if self.folder is None or kind not in KINDS or isinstance(table := load(), str):
            return None
        place = self.place()
        place.mkdir(parents=True, exist_ok=True)
        with alone(place):  # one process compiles, the others find what it made
            known = _known(place, table)
            if known.get(kind) == UNCOMPILED:
                return None
            kernel = _compiled(kind, place, table)
            if kind not in known:
                known[kind] = UNCOMPILED if kernel is None else _outcome(kernel)
                write_text(record_path(place, table), json.dumps(known, sort_keys=True))
        return kernel if known[kind] == EQUAL else None

    def tried(self, kinds: Iterable[str]) -> bool:
        """Whether nothing has to be compiled before these types are made."""
        ours = {*kinds} & {*KINDS}
        if self.folder is None or not ours or isinstance(table := load(), str):
            return True
        return ours <= _known(self.place(), table).keys()

    def place(self) -> Path:
        """Where this version's code is: Numba's own variable goes before `folder`."""
        return Path(os.environ.get("NUMBA_CACHE_DIR") or self.folder or "") / version()

    def reasons(self) -> dict[str, str]:
        """For each type how it is quantized, in words; compiles nothing."""
        if self.folder is None:
            return dict.fromkeys(KINDS, "the library (quantize.kernels is off)")
        if isinstance(table := load(), str):
            return dict.fromkeys(KINDS, f"the library ({table})")
        known = _known(self.place(), table)
        untried = "our kernel, if its bytes prove equal when it is first used"
        return {kind: WORDS[known[kind]] if kind in known else untried for kind in KINDS}


def _compiled(kind: str, place: Path, table: ModuleType) -> Kernel | None:
    """A type's kernel; None where Numba cannot compile it for this processor."""
    entry = table.compiled(kind, place)
    return None if entry is None else Kernel(kind=kind, entry=entry, row=table.ROWS[kind])


def _outcome(kernel: Kernel) -> str:
    return EQUAL if differing(kernel) == 0 else DIFFERENT


LIBRARY_ONLY = Kernels(folder=None)


def load() -> ModuleType | str:
    """The table of kernels; why there is none where Numba is missing or does not run here."""
    try:
        return import_module("bot.kernels.table")
    except (ImportError, OSError, SystemError) as error:
        return f"Numba does not run here: {' '.join(str(error).split())[:200]}"


def form() -> str:
    """Which instructions kernels use on this processor, or why there are none."""
    table = load()
    return table if isinstance(table, str) else str(table.machine.form())


def version() -> str:
    """Name of a folder for code compiled of these sources by this Numba."""
    hasher = sha256(version_of("numba").encode())
    for path in sorted(_ROOM.rglob("*.py")):
        hasher.update(path.relative_to(_ROOM).as_posix().encode() + b"\0" + path.read_bytes())
    return hasher.hexdigest()[:16]


def record_path(place: Path, table: ModuleType) -> Path:
    """What is known of the kernels for one library on one processor."""
    return place / f"equal-{digest([base_digest(), table.processor()])[:16]}.json"


def _known(place: Path, table: ModuleType) -> dict[str, str]:
    """Types that were tried, with the outcome. Nothing where the record cannot be read."""
    try:
        path = record_path(place, table)
        if path.stat().st_size > LARGEST_RECORD:
            return {}
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(record, dict):
        return {}
    return {k: v for k, v in record.items() if k in KINDS and isinstance(v, str) and v in WORDS}
