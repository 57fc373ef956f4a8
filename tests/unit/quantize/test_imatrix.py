"""The file: what is in it, what it says about experts, and whatever a stranger may have put there.

How it is made is tested in test_calibrate.py, the older form in test_legacy_imatrix.py.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bot.clients.files import gguf
from bot.clients.llama.observer import Stats
from bot.errors import SourceError
from bot.quantize import imatrix
from bot.records.model import Tensor
from bot.records.results import LayerCoverage
from tests.unit.quantize.test_legacy_imatrix import WHOLE as LEGACY

UP, DOWN, QUERY = "blk.0.ffn_up_exps.weight", "blk.0.ffn_down_exps.weight", "blk.0.attn_q.weight"
SEEN = {
    UP: Stats(np.array([[2, 4], [0, 0], [9, 9]], np.float32), np.array([200, 0, 3])),
    DOWN: Stats(np.array([[1, 1], [0, 0], [1, 1]], np.float32), np.array([200, 0, 3])),
    QUERY: Stats(np.array([[5, 6]], np.float32), np.array([203])),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "imatrix.gguf"
    imatrix.write_matrix(path, SEEN, ["chat.txt"], 7, 512)
    return path


def test_what_is_written_is_read(path: Path) -> None:
    matrix = imatrix.read_matrix(path)
    assert (matrix.datasets, matrix.chunks, matrix.key) == (("chat.txt",), 7, None)
    assert list(matrix.sums) == sorted(SEEN)
    for name, statistics in SEEN.items():
        assert np.array_equal(matrix.sums[name], statistics.sums)
        assert np.array_equal(matrix.counts[name], statistics.counts)


def test_an_expert_without_tokens_weighs_one_and_is_named(path: Path) -> None:
    matrix = imatrix.read_matrix(path)
    assert matrix.weights()[UP].tolist()[2:] == [1, 1, 3, 3]
    assert matrix.unreached() == (f"{DOWN} expert 1", f"{UP} expert 1")


def test_sums_that_are_all_zero_are_no_data(tmp_path: Path) -> None:
    """Tokens came and nothing was seen: as weights they would make every number zero."""
    path = tmp_path / "imatrix.gguf"
    sums = np.array([[1, 2], [0, 0], [0, 3]], np.float32)
    statistics = {UP: Stats(sums, np.array([4, 4, 4])), QUERY: Stats(sums[1:2], np.array([7]))}
    imatrix.write_matrix(path, statistics, (), 1, 512)
    matrix = imatrix.read_matrix(path)
    assert matrix.weights()[UP].tolist() == [0.25, 0.5, 1, 1, 0, 0.75]
    assert matrix.weights()[QUERY].tolist() == [1, 1]
    assert matrix.unreached() == (QUERY, f"{UP} expert 1")
    assert matrix.coverage()[0].unreached == (1,)


def test_experts_of_a_file_without_counts_of_each_show_by_their_zeros() -> None:
    matrix = imatrix.Matrix(
        datasets=(), chunks=1, sums={UP: np.array([[1, 2, 0, 0, 3, 4]], np.float32)},
        counts={UP: np.array([2], np.float32)},
    )  # fmt: skip
    assert matrix.unreached() == ()
    by_expert = matrix.of([tensor(UP, 2, 8, 3)])
    assert by_expert.unreached() == (f"{UP} expert 1",)
    assert by_expert.weights()[UP].tolist() == [0.5, 1, 1, 1, 1.5, 2]


def test_coverage_by_layer(path: Path) -> None:
    layer = LayerCoverage(layer=0, experts=3, fewest=0, median=3, unreached=(1,), rare=(2,))
    assert imatrix.read_matrix(path).coverage() == (layer,)


def test_matrices_that_share_a_count_make_one_long_row(tmp_path: Path) -> None:
    path = tmp_path / "imatrix.gguf"
    imatrix.write_matrix(path, {"x": Stats(np.ones((3, 4), np.float32), np.array([5]))}, (), 1, 512)
    assert imatrix.read_matrix(path).sums["x"].shape == (1, 12)


def tensor(name: str, *shape: int) -> Tensor:
    return Tensor(name=name, shape=shape, type="BF16", bytes=0)


def test_a_matrix_of_another_model_is_refused(path: Path) -> None:
    matrix = imatrix.read_matrix(path)
    matrix.require_fit([tensor(UP, 2, 8, 3), tensor(QUERY, 2, 9), tensor("output.weight", 2, 5)])
    with pytest.raises(SourceError, match="no tensor of this model"):
        matrix.require_fit([tensor("blk.9.attn_q.weight", 2, 9)])
    with pytest.raises(SourceError, match=rf"6 values for {UP}, not 8"):
        matrix.require_fit([tensor(UP, 2, 8, 4)])
    matrix.require_fit([tensor(UP, 2, 9)])  # a matrix that llama.cpp divides into three
    with pytest.raises(SourceError, match="6 values"):
        matrix.require_fit([tensor(UP, 2, 8)])


def test_a_ready_file_keeps_its_bytes_and_an_old_one_its_weights(
    path: Path, tmp_path: Path
) -> None:
    target = tmp_path / "copy.gguf"
    imatrix.rewrite(path, target, 512)
    assert target.read_bytes() == path.read_bytes()
    old = tmp_path / "imatrix.dat"
    old.write_bytes(LEGACY)
    imatrix.rewrite(old, target, 512)
    rewritten, legacy = imatrix.read_matrix(target), imatrix.read_matrix(old)
    assert gguf.read_gguf(target).get("general.type") == "imatrix"
    assert (rewritten.datasets, rewritten.chunks) == (legacy.datasets, legacy.chunks)
    for name, weights in legacy.weights().items():
        assert np.array_equal(rewritten.weights()[name], weights)


def test_other_files_are_refused(demo_model: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not an importance matrix"):
        imatrix.read_matrix(demo_model)
    with pytest.raises(SourceError, match="does not exist"):
        imatrix.read_matrix(tmp_path / "nothing.gguf")
    path, kind = tmp_path / "imatrix.gguf", [("general.type", "imatrix")]
    two = np.zeros((1, 2), np.float32)
    wrong: dict[str, list[tuple[str, NDArray[Any]]]] = {
        "no counts for x": [("x.in_sum2", two)],
        "holds no sums": [("x.counts", two)],
        "no sum for each count": [("x.in_sum2", two), ("x.counts", np.ones((3, 1), np.float32))],
        "is not f32": [("x.in_sum2", two.astype(np.float16)), ("x.counts", two)],
        "no squares add up to": [("x.in_sum2", two - 1), ("x.counts", two)],
    }
    for reason, arrays in wrong.items():
        gguf.write_arrays(path, kind, arrays)
        with pytest.raises(SourceError, match=reason):
            imatrix.read_matrix(path)


def test_any_bytes_are_read_or_refused(path: Path, tmp_path: Path) -> None:
    good, broken = path.read_bytes(), tmp_path / "broken.gguf"
    chance = np.random.default_rng(4)
    read = 0
    for _ in range(600):
        data = bytearray(good)
        for _ in range(chance.integers(1, 5)):
            data[chance.integers(len(data))] = int(chance.integers(256))
        broken.write_bytes(
            data[: len(data) if chance.random() < 0.5 else int(chance.integers(len(data)))]
        )
        try:
            matrix = imatrix.read_matrix(broken)
        except SourceError:
            continue
        read += 1
        assert all(np.isfinite(weights).all() for weights in matrix.weights().values())
    assert 0 < read < 600
