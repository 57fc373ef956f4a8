"""What tests of the evaluation share: sessions as the bench opens them, and damaged models."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from bot.clients.files.ggufheader import read_header
from bot.clients.llama.session import Session
from bot.measures import divergence, perplexity
from bot.measures.journal import Journal
from bot.measures.logits import open_base
from bot.measures.windows import TextWindows, cut
from bot.records.measured import Divergence, Perplexity

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
TINY = SHARED / "models" / "tiny-moe"
KEY = "00" * 32
THREADS = 2


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
            Journal(base.with_suffix(".told"), KEY),
            threads=THREADS,
            progress=quiet,
        )


def diverge(path: Path, base: Path, journal: Path, lanes: int = 1) -> tuple[Perplexity, Divergence]:
    """Perplexity and divergence of a candidate."""
    with open_base(base) as opened, reading(path, opened.windows, lanes) as session:
        return divergence.measure_divergence(
            session, opened, Journal(journal, KEY), threads=THREADS, progress=quiet
        )


def with_nan(source: Path, target: Path) -> Path:
    """A copy of a model whose last norm is not a number."""
    shutil.copyfile(source, target)
    header = read_header(target)
    norm = next(tensor for tensor in header.tensors if tensor.name == "output_norm.weight")
    with target.open("r+b") as file:
        file.seek(header.data_offset + norm.offset)
        file.write(np.full(8, np.nan, np.float32).tobytes())
    return target


def with_other_tokens(source: Path, target: Path) -> Path:
    """A copy of a model of which a frequent token has another text."""
    data = source.read_bytes()
    word = "Ġthe".encode()
    entry = len(word).to_bytes(8, "little") + word
    assert entry in data
    target.write_bytes(data.replace(entry, entry[:-1] + b"\x7e", 1))
    return target
