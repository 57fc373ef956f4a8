"""Checks of a GGUF file: its header, every row of its tensors, and text that it generates."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from bot.clients.files import gguf
from bot.clients.files.ggufheader import RawHeader, RawTensor, alignment_of, values
from bot.clients.llama import ggml
from bot.clients.llama.library import type_name
from bot.clients.llama.session import Session, Token
from bot.errors import BuildError, RefusedError, SourceError, UnsoundError

Progress = Callable[[int, int], None]  # bytes looked at, and all

WIDE = ("F64", "F32", "F16", "BF16", "I8", "I16", "I32", "I64")  # types that nothing is rounded to
PIECE = 4 << 20  # bytes of rows that a thread looks at together
PROMPT = "Once upon a time"
PROBE = "The quick brown fox jumps over the lazy dog, and then it reads this sentence again."
LENGTH = 96  # tokens to write
TEMPERATURE = 0.8  # a healthy small model may well go in circles where only the likeliest counts
LONGEST_LOOP, SHORTEST_RUN, TIMES = 16, 32, 4


@dataclass(frozen=True, kw_only=True)
class StoredRows:
    """A tensor of a checked file: its type by name and where its bytes are."""

    name: str
    type: str
    path: Path
    start: int
    size: int
    row: int  # bytes
    length: int  # numbers of a row
    experts: int


@dataclass(frozen=True, kw_only=True)
class CheckedModel:
    """A model whose headers are sound."""

    metadata: Mapping[str, int | str]
    paths: tuple[Path, ...]
    tensors: tuple[StoredRows, ...]


def check_headers(path: Path) -> CheckedModel:
    """Headers of the file, or of all shards whose first it is, held against the files' sizes.

    As strict as gguf_init_from_file_impl of ggml's gguf.cpp: known types, rows that are whole
    blocks, tensors one after another without a gap. Raises SourceError naming what is wrong.
    """
    if not path.is_file():
        raise SourceError(f"{path} does not exist; check the path")
    files = gguf.raw_headers(path)
    metadata = values(files[0][1].keys)
    tensors = [tensor for shard, header in files for tensor in _stored(shard, header)]
    if not isinstance(metadata.get("general.architecture"), str):
        raise SourceError(f"{path} names no architecture: it is no model; check the path")
    return CheckedModel(
        metadata=metadata, paths=tuple(shard for shard, _ in files), tensors=tuple(tensors)
    )


def _stored(path: Path, header: RawHeader) -> list[StoredRows]:
    alignment = alignment_of(header.keys)
    tensors, end = [], 0
    for raw in header.tensors:
        kind, row = _row(path, raw)
        if raw.offset != end:
            raise SourceError(
                f"{path}: {raw.name[:120]!r} lies at offset {raw.offset}, not {end}; fetch it again"
            )
        size = row * prod(raw.shape[1:])
        start = header.data_offset + raw.offset
        tensors.append(
            StoredRows(
                name=raw.name, type=kind, path=path, start=start, size=size, row=row,
                length=raw.shape[0], experts=prod(raw.shape[2:]),
            )
        )  # fmt: skip
        end = -(-(raw.offset + size) // alignment) * alignment
    last = tensors[-1].start + tensors[-1].size if tensors else header.data_offset
    size = path.stat().st_size
    if size not in (last, header.data_offset + end):
        expected = header.data_offset + end
        raise SourceError(f"{path} has {size:,} bytes, not {expected:,}; fetch it again")
    return tensors


def _row(path: Path, raw: RawTensor) -> tuple[str, int]:
    """Type and bytes of a tensor's row."""
    what = f"{path}: {raw.name[:120]!r}"
    try:
        kind = type_name(raw.type)
    except BuildError as error:
        raise SourceError(f"{what} is of type {raw.type}, which ggml lacks") from error
    if not raw.shape or min(raw.shape) < 1 or raw.shape[0] % ggml.block_length(kind):
        raise SourceError(f"{what} of shape {raw.shape} cannot be {kind}; fetch it again")
    return kind, ggml.row_bytes(kind, raw.shape[0])


