"""Many files in one pass, against llama.cpp's own function on the same source."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bot.build import imatrix, onepass, quantize
from bot.build.imatrix import Matrix
from bot.build.layout import Wanted, open_source
from bot.clients import gguf
from bot.clients.header import read_header
from bot.errors import BuildError
from bot.plan.architecture import describe
from bot.plan.profiles import load_profiles
from bot.plan.recipe import asked_types, file_type, make_recipes
from bot.settings import data_folder
from bot.workspace import partial_of, sha256

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def quiet(_done: int, _total: int, _words: str) -> None:
    """Nobody looks."""


def matrix_for(model: Path) -> Matrix:
    """A made-up importance matrix over every tensor, different for each expert."""
    random = np.random.default_rng(7)
    sums, counts = {}, {}
    for tensor in gguf.read(model).tensors:
        if tensor.type == "BF16" and tensor.name.startswith("blk."):
            experts = tensor.shape[2] if len(tensor.shape) > 2 else 1
            sums[tensor.name] = random.gamma(1.0, 1.0, (experts, tensor.shape[0])).astype("f4")
            counts[tensor.name] = np.ones(experts, np.float32)
    return Matrix(datasets=("made-up.txt",), chunks=3, sums=sums, counts=counts)


def wanted_tiers(model: Path, folder: Path, matrix: Matrix, *tiers: str) -> list[Wanted]:
    header = gguf.read(model)
    found = describe(header.metadata, header.tensors)
    profiles = load_profiles(data_folder("profiles"), tiers or None)
    return [
        Wanted(
            target=folder / f"{recipe.tier}.gguf",
            file_type=file_type(recipe.base),
            types=asked_types(recipe, found, header.tensors),
            weights=matrix.weights() if recipe.imatrix else None,
            notes=quantize.notes(matrix) if recipe.imatrix else (),
        )
        for recipe in make_recipes(profiles, found, header.tensors)
    ]


def one_pass(model: Path, wanted: list[Wanted], *, memory: int = 1 << 30, threads: int = 2) -> None:
    onepass.quantize_all(model, wanted, threads=threads, memory=memory, progress=quiet)


def test_every_tier_equals_llama_cpp(demo_model: Path, tmp_path: Path) -> None:
    matrix = matrix_for(demo_model)
    wanted = wanted_tiers(demo_model, tmp_path, matrix)
    one_pass(demo_model, wanted)
    assert len(wanted) == 9
    assert {path.name for path in tmp_path.glob("*")} >= {want.target.name for want in wanted}
    assert not list(tmp_path.glob("*.partial"))
    assert not list(tmp_path.glob("*.journal"))
    other = tmp_path / "llama.gguf"
    for want in wanted:
        quantize.quantize(
            demo_model,
            other,
            file_type=want.file_type,
            types=want.types,
            imatrix=matrix if want.weights is not None else None,
            threads=2,
        )
        assert sha256(want.target) == sha256(other), want.target.name


@pytest.mark.parametrize(("memory", "threads"), [(1, 1), (1, 3), (200_000, 2)])
def test_little_memory_and_other_thread_counts_change_nothing(
    demo_model: Path, tmp_path: Path, memory: int, threads: int
) -> None:
    matrix = matrix_for(demo_model)
    for name, given in (("a", {}), ("b", {"memory": memory, "threads": threads})):
        one_pass(demo_model, wanted_tiers(demo_model, tmp_path / name, matrix, "I-Nano"), **given)
    assert sha256(tmp_path / "a" / "I-Nano.gguf") == sha256(tmp_path / "b" / "I-Nano.gguf")


def test_every_plain_type_equals_llama_cpp(demo_model: Path, tmp_path: Path) -> None:
    """One file a type, over tensors of which some rows do not divide into its blocks."""
    name = "blk.3.attn_q.weight"
    kinds = ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS", "Q2_K", "F16", "F32")
    wanted = [
        Wanted(target=tmp_path / kind, file_type=7, types={name: kind}, weights=None)
        for kind in kinds
    ]
    one_pass(demo_model, [_complete(demo_model, want) for want in wanted])
    for want in wanted:
        quantize.quantize(
            demo_model,
            tmp_path / "llama",
            file_type=7,
            types=_complete(demo_model, want).types,
            imatrix=None,
            threads=2,
        )
        assert sha256(want.target) == sha256(tmp_path / "llama"), want.target.name


def _complete(model: Path, want: Wanted) -> Wanted:
    """Name every other tensor too: llama.cpp would give it a type of its own choice."""
    types = {t.name: "Q8_0" for t in gguf.read(model).tensors if t.type == "BF16"}
    return Wanted(
        target=want.target,
        file_type=want.file_type,
        types={**types, **want.types},
        weights=want.weights,
    )


def test_a_killed_pass_goes_on_where_it_was(demo_model: Path, tmp_path: Path) -> None:
    matrix = matrix_for(demo_model)
    calm = wanted_tiers(demo_model, tmp_path / "calm", matrix, "I-Nano", "Compact")
    one_pass(demo_model, calm)
    stored = tmp_path / "matrix"
    _store(stored, matrix)
    program = (
        "from pathlib import Path\n"
        "from tests.unit.build.test_onepass import *\n"
        "onepass.NOTE_EVERY = onepass.KEEP_EVERY = 0.0\n"
        f"matrix = imatrix.read(Path({str(stored)!r}))\n"
        f"model = Path({str(demo_model)!r})\n"
        f"folder = Path({str(tmp_path / 'killed')!r})\n"
        "wanted = wanted_tiers(model, folder, matrix, 'I-Nano', 'Compact')\n"
        "one_pass(model, wanted, memory=1)\n"
    )
    journal = tmp_path / "killed" / "quantize.journal"
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen([sys.executable, "-c", program], cwd=root) as process:
        while not (journal.is_file() and json.loads(journal.read_text())["tensors"] > 40):
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    killed = wanted_tiers(demo_model, tmp_path / "killed", matrix, "I-Nano", "Compact")
    work = onepass._Pass(open_source(demo_model), killed)
    assert work._resumed() > 40
    one_pass(demo_model, killed)
    for before, after in zip(calm, killed, strict=True):
        assert sha256(before.target) == sha256(after.target)


def _store(path: Path, matrix: Matrix) -> None:
    arrays = []
    for name, sums in matrix.sums.items():
        arrays += [(f"{name}.in_sum2", sums), (f"{name}.counts", matrix.counts[name][:, None])]
    metadata = [("general.type", "imatrix"), ("imatrix.datasets", ["made-up.txt"])]
    gguf.write_arrays(path, [*metadata, ("imatrix.chunk_count", 3)], arrays)


def test_a_partial_file_of_another_pass_is_not_gone_on_with(
    demo_model: Path, tmp_path: Path
) -> None:
    matrix = matrix_for(demo_model)
    (want,) = wanted_tiers(demo_model, tmp_path, matrix, "Compact")
    partial_of(want.target).write_bytes(b"something else")
    (tmp_path / "quantize.journal").write_text('{"pass": "other", "tensors": 100}')
    one_pass(demo_model, [want])
    (calm,) = wanted_tiers(demo_model, tmp_path / "calm", matrix, "Compact")
    one_pass(demo_model, [calm])
    assert sha256(want.target) == sha256(calm.target)


def test_nan_in_the_source_names_its_tensor(demo_model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    content = bytearray(demo_model.read_bytes())
    header = read_header(demo_model)
    tensor = next(t for t in header.tensors if t.name == "blk.5.ffn_up_exps.weight")
    start = header.data_offset + tensor.offset + 4242
    content[start : start + 2] = b"\xff\xff"  # a NaN in BF16
    damaged.write_bytes(content)
    wanted = wanted_tiers(damaged, tmp_path, matrix_for(damaged), "Compact")
    with pytest.raises(BuildError, match=r"blk\.5\.ffn_up_exps\.weight holds NaN"):
        one_pass(damaged, wanted)
    assert not wanted[0].target.exists()


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared data not present")
def test_the_files_of_llama_quantize(tmp_path: Path) -> None:
    """All nine hashes of files that llama-quantize wrote, from one pass."""
    model = SHARED / "models" / "tiny-moe" / "tiny-moe-BF16.gguf"
    matrix = imatrix.read(SHARED / "expected" / "imatrix.gguf")
    wanted = wanted_tiers(model, tmp_path, matrix)
    one_pass(model, wanted)
    lines = (SHARED / "expected" / "sha256.txt").read_text().splitlines()
    expected = {tier: digest for digest, tier, _ in map(str.split, lines)}
    assert {want.target.stem.lower(): sha256(want.target) for want in wanted} == expected
