"""Experts of a file against the 16-bit model's: rounding passes, another expert is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bot.clients.llama.quantization import to_bf16
from bot.errors import SourceError
from bot.fitting.rounded import Resemblance, compare_rows
from bot.fitting.sixteen import stored_tensors
from tests.behaving import TALKER, corrupt_experts, sibling, tier
from tests.split_gguf import changed_weights, split

EXPERTS = "blk.1.ffn_down_exps.weight"


def quiet(_done: int, _total: int) -> None:
    """Nobody listens."""


def compared(file: Path, source: Path, rows: int = 4) -> Resemblance:
    return compare_rows(file, source, rows=rows, threads=2, progress=quiet)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A talker in F32, as a 16-bit model is: nothing in it is rounded."""
    return sibling(tmp_path_factory.mktemp("original"), 0)


@pytest.fixture(scope="module")
def balanced(original: Path) -> Path:
    return tier(original, original.with_name("Q4_K_M.gguf"), "Q4_K_M")


@pytest.mark.parametrize("kind", ["Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q4_0", "Q3_K_M"])
def test_what_is_rounded_passes(original: Path, tmp_path: Path, kind: str) -> None:
    found = compared(tier(original, tmp_path / "tier.gguf", kind), original)
    assert found.furthest.share < 0.75, found.furthest
    assert found.matrices == 9 * 2 + 2 + 2 * 3 * 4  # of two layers, and their experts


@pytest.mark.road
def test_every_corrupt_expert_is_named(original: Path, tmp_path: Path) -> None:
    caught = 0
    for name, path in corrupt_experts(tmp_path, original):
        layer, expert = name.split(", ")[1:]
        place = f"blk.{layer.split()[1]}.ffn_down_exps.weight {expert} "
        with pytest.raises(SourceError, match=f"{place}is not the 16-bit model's: ") as error:
            compared(tier(path, tmp_path / "tier.gguf", "Q4_K_M"), original)
        assert "takes 0.13 at most" in str(error.value) or "takes 0.041 at most" in str(error.value)
        caught += 1
    assert caught == 8


def test_16_bits_are_a_rounding_too(original: Path, tmp_path: Path) -> None:
    to_bf16(original, tmp_path / "bf16.gguf", threads=1)
    assert 0 < compared(tmp_path / "bf16.gguf", original).furthest.share < 1
    with pytest.raises(SourceError, match="and rounding to F32 takes 0 at most"):
        compared(original, tmp_path / "bf16.gguf")


@pytest.mark.parametrize(
    ("factor", "kind", "named"),
    [(1.5, "Q4_K_M", "0.2"), (0.95, "Q8_0", "0.0025"), (0.0, "Q6_K", "1")],
)
def test_a_scale_that_rounding_does_not_explain(
    original: Path, tmp_path: Path, factor: float, kind: str, named: str
) -> None:
    def change(name: str, array: np.ndarray) -> np.ndarray:
        if name == EXPERTS:
            array = array.copy()
            array[3] *= factor
        return array

    path = changed_weights(original, tmp_path / "scaled.gguf", change)
    with pytest.raises(SourceError, match=rf"{EXPERTS} expert 3 .*: {named}\d* of its squared"):
        compared(tier(path, tmp_path / "tier.gguf", kind), original)


def test_shards_are_one_model(balanced: Path, original: Path, tmp_path: Path) -> None:
    shards = split(balanced, tmp_path / "tier.gguf", 6)
    sources = split(original, tmp_path / "source.gguf", 5)
    assert len(shards) > 2
    assert compared(shards[0], sources[0]) == compared(balanced, original)


def test_what_passes_through_has_the_same_bytes(tmp_path: Path) -> None:
    """A type that is the source's own, as MXFP4 of some originals: one bit is too much."""
    assert compared(TALKER, TALKER).furthest.error == 0
    tensor = stored_tensors(TALKER)[EXPERTS]
    data = bytearray(TALKER.read_bytes())
    start = data.index(tensor.data.tobytes()) + 2 * tensor.rows * tensor.row_bytes
    for row in range(tensor.rows):
        data[start + row * tensor.row_bytes + 5] ^= 1
    other = tmp_path / "other.gguf"
    other.write_bytes(data)
    with pytest.raises(SourceError, match=f"{EXPERTS} expert 2 .*: other bytes"):
        compared(other, TALKER)


@pytest.mark.parametrize(("value", "words"), [(np.nan, "is no number"), (0.0, "zeros alone")])
def test_a_reference_that_cannot_be_meant(
    original: Path, balanced: Path, tmp_path: Path, value: float, words: str
) -> None:
    def change(name: str, array: np.ndarray) -> np.ndarray:
        if name == EXPERTS:
            array = array.copy()
            array[1] = value
        return array

    broken = changed_weights(original, tmp_path / "broken.gguf", change)
    with pytest.raises(SourceError, match=f"16-bit model's own {EXPERTS} expert 1 .*{words}"):
        compared(balanced, broken)
    with pytest.raises(SourceError, match=f"16-bit model's own {EXPERTS} expert 1 .*{words}"):
        compared(broken, broken)


def test_another_model_is_told(original: Path, demo_candidate: Path) -> None:
    with pytest.raises(SourceError, match="of another model"):
        compared(demo_candidate, original)


def test_weights_too_small_for_scales_of_16_bits(original: Path, tmp_path: Path) -> None:
    """Scales lose bits below 2^-14: that is rounding, too."""

    def change(name: str, array: np.ndarray) -> np.ndarray:
        return array * 1e-4 if name == EXPERTS else array

    source = changed_weights(original, tmp_path / "small.gguf", change)
    compared(tier(source, tmp_path / "tier.gguf", "Q4_K_M"), source)


def test_more_rows_are_looked_at_where_asked(balanced: Path, original: Path) -> None:
    few, all_rows = compared(balanced, original), compared(balanced, original, 1 << 16)
    assert (
        few.rows
        < all_rows.rows
        == sum(t.rows * t.matrices for t in stored_tensors(original).values())
    )
