"""From a tiny checkpoint to a measured tier, by the unmodified converter of the runtime."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bot.apart.sandbox import Limits, isolation
from bot.apart.worker import ChildTerms
from bot.clients.files import gguf
from bot.clients.llama.session import Loading, Session
from bot.errors import (
    FOR_GOOD,
    BotError,
    BuildError,
    CapacityError,
    RefusedError,
    SourceError,
)
from bot.measures import divergence, perplexity
from bot.measures.journal import Journal
from bot.measures.logits import open_base
from bot.measures.windows import cut
from bot.plan.profiles import load_profiles
from bot.plan.recipe import asked_types, file_type, make_recipes
from bot.predict.architecture import architecture_of
from bot.quantize import imatrix
from bot.quantize.calibrate import Portion, collect_matrix
from bot.quantize.passes.layout import OutputSpec
from bot.quantize.passes.onepass import quantize_all
from bot.records.model import HeaderTensor
from bot.settings.sections import DEMO, data_folder
from bot.source import checkpoint, converted
from bot.source.convert import Converted, convert_checkpoint
from bot.source.converter_run import Options
from bot.source.staging import ConvertFacts
from bot.tensors.sizes import file_bytes
from bot.toolchain.toolchain import Toolchain
from tests import checkpoints
from tests.checkpoints import FAMILIES, Family
from tests.e2e.road import Road

THREADS, CONTEXT = 2, 64
FACTS = ConvertFacts(
    name="Tiny-4x1M-Chat",
    repo_id="org/Tiny-4x1M-Chat",
    commit="0123456789abcdef" * 2 + "01234567",
    license="apache-2.0",
    languages=("en",),
)
QUICK = ("mixtral", "granite")
EXPECTED = {  # layers, dense layers, shared expert, words for attention
    "mixtral": (3, 0, False, {"full"}),
    "granite": (3, 0, True, {"full"}),
    "deepseek2": (3, 1, True, {"full"}),
    "qwen3moe": (3, 0, False, {"full"}),
    "qwen3moe-fp8": (3, 0, False, {"full"}),
    "qwen35moe": (4, 0, True, {"linear", "full"}),
    "olmoe": (2, 0, False, {"full"}),
    "gptoss": (2, 0, False, None),
    "deepseek4": (3, 0, True, None),
}


def no_progress(_done: int, _total: int) -> None:
    pass


def converting(source: Path, toolchain: Toolchain, options: Options | None = None) -> Converted:
    return convert_checkpoint(
        source,
        source.parent / "out" / "tiny.gguf",
        toolchain=toolchain,
        facts=FACTS,
        options=options or Options(threads=THREADS),
        report=no_progress,
    )


LOW = ("IQ2", "Q3_K", "IQ4_NL")  # what I-Mini makes of rows that 256 divides, or 32 alone


def build_and_measure(model: Path, folder: Path) -> tuple[float, float]:
    """One tier with its importance matrix; (perplexity, mean divergence) of the tier."""
    header = gguf.read_gguf(model)
    architecture = architecture_of(header.metadata, header.tensors)
    profiles = load_profiles(data_folder("profiles"), ["I-Mini"])
    recipe = make_recipes(profiles, architecture, header.tensors)[0]
    assert [a.tensor for a in recipe.assignments] == [t.name for t in header.tensors]
    text = (DEMO / "calibration.txt").read_text()
    collect_matrix(
        Loading(path=model, threads=THREADS, gpu_layers=0),
        folder / "imatrix.gguf",
        texts=[Portion(name="calibration.txt", text=text)],
        context=CONTEXT,
        chunks=6,
        progress=no_progress,
    )
    tier = folder / "tier.gguf"
    # not llama.cpp's own function: it refuses the importance of DeepSeek-V4's grouped rows
    spec = OutputSpec(
        target=tier,
        file_type=file_type(recipe.base),
        types=asked_types(recipe, architecture, header.tensors),
        weights=imatrix.read_matrix(folder / "imatrix.gguf").weights(),
    )
    quantize_all(model, [spec], threads=THREADS, memory=1 << 30, progress=lambda *_: None)
    stored = {t.name: t.type for t in gguf.read_gguf(tier).tensors}
    assert stored == {a.tensor: a.type for a in recipe.assignments}
    assert any(kind.startswith(LOW) for kind in stored.values())
    predicted = file_bytes((a.bytes for a in recipe.assignments), header.data_offset)
    assert tier.stat().st_size == pytest.approx(predicted, rel=0.005)
    return measure(model, tier, folder / "reference.logits")


def measure(model: Path, tier: Path, base: Path) -> tuple[float, float]:
    with Session(model, n_ctx=CONTEXT, threads=THREADS, gpu_layers=0) as session:
        text = (DEMO / "evaluation.txt").read_text()
        chunks = replace(cut(session, text, context=CONTEXT, limit=3), together=1)
        told = Journal(base.with_suffix(".told"), "00" * 32)
        perplexity.reference_perplexity(
            session, chunks, base, told, threads=THREADS, progress=no_progress
        )
    with (
        Session(tier, n_ctx=CONTEXT, threads=THREADS, gpu_layers=0) as session,
        open_base(base) as opened,
    ):
        journal = Journal(base.with_suffix(".tokens"), "00" * 32)
        ppl, kld = divergence.measure_divergence(
            session, opened, journal, together=1, threads=THREADS, progress=no_progress
        )
    return ppl.value, kld.mean


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.road if n in QUICK else pytest.mark.long) for n in FAMILIES],
)
def test_a_family_becomes_a_measured_tier(name: str, tmp_path: Path, toolchain: Toolchain) -> None:
    family = FAMILIES[name]()
    shards = 3 if name == "granite" else 1
    source = checkpoints.write(family, tmp_path / "safetensors", toolchain, shards=shards)
    made = converting(source, toolchain)
    assert made.notes == ()
    assert made.isolation == isolation()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        p.name for p in (*made.model, made.log, *filter(None, [made.projector]))
    )
    header = gguf.read_gguf(made.model[0])
    architecture = architecture_of(header.metadata, header.tensors)
    layers, dense, shared, attention = EXPECTED[name]
    assert (architecture.layers, architecture.dense_layers) == (layers, dense)
    assert (architecture.mtp_layers, architecture.shared_expert) == (0, shared)
    assert (architecture.experts, architecture.experts_active) == (checkpoints.EXPERTS, 2)
    assert architecture.parameters == checkpoint.read_checkpoint(source).parameters("main")
    assert architecture.source_type == ("MXFP4" if family.fours else "BF16")
    if attention is not None:
        assert set(architecture.attention) == attention
    says_what_it_is(header, tmp_path, four=family.fours)
    ppl, kld = build_and_measure(made.model[0], tmp_path)
    assert np.isfinite([ppl, kld]).all()
    assert 1 < ppl < 20 * family.vocabulary
    assert 0 < kld < 5


def says_what_it_is(header: gguf.GgufModel, folder: Path, *, four: bool) -> None:
    """Metadata as the facts have it, and nowhere a path or the folder's name."""
    url = f"https://huggingface.co/{FACTS.repo_id}"
    wanted = {
        "general.name": FACTS.name,
        "general.license": "apache-2.0",
        "general.languages": ["en"],
        "general.source.repo_url": url,
        "general.source.url": f"{url}/tree/{FACTS.commit}",
        "general.base_model.0.name": "Tiny-4x1M-Chat",
        "general.base_model.0.organization": "org",
        "general.base_model.0.repo_url": url,
        "general.base_model.0.version": FACTS.commit,
        "general.file_type": 38 if four else 32,  # MOSTLY_MXFP4_MOE, MOSTLY_BF16
    }
    assert {key: header.metadata.get(key) for key in wanted} == wanted
    said = json.dumps(dict(header.metadata), default=str).lower()
    assert str(folder).lower() not in said
    assert "safetensors" not in said


