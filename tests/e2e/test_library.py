"""`llama.library`: files made and measured by a build of one's own, which has to fit first."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from pathlib import Path

import pytest

from tests.e2e.road import Road
from tests.libraries import OWN, copied, wrong
from tests.llama_tools import tool

pytestmark = [
    pytest.mark.road,
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or platform.machine() != "x86_64",
        reason="libraries are made by cc for Linux on x86-64",
    ),
]
TIERS = ("--tiers", "Compact")


@pytest.fixture
def road(tmp_path: Path) -> Road:
    return Road(folder=tmp_path, url="http://127.0.0.1:9", token="")


def use(road: Road, library: Path | None) -> Road:
    llama = {"threads": 2, "gpu_layers": 0}
    road.settings(llama=llama if library is None else {**llama, "library": str(library)})
    return road


def made(road: Road, model: Path) -> tuple[str, str]:
    """A tier's hash, and the job that it belongs to."""
    done = road.bot("quantize", str(model), *TIERS, "--json")
    assert done.returncode == 0, done.stderr
    built = json.loads(done.stdout)["Compact"]
    return built["sha256"], Path(built["path"]).parent.parent.name


def test_a_build_that_fits_makes_the_same_bytes_in_a_job_of_its_own(
    road: Road, demo_model: Path, tmp_path: Path
) -> None:
    ours = made(use(road, None), demo_model)
    theirs = made(use(road, copied(tmp_path / "build")), demo_model)
    assert ours[0] == theirs[0]
    assert ours[1] != theirs[1]
    (file,) = (road.folder / "work" / "jobs" / theirs[1] / "release").glob("*.gguf")
    looked = road.bot("verify", str(file))
    assert looked.returncode == 0, looked.stdout + looked.stderr
    assert "own build" in road.bot("doctor").stdout


def test_libraries_that_others_compiled_make_the_same_bytes(
    road: Road, demo_model: Path, tmp_path: Path
) -> None:
    """Their libllama, libggml and libggml-base, beside the binding's code for this processor."""
    folder, build = tmp_path / "build", tool("libllama.so").parent
    shutil.copytree(build, folder, symlinks=True)
    for path in folder.glob("libggml-cpu*"):
        path.unlink()
    for path in OWN.glob("libggml-cpu*"):
        shutil.copy(path, folder / path.name)
    theirs = made(use(road, folder), demo_model)
    assert made(use(road, None), demo_model)[0] == theirs[0]


@pytest.mark.parametrize("kind", ["newer", "crashing"])
def test_a_build_that_does_not_fit_does_nothing(
    kind: str, road: Road, demo_model: Path, tmp_path: Path
) -> None:
    use(road, wrong(tmp_path / "build", kind))
    for words in (("quantize", str(demo_model), *TIERS), ("verify", str(demo_model))):
        done = road.bot(*words)
        assert done.returncode == 3
        assert "does not fit llama-cpp-python" in done.stderr.splitlines()[-1]
    named = {"LLAMA_CPP_LIB_PATH": str(tmp_path / "build")}  # by the binding's own variable
    done = use(road, None).bot("verify", str(demo_model), config=None, **named)
    assert done.returncode == 3
    assert not (road.folder / "work").exists()


def test_the_converter_belongs_to_the_library(road: Road, tmp_path: Path) -> None:
    tree = tmp_path / "llama.cpp"
    use(road, copied(tree / "build" / "bin"))
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    words = ("convert", str(folder), str(tmp_path / "m.gguf"))
    python = {"BOT_CONVERT__PYTHON": sys.executable}
    alone = road.bot(*words, config=None, **python)
    assert "name that as convert.llama_cpp" in alone.stderr
    (tree / "convert_hf_to_gguf.py").write_text("")
    shown = road.bot("toolchain", "show", "--json", config=None, **python)
    assert str(tree) in shown.stderr + shown.stdout
