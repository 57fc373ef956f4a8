from pathlib import Path

import numpy as np
import pytest

from bot.build import imatrix
from bot.clients import gguf
from bot.errors import SettingsError, SourceError

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def quiet(_done: int, _total: int) -> None:
    """Nobody looks."""


def collect(model: Path, target: Path, text: str, chunks: int | None, context: int = 512) -> None:
    imatrix.calibrate(
        model,
        target,
        text=text,
        datasets=["imatrix-text.txt"],
        context=context,
        chunks=chunks,
        threads=2,
        gpu_layers=0,
        devices=(),
        progress=quiet,
    )


def test_every_token_is_counted_once_for_each_active_expert(
    demo_model: Path, demo_text: str, tmp_path: Path
) -> None:
    target = tmp_path / "imatrix.gguf"
    collect(demo_model, target, demo_text, chunks=3, context=128)
    found = imatrix.read(target)
    assert (found.chunks, found.datasets) == (3, ("imatrix-text.txt",))
    tokens, active, layers = 3 * 128, 2, 8
    experts = [name for name in found.counts if "_exps" in name]
    assert len(experts) == 3 * layers
    for name in experts:
        assert found.counts[name].shape == (6,)
        assert found.counts[name].sum() == tokens * active
        assert found.sums[name].shape == (6, 256)
    assert {float(found.counts[n][0]) for n in found.counts if "_exps" not in n} == {tokens}
    # gate and up see the same activations
    gate, up = (found.sums[f"blk.0.ffn_{part}_exps.weight"] for part in ("gate", "up"))
    assert np.array_equal(gate, up)


def test_twice_the_same_bytes(demo_model: Path, demo_text: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        collect(demo_model, tmp_path / name, demo_text, chunks=2, context=128)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_expert_without_tokens_weighs_one_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "imatrix.gguf"
    sums = np.array([[2, 4], [0, 0]], np.float32)
    counts = np.array([[2], [0]], np.float32)
    name = "blk.0.ffn_up_exps.weight"
    metadata = [("general.type", "imatrix"), ("imatrix.chunk_count", 1)]
    gguf.write_arrays(path, metadata, [(f"{name}.in_sum2", sums), (f"{name}.counts", counts)])
    found = imatrix.read(path)
    assert found.weights()[name].tolist() == [1, 2, 1, 1]
    assert found.unreached() == (f"{name} expert 1",)


def test_other_files_are_refused(demo_model: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not an importance matrix"):
        imatrix.read(demo_model)
    path = tmp_path / "imatrix.gguf"
    array = np.zeros((1, 2), np.float32)
    gguf.write_arrays(path, [("general.type", "imatrix")], [("x.in_sum2", array)])
    with pytest.raises(SourceError, match="no counts for x"):
        imatrix.read(path)


def test_a_text_without_two_chunks_is_refused(demo_model: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="less than two chunks"):
        collect(demo_model, tmp_path / "imatrix.gguf", "too short", chunks=None)


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared data not present")
def test_equal_to_llama_imatrix(tmp_path: Path) -> None:
    """Same names, counts and header; sums as near as another order of f32 additions allows."""
    expected = SHARED / "expected" / "imatrix.gguf"
    target = tmp_path / "imatrix.gguf"
    text = (SHARED / "expected" / "imatrix-text.txt").read_text()
    collect(SHARED / "models" / "tiny-moe" / "tiny-moe-BF16.gguf", target, text, chunks=None)
    ours, theirs = imatrix.read(target), imatrix.read(expected)
    assert list(ours.sums) == list(theirs.sums)
    for name, sums in theirs.sums.items():
        assert np.array_equal(ours.counts[name], theirs.counts[name])
        assert np.allclose(ours.sums[name], sums, rtol=5e-4)
    offset = gguf.read(expected).data_offset
    assert target.read_bytes()[:offset] == expected.read_bytes()[:offset]
    assert target.stat().st_size == expected.stat().st_size