@pytest.mark.long
@pytest.mark.parametrize("mtp", ["drop", "keep", "separate"])
@pytest.mark.parametrize("lost", [False, True], ids=["whole", "lost"])
def test_mtp_layers_go_where_the_setting_says(
    mtp: str, lost: bool, tmp_path: Path, toolchain: Toolchain
) -> None:
    family = checkpoints.qwen35moe(mtp=not lost)
    source = checkpoints.write(family, tmp_path / "source", toolchain)
    options = {
        "drop": Options(threads=THREADS),
        "keep": Options(threads=THREADS, mtp="keep"),
        "separate": Options(threads=THREADS, mtp="separate"),
    }
    made = converting(source, toolchain, options[mtp])
    header = gguf.read_gguf(made.model[0])
    kept = mtp == "keep" and not lost
    architecture = architecture_of(header.metadata, header.tensors)
    assert (architecture.layers, architecture.mtp_layers) == (4, 1 if kept else 0)
    assert header.get(".block_count") == (5 if kept else 4)
    assert any(".nextn." in t.name for t in header.tensors) == kept
    assert (made.mtp is not None) == (mtp == "separate" and not lost)
    if made.mtp is not None:
        apart = gguf.read_gguf(made.mtp)
        assert {t.name.split(".")[1] for t in apart.tensors if t.name.startswith("blk.")} == {"4"}
    assert bool(made.notes) == lost
    if kept:
        assert np.isfinite(build_and_measure(made.model[0], tmp_path)).all()
    assert made.projector is not None
    seen = gguf.read_gguf(made.projector)
    assert seen.get("general.architecture") == "clip"
    assert seen.get("clip.projector_type") == "qwen3vl_merger"
    assert {t.type for t in seen.tensors} == {"F16", "F32"}


