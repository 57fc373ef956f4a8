"""Probes in place: what lies in memory is what the file has, before and after, and in between what
a file with rounded tensors would hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bot.clients.files.gguf import read_gguf
from bot.clients.llama import ggml
from bot.clients.llama.session import Session
from bot.errors import BuildError
from bot.fitting.probing import Prober, nothing
from bot.fitting.sixteen import StoredTensor, stored_tensors
from bot.fitting.tensor_errors import Rounding, untimed
from bot.kernels.choice import LIBRARY_ONLY
from bot.kernels.quantizers import Quantizers
from bot.measures.divergence import measure_divergence
from bot.measures.journal import Passing
from bot.measures.logits import BaseFile, open_base
from bot.measures.perplexity import reference_perplexity
from bot.measures.windows import TextWindows
from bot.records.measured import Divergence
from tests.split_gguf import shrink

CONTEXT, TOGETHER = 32, 2
KINDS = ("Q2_K", "Q3_K", "Q4_K", "Q8_0")
EXPERTS, DENSE = "blk.0.ffn_down_exps.weight", "token_embd.weight"


@pytest.fixture(scope="module")
def small(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("probing") / "small.gguf"
    shrink(demo_model, path, layers=4, experts=3)
    return path


def session_of(path: Path, *, writable: bool = True) -> Session:
    return Session(
        path,
        n_ctx=CONTEXT * TOGETHER,
        threads=2,
        gpu_layers=0,
        sequences=TOGETHER,
        unified=False,
        writable=writable,
    )


@pytest.fixture(scope="module")
def tensors(small: Path) -> dict[str, StoredTensor]:
    return stored_tensors(small)


@pytest.fixture(scope="module")
def rounding(tensors: dict[str, StoredTensor]) -> Iterator[Rounding]:
    tensor, random = tensors[EXPERTS], np.random.default_rng(4)
    importance = {EXPERTS: random.exponential(size=tensor.matrices * tensor.length)}
    weights = {name: values.astype(np.float32) for name, values in importance.items()}
    with Quantizers(LIBRARY_ONLY, KINDS, untimed) as quantizers:
        yield Rounding(quantizers, weights, 2)


@pytest.fixture(scope="module")
def base(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseFile]:
    """The small model's own numbers on two windows of any tokens."""
    path = tmp_path_factory.mktemp("base") / "own.base"
    with session_of(small, writable=False) as session:
        tokens = np.random.default_rng(2).integers(0, session.vocabulary, (TOGETHER, CONTEXT))
        windows = TextWindows(tokens=tokens.astype(np.int32), first=CONTEXT // 2, together=TOGETHER)
        reference_perplexity(session, windows, path, Passing(), threads=2, progress=nothing)
    with open_base(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def prober(
    small: Path, base: BaseFile, tensors: dict[str, StoredTensor], rounding: Rounding
) -> Iterator[Prober]:
    with session_of(small) as session:
        yield Prober(session, base, tensors, rounding)


def through_a_file(
    small: Path, target: Path, base: BaseFile, rounding: Rounding, types: dict[str, str]
) -> Divergence:
    """The same as a 16-bit file with the rounded numbers in it, loaded as any other."""
    data, tensors = bytearray(small.read_bytes()), stored_tensors(small)
    offsets = {t.name: t for t in read_gguf(small).tensors}
    for name, kind in types.items():
        tensor = tensors[name]
        whole = b""
        for matrix in range(tensor.matrices):
            rows = tensor.numbers(matrix, 0, tensor.rows)
            kept = rounding.rounded(tensor, kind, matrix, rows)
            whole += ggml.from_f32_to_16(tensor.kind, kept).tobytes()
        start = data.find(tensor.data.tobytes())
        assert offsets[name].bytes == len(whole) == tensor.data.size
        data[start : start + len(whole)] = whole
    target.write_bytes(data)
    with session_of(target, writable=False) as session:
        _, found = measure_divergence(session, base, Passing(), threads=2, progress=nothing)
    return found


@pytest.mark.parametrize(
    "types", [{EXPERTS: "Q2_K"}, {DENSE: "Q4_K"}, {EXPERTS: "Q3_K", DENSE: "Q8_0"}], ids=str
)
def test_in_place_is_through_a_file_to_the_last_digit(
    small: Path,
    base: BaseFile,
    prober: Prober,
    rounding: Rounding,
    tmp_path: Path,
    types: dict[str, str],
) -> None:
    before, _ = prober.divergence()
    with prober.rounded(types):
        found, chunks = prober.divergence()
    assert found == through_a_file(small, tmp_path / "rounded.gguf", base, rounding, types)
    assert np.mean(chunks) == pytest.approx(found.mean)
    assert found.mean > before.mean
    assert prober.divergence()[0] == before  # everything was put back


def test_a_tensor_of_its_own_type_stays(prober: Prober, tensors: dict[str, StoredTensor]) -> None:
    before, _ = prober.divergence()
    with prober.rounded({DENSE: tensors[DENSE].kind}):
        assert prober.divergence()[0] == before


def test_memory_that_is_not_as_the_file_is_no_model_to_probe(
    small: Path, base: BaseFile, tensors: dict[str, StoredTensor], rounding: Rounding
) -> None:
    with session_of(small) as session:
        prober = Prober(session, base, tensors, rounding)
        session.weights.write(DENSE, 0, np.full(4, 7, np.uint8))
        with (
            pytest.raises(BuildError, match=f"{DENSE} in memory is not as its file has it"),
            prober.rounded({DENSE: "Q4_K"}),
        ):
            raise AssertionError("nothing is measured of it")
        with pytest.raises(BuildError, match="has no bytes"):
            session.weights.write(DENSE, tensors[DENSE].data.size - 2, np.zeros(4, np.uint8))
        with pytest.raises(BuildError, match="has no tensor"):
            session.weights.read("blk.9.none", 0, 1)


def test_what_fails_within_leaves_the_model_as_it_was(prober: Prober) -> None:
    before, _ = prober.divergence()
    with pytest.raises(KeyError), prober.rounded({DENSE: "Q4_K"}):
        raise KeyError("in the middle")
    assert prober.divergence()[0] == before


@pytest.mark.parametrize("name", [EXPERTS, DENSE])
def test_errors_on_a_sample_are_those_of_the_whole_within_two_percent(
    tensors: dict[str, StoredTensor],
    rounding: Rounding,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tensor, kinds = tensors[name], ("Q4_K", "Q8_0")
    monkeypatch.setattr("bot.fitting.tensor_errors.FIRST", tensor.data.size // 16)
    sampled, energy = rounding.errors(tensor, kinds)
    monkeypatch.setattr("bot.fitting.tensor_errors.FIRST", tensor.data.size)
    whole, all_energy = rounding.errors(tensor, kinds)
    for kind in kinds:
        assert sampled[kind] == pytest.approx(whole[kind], rel=0.02)
    assert energy == pytest.approx(all_energy, rel=0.1)
