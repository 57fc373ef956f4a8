"""Many files in one pass, against llama.cpp's own function on the same source."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bot.clients.files import gguf
from bot.clients.files.ggufheader import read_header, text_value, write_header
from bot.clients.llama.library import ggml_type
from bot.clients.llama.session import Session, Token
from bot.disk.hashes import sha256
from bot.disk.writing import partial_of
from bot.errors import BuildError, CapacityError, RefusedError
from bot.kernels.choice import LIBRARY_ONLY, Kernels
from bot.plan.profiles import load_profiles
from bot.plan.recipe import asked_types, file_type, make_recipes
from bot.predict.architecture import architecture_of
from bot.quantize import imatrix, quantize
from bot.quantize.imatrix import Matrix
from bot.quantize.passes import onepass
from bot.quantize.passes.growing import GrowingFile
from bot.quantize.passes.layout import OutputSpec, open_source
from bot.quantize.passes.passfiles import Pass
from bot.records.built import Built
from bot.settings.sections import data_folder
from tests.oracle import quantize_recipe
from tests.split_gguf import split

SHARED = Path(__file__).resolve().parents[4].parent / "shared" / "data"


OURS = Kernels(folder=Path("of the suite"))  # NUMBA_CACHE_DIR of tests/conftest.py goes before it


def quiet(_done: int, _total: int, _words: str) -> None:
    """Nobody looks."""


def matrix_for(model: Path) -> Matrix:
    """A made-up importance matrix over every tensor, different for each expert."""
    random = np.random.default_rng(7)
    sums, counts = {}, {}
    for tensor in gguf.read_gguf(model).tensors:
        if tensor.type == "BF16" and tensor.name.startswith("blk."):
            experts = tensor.shape[2] if len(tensor.shape) > 2 else 1
            sums[tensor.name] = random.gamma(1.0, 1.0, (experts, tensor.shape[0])).astype("f4")
            counts[tensor.name] = np.ones(experts, np.float32)
    return Matrix(datasets=("made-up.txt",), chunks=3, sums=sums, counts=counts)


def tier_specs(model: Path, folder: Path, matrix: Matrix, *tiers: str) -> list[OutputSpec]:
    header = gguf.read_gguf(model)
    architecture = architecture_of(header.metadata, header.tensors)
    profiles = load_profiles(data_folder("profiles"), tiers or None)
    return [
        OutputSpec(
            target=folder / f"{recipe.tier}.gguf",
            file_type=file_type(recipe.base),
            types=asked_types(recipe, architecture, header.tensors),
            weights=matrix.weights() if recipe.imatrix else None,
            notes=quantize.notes(matrix) if recipe.imatrix else (),
        )
        for recipe in make_recipes(profiles, architecture, header.tensors)
    ]


def one_pass(
    model: Path,
    specs: list[OutputSpec],
    *,
    memory: int = 1 << 30,
    threads: int = 2,
    spent: onepass.Spent | None = None,
    kernels: Kernels = OURS,
) -> tuple[tuple[Built, ...], ...]:
    return onepass.quantize_all(
        model,
        specs,
        threads=threads,
        memory=memory,
        progress=quiet,
        spent=spent,
        kernels=kernels,
    )


@pytest.mark.road
@pytest.mark.parametrize(
    "tiers", [("Quality", "I-Compact"), pytest.param((), marks=pytest.mark.long)]
)
def test_every_tier_equals_llama_cpp(
    demo_model: Path, tmp_path: Path, tiers: tuple[str, ...]
) -> None:
    matrix = matrix_for(demo_model)
    specs = tier_specs(demo_model, tmp_path, matrix, *tiers)
    one_pass(demo_model, specs)
    assert len(specs) == (len(tiers) or 9)
    assert {path.name for path in tmp_path.glob("*")} >= {spec.target.name for spec in specs}
    assert not list(tmp_path.glob("*.partial"))
    assert not list(tmp_path.glob("*.journal"))
    other = tmp_path / "llama.gguf"
    for spec in specs:
        quantize_recipe(
            demo_model,
            other,
            file_type=spec.file_type,
            types=spec.types,
            imatrix=matrix if spec.weights is not None else None,
            threads=2,
        )
        assert sha256(spec.target) == sha256(other), spec.target.name


@pytest.mark.road
def test_little_memory_and_other_thread_counts_change_nothing(
    demo_model: Path, tmp_path: Path
) -> None:
    matrix, hashes = matrix_for(demo_model), set()
    for number, (memory, threads) in enumerate([(1 << 30, 2), (1, 1), (1, 3), (200_000, 2)]):
        specs = tier_specs(demo_model, tmp_path / str(number), matrix, "I-Compact")
        one_pass(demo_model, specs, memory=memory, threads=threads)
        hashes.add(sha256(specs[0].target))
    assert len(hashes) == 1


@pytest.mark.long  # llama.cpp computes the grids of each of these types anew, for seconds
def test_every_low_type_equals_llama_cpp(demo_model: Path, tmp_path: Path) -> None:
    """One file a type that is rounded with an importance matrix; the tiers have them in experts."""
    matrix = matrix_for(demo_model)
    names = ("blk.3.attn_q.weight",)
    kinds = ("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ3_XXS", "IQ3_S")
    weights = matrix.weights()
    specs = [
        _complete(
            demo_model,
            OutputSpec(
                target=tmp_path / kind,
                file_type=7,
                types=dict.fromkeys(names, kind),
                weights=weights,
                notes=quantize.notes(matrix),
            ),
        )
        for kind in kinds
    ]
    ours, library = (one_pass(demo_model, specs, kernels=k) for k in (OURS, LIBRARY_ONLY))
    assert ours == library
    for spec in specs:
        quantize_recipe(
            demo_model,
            tmp_path / "llama",
            file_type=7,
            types=spec.types,
            imatrix=matrix,
            threads=2,
        )
        assert sha256(spec.target) == sha256(tmp_path / "llama"), spec.target.name


def test_every_plain_type_equals_llama_cpp(demo_model: Path, tmp_path: Path) -> None:
    """One file a type, over tensors of which some rows do not divide into its blocks."""
    name = "blk.3.attn_q.weight"
    kinds = ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS", "Q2_K", "F16", "F32")
    specs = [
        OutputSpec(target=tmp_path / kind, file_type=7, types={name: kind}, weights=None)
        for kind in kinds
    ]
    whole_specs = [_complete(demo_model, spec) for spec in specs]
    ours, library = (one_pass(demo_model, whole_specs, kernels=k) for k in (OURS, LIBRARY_ONLY))
    assert ours == library
    for spec in specs:
        quantize_recipe(
            demo_model,
            tmp_path / "llama",
            file_type=7,
            types=_complete(demo_model, spec).types,
            imatrix=None,
            threads=2,
        )
        assert sha256(spec.target) == sha256(tmp_path / "llama"), spec.target.name


def _complete(model: Path, spec: OutputSpec) -> OutputSpec:
    """Name every other tensor too: llama.cpp would give it a type of its own choice."""
    types = {t.name: "Q8_0" for t in gguf.read_gguf(model).tensors if t.type == "BF16"}
    return OutputSpec(
        target=spec.target,
        file_type=spec.file_type,
        types={**types, **spec.types},
        weights=spec.weights,
        notes=spec.notes,
    )


@pytest.mark.road
def test_a_killed_pass_goes_on_where_it_was(demo_model: Path, tmp_path: Path) -> None:
    matrix = matrix_for(demo_model)
    calm = tier_specs(demo_model, tmp_path / "calm", matrix, "I-Compact", "Compact")
    one_pass(demo_model, calm)
    stored = tmp_path / "matrix"
    _store(stored, matrix)
    program = (
        "import os\nfrom pathlib import Path\n"
        "from tests.unit.quantize.passes.test_onepass import *\n"
        "from tests.steps import at_step\n"
        "onepass.LOOK_EVERY = onepass.SAVE_EVERY = 0.0\n"
        f"matrix = imatrix.read_matrix(Path({str(stored)!r}))\n"
        f"model = Path({str(demo_model)!r})\n"
        f"folder = Path({str(tmp_path / 'killed')!r})\n"
        "specs = tier_specs(model, folder, matrix, 'I-Compact', 'Compact')\n"
        "kill = lambda _line: os.kill(os.getpid(), signal.SIGKILL)\n"
        "at_step('rename .*[.]journal$', 6, kill)\n"
        "one_pass(model, specs, memory=1)\n"
    )
    root = Path(__file__).resolve().parents[4]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    killed = tier_specs(demo_model, tmp_path / "killed", matrix, "I-Compact", "Compact")
    with Pass(open_source(demo_model), killed) as work:
        assert work.done  # how many were whole by then is up to threads
    one_pass(demo_model, killed)
    for before, after in zip(calm, killed, strict=True):
        assert sha256(before.target) == sha256(after.target)


def _store(path: Path, matrix: Matrix) -> None:
    arrays = []
    for name, sums in matrix.sums.items():
        arrays += [(f"{name}.in_sum2", sums), (f"{name}.counts", matrix.counts[name][:, None])]
    metadata = [("general.type", "imatrix"), ("imatrix.datasets", ["made-up.txt"])]
    gguf.write_arrays(path, [*metadata, ("imatrix.chunk_count", 3)], arrays)


@pytest.mark.road
def test_a_partial_file_of_another_pass_is_not_gone_on_with(
    demo_model: Path, tmp_path: Path
) -> None:
    matrix = matrix_for(demo_model)
    (spec,) = tier_specs(demo_model, tmp_path, matrix, "Compact")
    partial_of(spec.target).write_bytes(b"something else")
    with Pass(open_source(demo_model), [spec]) as work:
        work.note(50)
    partial_of(spec.target).write_bytes(bytes(work.outputs[0].size))  # as long, by somebody else
    one_pass(demo_model, [spec])
    (calm,) = tier_specs(demo_model, tmp_path / "calm", matrix, "Compact")
    one_pass(demo_model, [calm])
    assert sha256(spec.target) == sha256(calm.target)


@pytest.mark.road
def test_another_matrix_of_equal_names_and_counts_begins_anew(
    demo_model: Path, tmp_path: Path
) -> None:
    """Metadata of the two files would be equal to the byte, their weights are not."""
    first = matrix_for(demo_model)
    second = replace(first, sums={name: sums[:, ::-1] for name, sums in first.sums.items()})
    (spec,) = tier_specs(demo_model, tmp_path, first, "I-Compact")
    with Pass(open_source(demo_model), [spec]) as work:
        work.note(len(work.tensors) // 2)
    (other,) = tier_specs(demo_model, tmp_path, second, "I-Compact")
    with Pass(open_source(demo_model), [other]) as begun:
        assert begun.done == 0
        begun.note(len(begun.tensors) // 2)
    with Pass(open_source(demo_model), [spec]) as again:
        assert again.done == 0  # its file has become the other's
    one_pass(demo_model, [other])
    (calm,) = tier_specs(demo_model, tmp_path / "calm", second, "I-Compact")
    one_pass(demo_model, [calm])
    assert sha256(other.target) == sha256(calm.target)
    assert not list(tmp_path.glob("*.journal"))


@pytest.mark.road
@pytest.mark.parametrize("instant", ["noted", "headed"])
def test_a_pass_killed_at_its_very_end_is_not_made_again(
    demo_model: Path, tmp_path: Path, instant: str
) -> None:
    specs = tier_specs(demo_model, tmp_path, matrix_for(demo_model), "Compact", "Quality")
    calm = tier_specs(demo_model, tmp_path / "calm", matrix_for(demo_model), "Compact", "Quality")
    one_pass(demo_model, calm)
    with Pass(open_source(demo_model), specs) as work:
        for file, before in zip(work.files, calm, strict=True):
            os.pwrite(file, before.target.read_bytes(), 0)
            os.pwrite(file, work.mark, 0)
        work.note(len(work.tensors))
        if instant == "headed":
            os.pwrite(work.files[0], work.outputs[0].head, 0)
    spent = onepass.Spent()
    one_pass(demo_model, specs, spent=spent)
    assert spent.source_bytes == 0
    assert [sha256(w.target) for w in specs] == [sha256(c.target) for c in calm]


@pytest.mark.road
def test_files_are_found_again_until_somebody_keeps_them(demo_model: Path, tmp_path: Path) -> None:
    specs = tier_specs(demo_model, tmp_path, matrix_for(demo_model), "Compact", "Quality")

    def fail(_files: object) -> None:
        raise KeyboardInterrupt

    def make(keep: Callable[[object], object], spent: onepass.Spent) -> None:
        onepass.quantize_all(
            demo_model, specs, threads=2, memory=1 << 30, progress=quiet, spent=spent, keep=keep
        )

    with pytest.raises(KeyboardInterrupt):
        make(fail, onepass.Spent())
    again, kept_files = onepass.Spent(), list[object]()
    make(kept_files.append, again)
    assert again.source_bytes == 0
    assert kept_files == [tuple((_described(spec.target),) for spec in specs)]
    assert not list(tmp_path.glob("*.journal"))


def _described(path: Path) -> Built:
    return Built(path=str(path), bytes=path.stat().st_size, sha256=sha256(path))


def test_files_are_hashed_while_they_grow(demo_model: Path, tmp_path: Path) -> None:
    specs = tier_specs(demo_model, tmp_path, matrix_for(demo_model), "Compact", "Quality")
    spent = onepass.Spent()
    files = one_pass(demo_model, specs, spent=spent)
    assert files == tuple((_described(spec.target),) for spec in specs)
    assert spent.seconds["hash"] > 0


@pytest.mark.road
def test_hashes_of_an_ended_pass_are_in_its_journal(
    demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is killed before anybody keeps the files does not read them again."""
    specs = tier_specs(demo_model, tmp_path, matrix_for(demo_model), "Compact", "Quality")

    def fail(_files: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        onepass.quantize_all(
            demo_model, specs, threads=2, memory=1 << 30, progress=quiet, keep=fail
        )
    (journal,) = tmp_path.glob("*.journal")
    noted = journal.read_text()
    with monkeypatch.context() as patched:
        patched.setattr(GrowingFile, "follow", None)
        with Pass(open_source(demo_model), specs) as work:
            assert (work.ended, work.hashes) == (True, tuple(sha256(s.target) for s in specs))
        for damage in ([], ["0" * 63, "0" * 64], ["0" * 64], 5, None):
            journal.write_text(json.dumps({**json.loads(noted), "hashes": damage}))
            with Pass(open_source(demo_model), specs) as work:
                assert (work.ended, work.hashes) == (True, None)
    files = one_pass(demo_model, specs)  # without hashes the files are read
    assert files == tuple((_described(spec.target),) for spec in specs)


def test_a_file_that_is_cut_while_it_is_hashed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"....tensor data")
    with (tmp_path / "file").open("rb") as file:
        growing = GrowingFile(file.fileno(), b"head")
        growing.follow(10)
        growing.follow(15)
        assert growing.sha256 == hashlib.sha256(b"headtensor data").hexdigest()
        with pytest.raises(BuildError, match="written to byte 16 ends at byte 15"):
            growing.follow(16)