@pytest.mark.road
def test_parts_that_cannot_be_made_leave_the_model_standing(
    tmp_path: Path, toolchain: Toolchain
) -> None:
    """No preprocessor_config.json, MTP layers that are not there, and files under odd names."""
    source = checkpoints.write(checkpoints.qwen35moe(), tmp_path / "source", toolchain, shards=2)
    (source / "preprocessor_config.json").unlink()
    for name in ("config.json", "tokenizer.json"):
        (source / name).write_bytes(b"\xef\xbb\xbf" + (source / name).read_bytes())
    own = {
        n: t
        for n, t in checkpoint.read_checkpoint(source).tensors.items()
        if not n.startswith("mtp.")
    }
    arrays = checkpoints.arrays(checkpoints.qwen35moe())
    for file in source.glob("*.safetensors"):
        file.unlink()
    (source / "parts").mkdir()
    checkpoints.safetensors(source / "parts" / "all.safetensors", {n: arrays[n] for n in own})
    checkpoints.safetensors(source / "model.safetensors", {"stray": arrays["mtp.fc.weight"]})
    named = {n: "parts/all.safetensors" if n in own else "mtp.safetensors" for n in arrays}
    index = source / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": named}))
    made = converting(source, toolchain)
    (reason,) = made.lacks
    assert reason.startswith("without its vision or audio part: there is no preprocessor_config")
    assert made.projector is None
    header = gguf.read_gguf(made.model[0])
    assert architecture_of(header.metadata, header.tensors).layers == 4
    assert [p.name for p in sorted((tmp_path / "out").iterdir())] == ["tiny.gguf", "tiny.gguf.log"]
    with pytest.raises(SourceError, match=r"lacks 1 of .* the first is mtp\.safetensors"):
        converting(source, toolchain, Options(mtp="separate"))


@pytest.mark.long
def test_a_projector_that_fails_or_is_not_wanted(tmp_path: Path, toolchain: Toolchain) -> None:
    source = checkpoints.write(checkpoints.qwen35moe(), tmp_path / "source", toolchain)
    config = json.loads((source / "config.json").read_text())
    del config["vision_config"]["depth"]
    (source / "config.json").write_text(json.dumps(config))
    made = converting(source, toolchain)
    (reason,) = made.lacks
    assert "without its vision or audio part: the converter failed: " in reason
    assert "log is" not in reason
    assert converting(source, toolchain, Options(projector="none")).lacks == ()


@pytest.mark.road
def test_a_model_is_cut_into_shards(tmp_path: Path, toolchain: Toolchain) -> None:
    source = checkpoints.write(checkpoints.mixtral(), tmp_path / "source", toolchain)
    made = converting(source, toolchain, Options(threads=THREADS, shard=3_000_000))
    assert len(made.model) > 1
    assert made.model[0].name == f"tiny-00001-of-{len(made.model):05d}.gguf"
    names = [t.name for path in made.model for t in gguf.read_gguf(path).tensors]
    assert len(names) == len(set(names)) == 33
    assert all(path.stat().st_size < 4_000_000 for path in made.model)


@pytest.mark.road
def test_lost_or_wrong_weights_are_noticed(tmp_path: Path, toolchain: Toolchain) -> None:
    source = checkpoints.write(checkpoints.mixtral(), tmp_path / "source", toolchain)
    made = converting(source, toolchain)
    before = checkpoint.read_checkpoint(source)
    more = {
        "layer 1 has": "model.layers.1.extra.weight",
        "the converted model has": "model.extra.weight",
    }
    for said, name in more.items():
        tensors = {
            **before.tensors,
            name: HeaderTensor(
                name=name, dtype="BF16", shape=(8,), bytes=16, file="model.safetensors"
            ),
        }
        other = dataclasses.replace(before, tensors=tensors)
        with pytest.raises(BuildError, match=said):
            converted.check_model(
                other, made.model, layers="dropped", threads=THREADS, terms=ChildTerms()
            )
    (tmp_path / "source" / "model.safetensors").unlink()
    broken(checkpoints.mixtral(), source)
    with pytest.raises(BuildError, match="no finite numbers"):
        converting(source, toolchain)
    assert [p.name for p in (tmp_path / "out").iterdir() if p.suffix == ".work"] == []


