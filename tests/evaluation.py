"""What tests of the evaluation share: sessions as the bench opens them, and damaged models."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from bot.clients.files.ggufheader import read_header
from bot.clients.llama.session import Session
from bot.evaluate.data import Data
from bot.fitting.sixteen import stored_tensors
from bot.measures import divergence, logits, perplexity
from bot.measures.journal import Journal
from bot.measures.logits import Codes, Floats, open_base
from bot.measures.windows import TextWindows, cut
from bot.records.measured import Divergence, Perplexity, Text

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
TINY = SHARED / "models" / "tiny-moe"
KEY = "00" * 32
THREADS = 2
A_TEXT = Data(
    path=Path("text.txt"),
    text=Text(name="text.txt", sha256="c" * 64, origin="here"),
    kind=None,
    label="text",
    count=None,
)


def quiet(_done: int, _total: int) -> None:
    """Nobody looks."""


def reading(path: Path, windows: TextWindows, lanes: int = 1) -> Session:
    """A session that decodes a group of windows at once."""
    return Session(
        path,
        n_ctx=windows.together * windows.context,
        threads=THREADS,
        gpu_layers=0,
        sequences=windows.together,
        unified=False,
        lanes=lanes,
    )


def chunks_of(path: Path, text: str, context: int, limit: int | None = None) -> TextWindows:
    """A text as a model cuts it."""
    with Session(path, n_ctx=32, threads=1, gpu_layers=0) as session:
        return cut(session, text, context=context, limit=limit)


def refer(path: Path, windows: TextWindows, base: Path, lanes: int = 1) -> Perplexity:
    """Perplexity of a reference, its log-probabilities in `base`."""
    with reading(path, windows, lanes) as session:
        return perplexity.reference_perplexity(
            session,
            windows,
            base,
            Journal(base.with_suffix(".journal"), KEY),
            threads=THREADS,
            progress=quiet,
        )


def diverge(path: Path, base: Path, journal: Path, lanes: int = 1) -> tuple[Perplexity, Divergence]:
    """Perplexity and divergence of a candidate."""
    with open_base(base) as opened, reading(path, opened.windows, lanes) as session:
        return divergence.measure_divergence(
            session, opened, Journal(journal, KEY), threads=THREADS, progress=quiet
        )


def some_logits(rows: int, vocabulary: int, seed: int = 0) -> Floats:
    """Random rows, [rows, vocabulary], of a spread as models have it."""
    numbers = np.random.default_rng(seed).normal(0, 4, (rows, vocabulary))
    return numbers.astype(np.float32)


def packed(rows: Floats) -> Codes:
    """Rows of logits as rows of the file, [rows, width]."""
    out = np.empty((len(rows), logits.width(rows.shape[1])), np.uint16)
    logits.pack(rows, np.zeros(len(rows), np.int32), out)
    return out


def unpacked(rows: Codes, vocabulary: int) -> Floats:
    """Log-probabilities of rows of the file, [rows, vocabulary]."""
    scale, floor = logits.scales(rows)
    return logits.unpack_rows(rows, scale, slice(vocabulary)) + floor[:, None]


def with_nan(source: Path, target: Path) -> Path:
    """A copy of a model whose last norm is not a number."""
    shutil.copyfile(source, target)
    header = read_header(target)
    norm = next(tensor for tensor in header.tensors if tensor.name == "output_norm.weight")
    with target.open("r+b") as file:
        file.seek(header.data_offset + norm.offset)
        file.write(np.full(8, np.nan, np.float32).tobytes())
    return target


def with_swapped_experts(source: Path, target: Path, name: str) -> Path:
    """A copy of a model in which the first two experts of a tensor changed places."""
    shutil.copyfile(source, target)
    tensor, header = stored_tensors(source)[name], read_header(target)
    raw = next(tensor for tensor in header.tensors if tensor.name == name)
    start, size = header.data_offset + raw.offset, tensor.rows * tensor.row_bytes
    one, other = (tensor.data[at : at + size].tobytes() for at in (0, size))
    with target.open("r+b") as file:
        file.seek(start)
        file.write(other + one)
    return target


def with_other_tokens(source: Path, target: Path) -> Path:
    """A copy of a model of which a frequent token has another text."""
    data = source.read_bytes()
    word = "Ġthe".encode()
    entry = len(word).to_bytes(8, "little") + word
    assert entry in data
    target.write_bytes(data.replace(entry, entry[:-1] + b"\x7e", 1))
    return target
