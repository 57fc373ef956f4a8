"""ORG/MODEL through the real command: looked at, planned, fetched, converted, published."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.clients.files import gguf
from bot.clients.hub.hub import Hub as Client
from bot.disk.hashes import sha256
from bot.publish.upload import open_private, upload
from bot.records.built import Built
from bot.settings.sections import DEMO
from bot.toolchain.toolchain import Toolchain
from tests import checkpoints, headers
from tests.checkpoints import FAMILIES
from tests.e2e.road import Road
from tests.local_hub.server import Hub
from tests.split_gguf import split
from tests.unit.clients.hub.between import Between, between

COMMON = {"license": "apache-2.0", "language": ["en"], "pipeline_tag": "text-generation"}


@pytest.fixture
def proxy(hub: Hub) -> Iterator[Between]:
    with between(hub.url) as running:
        yield running


@pytest.fixture
def road(tmp_path: Path, hub: Hub, proxy: Between) -> Road:
    made = Road(folder=tmp_path, url=proxy.url, token=hub.token)
    made.settings()
    return made


def released(hub: Hub, folder: Path, name: str, **card: Any) -> str:
    """The files of a folder on the Hub, as their maker would release them."""
    (folder / "README.md").write_text(f"---\n{json.dumps(COMMON | card)}\n---\n")
    client = Client(hub.url, SecretStr(hub.token))
    files = {
        path.name: Built(path=str(path), bytes=path.stat().st_size, sha256=sha256(path))
        for path in sorted(folder.iterdir())
        if path.is_file()
    }
    repo_id = f"lab/{name}"
    upload(client, open_private(client, repo_id), files, "Release")
    client.make_public(repo_id)
    return repo_id


def told(road: Road, *arguments: str, **environment: str) -> Any:
    done = road.bot(*arguments, "--json", config=None, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def asked_for(proxy: Between) -> list[str]:
    """Requests but the one that huggingface_hub makes once a day, of its own."""
    return [line for line in proxy.requests if "/api/agent-harnesses" not in line]


def with_converter(road: Road, toolchain: Toolchain) -> None:
    road.settings(convert={"llama_cpp": str(toolchain.tree), "python": str(toolchain.python)})


QUICK = ("granite",)
# qwen3moe-fp8 is a quantization of another release; gpt-oss is never cut between blocks and scales
ORIGINALS = [name for name in FAMILIES if name != "qwen3moe-fp8"]


@pytest.mark.road
@pytest.mark.parametrize(
    "family", [pytest.param(n, marks=() if n in QUICK else pytest.mark.long) for n in ORIGINALS]
)
def test_a_checkpoint_on_a_hub_is_published(
    family: str, road: Road, hub: Hub, proxy: Between, tmp_path: Path, toolchain: Toolchain
) -> None:
    shards = 1 if family == "gptoss" else 3
    source = checkpoints.write(FAMILIES[family](), tmp_path / "source", toolchain, shards=shards)
    repo_id = released(hub, source, "Tiny-4x1M")
    with_converter(road, toolchain)

    (decision,) = (json.loads(x) for x in road.bot("watch", "--once", "--json").stdout.splitlines())
    assert (decision["decision"], decision["outcome"]) == ("build", "eligible")

    proxy.requests.clear()
    seen = told(road, "inspect", repo_id)
    asked = asked_for(proxy)
    assert (
        len(asked) == len(set(asked)) == 1 + 1 + (shards > 1) + shards
    )  # listing, config, index, headers
    assert seen["outcome"] == "eligible"
    assert (seen["experts"], seen["experts_active"]) == (checkpoints.EXPERTS, 2)
    assert (seen["license"], seen["languages"]) == ("apache-2.0", ["en"])
    before = seen["architecture"]

    planned = {
        row["tier"]: row for row in told(road, "plan", repo_id, "--profiles", "I-Compact,Balanced")
    }
    work = road.folder / "work"
    assert not any(work.glob("sources/*")), "planning downloads nothing"

    done = told(
        road, "publish", repo_id, "--profiles", "I-Compact,Balanced", "--to", "alice/Tiny-APEX"
    )
    folder = Path(done["folder"])
    for tier, row in planned.items():
        (file,) = folder.glob(f"Tiny-4x1M-*APEX-{tier}.gguf")
        assert file.stat().st_size == pytest.approx(row["file_bytes"], rel=0.005)
        wanted = {a["tensor"]: a["type"] for a in row["assignments"]}
        assert {t.name: t.type for t in gguf.read_gguf(file).tensors} == wanted
    assert ("mmproj.gguf" in done["files"]) == before["vision"]
    if before["vision"]:
        assert gguf.read_gguf(folder / "mmproj.gguf").get("general.architecture") == "clip"
        assert "mmproj.gguf" in (folder / "README.md").read_text()

    native = before["source_type"] != "BF16"
    assert ("in its makers' own precision" in (folder / "README.md").read_text()) == native
    (converted,) = work.glob(f"converted/*/*/Tiny-4x1M-{before['source_type']}.gguf")
    said = gguf.read_gguf(converted)
    assert said.get("general.license") == "apache-2.0"
    assert said.get("general.source.url").endswith(seen["commit"])
    assert sum(t.parameters for t in said.tensors) == before["parameters"]

    # the checkpoint may go once it is converted; nothing is fetched again
    shutil.rmtree(work / "sources")
    proxy.requests.clear()
    again = told(
        road, "publish", repo_id, "--profiles", "I-Compact,Balanced", "--to", "alice/Tiny-APEX"
    )
    assert again["changed"] == []
    assert proxy.count("GET", f"{repo_id}/resolve") == 0

    # a machine that knows nothing finds it published, without the weights or the converter
    shutil.rmtree(work)
    proxy.requests.clear()
    again = told(
        road, "publish", repo_id, "--profiles", "I-Compact,Balanced", "--to", "alice/Tiny-APEX"
    )
    assert (again["changed"], again["commit"]) == ([], done["commit"])
    assert len(proxy.requests) <= 5
    assert [line for line in proxy.requests if "/resolve/" in line] == [
        f"GET /alice/Tiny-APEX/resolve/{done['commit']}/provenance.json"
    ]
    assert not work.exists() or not any(path.is_file() for path in work.rglob("*"))


@pytest.mark.long
def test_two_hundred_shards_are_looked_at_once(
    road: Road, hub: Hub, proxy: Between, tmp_path: Path
) -> None:
    shapes = {"model.embed_tokens.weight": (1024, headers.H), "model.norm.weight": (headers.H,)}
    layers = 200
    folder = tmp_path / "large"
    folder.mkdir()
    config = headers.config("MixtralForCausalLM", "mixtral", layers=layers)
    config |= {"num_local_experts": headers.E, "num_experts_per_tok": 2}
    (folder / "config.json").write_text(json.dumps(config))
    for i in range(layers):
        layer = f"model.layers.{i}"
        own = headers.norms(layer, "input_layernorm", "post_attention_layernorm")
        own |= headers.attention(layer) | headers.experts(f"{layer}.block_sparse_moe.experts")
        own[f"{layer}.block_sparse_moe.gate.weight"] = (headers.E, headers.H)
        own |= shapes if i == 0 else {}
        named = {name: ("BF16", shape) for name, shape in own.items()}
        file = folder / f"model-{i + 1:05d}-of-{layers:05d}.safetensors"
        file.write_bytes(headers.file(named, data=True))
    repo_id = released(hub, folder, "Large-200")
    proxy.requests.clear()
    seen = told(road, "inspect", repo_id)
    assert seen["architecture"]["layers"] == layers
    asked = asked_for(proxy)
    assert len(asked) == 1 + 1 + layers
    assert len(set(asked)) == len(asked), "nothing is fetched twice"


@pytest.mark.long
def test_a_split_gguf_is_looked_at_and_published(
    road: Road, hub: Hub, proxy: Between, demo_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    pieces = split(demo_model, folder / "Tiny-BF16.gguf", 40)
    assert len(pieces) > 1
    shutil.copy(DEMO / "config.json", folder)
    repo_id = released(hub, folder, "Tiny-GGUF")
    size = demo_model.stat().st_size
    seen = told(road, "inspect", repo_id)
    whole = told(road, "inspect", str(demo_model))
    assert seen["outcome"] == "eligible"
    assert seen["architecture"] == whole
    fetched = proxy.count("GET", f"{repo_id}/resolve")
    assert fetched == 1 + len(pieces), "config.json, and a piece of each shard"
    planned = told(road, "plan", repo_id, "--profiles", "Quality")
    assert (
        planned[0]["assignments"]
        == told(road, "plan", str(demo_model), "--profiles", "Quality")[0]["assignments"]
    )
    assert not any((road.folder / "work").glob("sources/*"))
    done = told(road, "publish", repo_id, "--profiles", "Quality", "--to", "alice/Tiny-APEX")
    made = Path(done["folder"]) / "Tiny-GGUF-APEX-Quality.gguf"
    assert made.stat().st_size == pytest.approx(planned[0]["file_bytes"], rel=0.005)
    assert size > made.stat().st_size


MIXTRAL = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 2,
}
WEIGHTS = {"model.safetensors": headers.file({"w": ("BF16", (2, 2))})}
REFUSED: dict[str, tuple[dict[str, Any], dict[str, bytes]]] = {
    "dense_sibling": ({**MIXTRAL, "num_local_experts": 1}, WEIGHTS),
    "already_quantized": ({**MIXTRAL, "quantization_config": {"quant_method": "awq"}}, WEIGHTS),
    "adapter": ({}, {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x" * 9}),
    "not_a_text_decoder": (
        {"model_type": "clip", "architectures": ["CLIPModel"]},
        WEIGHTS,
    ),
    "no_weights_yet": (MIXTRAL, {}),
    "unsupported_converter": ({**MIXTRAL, "architectures": ["NewMoeForCausalLM"]}, WEIGHTS),
}


@pytest.mark.road
@pytest.mark.parametrize("outcome", REFUSED)
def test_what_is_not_built_is_told_and_refused(
    outcome: str, road: Road, hub: Hub, tmp_path: Path, toolchain: Toolchain
) -> None:
    with_converter(road, toolchain)
    folder = tmp_path / "source"
    folder.mkdir()
    config, files = REFUSED[outcome]
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    for name, content in files.items():
        (folder / name).write_bytes(content)
    repo_id = released(hub, folder, "Other")
    seen = told(road, "inspect", repo_id)
    assert (seen["outcome"], seen["architecture"]) == (outcome, None), seen
    assert seen["reason"]
    for verb in (("plan", repo_id), ("publish", repo_id)):
        done = road.bot(*verb)
        assert done.returncode == 4, done.stderr
        assert outcome in done.stderr
        assert done.stderr.count("\n") == 1
    assert not any((road.folder / "work").glob("sources/*"))


@pytest.mark.road
def test_a_model_too_large_for_the_disk_is_told(road: Road, hub: Hub, tmp_path: Path) -> None:
    road.settings(reserve_gb=10**9)
    folder = tmp_path / "source"
    folder.mkdir()
    shapes, config = checkpoints.mixtral().shapes, checkpoints.mixtral().config
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(
        headers.file({name: ("BF16", shape) for name, shape in shapes.items()})
    )
    repo_id = released(hub, folder, "Other")
    seen = told(road, "inspect", repo_id)
    assert seen["outcome"] == "too_large"
    assert "GB are free" in seen["reason"]
    assert seen["architecture"]["experts"] == checkpoints.EXPERTS
    assert road.bot("publish", repo_id, "--dry-run").returncode == 5


@pytest.mark.road
def test_a_folder_or_a_config_alone_can_be_looked_at(road: Road, tmp_path: Path) -> None:
    family = checkpoints.mixtral()
    folder = tmp_path / "Tiny"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(family.config))
    alone = told(road, "inspect", str(folder / "config.json"))
    assert (alone["outcome"], alone["experts"], alone["experts_active"]) == ("eligible", 4, 2)
    assert told(road, "inspect", str(folder))["outcome"] == "no_weights_yet"
    checkpoints.weights(family, folder)
    seen = told(road, "inspect", str(folder))
    assert seen["architecture"]["parameters"] == sum(prod(s) for s in family.shapes.values())
    assert len(told(road, "plan", str(folder))) == 9
    (folder / "config.json").write_text("[]")
    done = road.bot("inspect", str(folder))
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)


@pytest.mark.long
def test_the_address_of_a_page_and_a_folder_called_4bit(
    road: Road, hub: Hub, proxy: Between, tmp_path: Path
) -> None:
    family = checkpoints.mixtral()
    folder = tmp_path / "Tiny-4bit"
    folder.mkdir()
    checkpoints.weights(family, folder)
    (folder / "config.json").write_text(json.dumps(family.config))
    assert told(road, "inspect", str(folder))["outcome"] == "eligible"
    (folder / "Tiny-Q4_K_M.gguf").write_bytes(b"GGUF" + bytes(100))
    repo_id = released(hub, folder, "Tiny-4bit", base_model="maker/Tiny", tags=["lora", "awq"])
    seen = told(road, "inspect", repo_id)
    assert seen["outcome"] == "eligible", seen["reason"]
    for address in (
        f"{proxy.url}/{repo_id}",
        f"{proxy.url}/{repo_id}/tree/main?x=1",
        f"https://huggingface.co/{repo_id}/",
        f"hf.co/{repo_id}:Q4_K_M",
    ):
        assert told(road, "inspect", address) == seen
    at = seen["commit"]
    assert told(road, "inspect", f"{proxy.url}/{repo_id}/blob/{at}/config.json") == seen
    missing = road.bot("inspect", f"{proxy.url}/{repo_id}/tree/nowhere")
    assert (missing.returncode, missing.stderr.count("\n")) == (12, 1)


def test_a_folder_that_holds_only_an_adapter(road: Road, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (tmp_path / "adapter_model.safetensors").write_bytes(headers.file({"w": ("BF16", (2, 2))}))
    assert told(road, "inspect", str(tmp_path))["outcome"] == "adapter"
