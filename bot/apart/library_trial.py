"""Whether a build of llama.cpp fits the binding: asked in children, before it touches anything.

The binding fills C structs by its own idea of them; a library with another idea reads and writes
beside them. So a child measures how many bytes the library's functions write for each struct that
comes back by value, compares defaults and types, and then a second one decodes a small model; both
do so with the binding's own library, too. What crashes there crashes alone.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bot.apart.errand import CrashedError, carry_out, sent
from bot.apart.sandbox import IsolationSetting, Limits
from bot.disk.writing import write_text
from bot.errors import BuildError, SettingsError
from bot.foreign import read_bounded
from bot.records.coding import from_json
from bot.settings.sections import DEMO

T = TypeVar("T")
LARGEST = 1 << 20  # bytes of an answer
RESULT = "facts.json"
LIMITS = Limits(
    seconds=300,
    memory=4 << 30,
    name="llama.library",
    longer="name another build",
    larger="name another build",
)
PROMPT = "The house on the hill was"
# GCC's _tile_loadconfig (amxtileintrin.h) owns up to 8 of the 64 bytes it reads, and drops what was
# written to the others: compiled so for a processor with AMX, decoding a quantized model crashes
WITHOUT_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
FAR = 0.05  # of logits' spread, by which another version's may differ
STRUCTS = {
    "llama_model_params": "llama_model_default_params",
    "llama_context_params": "llama_context_default_params",
    "llama_model_quantize_params": "llama_model_quantize_default_params",
}
X86 = (
    "x86_64",
    "amd64",
)  # where a struct that comes back by value is written to the first argument


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """What a library says of itself: bytes of structs, defaults, types."""

    version: str
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)  # written, as the binding has
    defaults: dict[str, str] = field(default_factory=dict)
    types: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # number, length, bytes


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """The likeliest token at each place of a prompt, and the logits' values for it."""

    tokens: tuple[int, ...]
    logits: tuple[float, ...]
    spread: float


def require_fit(folder: Path, build: str, kept: Path, isolation: IsolationSetting) -> None:
    """Raise SettingsError unless the build in `folder` fits the binding.

    Tried once for a build: what was found is kept in the folder `kept`.
    """
    note = kept / f"{build}.json"
    key = json.dumps([build, _binding(), platform.machine()])
    if note.is_file() and note.read_text(encoding="utf-8") == key:
        return
    _require_shapes(folder, isolation)
    _require_sense(folder, isolation)
    write_text(note, key)


def _binding() -> str:
    from importlib.metadata import version

    return version("llama-cpp-python")


def _require_shapes(folder: Path, isolation: IsolationSetting) -> None:
    own, other = _asked(Shapes, None, isolation), _asked(Shapes, folder, isolation)
    for name, (written, expected) in other.sizes.items():
        if not _fits(written, expected):
            raise _unfit(folder, f"its {name} has {written} bytes, the binding's {expected}")
    differing = [key for key, value in own.defaults.items() if other.defaults.get(key) != value]
    if differing:
        key = differing[0]
        raise _unfit(
            folder, f"its {key} is {other.defaults.get(key)} unless told, not {own.defaults[key]}"
        )
    changed = [name for name, shape in own.types.items() if other.types.get(name) != shape]
    if changed:
        raise _unfit(folder, f"its {changed[0]} is stored in another way")


def _fits(written: int, expected: int) -> bool:
    """Whether a struct has its size: bytes at its end that align the next are not written."""
    return 0 <= expected - written < 8


def _require_sense(folder: Path, isolation: IsolationSetting) -> None:
    own, other = _asked(Decoded, None, isolation), _asked(Decoded, folder, isolation)
    far = max(
        (abs(a - b) for a, b in zip(own.logits, other.logits, strict=False)), default=float("inf")
    )
    if len(own.tokens) != len(other.tokens) or far > FAR * own.spread:
        raise _unfit(folder, "it decodes a small model to something else")


def _unfit(folder: Path, reason: str) -> SettingsError:
    return SettingsError(
        f"llama.library {folder} does not fit llama-cpp-python {_binding()}: {reason}; build "
        "llama.cpp of about that time, or leave llama.library out"
    )


def _asked(kind: type[T], folder: Path | None, isolation: IsolationSetting) -> T:
    """A child's answer with the library in `folder`, or the binding's own."""
    try:
        with sent(
            __name__,
            json.dumps(kind.__name__),
            limits=LIMITS,
            isolation=isolation,
            library=folder,
            binding=folder is None,
        ) as made:
            return from_json(kind, read_bounded(made / RESULT, LARGEST))
    except (BuildError, ValueError) as error:
        if folder is None:
            raise
        raise _unfit(folder, _reason(kind, error)) from error


def _reason(kind: type[Any], error: Exception) -> str:
    if not isinstance(error, CrashedError):
        return str(error)
    if kind is Shapes:
        return "it crashes when it is asked for its defaults"
    flags = f"-DCMAKE_C_FLAGS='{WITHOUT_AMX}' -DCMAKE_CXX_FLAGS='{WITHOUT_AMX}'"
    known = f" (as what GCC compiled for processors with AMX does; configure with {flags})"
    return f"it crashes when it decodes{known if has_amx() else ''}"


def has_amx() -> bool:
    """Whether this processor has AMX, as far as Linux tells."""
    told = Path("/proc/cpuinfo")
    return told.is_file() and "amx_tile" in told.read_text(encoding="utf-8", errors="replace")


# ── in the child ────────────────────────────────────────────────────────────────────────────


def _shapes() -> Shapes:
    """Sizes first: what writes more than the binding has room for is asked for nothing else."""
    from bot.clients.llama import library, observer

    version = library.library_version()
    sizes = {"ggml_tensor": (library.tensor_bytes(), library.struct_bytes(observer.GraphTensor))}
    for struct, function in STRUCTS.items() if platform.machine().lower() in X86 else ():
        sizes[struct] = library.bytes_written(function), library.struct_bytes(struct)
    if not all(_fits(*size) for size in sizes.values()):
        return Shapes(version=version, sizes=sizes)
    defaults = {
        f"{struct}.{key}": text
        for struct, function in STRUCTS.items()
        for key, text in library.defaults_of(function)
    }
    return Shapes(version=version, sizes=sizes, defaults=defaults, types=library.type_shapes())


def _decoded() -> Decoded:
    from bot.clients.llama.session import Session, Token

    with Session(DEMO / "tiny-moe-Q8_0.gguf", n_ctx=64, threads=2, gpu_layers=0) as session:
        ids = session.tokenize(PROMPT)
        batch = [Token(id=t, position=i, logits=True) for i, t in enumerate(ids)]
        logits = session.decode(batch)
        best = logits.argmax(axis=1)
        return Decoded(
            tokens=tuple(map(int, best)),
            logits=tuple(float(row[i]) for row, i in zip(logits, best, strict=True)),
            spread=float(logits.std()) or 1.0,
        )


def _carried_out(order: str, made: Path) -> None:
    work: Any = {"Shapes": _shapes, "Decoded": _decoded}[json.loads(order)]
    (made / RESULT).write_text(json.dumps(asdict(work())), encoding="utf-8")


if __name__ == "__main__":
    carry_out(_carried_out)
