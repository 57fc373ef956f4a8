"""A build of llama.cpp that is not the binding's: tried where it can do no harm."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

import pytest

from bot.apart import library_trial
from bot.apart.library_trial import WITHOUT_AMX, require_fit
from bot.disk.own_build import build_id
from bot.errors import SettingsError
from tests.libraries import OWN, copied, wrong

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() != "x86_64",
    reason="libraries are made by cc for Linux on x86-64",
)


@pytest.mark.road
def test_a_build_that_fits_is_tried_once(tmp_path: Path) -> None:
    folder, kept = copied(tmp_path / "build"), tmp_path / "kept"
    build = build_id(folder)
    assert build != build_id(OWN)
    require_fit(folder, build, kept, "best")
    shutil.rmtree(folder)
    require_fit(folder, build, kept, "best")
    with pytest.raises(SettingsError):
        require_fit(folder, "another", kept, "best")


@pytest.mark.road
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("older", r"its llama_context_params has \d+ bytes, the binding's \d+"),
        ("newer", r"its llama_context_params has \d+ bytes, the binding's \d+"),
        ("ordered otherwise", r"its llama_context_params.n_ctx is 2048 unless told, not 512"),
        ("crashing", "it crashes when it decodes"),
        ("raving", "it decodes a small model to something else"),
    ],
)
def test_a_build_that_does_not_fit_is_refused(kind: str, reason: str, tmp_path: Path) -> None:
    folder, kept = wrong(tmp_path / "build", kind), tmp_path / "kept"
    with pytest.raises(SettingsError, match=f"does not fit llama-cpp-python .*: {reason}"):
        require_fit(folder, build_id(folder), kept, "best")
    assert not kept.exists()


@pytest.mark.parametrize("has_amx", [True, False])
@pytest.mark.road
def test_what_crashes_on_a_processor_with_amx_is_told_of_its_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_amx: bool
) -> None:
    monkeypatch.setattr(library_trial, "has_amx", lambda: has_amx)
    folder = wrong(tmp_path / "build", "crashing")
    with pytest.raises(SettingsError) as refused:
        require_fit(folder, build_id(folder), tmp_path / "kept", "best")
    assert (f"-DCMAKE_CXX_FLAGS='{WITHOUT_AMX}'" in str(refused.value)) == has_amx


def test_what_is_no_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has no libllama; name the folder of a build"):
        build_id(tmp_path)


@pytest.mark.road
def test_a_library_without_the_bindings_functions_is_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path / "build")
    shutil.copy(OWN / "libggml.so", folder / "libllama.so")
    with pytest.raises(SettingsError, match="undefined symbol: llama_"):
        require_fit(folder, build_id(folder), tmp_path / "kept", "best")