def test_nan_in_the_source_names_its_tensor(demo_model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    content = bytearray(demo_model.read_bytes())
    header = read_header(demo_model)
    tensor = next(t for t in header.tensors if t.name == "blk.5.ffn_up_exps.weight")
    start = header.data_offset + tensor.offset + 4242
    content[start : start + 2] = b"\xff\xff"  # a NaN in BF16
    damaged.write_bytes(content)
    specs = tier_specs(damaged, tmp_path, matrix_for(damaged), "Compact")
    with pytest.raises(BuildError, match=r"blk\.5\.ffn_up_exps\.weight holds NaN"):
        one_pass(damaged, specs)
    assert not specs[0].target.exists()


@pytest.mark.road
def test_a_source_in_shards_gives_what_llama_cpp_makes_of_it(
    demo_model: Path, tmp_path: Path
) -> None:
    first, *other_shards = split(demo_model, tmp_path / "Tiny-BF16.gguf", 40)
    assert len(other_shards) > 2
    matrix = matrix_for(demo_model)
    (single_spec,) = tier_specs(demo_model, tmp_path / "whole", matrix, "I-Compact")
    (shards_spec,) = tier_specs(demo_model, tmp_path / "parts", matrix, "I-Compact")
    one_pass(demo_model, [single_spec])
    one_pass(first, [shards_spec])
    quantize_recipe(
        first,
        tmp_path / "llama",
        file_type=shards_spec.file_type,
        types=shards_spec.types,
        imatrix=matrix,
        threads=2,
    )
    assert sha256(shards_spec.target) == sha256(tmp_path / "llama")
    assert sha256(shards_spec.target) == sha256(single_spec.target)


@pytest.mark.road
def test_shards_hold_what_the_single_file_holds(demo_model: Path, tmp_path: Path) -> None:
    matrix = matrix_for(demo_model)
    (spec,) = tier_specs(demo_model, tmp_path, matrix, "I-Compact")
    one_pass(demo_model, [spec])
    (shards,) = one_pass(demo_model, [replace(spec, shard=2_000_000)])
    assert [sha256(Path(shard.path)) for shard in shards] == [shard.sha256 for shard in shards]
    first, *other_shards = (Path(shard.path) for shard in shards)
    size = spec.target.stat().st_size
    assert len(other_shards) >= size // 2_000_000
    assert first.name == f"I-Compact-00001-of-0000{len(other_shards) + 1}.gguf"
    assert not list(tmp_path.glob("*.partial"))
    single, sharded = gguf.read_gguf(spec.target), gguf.read_split(first)
    assert sharded.tensors == single.tensors
    keys = read_header(spec.target).keys
    split_keys = ["split.no", "split.tensors.count", "split.count"]
    assert list(read_header(first).keys) == [*keys, *split_keys]
    assert all(read_header(first).keys[key] == raw for key, raw in keys.items())
    for number, path in enumerate([first, *other_shards]):
        assert list(read_header(path).keys)[-3:] == split_keys
        assert gguf.read_gguf(path).get("split.no") == number
        assert path.stat().st_size - read_header(path).data_offset <= 2_000_000
    # every byte of every tensor, in the same order
    joined = b"".join(
        path.read_bytes()[read_header(path).data_offset :] for path in (first, *other_shards)
    )
    assert joined == spec.target.read_bytes()[read_header(spec.target).data_offset :]
    assert logits(first) == logits(spec.target)


def logits(path: Path) -> list[float]:
    with Session(path, n_ctx=32, threads=1) as session:
        tokens = session.tokenize("The river rises in")
        batch = [Token(id=t, position=i, logits=True) for i, t in enumerate(tokens)]
        return [float(value) for value in session.decode(batch)[-1]]


@pytest.mark.road
def test_one_file_is_enough_below_the_limit_and_a_large_tensor_stands_alone(
    demo_model: Path, tmp_path: Path
) -> None:
    matrix = matrix_for(demo_model)
    (spec,) = tier_specs(demo_model, tmp_path, matrix, "Compact")
    ((only,),) = one_pass(demo_model, [replace(spec, shard=1 << 40)])
    assert only == _described(spec.target)
    (tiny,) = one_pass(demo_model, [replace(spec, shard=1)])
    assert len(tiny) == len(gguf.read_gguf(demo_model).tensors)
    assert gguf.read_split(Path(tiny[0].path)).tensors == gguf.read_gguf(spec.target).tensors


def test_a_full_disk_is_said_in_one_line(demo_model: Path, tmp_path: Path) -> None:
    (spec,) = tier_specs(demo_model, tmp_path, matrix_for(demo_model), "Compact")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(CapacityError, match="too large; mend the disk"):
            one_pass(demo_model, [spec])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not spec.target.exists()


def test_a_matrix_of_another_model_is_refused(demo_model: Path, tmp_path: Path) -> None:
    (spec,) = tier_specs(demo_model, tmp_path, matrix_for(demo_model), "I-Compact")
    assert spec.weights is not None
    name = "blk.3.ffn_up_exps.weight"
    for wrong in (spec.weights[name][:-1], np.full_like(spec.weights[name], np.nan)):
        damaged = replace(spec, weights={**spec.weights, name: wrong})
        with pytest.raises(BuildError, match=r"blk\.3\.ffn_up_exps\.weight.*finite"):
            one_pass(demo_model, [damaged])


def test_a_pass_killed_while_its_files_take_their_names(demo_model: Path, tmp_path: Path) -> None:
    matrix = matrix_for(demo_model)
    calm = tier_specs(demo_model, tmp_path / "calm", matrix, "Compact", "Quality")
    one_pass(demo_model, calm)
    killed = tier_specs(demo_model, tmp_path / "killed", matrix, "Compact", "Quality")
    with Pass(open_source(demo_model), killed) as work:
        for file, before in zip(work.files, calm, strict=True):
            os.pwrite(file, before.target.read_bytes(), 0)
        work.end([sha256(before.target) for before in calm])  # what the journal of a whole pass has
    partial_of(killed[0].target).rename(killed[0].target)
    spent = onepass.Spent()
    one_pass(demo_model, killed, spent=spent)
    assert spent.source_bytes == 0
    for before, after in zip(calm, killed, strict=True):
        assert sha256(before.target) == sha256(after.target)
    assert not partial_of(killed[1].target).exists()


@pytest.mark.road
def test_the_source_is_read_once_whatever_the_number_of_tiers(
    demo_model: Path, tmp_path: Path
) -> None:
    spent = onepass.Spent()
    reports: list[tuple[int, int, str]] = []
    onepass.quantize_all(
        demo_model,
        tier_specs(demo_model, tmp_path, matrix_for(demo_model), "Compact", "Quality"),
        threads=2,
        memory=1 << 30,
        progress=lambda done, total, words: reports.append((done, total, words)),
        spent=spent,
    )
    source = gguf.read_gguf(demo_model)
    everything = sum(tensor.bytes for tensor in source.tensors)
    assert spent.source_bytes == everything
    assert reports[0] == (0, everything, f"0 of {len(source.tensors)} tensors")
    assert reports[-1] == (
        everything,
        everything,
        f"{len(source.tensors)} of {len(source.tensors)} tensors",
    )


@pytest.mark.long
@pytest.mark.skipif(not SHARED.is_dir(), reason="shared data not present")
@pytest.mark.parametrize("kernels", [OURS, LIBRARY_ONLY])
def test_the_files_of_llama_quantize(tmp_path: Path, kernels: Kernels) -> None:
    """All nine hashes of files that llama-quantize wrote, from one pass."""
    model = SHARED / "models" / "tiny-moe" / "tiny-moe-BF16.gguf"
    matrix = imatrix.read_matrix(SHARED / "expected" / "imatrix.gguf")
    specs = tier_specs(model, tmp_path, matrix)
    one_pass(model, specs, kernels=kernels)
    lines = (SHARED / "expected" / "sha256.txt").read_text().splitlines()
    expected = {tier: digest for digest, tier, _ in map(str.split, lines)}
    assert {spec.target.stem.lower(): sha256(spec.target) for spec in specs} == expected


def test_rows_in_groups_have_importance_of_their_own(tmp_path: Path) -> None:
    """A matrix that llama.cpp divides when it loads it is quantized as if stored divided."""
    name, random = "blk.0.attn_output_a.weight", np.random.default_rng(3)
    numbers = random.standard_normal((8, 256), np.float32)
    weights = random.gamma(1.0, 1.0, 768).astype(np.float32)

    def made(shape: tuple[int, ...], count: int) -> bytes:
        source = tmp_path / f"{len(shape)}-{count}.gguf"
        entries = [(name, shape, ggml_type("F32"), numbers.nbytes)]
        keys = [text_value("general.architecture", "deepseek4")]
        source.write_bytes(write_header(keys, entries, 32) + numbers.tobytes())
        spec = OutputSpec(
            target=source.with_suffix(".out"),
            file_type=15,
            types={name: "Q4_K"},
            weights={name: weights[:count]},
        )
        one_pass(source, [spec], kernels=LIBRARY_ONLY)
        return spec.target.read_bytes()[-8 * 144 :]

    assert made((256, 8), 512) == made((256, 4, 2), 512) != made((256, 8), 256)
    with pytest.raises(RefusedError, match="has 768 numbers"):  # eight rows are not three groups
        made((256, 8), 768)