def check_rows(model: CheckedModel, *, threads: int, progress: Progress) -> int:
    """Look at every row with ggml_validate_row_data; returns the bytes.

    Raises SourceError naming the first tensor with NaN, an infinity or an impossible scale, or of
    which a whole expert was rounded to zeros.
    """
    total, done = sum(tensor.size for tensor in model.tensors), 0
    with ThreadPoolExecutor(threads) as pool:
        pieces = list(_pieces(model.tensors))
        for size in pool.map(_look, pieces):
            done += size
            progress(done, total)
        for _ in pool.map(_require_numbers, model.tensors):
            pass
    return total


def _require_numbers(tensor: StoredRows) -> None:
    """A rounded tensor, and each of its experts, has a number that is not zero.

    Importance weights that are all zero make such ones. Mostly the first row settles it.
    """
    if tensor.type in WIDE or tensor.size == tensor.row:
        return
    each = tensor.size // tensor.experts
    with tensor.path.open("rb") as file:
        for expert in range(tensor.experts):
            file.seek(tensor.start + expert * each)
            if not any(
                _has_number(tensor, file.read(tensor.row)) for _ in range(each // tensor.row)
            ):
                which = f" of expert {expert}" if tensor.experts > 1 else ""
                raise SourceError(
                    f"{tensor.path}: {tensor.name[:120]}{which} holds zeros alone; calibrate and "
                    "build it again, or fetch another file"
                )


def _has_number(tensor: StoredRows, row: bytes) -> bool:
    return ggml.any_number(tensor.type, np.frombuffer(row, np.uint8), tensor.length)


def _pieces(tensors: Sequence[StoredRows]) -> Iterator[tuple[StoredRows, int, int]]:
    """Tensor, where to begin, how many bytes: whole rows."""
    for tensor in tensors:
        step = max(PIECE // tensor.row, 1) * tensor.row
        for at in range(0, tensor.size, step):
            yield tensor, at, min(step, tensor.size - at)


def _look(piece: tuple[StoredRows, int, int]) -> int:
    tensor, at, size = piece
    with tensor.path.open("rb", buffering=0) as file:
        data = np.frombuffer(os.pread(file.fileno(), size, tensor.start + at), np.uint8)
    if data.size != size or not ggml.valid(tensor.type, data):
        raise SourceError(
            f"{tensor.path}: {tensor.name[:120]} holds rows that are no valid {tensor.type}; "
            "fetch or build it again"
        )
    return size


def check_speech(session: Session) -> str:
    """Text that a loaded model writes, drawn with a fixed seed.

    Raises BuildError when its probabilities are no numbers or all the same, or it goes in circles.
    """
    random = np.random.default_rng(0)
    tokens = session.tokenize(PROMPT)
    batch = [Token(id=t, position=i, logits=i == len(tokens) - 1) for i, t in enumerate(tokens)]
    written: list[int] = []
    session.clear()
    while len(written) < LENGTH:
        logits = session.decode(batch)[0]
        if not np.isfinite(logits).all() or np.ptp(logits) == 0:
            raise UnsoundError(f"{session.path.name} predicts nothing; do not use it")
        # drawing from the softmax: the largest of logits with Gumbel noise
        token = int((logits / TEMPERATURE + random.gumbel(size=logits.size)).argmax())
        if session.is_end(token) and written:
            break
        written.append(token)
        batch = [Token(id=token, position=len(tokens) + len(written) - 1, logits=True)]
    loop = find_loop(written)
    if loop:
        text = session.text(loop).strip()[:40]
        what = repr(text) if text else f"token {loop[0]}"  # one that is no text
        raise UnsoundError(f"{session.path.name} repeats {what} without end; do not use it")
    return session.text(written)


def require_finite(session: Session) -> None:
    """Decode a sentence. Raises RefusedError for a loaded model whose logits are no numbers."""
    ids = session.tokenize(PROBE)[:16]
    batch = [Token(id=id_, position=i, logits=True) for i, id_ in enumerate(ids)]
    if not batch or not np.isfinite(session.decode(batch)).all():
        raise RefusedError(
            f"{session.path.name} computes no finite numbers; its weights are damaged"
        )


def find_loop(tokens: Sequence[int]) -> Sequence[int]:
    """The few tokens that the end of a text consists of, over and over; none in a healthy one."""
    for period in range(1, LONGEST_LOOP + 1):
        run = max(SHORTEST_RUN, TIMES * period)
        tail = tokens[-run:]
        if len(tail) == run and tail[period:] == tail[:-period]:
            return tail[-period:]
    return ()
