"""The Hub's own code reads our files and names as we say they are read."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from bot.clients.files import gguf
from bot.resolvers.hub_labels import hub_label, hub_snippet
from bot.resolvers.programs import PROGRAMS
from tests.clients_npm.node import clients, run
from tests.e2e.road import Road
from tests.local_hub.server import Hub
from tests.unit.resolvers.test_programs import BESIDE, DEMO, LONG_NAMED, SHARDED

pytestmark = clients
LLAMA, OLLAMA, LOCALAI = (
    next(program for program in PROGRAMS if program.name == name)
    for name in ("llama.cpp", "Ollama", "LocalAI")
)

MODELS = ["Tiny-MoE-14M", "Qwen3.6-35B-A3B", "Some-30B-A3B-BF16", "gpt-oss-20b-MXFP4", "m.q4_k_m"]
ENDINGS = [
    *("APEX-I-Quality", "APEX-Q6_K_IQUALITY", "Q4_K_M", "UD-Q4_K_XL", "q8_0", "IQ2_XXS", "MXFP4"),
    *("MXFP4_MOE", "NVFP4", "BF16", "F16", "Q4_0_4_8", "TQ1_0", "imatrix", "Q5_K_", "Q4_K_M_APEX"),
]
SHARDS = ["", "-00001-of-00003"]
FOLDERS = ["", "Q6_K/", "deep/er/"]


def test_labels_are_those_that_the_hub_finds() -> None:
    names = [
        f"{folder}{model}-{ending}{shard}.gguf"
        for folder, model, ending, shard in itertools.product(FOLDERS, MODELS, ENDINGS, SHARDS)
    ]
    found = run("labels.mjs", given=names)
    assert dict(zip(names, found, strict=True)) == {name: hub_label(name) for name in names}


REPOSITORIES = {
    "demo": DEMO, "with parts beside": BESIDE, "in shards": SHARDED, "long": LONG_NAMED,
}  # fmt: skip


@pytest.mark.parametrize("name", REPOSITORIES)
def test_the_commands_of_the_hubs_page_lead_to_the_file_that_it_shows(name: str) -> None:
    """Made by its own code for the file that its page chooses; taken by each program's rules."""
    repo, paths = "someone/Repo", REPOSITORIES[name]
    shown = hub_snippet(paths)
    assert shown is not None
    [commands] = run("snippets.mjs", given=[[repo, shown]])
    assert f"llama-server -hf {repo}:Q4_K_M" in commands["llama.cpp"]
    assert LLAMA.tagged(repo, paths, "Q4_K_M").path == shown
    assert commands["ollama"] == f"ollama run hf.co/{repo}:Q4_K_M"
    if name != "in shards":
        assert OLLAMA.tagged(repo, paths, "Q4_K_M").path == shown
    assert f"local-ai run huggingface://{repo}/{shown}" in commands["localai"]
    assert LOCALAI.named(repo, paths, shown).path == shown


def require_same(seen: Any, path: Path) -> None:
    """What the Hub's code read of a file is what we read of it."""
    ours = gguf.read_gguf(path)
    assert [(name, tuple(shape), kind) for name, shape, kind in seen["tensors"]] == [
        (tensor.name, tensor.shape, tensor.type) for tensor in ours.tensors
    ]
    assert seen["data_offset"] == ours.data_offset
    assert seen["keys"]["general.architecture"] == ours.get("general.architecture")


def test_the_hub_reads_our_files(tmp_path: Path, hub: Hub, demo_model: Path) -> None:
    """The expanded model and two tiers: header, tensors, and each type as the recipe says it."""
    road = Road(folder=tmp_path, url=hub.url, token=hub.token)
    road.settings()
    done = road.bot("quantize", str(demo_model), "--profiles", "Balanced,I-Mini", "--json")
    assert done.returncode == 0, done.stderr
    require_same(run("gguf_header.mjs", demo_model), demo_model)
    for tier, file in json.loads(done.stdout).items():
        seen = run("gguf_header.mjs", Path(file["path"]))
        require_same(seen, Path(file["path"]))
        assert seen["keys"]["apex.tier"] == tier
        planned = road.bot("plan", str(demo_model), "--recipe", tier)
        assert planned.returncode == 0, planned.stderr
        rows = [line.split() for line in planned.stdout.splitlines() if ".weight" in line]
        types = {row[0]: row[-1] for row in rows}
        assert types == {name: kind for name, _, kind in seen["tensors"] if ".weight" in name}
