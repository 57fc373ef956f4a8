"""Making files of strangers' files with llama.cpp: works for a child (apart/worker.py)."""

from __future__ import annotations

from pathlib import Path

from bot.apart.voice import Voice
from bot.clients.llama.loading import Loading
from bot.quantize import calibrate, imatrix, quantize
from bot.quantize.calibrate import Portion, Savepoint
from bot.records.model import Tensor
from bot.workplace.loaded import growing


def calibrated(
    voice: Voice,
    model: Loading,
    target: Path,
    texts: list[Portion],
    *,
    context: int,
    chunks: int | None,
    batch: int,
    checkpoint: Savepoint,
) -> list[int]:
    """An importance matrix in `target`; chunks taken of each text."""
    taken = calibrate.collect_matrix(
        model.path,
        target,
        texts=texts,
        context=context,
        chunks=chunks,
        batch=batch,
        threads=model.threads,
        gpu_layers=model.gpu_layers,
        devices=model.devices,
        checkpoint=checkpoint,
        progress=voice.progress,
    )
    return list(taken)


def quantized(
    voice: Voice,
    source: Path,
    target: Path,
    *,
    file_type: int,
    types: dict[str, str],
    matrix: Path | None,
    tensors: list[Tensor],
    threads: int,
    stamp: list[tuple[str, str]],
) -> None:
    """A file by llama.cpp's own function, with the importance matrix in `matrix`."""
    with growing(voice, target, source):
        quantize.quantize_recipe(
            source,
            target,
            file_type=file_type,
            types=types,
            imatrix=imatrix.read_matrix(matrix).of(tensors) if matrix is not None else None,
            threads=threads,
            stamp=tuple(stamp),
        )
