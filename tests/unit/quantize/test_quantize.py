import re
from pathlib import Path

import numpy as np
import pytest

from bot.clients.files import gguf
from bot.disk.hashes import sha256
from bot.errors import BuildError
from bot.plan.profiles import load_profiles
from bot.plan.recipe import asked_types, file_type, make_recipe
from bot.predict.architecture import architecture_of
from bot.quantize import imatrix, quantize
from bot.quantize.imatrix import Matrix
from bot.records.model import Tensor
from bot.settings.sections import DEMO, data_folder
from tests.oracle import quantize_recipe

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
FILE_TYPES = {"Q6_K": 18, "Q5_K": 17, "Q4_K": 15, "Q3_K": 12, "IQ2_XXS": 19, "IQ1_M": 31}
EXPECTED = SHARED / "expected" / "sha256.txt"
QUICK = ("quality", "i-compact")  # without a matrix and with one


def lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.is_file() else []


def test_expanding_keeps_every_tensor(demo_model: Path) -> None:
    packed, expanded = gguf.read_gguf(DEMO / "tiny-moe-Q8_0.gguf"), gguf.read_gguf(demo_model)
    assert [(t.name, t.shape) for t in packed.tensors] == [
        (t.name, t.shape) for t in expanded.tensors
    ]
    assert {t.type for t in expanded.tensors} == {"BF16", "F32"}
    assert expanded.get("general.file_type") == 32


