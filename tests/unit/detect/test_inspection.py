"""What a model is, by the headers of its files; whatever is in a config.json, one clear line."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.cli.text import model_text
from bot.clients.hub.hub import Hub as Client
from bot.detect.buildable import decide
from bot.detect.inspection import look_at, look_at_folder
from bot.detect.listed import ANY_MACHINE, learn
from bot.errors import SourceError
from bot.progress import Narrator
from bot.settings.sections import DEMO
from bot.settings.settings import load
from bot.source.obtain import described
from bot.tensors import weights
from bot.workplace.workplace import Workplace
from tests import checkpoints, headers
from tests.local_hub.server import Hub
from tests.models import local_of
from tests.unit.detect.test_moe import HOSTILE, _paths

OUTCOMES = {"eligible", "not_moe", "dense_sibling", "already_quantized", "not_a_text_decoder"}


def mutated(config: dict[str, object], dice: random.Random) -> bytes:
    """The config with a value replaced or lost, or with bytes of its file changed."""
    changed = json.loads(json.dumps(config))
    *way, last = dice.choice(list(_paths(changed)))
    part = changed
    for step in way:
        part = part[step]
    if dice.random() < 0.3:
        del part[last]
    else:
        part[last] = dice.choice([value for value in HOSTILE if value != 10**5000])
    content = bytearray(json.dumps(changed).encode())
    if dice.random() < 0.2:
        content[dice.randrange(len(content))] = dice.choice(b'{}[]",:0eE-\\\xff\x00')
    return bytes(content)


@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.long)])
def test_mutated_configs_beside_real_headers(count: int, tmp_path: Path) -> None:
    dice = random.Random(count)  # noqa: S311 - a seed, so that a failure repeats
    outcomes, refused = set(), list[str]()
    for name in ("mixtral", "granite", "deepseek2", "qwen35moe"):
        family = checkpoints.FAMILIES[name]()
        folder = tmp_path / name
        folder.mkdir()
        entries = {n: ("BF16", shape) for n, shape in family.shapes.items()}
        (folder / "model.safetensors").write_bytes(headers.file(entries))
        for _ in range(count // 4):
            (folder / "config.json").write_bytes(mutated(dict(family.config), dice))
            for path in (folder, folder / "config.json"):
                try:
                    sight = look_at_folder(path)
                except SourceError as error:
                    refused.append(str(error))
                    continue
                outcomes.add(sight.decision.outcome)
                assert model_text.sight_text(sight).isprintable() or "\n" in model_text.sight_text(
                    sight
                )
                json.dumps(model_text.sight_values(sight), allow_nan=False).encode()
    assert len(refused) > count // 50
    assert not any("\n" in line for line in refused)
    assert outcomes > {"eligible", "not_moe"}
    assert outcomes <= OUTCOMES


@pytest.fixture
def workplace(hub: Hub, tmp_path: Path) -> Workplace:
    settings = load(None, hub={"endpoint": hub.url}, workdir=str(tmp_path / "work"))
    return Workplace(settings, Narrator(quiet=True), SecretStr(hub.token))


def released(workplace: Workplace, name: str, files: dict[str, Path]) -> str:
    repo_id = f"lab/{name}"
    client: Client = workplace.hub
    client.create_private(repo_id)
    client.commit(repo_id, files, "Release", client.head(repo_id))
    client.make_public(repo_id)
    return repo_id


@pytest.mark.parametrize(
    ("name", "quantized", "config", "outcome"),
    [
        ("Tiny.gguf", False, False, "eligible"),
        ("Tiny.gguf", False, True, "eligible"),
        ("Tiny-Q8_0.gguf", False, False, "eligible"),  # its name lies
        ("Tiny.gguf", True, True, "already_quantized"),
        ("Tiny-BF16.gguf", True, False, "already_quantized"),
    ],
)
def test_a_gguf_is_what_its_header_says(
    name: str, quantized: bool, config: bool, outcome: str, workplace: Workplace, demo_model: Path
) -> None:
    files = {name: DEMO / "tiny-moe-Q8_0.gguf" if quantized else demo_model}
    files |= {"config.json": DEMO / "config.json"} if config else {}
    repo_id = released(workplace, "Tiny-GGUF", files)
    sight = look_at(workplace, repo_id, "main", ANY_MACHINE)
    assert sight.decision.outcome == outcome, sight.decision.reason
    if quantized:
        assert f"{name} is Q8_0" in sight.decision.reason
        with pytest.raises(SourceError, match="already_quantized"):
            local_of(workplace, workplace.hub.release(repo_id))
        assert not workplace.folders.sources(repo_id, sight.release.commit).exists()
    else:
        assert sight.sketch is not None
        assert "6 experts, 2 active" in sight.decision.reason
        local = local_of(workplace, workplace.hub.release(repo_id))
        assert described(workplace, local).architecture == sight.sketch.architecture


def checkpoint(folder: Path, dtype: str = "BF16") -> dict[str, Path]:
    family = checkpoints.mixtral()
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(family.config))
    entries = {name: (dtype, shape) for name, shape in family.shapes.items()}
    (folder / "model.safetensors").write_bytes(headers.file(entries))
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("name", "dtype", "outcome"),
    [("Tiny", "I8", "already_quantized"), ("Tiny-AWQ", "BF16", "eligible")],
)
def test_weights_below_16_bits_are_seen_in_headers(
    name: str, dtype: str, outcome: str, workplace: Workplace, tmp_path: Path
) -> None:
    files = checkpoint(tmp_path / "source", dtype)
    repo_id = released(workplace, name, files)
    sight = look_at(workplace, repo_id, "main", ANY_MACHINE)
    assert sight.decision.outcome == outcome, sight.decision.reason
    assert look_at_folder(tmp_path / "source").decision.outcome == outcome
    (row,) = workplace.hub.newest(10, 10)
    facts = learn(workplace.hub, row)  # a name is a reason to look into a header
    assert facts.release is not None
    stored = {file.path: file.stored for file in facts.release.files}
    assert stored["model.safetensors"] == ("BF16" if name == "Tiny-AWQ" else None)
    assert decide(facts.release, facts.config).outcome == "eligible"


PAIR = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def indexed(folder: Path, of: headers.Model, **beside: bytes) -> dict[str, Path]:
    """A checkpoint in two files, with an index; both JSON files begin with a byte order mark."""
    folder.mkdir()
    mark = b"\xef\xbb\xbf"
    (folder / "config.json").write_bytes(mark + json.dumps(of.config).encode())
    entries = {tensor.name: (tensor.dtype, tensor.shape) for tensor in of.tensors}
    names = sorted(entries)
    parts = dict(zip(PAIR, (names[::2], names[1::2]), strict=True))
    for file, own in parts.items():
        (folder / file).write_bytes(headers.file({name: entries[name] for name in own}))
    named = {name: file for file, own in parts.items() for name in own}
    index = json.dumps({"metadata": {}, "weight_map": named}).encode()
    (folder / weights.INDEX).write_bytes(mark + index)
    for file, content in beside.items():
        (folder / f"{file}.safetensors").write_bytes(content)
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize(
    "beside",
    [
        {},
        {f"model-0000{n}-of-00003": b"an older set" for n in (1, 2, 3)},
        {"model-00002-of-00003": b"a leftover", "extra": b"of something else"},
        {"model": b"one file of a checkpoint before", "consolidated": b"and another"},
    ],
)
def test_hub_and_folder_agree_on_which_files_are_the_model(
    beside: dict[str, bytes], workplace: Workplace, tmp_path: Path
) -> None:
    files = indexed(tmp_path / "source", headers.qwen3moe(), **beside)
    repo_id = released(workplace, "Indexed", files)
    on_hub, here = (
        look_at(workplace, repo_id, "main", ANY_MACHINE),
        look_at_folder(tmp_path / "source"),
    )
    for sight in (on_hub, here):
        assert sight.decision.outcome == "eligible", sight.decision.reason
        assert "from 2 safetensors files" in sight.decision.reason
    assert on_hub.sketch is not None
    assert here.sketch is not None
    assert on_hub.sketch.tensors == here.sketch.tensors


def test_a_folder_tells_what_it_holds(tmp_path: Path, demo_model: Path) -> None:
    adapter, converted = tmp_path / "adapter", tmp_path / "converted-4bit"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (adapter / "adapter_model.safetensors").write_bytes(headers.file({"w": ("BF16", (2, 2))}))
    assert look_at_folder(adapter).decision.outcome == "adapter"
    converted.mkdir()
    (converted / "config.json").write_bytes((DEMO / "config.json").read_bytes())
    shutil.copyfile(demo_model, converted / "model-BF16.gguf")
    sight = look_at_folder(converted)
    assert sight.decision.outcome == "eligible"
    assert sight.sketch is not None
    assert look_at_folder(tmp_path).decision.outcome == "no_weights_yet"
