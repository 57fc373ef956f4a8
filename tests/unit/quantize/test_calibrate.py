"""Calibrating the demo model: what is counted, mixed, noted on the way and gone on from."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bot.clients.llama.session import Loading
from bot.errors import SettingsError
from bot.quantize import imatrix
from bot.quantize.calibrate import Portion, Savepoint, collect_matrix
from bot.settings.sections import DEMO
from tests import llama_tools

CONTEXT = 128
SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def quiet(_done: int, _total: int) -> None:
    """Nobody looks."""


def collect(
    model: Path,
    target: Path,
    texts: Sequence[Portion],
    *,
    chunks: int | None = None,
    context: int = CONTEXT,
    batch: int = 512,
    checkpoint: Savepoint | None = None,
) -> tuple[int, ...]:
    return collect_matrix(
        Loading(path=model, threads=2, gpu_layers=0),
        target,
        texts=texts,
        context=context,
        chunks=chunks,
        batch=batch,
        checkpoint=checkpoint,
        progress=quiet,
    )


def test_every_token_is_counted_once_for_each_active_expert(
    demo_model: Path, demo_text: str, tmp_path: Path
) -> None:
    target = tmp_path / "imatrix.gguf"
    chunk_counts = collect(
        demo_model, target, [Portion(name="evaluation.txt", text=demo_text)], chunks=3
    )
    matrix = imatrix.read_matrix(target)
    assert chunk_counts == (3,)
    assert (matrix.chunks, matrix.datasets) == (3, ("evaluation.txt",))
    tokens, active, layers = 3 * CONTEXT, 2, 8
    experts = [name for name in matrix.counts if "_exps" in name]
    assert len(experts) == 3 * layers
    for name in experts:
        assert matrix.counts[name].shape == (6,)
        assert matrix.counts[name].sum() == tokens * active
        assert matrix.sums[name].shape == (6, 256)
    assert {float(matrix.counts[n][0]) for n in matrix.counts if "_exps" not in n} == {tokens}
    # gate and up see the same activations
    gate, up = (matrix.sums[f"blk.0.ffn_{part}_exps.weight"] for part in ("gate", "up"))
    assert np.array_equal(gate, up)


def test_a_context_larger_than_the_batch_is_decoded_in_parts(
    demo_model: Path, demo_text: str, tmp_path: Path
) -> None:
    """Other additions in another order, of the same tokens in the same contexts."""
    text = [Portion(name="x", text=demo_text)]
    for batch in (64, 128):
        collect(demo_model, tmp_path / str(batch), text, chunks=2, batch=batch)
    parts, at_once = (imatrix.read_matrix(tmp_path / str(batch)) for batch in (64, 128))
    for name, sums in at_once.sums.items():
        assert np.array_equal(parts.counts[name], at_once.counts[name])
        assert np.allclose(parts.sums[name], sums, rtol=2e-3)


def test_a_mix_takes_of_each_text_its_share(
    demo_model: Path, demo_text: str, tmp_path: Path
) -> None:
    """In that proportion and order, and always the same."""
    half = len(demo_text) // 2
    texts = [
        Portion(name="one", text=demo_text[:half], weight=3),
        Portion(name="two", text=demo_text[half:], weight=1),
    ]
    assert collect(demo_model, tmp_path / "mix", texts, chunks=8) == (6, 2)
    matrix = imatrix.read_matrix(tmp_path / "mix")
    assert (matrix.datasets, matrix.chunks) == (("one", "two"), 8)
    collect(demo_model, tmp_path / "again", texts, chunks=8)
    assert (tmp_path / "mix").read_bytes() == (tmp_path / "again").read_bytes()
    collect(demo_model, tmp_path / "other", texts[::-1], chunks=8)
    assert (tmp_path / "mix").read_bytes() != (tmp_path / "other").read_bytes()


def test_texts_that_are_too_short_are_refused(
    demo_model: Path, demo_text: str, tmp_path: Path
) -> None:
    target = tmp_path / "imatrix.gguf"
    short = Portion(name="short.txt", text="too short")
    with pytest.raises(SettingsError, match=r"short\.txt has \d+ tokens, less than one chunk"):
        collect(demo_model, target, [Portion(name="long", text=demo_text), short])
    portion = Portion(name="one", text=demo_text[:700])
    with pytest.raises(SettingsError, match="less than two chunks"):
        collect(demo_model, target, [portion])


KILLED = """
import os, signal, sys
from pathlib import Path
from bot.quantize.calibrate import Savepoint
from tests.steps import at_step
from tests.unit.quantize.test_calibrate import collect, portions
at_step("rename .*/note$", 2, lambda _line: os.kill(os.getpid(), signal.SIGKILL))
model, target, note = map(Path, sys.argv[1:])
collect(model, target, portions(), checkpoint=Savepoint(path=note, every=4, key="k"))
"""


def portions() -> list[Portion]:
    text = (Path(__file__).parents[3] / "bot/demo/evaluation.txt").read_text(encoding="utf-8")
    return [Portion(name="a", text=text[:20000]), Portion(name="b", text=text[20000:50000])]


@pytest.mark.long
def test_killed_and_run_again_the_same_bits(demo_model: Path, tmp_path: Path) -> None:
    calm, target, note = (tmp_path / name for name in ("whole", "target", "note"))
    collect(demo_model, calm, portions())
    total = imatrix.read_matrix(calm).chunks
    command = [sys.executable, "-c", KILLED, str(demo_model), str(target), str(note)]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    noted = imatrix.read_matrix(note).chunks
    assert 0 < noted < total
    began: list[int] = []
    collect_matrix(
        Loading(path=demo_model, threads=2, gpu_layers=0),
        target,
        texts=portions(),
        context=CONTEXT,
        chunks=None,
        batch=512,
        checkpoint=Savepoint(path=note, every=4, key="k"),
        progress=lambda done, _total: began.append(done),
    )
    assert began[0] == noted
    assert target.read_bytes() == calm.read_bytes()
    assert not note.exists()


@pytest.mark.parametrize("damage", ["other key", "damaged", "no imatrix"])
def test_a_note_of_other_work_is_not_gone_on_from(
    demo_model: Path, demo_text: str, tmp_path: Path, damage: str
) -> None:
    texts = [Portion(name="x", text=demo_text)]
    calm, target, note = (tmp_path / name for name in ("whole", "target", "note"))
    collect(demo_model, calm, texts, chunks=4)
    if damage == "other key":
        half = Savepoint(path=note, every=1, key="other")
        with pytest.raises(KeyboardInterrupt):
            collect_matrix(
                Loading(path=demo_model, threads=2, gpu_layers=0),
                target,
                texts=texts,
                context=CONTEXT,
                chunks=4,
                batch=256,
                checkpoint=half,
                progress=Interrupt(2),
            )
        assert imatrix.read_matrix(note).chunks == 2
    else:
        note.write_bytes(calm.read_bytes()[:500] if damage == "damaged" else demo_text.encode())
    collect(demo_model, target, texts, chunks=4, checkpoint=Savepoint(path=note, every=4, key="k"))
    assert target.read_bytes() == calm.read_bytes()


class Interrupt:
    """Ctrl-C at a chunk."""

    def __init__(self, chunk: int) -> None:
        self._chunk = chunk

    def __call__(self, done: int, _total: int) -> None:
        if done == self._chunk:
            raise KeyboardInterrupt


@pytest.mark.long
@pytest.mark.skipif(not SHARED.is_dir(), reason="shared data not present")
def test_the_file_of_llama_imatrix(tmp_path: Path) -> None:
    """Header and names; counts and sums as far as the machine's arithmetic is that of the file's.

    With the same instructions the whole file is equal byte for byte. Others, such as BF16's, let
    a router choose otherwise where two experts are nearly equal: a few tokens in ten thousand.
    """
    expected = SHARED / "expected" / "imatrix.gguf"
    target = tmp_path / "imatrix.gguf"
    text = (SHARED / "expected" / "imatrix-text.txt").read_text()
    collect(
        SHARED / "models" / "tiny-moe" / "tiny-moe-BF16.gguf",
        target,
        [Portion(name="imatrix-text.txt", text=text)],
        context=512,
        batch=2048,
    )
    if target.read_bytes() == expected.read_bytes():
        return
    ours, llama_matrix = imatrix.read_matrix(target), imatrix.read_matrix(expected)
    assert (list(ours.sums), ours.datasets) == (list(llama_matrix.sums), llama_matrix.datasets)
    for name, sums in llama_matrix.sums.items():
        assert ours.counts[name].sum() == llama_matrix.counts[name].sum()
        assert np.allclose(ours.counts[name], llama_matrix.counts[name], rtol=1e-3)
        off = np.linalg.norm(ours.sums[name] - sums) / np.linalg.norm(sums)
        assert off < 2e-3, name


@pytest.mark.long
def test_the_file_of_the_tool_beside_us(demo_model: Path, tmp_path: Path) -> None:
    """Every sum and count to the bit, of llama-imatrix built on this machine."""
    text, target = DEMO / "evaluation.txt", tmp_path / "imatrix.gguf"
    options = (
        "-m",
        demo_model,
        "-f",
        text,
        "-o",
        tmp_path / "theirs.gguf",
        "-c",
        "512",
        "-t",
        "2",
    )
    llama_tools.run("llama-imatrix", *options, "--chunks", "20", "-ngl", "0")
    portion = Portion(name=text.name, text=text.read_text())
    collect(demo_model, target, [portion], context=512, batch=2048, chunks=20)
    ours, llama_matrix = imatrix.read_matrix(target), imatrix.read_matrix(tmp_path / "theirs.gguf")
    assert (list(ours.sums), ours.chunks) == (list(llama_matrix.sums), llama_matrix.chunks)
    for name, sums in llama_matrix.sums.items():
        assert np.array_equal(ours.counts[name], llama_matrix.counts[name]), name
        assert np.array_equal(ours.sums[name], sums), name