@pytest.mark.road
def test_overrides_decide_and_low_bits_want_data(demo_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    name = "blk.0.ffn_up_exps.weight"
    matrix = Matrix(
        datasets=("chat.txt",),
        chunks=7,
        sums={name: np.ones((6, 256), np.float32)},
        counts={name: np.ones(6, np.float32)},
    )
    quantize_recipe(
        demo_model, target, file_type=18, types={name: "IQ2_XS"}, imatrix=matrix, threads=2
    )
    quantized = gguf.read_gguf(target)
    assert {t.name: t.type for t in quantized.tensors}[name] == "IQ2_XS"
    assert quantized.get("quantize.imatrix.file") == "imatrix.gguf"
    assert quantized.get("quantize.imatrix.dataset") == "chat.txt"
    assert quantized.get("quantize.imatrix.entries_count") == 1
    assert quantized.get("quantize.imatrix.chunks_count") == 7
    other = {"blk.1.ffn_up_exps.weight": "IQ2_XS"}
    with pytest.raises(BuildError, match=r"blk\.1\.ffn_up_exps\.weight has no data"):
        quantize_recipe(demo_model, target, file_type=18, types=other, imatrix=matrix, threads=2)


def test_an_expert_without_data_is_named() -> None:
    name = "blk.0.ffn_up_exps.weight"
    counts = np.array([5, 5, 0, 5, 5, 0], np.float32)
    matrix = Matrix(
        datasets=(),
        chunks=1,
        sums={name: np.ones((6, 256), np.float32)},
        counts={name: counts},
    )
    with pytest.raises(BuildError, match=rf"{name} expert 2 has no data .* cannot be IQ2_S"):
        quantize.require_data({name: "IQ2_S"}, matrix)
    quantize.require_data({name: "IQ2_S"}, matrix, experts=False)
    quantize.require_data({name: "Q2_K", "token_embd.weight": "IQ2_S"}, matrix)


def test_what_a_tier_rounds_without_data_is_named_whatever_its_type() -> None:
    """A matrix that fits one of four tensors; the embedding, the output and norms have none."""
    shapes = {"ffn_up_exps": (256, 8, 4), "attn_q": (256, 8), "attn_norm": (256,)}
    tensors = [
        Tensor(name=f"blk.{layer}.{name}.weight", shape=shape, type="BF16", bytes=1)
        for layer in (0, 1)
        for name, shape in shapes.items()
    ]
    tensors += [Tensor(name="token_embd.weight", shape=(256, 99), type="BF16", bytes=1)]
    types = {t.name: "F32" if "norm" in t.name else "Q6_K" for t in tensors}
    name = "blk.0.ffn_up_exps.weight"
    counts = np.array([5, 0, 5, 5], np.float32)
    matrix = Matrix(datasets=(), chunks=1, sums={name: np.ones((4, 256), np.float32)},
                    counts={name: counts})  # fmt: skip
    gap = quantize.gap_of("I-X", types, tensors, matrix)
    assert gap is not None
    assert gap.places == (f"{name} expert 1", "blk.0.attn_q.weight", "blk.1.ffn_up_exps.weight",
                          "blk.1.attn_q.weight")  # fmt: skip
    assert gap.share == pytest.approx((1 + 1 + 4 + 1) / 10)
    with pytest.raises(BuildError, match=r"I-X: no calibration data of 70\.0% .*missing_share"):
        quantize.require_share(gap, 0.1)
    quantize.require_share(gap, 0.7)
    quantize.require_share(None, 0.0)
    assert quantize.gap_of("I-X", dict.fromkeys(types, "BF16"), tensors, matrix) is None


def test_what_llama_cpp_refuses_is_said_in_one_line(demo_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    types = {"blk.0.ffn_up_exps.weight": "IQ2_XS"}
    with pytest.raises(BuildError, match="imatrix") as refused:
        quantize_recipe(demo_model, target, file_type=18, types=types, imatrix=None, threads=2)
    assert "\n" not in str(refused.value)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(demo_model.read_bytes()[:-4096])
    with pytest.raises(BuildError, match="could not quantize"):
        quantize_recipe(cut, target, file_type=18, types={}, imatrix=None, threads=2)


@pytest.mark.road
@pytest.mark.skipif(not EXPECTED.is_file(), reason="shared data not present")
@pytest.mark.parametrize(("digest", "tier", "base"), lines(EXPECTED) or [("", "", "")])
def test_our_own_recipes_give_the_same_files(
    tmp_path: Path, digest: str, tier: str, base: str
) -> None:
    """Profile to file with nothing in between: the bytes that llama-quantize wrote."""
    source = SHARED / "models" / "tiny-moe" / "tiny-moe-BF16.gguf"
    header = gguf.read_gguf(source)
    architecture = architecture_of(header.metadata, header.tensors)
    (profile,) = load_profiles(data_folder("profiles"), [tier])
    assert profile.base == base.removeprefix("base=").upper()
    recipe = make_recipe(profile, architecture, header.tensors)
    target = tmp_path / "out.gguf"
    quantize_recipe(
        source,
        target,
        file_type=file_type(recipe.base),
        types=asked_types(recipe, architecture, header.tensors),
        imatrix=imatrix.read_matrix(SHARED / "expected" / "imatrix.gguf")
        if recipe.imatrix
        else None,
        threads=2,
    )
    assert sha256(target) == digest


@pytest.mark.skipif(not EXPECTED.is_file(), reason="shared data not present")
@pytest.mark.parametrize(
    ("digest", "tier", "base"),
    [
        pytest.param(*line, marks=() if line[1] in QUICK else pytest.mark.road)
        for line in lines(EXPECTED) or [["", "", ""]]
    ],
)
def test_byte_identical_with_llama_quantize(
    tmp_path: Path, digest: str, tier: str, base: str
) -> None:
    """The whole file, made from the very recipe and matrix that llama-quantize was given."""
    recipe = SHARED / "expected" / "recipes" / f"{tier.removeprefix('i-')}-8-layers.txt"
    patterns = [line[0].split("=") for line in lines(recipe) if line]
    source = SHARED / "models" / "tiny-moe" / "tiny-moe-BF16.gguf"
    types = {
        tensor.name: next(
            kind.upper() for pattern, kind in patterns if re.search(pattern, tensor.name)
        )
        for tensor in gguf.read_gguf(source).tensors
        if any(re.search(pattern, tensor.name) for pattern, _ in patterns)
    }
    target = tmp_path / "out.gguf"
    wants = tier.startswith("i-")
    quantize_recipe(
        source,
        target,
        file_type=FILE_TYPES[base.removeprefix("base=").upper()],
        types=types,
        imatrix=imatrix.read_matrix(SHARED / "expected" / "imatrix.gguf") if wants else None,
        threads=2,
    )
    assert sha256(target) == digest
