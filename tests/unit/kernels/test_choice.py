"""Which kernels are used, and what is known of them afterwards."""

from __future__ import annotations

import ctypes  # noqa: TID251 - a library of the test, and the bytes that a kernel wrote
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from bot.clients.llama import ggml
from bot.clients.llama.library import ggml_base
from bot.kernels import choice, trial
from bot.kernels.choice import KINDS, LIBRARY_ONLY, Kernels
from bot.kernels.kernel import Kernel

KIND = "Q4_K"


def test_without_a_folder_there_are_none() -> None:
    assert LIBRARY_ONLY.kernel(KIND) is None
    assert set(LIBRARY_ONLY.reasons().values()) == {"the library (quantize.kernels is off)"}


def test_types_without_a_kernel_are_the_librarys(tmp_path: Path) -> None:
    assert Kernels(folder=tmp_path).kernel("Q8_0") is None
    assert Kernels(folder=tmp_path).kernel("IQ4_NL") is None


def test_without_numba_the_library_does_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bot.kernels.table", None)  # what a failed import leaves
    assert Kernels(folder=tmp_path).kernel(KIND) is None
    assert "Numba does not run here" in Kernels(folder=tmp_path).reasons()[KIND]


@pytest.mark.road
def test_what_was_tried_is_known_and_code_is_kept(
    kernel: Callable[[str], Kernel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel(KIND)
    monkeypatch.setattr(choice, "differing", None)  # it is not tried again
    kernels = Kernels(folder=tmp_path)
    assert kernels.kernel(KIND) is not None
    assert kernels.reasons()[KIND] == "our kernel"


@pytest.mark.parametrize(
    "text", ["", "[]", "{" * 5000, '{"Q4_K": "yes", "Q5_K": 1, "no": "equal"}']
)
def test_a_record_that_cannot_be_read_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    table = choice.load()
    assert not isinstance(table, str)
    place = tmp_path / choice.version()
    place.mkdir()
    choice.record_path(place, table).write_text(text)
    assert set(Kernels(folder=tmp_path).reasons().values()) == {
        "our kernel, if its bytes prove equal when it is first used"
    }


def test_a_kernel_whose_bytes_differ_is_not_used(
    kernel: Callable[[str], Kernel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel(KIND)  # its code is kept now
    known = tmp_path / "known"
    shutil.copytree(Path(sys.prefix) / "kernels", known, ignore=shutil.ignore_patterns("*.json"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(known))
    monkeypatch.setattr(choice, "differing", lambda _kernel: 1)
    kernels = Kernels(folder=tmp_path)
    assert kernels.kernel(KIND) is None
    assert kernels.reasons()[KIND] == "the library (the kernel's bytes differ from its)"


@pytest.mark.road
def test_a_kernel_that_cannot_be_compiled_leaves_its_type_to_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = choice.load()
    assert not isinstance(table, str)

    def untyped(a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int) -> str:
        return str(a + b + c + d + e + f + g + h)  # a kernel comes back with a number

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setitem(table.ROWS, KIND, replace(table.ROWS[KIND], function=untyped))
    kernels = Kernels(folder=tmp_path)
    assert kernels.kernel(KIND) is None
    assert "Numba cannot compile" in kernels.reasons()[KIND]
    monkeypatch.setattr(table, "compiled", None)  # it is not tried again
    assert kernels.kernel(KIND) is None


def test_chosen_blocks_tell_one_wrong_bit(kernel: Callable[[str], Kernel]) -> None:
    right = kernel(KIND)
    assert trial.differing(right) == 0

    def wrong(*arguments: int) -> int:
        left = right.entry(*arguments)
        last = ctypes.c_uint8.from_address(arguments[1] + 143)
        last.value ^= 1
        return left

    assert trial.differing(replace(right, entry=wrong)) > 0


@pytest.mark.long
def test_a_library_that_rounds_otherwise_switches_every_type_off(
    kernel: Callable[[str], Kernel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp's own source, compiled with fused multiply-add."""
    library = ctypes.CDLL(str(fused(tmp_path)))
    kernels = {kind: kernel(kind) for kind in KINDS}
    monkeypatch.setattr(ggml, "ggml_base", lambda: library)
    ggml.quantizer.cache_clear()
    try:
        same = [kind for kind in KINDS if trial.differing(kernels[kind]) == 0]
    finally:
        ggml.quantizer.cache_clear()
    assert same == []


def fused(folder: Path) -> Path:
    """ggml's quantizers with fused multiply-add, over the installed library for all else."""
    if not (compiler := shutil.which("gcc")) or not (Path("/proc/cpuinfo")).is_file():
        pytest.skip("GCC on Linux is needed to compile a library that rounds otherwise")
    if " fma " not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no fused multiply-add")
    name = f"llama-cpp-python=={version('llama-cpp-python')}"
    got = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", name],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    archives = [*folder.glob("*.tar.gz")]
    if not archives:
        pytest.skip(f"the source of {name} cannot be had: {got.stderr[-200:]}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder / "source", filter="data")
    [source] = (folder / "source").glob("*/vendor/llama.cpp/ggml")
    base = Path(ggml_base()._name)
    made = folder / "libfused.so"
    subprocess.run(
        [compiler, "-O3", "-mavx2", "-mfma", "-ffp-contract=fast", "-fPIC", "-shared", "-DNDEBUG",
         "-I", source / "include", "-I", source / "src", "-o", made, source / "src/ggml-quants.c",
         f"-L{base.parent}", f"-l:{base.name}", "-lm"],
        check=True,
    )  # fmt: skip
    return made


COMPILES = """
import sys
from pathlib import Path
from bot.kernels.choice import Kernels
assert all(Kernels(folder=Path(sys.argv[1])).kernel(kind) for kind in sys.argv[2:])
"""
TRIES = """
import sys
from pathlib import Path
from bot.kernels.choice import Kernels
from bot.kernels.trial import differing
kernels = [Kernels(folder=Path(sys.argv[1])).kernel(kind) for kind in sys.argv[2:]]
print([differing(kernel) for kernel in kernels])
"""


@pytest.mark.road
def test_kernels_that_several_processes_compiled_serve_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closures of one name, over other constants, are in both."""
    monkeypatch.delenv("NUMBA_CACHE_DIR")

    def python(script: str, *kinds: str) -> str:
        words = [sys.executable, "-c", script, str(tmp_path), *kinds]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    pair = ("IQ2_S", "IQ3_S")
    for kind in pair:
        python(COMPILES, kind)
    assert python(TRIES, *pair) == "[0, 0]\n"
    assert python(TRIES, *reversed(pair)) == "[0, 0]\n"
