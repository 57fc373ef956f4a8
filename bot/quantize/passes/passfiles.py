"""The files of a pass: what is read, what is written where, how far it is, and what they hash to.

A file grows as `TARGET.partial`. It begins with the pass's mark in place of its own header, so that
whatever another pass, or another way of quantizing, left under its name is never gone on with.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate, chain
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama import ggml
from bot.clients.llama.library import library_version, package_version, type_name
from bot.disk.writing import partial_of, write_text
from bot.errors import RefusedError
from bot.quantize.imatrix import groups_of
from bot.quantize.passes.layout import Output, OutputSpec, PassSource, SourceTensor, outputs
from bot.records.coding import digest

CHUNK = 1 << 18  # weights a task takes: small enough to share, large enough to hide Python
MARK = b"APEXPASS"  # how a file begins, with its pass's key, until all of it is there


@dataclass(frozen=True, kw_only=True)
class PassPart:
    """One result of a tensor: its type, whether it is weighed, and which files want it where."""

    type: str
    weighed: bool
    places: tuple[tuple[int, int], ...]  # number of the file, offset of the tensor's data


@dataclass(frozen=True, kw_only=True)
class PassTensor:
    """A tensor of the source and the results that files hold of it."""

    name: str
    kind: str
    file: int
    start: int  # of its data in the source
    length: int  # of a row
    rows: int  # of one expert
    experts: int  # or groups of rows that have importance weights of their own
    parts: tuple[PassPart, ...]

    @property
    def bytes(self) -> int:
        """Data in the source."""
        return ggml.row_bytes(self.kind, self.length) * self.rows * self.experts

    @property
    def step(self) -> int:
        """Rows a chunk has."""
        return max(1, CHUNK // self.length)


@dataclass(frozen=True, kw_only=True)
class PassChunk:
    """Rows of one expert of a tensor; never across two, whose importance weights differ."""

    tensor: PassTensor
    number: int  # of the tensor in the pass
    first: int  # row, counted over all experts
    rows: int
    weights: NDArray[np.float32] | None  # the expert's, one for each number of a row


def forget(paths: Iterable[Path]) -> None:
    """Remove the journals of passes over any of these files, which are made, or begun anew."""
    model_files = list(paths)
    names = {path.name for path in model_files}
    for folder in {path.parent for path in model_files}:
        for journal in folder.glob("quantize-*.journal"):
            if not names.isdisjoint(_read_journal(journal).get("files", ())):
                journal.unlink(missing_ok=True)


class Pass:
    """The files of a pass; inside a `with` block they are open, and `done` tensors of them whole.

    `hashes` are the files' sha256 where the pass has ended and knows them.
    """

    def __init__(self, source: PassSource, specs: Sequence[OutputSpec]) -> None:
        self._source, self._specs = source, specs
        self.models = [outputs(source, spec) for spec in specs]
        self.outputs = list(chain.from_iterable(self.models))
        places = list(zip(*self._places(), strict=True))
        self.tensors = [
            self._tensor(tensor, tensor_places)
            for tensor, tensor_places in zip(source.tensors, places, strict=True)
        ]
        self._ends = [0, *accumulate(tensor.bytes for tensor in self.tensors)]
        self.key = self._key()
        self.ended = False  # whether only names are missing
        self.hashes: tuple[str, ...] | None = None
        self.mark = MARK + bytes.fromhex(self.key)
        self.journal = specs[0].target.with_name(f"quantize-{self.key[:16]}.journal")

    def _key(self) -> str:
        """Hash of all that decides the bytes of the files, importance weights by their content."""
        matrix_hashes: dict[int, str] = {}
        for spec in self._specs:
            if spec.weights is not None and id(spec.weights) not in matrix_hashes:
                matrix_hashes[id(spec.weights)] = _content(spec.weights)
        weighed = [matrix_hashes.get(id(spec.weights)) for spec in self._specs]
        files = [[str(o.path), o.size, sha256(o.head).hexdigest()] for o in self.outputs]
        versions = [package_version(), library_version()]
        return digest([self._source.state, versions, weighed, files])

    def _places(self) -> Iterator[list[tuple[int, int]]]:
        """For each model where its tensors' data begins: number of the file, offset."""
        number = 0
        for model_outputs in self.models:
            yield [(number + i, at) for i, o in enumerate(model_outputs) for at in o.offsets]
            number += len(model_outputs)

    def _tensor(self, tensor: SourceTensor, where: Sequence[tuple[int, int]]) -> PassTensor:
        raw, kind = tensor.raw, type_name(tensor.raw.type)
        places: dict[tuple[str, bool], list[tuple[int, int]]] = {}
        for spec, place in zip(self._specs, where, strict=True):
            target = spec.types.get(raw.name, kind)
            has_weights = spec.weights is not None and raw.name in spec.weights
            places.setdefault((target, target != kind and has_weights), []).append(place)
        length, rows, *more = (*raw.shape, 1)
        groups = self._groups(raw.name, length, rows) if len(raw.shape) == 2 else 1
        return PassTensor(
            name=raw.name,
            kind=kind,
            file=tensor.file,
            start=tensor.start,
            length=length,
            rows=rows // groups,
            experts=groups * prod(more),
            parts=tuple(
                PassPart(type=target, weighed=weighed, places=tuple(part_places))
                for (target, weighed), part_places in places.items()
            ),
        )

    def _groups(self, name: str, length: int, rows: int) -> int:
        """Groups of rows of a matrix whose inputs differ, by the numbers that a matrix has of it.

        llama.cpp divides attn_output_a of DeepSeek-V4 so when it loads it (load_arch_tensors).
        """
        for spec in self._specs:
            if spec.weights is not None and name in spec.weights:
                return groups_of(spec.weights[name].size, length, rows) or 1
        return 1

    def __enter__(self) -> Pass:
        self.done = self._resumed()
        if not self.done:
            self._retire()
        self.sources = [os.open(path, os.O_RDONLY) for path in self._source.paths]
        self.files = [self._open(output) for output in self.outputs]
        return self

    def _open(self, output: Output) -> int:
        path = partial_of(output.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not self.done:
            path.write_bytes(self.mark)
        elif not path.is_file():  # it has its name already: the pass was whole
            path = output.path
        file = os.open(path, os.O_RDWR)
        if os.fstat(file).st_size != output.size:
            os.ftruncate(file, output.size)  # the padding after the last tensor counts too
        return file

    def __exit__(self, *_: object) -> None:
        for file in (*self.sources, *self.files):
            os.close(file)

    def _retire(self) -> None:
        """Remove journals of stopped passes over any of these files, which begin anew here."""
        forget(output.path for output in self.outputs)

    def _resumed(self) -> int:
        """Number of tensors that are whole in all files of this pass; 0 where it begins anew."""
        journal = _read_journal(self.journal)
        if journal.get("pass") != self.key:
            return 0
        done, states = int(journal["tensors"]), journal.get("states")
        self.ended = states is not None
        if states is not None:
            output_states = zip(self.outputs, states, strict=True)
            self.ended = all(_is_unchanged(output, state) for output, state in output_states)
            self.hashes = _hashes(journal, len(self.outputs)) if self.ended else None
            return done if self.ended else 0
        ending = done == len(self.tensors)
        return done if all(self._is_ours(output, ending) for output in self.outputs) else 0

    def _is_ours(self, output: Output, ending: bool) -> bool:
        """Whether a file that grows is this pass's; `ending`: it may have its header already."""
        path = partial_of(output.path)
        if not path.is_file() or path.stat().st_size != output.size:
            return False
        with path.open("rb") as file:
            begins = file.read(len(output.head))
        return begins.startswith(self.mark) or (ending and begins == output.head)

    def bytes_before(self, number: int | None) -> int:
        """Bytes of the source in its first `number` tensors, in all of them for None."""
        return self._ends[-1 if number is None else number]

    def bytes_whole(self, number: int) -> list[int]:
        """For each file how many bytes of it, its header counted, `number` tensors make whole."""
        whole = []
        for model_outputs in self.models:
            first = 0
            for output in model_outputs:
                ends = (*output.offsets, output.size)
                whole.append(ends[min(max(number - first, 0), len(output.offsets))])
                first += len(output.offsets)
        return whole

    def note(self, tensors: int) -> None:
        """Remember that the first `tensors` tensors are whole, once they are on the disk."""
        for file in self.files:
            os.fsync(file)
        self._write(tensors)

    def end(self, hashes: Sequence[str]) -> None:
        """All tensors are whole: each file gets its header, and is known by size, time and hash."""
        self.note(len(self.tensors))
        for file, output in zip(self.files, self.outputs, strict=True):
            os.pwrite(file, output.head, 0)
            os.fsync(file)
        states = [_state(os.fstat(file)) for file in self.files]
        self.hashes = tuple(hashes)
        self._write(len(self.tensors), states=states, hashes=self.hashes)

    def _write(self, tensors: int, **more: object) -> None:
        names = [output.path.name for output in self.outputs]
        entries = {"pass": self.key, "tensors": tensors, "files": names, **more}
        write_text(self.journal, json.dumps(entries))

    def chunks(self) -> Iterator[PassChunk]:
        """Chunks of all tensors that are not whole yet, in order."""
        for number, tensor in enumerate(self.tensors[self.done :], self.done):
            weights = self._weights(tensor)
            for expert in range(tensor.experts):
                for row in range(0, tensor.rows, tensor.step):
                    yield PassChunk(
                        tensor=tensor,
                        number=number,
                        first=expert * tensor.rows + row,
                        rows=min(tensor.step, tensor.rows - row),
                        weights=None if weights is None else weights[expert],
                    )

    def _weights(self, tensor: PassTensor) -> NDArray[np.float32] | None:
        """A tensor's importance weights, [experts, row length]; one matrix serves all files."""
        if not any(part.weighed for part in tensor.parts):
            return None
        matrices = (spec.weights for spec in self._specs if spec.weights is not None)
        numbers = next(weights[tensor.name] for weights in matrices if tensor.name in weights)
        if numbers.size != tensor.experts * tensor.length or not np.isfinite(numbers).all():
            raise RefusedError(
                f"the importance matrix has {numbers.size} numbers for {tensor.name}, not "
                f"{tensor.experts * tensor.length} finite ones; calibrate with this model"
            )
        return numbers.reshape(tensor.experts, tensor.length)


def _content(weights: Mapping[str, NDArray[np.float32]]) -> str:
    """Hash of an importance matrix's weights, names and all."""
    hasher = sha256()
    for name in sorted(weights):
        hasher.update(f"{name}\n{weights[name].size}\n".encode())
        hasher.update(np.ascontiguousarray(weights[name], np.float32).data)
    return hasher.hexdigest()


def _read_journal(journal: Path) -> dict[str, Any]:
    """A journal's entries; none where there is no file, or another form of it."""
    try:
        entries = json.loads(journal.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _hashes(journal: Mapping[str, Any], count: int) -> tuple[str, ...] | None:
    """Hashes of a journal's finished files; None where it names none, or not one for each."""
    hashes = journal.get("hashes")
    if not isinstance(hashes, list) or len(hashes) != count:
        return None
    are_hashes = all(isinstance(h, str) and re.fullmatch("[0-9a-f]{64}", h) for h in hashes)
    return tuple(hashes) if are_hashes else None


def _state(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns]


def _is_unchanged(output: Output, state: list[int]) -> bool:
    """Whether a finished file has the size and time of the journal, under either of its names."""
    paths = [path for path in (partial_of(output.path), output.path) if path.is_file()]
    return bool(paths) and _state(paths[0].stat()) == state
