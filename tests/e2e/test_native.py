"""Originals whose experts have four bits: converted, quantized and measured as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bot.clients.files import gguf
from bot.clients.llama import ggml
from bot.clients.llama.session import Session, Token
from bot.measures.choices import Question, batch_of, picks_of_endings
from bot.plan.profiles import load_profiles
from bot.plan.recipe import asked_types, file_type, make_recipes
from bot.predict.architecture import architecture_of
from bot.quantize.passes.layout import OutputSpec
from bot.quantize.passes.onepass import quantize_all
from bot.records.model import Architecture, Tensor
from bot.records.recipes import Recipe
from bot.settings.sections import data_folder
from bot.tensors.sizes import tensor_bytes
from bot.toolchain.toolchain import Toolchain
from tests import checkpoints
from tests.checkpoints import ODD, Family
from tests.e2e.test_convert import THREADS, converting, measure
from tests.oracle import quantize_recipe

# E2M1 of OCP Microscaling Formats 1.0, by its four bits
NUMBERS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
NUMBERS = np.concatenate([NUMBERS, -NUMBERS])
PLAIN = ["Quality", "Compact"]  # tiers that need no importance matrix

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Native:
    """A converted checkpoint with four-bit experts."""

    kind: str  # of its experts
    family: Family
    path: Path
    architecture: Architecture
    tensors: tuple[Tensor, ...]
    bytes: dict[str, NDArray[np.uint8]]  # of each tensor, raw

    def recipes(self, tiers: list[str] | None = None) -> tuple[Recipe, ...]:
        profiles = load_profiles(data_folder("profiles"), tiers)
        return make_recipes(profiles, self.architecture, self.tensors)


@pytest.fixture(scope="module", params=["gptoss", "deepseek4", "nvfp4"])
def native(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, toolchain: Toolchain
) -> Native:
    folder = tmp_path_factory.mktemp(request.param)
    family = {**checkpoints.FAMILIES, **checkpoints.QUANTIZATIONS}[request.param]()
    source = checkpoints.write(family, folder / "source", toolchain)
    path = converting(source, toolchain).model[0]
    header = gguf.read_gguf(path)
    return Native(
        kind="NVFP4" if request.param == "nvfp4" else "MXFP4",
        family=family,
        path=path,
        architecture=architecture_of(header.metadata, header.tensors),
        tensors=header.tensors,
        bytes=raw(path),
    )


def raw(path: Path) -> dict[str, NDArray[np.uint8]]:
    """The bytes of each tensor of a file."""
    ((_, header),) = gguf.raw_headers(path)
    data = np.fromfile(path, np.uint8)
    sizes = {t.name: t.bytes for t in gguf.read_gguf(path).tensors}
    starts = {t.name: header.data_offset + t.offset for t in header.tensors}
    return {name: data[at : at + sizes[name]] for name, at in starts.items()}


def unpacked(pairs: NDArray[np.uint8], scales: NDArray[np.uint8]) -> Floats:
    """Numbers of E2M1 pairs, the lower half first: 32 share an E8M0 exponent, 16 an E4M3 number."""
    halves = NUMBERS[np.stack([pairs & 15, pairs >> 4], axis=-1)]
    together = halves.size // scales.size
    codes = scales.reshape(-1, 1).astype(np.float32)
    factors = np.exp2(codes - 127) if together == 32 else e4m3(codes)
    return np.asarray(halves.reshape(-1, together) * factors, np.float32)


def e4m3(codes: Floats) -> Floats:
    """Positive numbers of FP8 that are not the smallest ones: exponent by 7, eighths."""
    return np.asarray(np.exp2(codes // 8 - 7) * (1 + codes % 8 / 8), np.float32)


def published(family: Family) -> dict[str, Floats]:
    """Layer 0's experts by GGUF name, as the checkpoint has them."""
    arrays = {name: array for name, (_, array) in checkpoints.arrays(family).items()}
    if family.packed:
        own = "model.layers.0.mlp.experts"
        both = [arrays[f"{own}.gate_up_proj_{end}"] for end in ("blocks", "scales")]
        parts = {
            "gate": [array[:, ::2] for array in both],
            "up": [array[:, 1::2] for array in both],
            "down": [arrays[f"{own}.down_proj_{end}"] for end in ("blocks", "scales")],
        }
    else:
        v4 = "embed.weight" in arrays
        own = "layers.0.ffn.experts" if v4 else "model.layers.0.mlp.experts"
        names = {"gate": "w1", "up": "w3", "down": "w2"}
        parts = {
            part: [
                np.stack(
                    [
                        arrays[f"{own}.{n}.{names[part] if v4 else f'{part}_proj'}.{end}"]
                        for n in range(checkpoints.EXPERTS)
                    ]
                )
                for end in ("weight", "scale" if v4 else "weight_scale")
            ]
            for part in names
        }
    return {f"blk.0.ffn_{p}_exps.weight": unpacked(*arrays) for p, arrays in parts.items()}


