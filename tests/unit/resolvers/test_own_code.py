"""The rules against llama.cpp's own code: which files `llama-server -hf` fetches of a Hub."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bot.disk.hashes import sha256
from bot.localhub.server import RunningHub
from bot.records.built import Built
from bot.resolvers.llamacpp import beside
from bot.resolvers.programs import PROGRAMS
from bot.verbs.card_preview import fill
from tests.llama_tools import tool
from tests.unit.resolvers.test_programs import BESIDE, COMPACT, DEMO, LONG_NAMED, NAME, SHARDED

pytestmark = pytest.mark.long
LLAMA = next(program for program in PROGRAMS if program.name == "llama.cpp")
REPOSITORIES = {"Demo": DEMO, "Beside": BESIDE, "Sharded": SHARDED, "Long": LONG_NAMED}
OTHERS = {
    "Plain": (
        "a-IQ2_M.gguf",
        "b-Q8_0.gguf",
        "c-Q4_K_M.gguf",
        "mmproj-F16.gguf",
        "mmproj-BF16.gguf",
    ),
    "Eights": ("a-IQ2_M.gguf", "b-Q8_0.gguf", "z.gguf"),
    "Neither": ("b-IQ2_M.gguf", "a-F16.gguf", "imatrix.gguf"),
    "Folders": ("Q8_0/m-Q8_0.gguf", "BF16/m-BF16.gguf", "mmproj-F32.gguf"),
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """A Hub with these repositories, whose files are no models: they are for fetching."""
    folder = tmp_path_factory.mktemp("hub")
    with RunningHub(folder / "hub") as server:
        for name, paths in (REPOSITORIES | OTHERS).items():
            built = {}
            for path in paths:
                file = folder / name / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(f"{path} of {name}")
                built[path] = Built(path=str(file), bytes=file.stat().st_size, sha256=sha256(file))
            fill(server.store, f"someone/{name}", built)
        yield server


def fetched(hub: RunningHub, folder: Path, *words: str) -> set[str]:
    """The files that llama-server has after it was told to serve a model, which then is none."""
    command = [str(tool("llama-server")), *words, "-fit", "off", "--port", "1"]
    cache = folder / "cache"
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(cache), "HOME": str(folder)}
    subprocess.run(command, env=env, capture_output=True, timeout=60, check=False)
    return {
        path.relative_to(snapshot).as_posix()
        for snapshot in cache.glob("models--*/snapshots/*")
        for path in snapshot.rglob("*")
        if path.is_file()
    }


def expected(paths: Sequence[str], model: str | None) -> set[str]:
    """A model, all its shards, and the projector that goes with it."""
    if model is None:
        return set()
    first = "-00001-of-00002.gguf"
    parts = {model, model.replace(first, "-00002-of-00002.gguf")}
    projector = beside(paths, model, "mmproj")
    return parts | ({projector} if projector else set())


@pytest.mark.parametrize("name", [*REPOSITORIES, *OTHERS])
def test_the_repository_alone(hub: RunningHub, tmp_path: Path, name: str) -> None:
    paths = (REPOSITORIES | OTHERS)[name]
    model = LLAMA.alone(f"someone/{name}", paths).path
    assert fetched(hub, tmp_path, "-hf", f"someone/{name}") == expected(paths, model)


@pytest.mark.parametrize("name", REPOSITORIES)
@pytest.mark.parametrize("tag", ["I-Mini", "Quality", "i-compact", "Q4_K_M", "I-Nothing"])
def test_a_tag(hub: RunningHub, tmp_path: Path, name: str, tag: str) -> None:
    paths = REPOSITORIES[name]
    model = LLAMA.tagged(f"someone/{name}", paths, tag).path
    assert fetched(hub, tmp_path, "-hf", f"someone/{name}:{tag}") == expected(paths, model)


@pytest.mark.parametrize("name", ["Demo", "Beside", "Long"])
def test_a_file(hub: RunningHub, tmp_path: Path, name: str) -> None:
    paths = REPOSITORIES[name]
    model = next(path for path in paths if path.endswith("I-Balanced.gguf"))
    words = ("-hf", f"someone/{name}", "--hf-file", model)
    assert fetched(hub, tmp_path, *words) == expected(paths, model)


def test_prediction_layers_are_fetched_where_it_is_told_to_draft(
    hub: RunningHub, tmp_path: Path
) -> None:
    words = ("-hf", "someone/Beside", "--spec-type", "draft-mtp")
    assert fetched(hub, tmp_path, *words) == {COMPACT, "mmproj.gguf", f"mtp-{NAME}.gguf"}
