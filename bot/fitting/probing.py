"""Sensitivity, measured in place: tensors of the loaded model are rounded, the text is read, and
then they are put back, so that a probe costs its chunks and nothing else.

For a child: the model is a stranger's file. What a probe is compared with are the 16-bit model's
own log-probabilities of the same text, in llama-perplexity's file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np

from bot.clients.llama import ggml
from bot.clients.llama.session import Session
from bot.errors import BuildError
from bot.fitting.sixteen import StoredTensor
from bot.fitting.tensor_errors import AT_ONCE, Rounding
from bot.kernels.rows.rowwork import RowKernels
from bot.measures.divergence import measure_divergence
from bot.measures.journal import Passing
from bot.measures.logits import BaseFile
from bot.records.measured import Divergence

Work = Callable[[int, int, int], None]  # matrix, first row, how many


def nothing(_done: int, _total: int) -> None:
    """A probe takes moments: only their number is told."""


class Prober:
    """A loaded 16-bit model whose tensors are rounded, some at a time."""

    def __init__(
        self,
        session: Session,
        base: BaseFile,
        tensors: Mapping[str, StoredTensor],
        rounding: Rounding,
        kernels: RowKernels | None = None,
    ) -> None:
        """`session` is writable and of the file that `tensors` are of; `base` its own numbers.

        Raises BuildError where the model lies in memory otherwise than in its file.
        """
        self._session, self._base, self._tensors = session, base, tensors
        self._rounding, self._kernels = rounding, kernels
        self._weights = session.weights

    def divergence(self) -> tuple[Divergence, tuple[float, ...]]:
        """Of the model as it is now from the model as it was, and the mean of each chunk."""
        journal = Passing()
        _, divergence = measure_divergence(
            self._session,
            self._base,
            journal,
            threads=self._rounding.threads,
            progress=nothing,
            kernels=self._kernels,
        )
        chunks = journal.values["kld"].reshape(-1, self._base.windows.scored).mean(axis=1)
        return divergence, tuple(chunks.tolist())

    @contextmanager
    def rounded(self, types: Mapping[str, str]) -> Iterator[None]:
        """The model with some tensors as types keep them, for the length of a block.

        A tensor whose type is its own stays.

        Raises BuildError where a tensor did not lie in memory as in its file, or does not come
        back bit for bit.
        """
        changed = {name: kind for name, kind in types.items() if kind != self._tensors[name].kind}
        for name in changed:
            self._require_as_stored(name)
        try:
            for name, kind in changed.items():
                tensor = self._tensors[name]
                self._each(tensor, partial(self._round, tensor, kind))
            yield
        finally:
            for name in changed:
                tensor = self._tensors[name]
                self._each(tensor, partial(self._put_back, tensor))
        for name in changed:
            self._require_as_stored(name)

    def _round(self, tensor: StoredTensor, kind: str, matrix: int, first: int, count: int) -> None:
        kept = self._rounding.rounded(tensor, kind, matrix, tensor.numbers(matrix, first, count))
        start = tensor.part(matrix, first, count).start
        self._weights.write(tensor.name, start, ggml.from_f32_to_16(tensor.kind, kept))

    def _put_back(self, tensor: StoredTensor, matrix: int, first: int, count: int) -> None:
        part = tensor.part(matrix, first, count)
        self._weights.write(tensor.name, part.start, np.array(tensor.data[part]))

    def _require_as_stored(self, name: str) -> None:
        tensor = self._tensors[name]
        if self._weights.kind(name) != tensor.kind:
            raise BuildError(f"{name} is loaded as another type than its file's; install the pin")

        def compare(matrix: int, first: int, count: int) -> None:
            part = tensor.part(matrix, first, count)
            loaded = self._weights.read(name, part.start, part.stop - part.start)
            if not np.array_equal(loaded, tensor.data[part]):
                raise BuildError(f"{name} in memory is not as its file has it; the device errs")

        self._each(tensor, compare)

    def _each(self, tensor: StoredTensor, work: Work) -> None:
        """Work on all rows of a tensor, some at a time, on the model's threads."""
        step = max(AT_ONCE // tensor.length, 1)
        parts = [
            (matrix, first, min(step, tensor.rows - first))
            for matrix in range(tensor.matrices)
            for first in range(0, tensor.rows, step)
        ]
        with ThreadPoolExecutor(self._rounding.threads) as pool:
            list(pool.map(lambda part: work(*part), parts))