def built(native: Native, recipes: tuple[Recipe, ...], folder: Path) -> list[Path]:
    specs = [
        OutputSpec(
            target=folder / f"{recipe.tier}.gguf",
            file_type=file_type(recipe.base),
            types=asked_types(recipe, native.architecture, native.tensors),
            weights=None,
        )
        for recipe in recipes
    ]
    files = quantize_all(
        native.path, specs, threads=THREADS, memory=1 << 30, progress=lambda *_: None
    )
    return [Path(built.path) for (built,) in files]


@pytest.mark.road
def test_four_bits_of_the_checkpoint_are_those_of_the_file(native: Native) -> None:
    experts = [tensor for tensor in native.tensors if "_exps.weight" in tensor.name]
    assert {tensor.type for tensor in experts} == {native.kind}
    assert native.architecture.source_type == native.kind
    for name, numbers in published(native.family).items():
        stored = np.empty(numbers.size, np.float32)
        ggml.to_f32(native.kind, native.bytes[name], stored)
        assert np.array_equal(stored.reshape(numbers.shape), numbers)


@pytest.mark.road
def test_no_tensor_of_any_tier_is_larger_than_its_source(native: Native) -> None:
    recipes = native.recipes()
    assert len(recipes) == 9
    for recipe in recipes:
        for given, tensor in zip(recipe.assignments, native.tensors, strict=True):
            assert given.bytes <= tensor.bytes, given
            assert given.bytes == tensor_bytes(given.type, tensor.shape)
        assert recipe.tensor_bytes < sum(tensor.bytes for tensor in native.tensors)
    kinds = {a.type for r in recipes for a in r.assignments if a.role == "routed expert"}
    odd = native.family.config["hidden_size"] == ODD
    assert kinds == {"MXFP4"} if odd else {native.kind, "Q3_K", "IQ2_S"} <= kinds


@pytest.mark.road
def test_what_passes_through_is_bit_for_bit_and_the_rest_is_llama_cpps(
    native: Native, tmp_path: Path
) -> None:
    recipes = native.recipes(PLAIN)
    for recipe, path in zip(recipes, built(native, recipes, tmp_path), strict=True):
        assert path.stat().st_size < native.path.stat().st_size
        kinds = {tensor.name: tensor.type for tensor in gguf.read_gguf(path).tensors}
        assert kinds == {a.tensor: a.type for a in recipe.assignments}
        stored = raw(path)
        same = [t.name for t in native.tensors if kinds[t.name] == t.type]
        assert any("_exps.weight" in name for name in same)
        assert all(np.array_equal(stored[name], native.bytes[name]) for name in same)
        judge = tmp_path / "judge.gguf"
        quantize_recipe(
            native.path,
            judge,
            file_type=file_type(recipe.base),
            types=asked_types(recipe, native.architecture, native.tensors),
            imatrix=None,
            threads=THREADS,
        )
        assert judge.read_bytes() == path.read_bytes()


@pytest.mark.road
def test_divergence_is_measured_against_the_native_model(native: Native, tmp_path: Path) -> None:
    (tier,) = built(native, native.recipes(["Quality"]), tmp_path)
    ppl, kld = measure(native.path, tier, tmp_path / "reference.logits")
    assert np.isfinite([ppl, kld]).all()
    assert 0 < kld < 1
    _, itself = measure(native.path, native.path, tmp_path / "own.logits")
    assert itself < 1e-6 < kld


@pytest.mark.road
def test_answers_are_scored_as_if_each_stood_alone(native: Native) -> None:
    """Several tasks in a batch, whatever tokens the family's cache can share."""
    texts = tuple((1000, 2000, 3000, *range(n, 2 * n + 1)) for n in (4, 2, 3, 1))
    with Session(native.path, n_ctx=256, threads=THREADS, gpu_layers=0, sequences=8) as session:
        question = Question(
            texts=texts,
            prefix=3,
            every=False,
            picks=picks_of_endings(texts, 3),
            right=0,
            last_of_equals=False,
            coupled=session.couples,
        )
        assert question.coupled == (native.architecture.family != "deepseek4")
        together = session.decode(batch_of([question, question])).copy()
        alone = []
        for number, text in enumerate(texts):
            session.clear()
            tokens = [Token(id=t, position=i, logits=True) for i, t in enumerate(text)]
            alone += [*session.decode(tokens).copy()][2 if number == 0 else 3 : -1]
    assert np.allclose(together, np.array(alone * 2), atol=1e-4)