def broken(family: Family, folder: Path) -> None:
    """Weights with a number that is none, where every token meets it."""
    arrays = checkpoints.arrays(family)
    arrays["model.norm.weight"][1][3] = 0x7FC0  # BF16 NaN
    checkpoints.safetensors(folder / "model.safetensors", arrays)


@pytest.mark.road
def test_code_of_a_repository_is_never_run(tmp_path: Path, toolchain: Toolchain) -> None:
    family = checkpoints.qwen3moe(vocabulary=64)
    source = checkpoints.write(family, tmp_path / "source", toolchain)
    (source / "tokenizer.json").unlink()
    mark = tmp_path / "mark"
    code = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\nclass T: pass\n"
    for name in ("evil.py", "torch.py", "gguf.py", "sitecustomize.py", "transformers.py"):
        (source / name).write_text(code)
    config = {"tokenizer_class": "T", "auto_map": {"AutoTokenizer": ["evil.T", None]}}
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    outer = json.loads((source / "config.json").read_text())
    outer["auto_map"] = {"AutoConfig": "evil.T", "AutoModelForCausalLM": "evil.T"}
    (source / "config.json").write_text(json.dumps(outer))
    with pytest.raises(SourceError, match="which apex-bot never runs") as refused:
        converting(source, toolchain)
    assert "\n" not in str(refused.value)
    assert not mark.exists()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["tiny.gguf.log"]


@pytest.mark.road
def test_failures_carry_the_converters_reason(
    tmp_path: Path, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    family = checkpoints.mixtral()
    source = checkpoints.write(family, tmp_path / "source", toolchain)
    config = {**family.config}
    (source / "config.json").write_text(
        json.dumps({**config, "architectures": ["JetMoeForCausalLM"]})
    )
    with pytest.raises(SourceError, match="does not know 'JetMoeForCausalLM'"):
        converting(source, toolchain)
    (source / "config.json").write_text(json.dumps({**config, "num_local_experts": 5}))
    with pytest.raises(RefusedError, match="Unprocessed experts") as failed:
        converting(source, toolchain)
    assert failed.value.exit_code in FOR_GOOD  # the same commit meets it again
    log = tmp_path / "out" / "tiny.gguf.log"
    assert str(log) in str(failed.value)
    assert "\n" not in str(failed.value)
    assert "hf_secret" not in log.read_text()
    (source / "config.json").write_text(json.dumps(config))
    limits: dict[type[BotError], Limits] = {
        BuildError: Limits(seconds=0.5),
        CapacityError: Limits(seconds=60, memory=20_000_000),
    }
    full = Options(reserve=1 << 60)
    with pytest.raises(CapacityError, match="in reserve"):
        converting(source, toolchain, full)
    for kind, limit in limits.items():
        with pytest.raises(kind, match="raise convert"):
            converting(source, toolchain, Options(limits=limit))
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [log.name]


def test_the_command_converts_what_the_others_start_from(
    tmp_path: Path, toolchain: Toolchain
) -> None:
    """`bot convert` with a checkout named in the settings, then `bot inspect` and `bot plan`."""
    source = checkpoints.write(checkpoints.mixtral(), tmp_path / "checkpoint", toolchain)
    road = Road(folder=tmp_path, url="http://127.0.0.1:9", token="")
    road.settings(convert={"llama_cpp": str(toolchain.tree), "python": str(toolchain.python)})
    target = tmp_path / "Mixtral-Tiny-BF16.gguf"
    done = road.bot("convert", str(source), str(target), "--name", "Mixtral-Tiny", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == [str(target)]
    assert gguf.read_gguf(target).get("general.name") == "Mixtral-Tiny"
    said = road.bot("inspect", str(target), "--json")
    assert json.loads(said.stdout)["experts"] == checkpoints.EXPERTS
    assert road.bot("plan", str(target)).returncode == 0


def test_without_a_toolchain_the_command_says_how_to_get_one(tmp_path: Path) -> None:
    road = Road(folder=tmp_path, url="http://127.0.0.1:9", token="")
    road.settings()
    (tmp_path / "checkpoint").mkdir()
    done = road.bot("convert", str(tmp_path / "checkpoint"), str(tmp_path / "out.gguf"))
    assert done.returncode == 3
    assert "bot toolchain install" in done.stderr
