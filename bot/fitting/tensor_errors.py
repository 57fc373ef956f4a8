"""A tensor as a type would make it: rounded by the kernels that make files, and expanded again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama import ggml
from bot.fitting.sixteen import StoredTensor
from bot.kernels.quantizers import Quantizers

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
SEED = 20_261_129
AT_ONCE = 1 << 20  # weights that a thread takes together
FIRST = 1 << 18  # weights of a tensor's first sample; doubled until the error is near enough
NEAR = 0.005  # standard error of a sample, as a share: four times this is 2 %


def untimed(_what: str) -> nullcontext[None]:
    """Nobody counts."""
    return nullcontext()


class Rounding:
    """Rows of tensors as types keep them, weighed by an importance matrix."""

    def __init__(
        self, quantizers: Quantizers, importance: Mapping[str, Floats], threads: int
    ) -> None:
        """`importance` is by tensor, its matrices' rows of weights one after another."""
        self._quantizers, self._importance, self.threads = quantizers, importance, threads
        self._of = lru_cache(maxsize=4)(importance.get)  # made anew at each call

    def has_data(self, name: str) -> bool:
        """Whether the importance matrix knows the tensor."""
        return name in self._importance

    def weights(self, tensor: StoredTensor, matrix: int) -> Floats | None:
        """Importance of a matrix's columns, [length]; None where there is no data."""
        importance = self._of(tensor.name)
        if importance is None:
            return None
        of_matrix: Floats = importance.reshape(-1, tensor.length)[matrix]
        return of_matrix

    def rounded(self, tensor: StoredTensor, kind: str, matrix: int, rows: Floats) -> Floats:
        """`rows` of a matrix, [count, length], as `kind` keeps them."""
        size = ggml.row_bytes(kind, rows.shape[1])
        data, out = np.empty(size * len(rows), np.uint8), np.empty_like(rows)
        weights = self.weights(tensor, matrix)
        self._quantizers.quantize(tensor.name, kind, rows, weights, data)
        ggml.to_f32(kind, data, out.reshape(-1))
        return out

    def errors(
        self, tensor: StoredTensor, kinds: tuple[str, ...]
    ) -> tuple[dict[str, float], float]:
        """Squared error over squared size of each type, weighted by importance, on a sample; and
        the weighted squared size of the whole tensor, by the same rows.

        Rows are drawn without replacement, the same at each call, the same number of each matrix,
        and twice as many until the standard error of each type's number is at most `NEAR` of it, or
        no row is left. Each type is judged on the same rows.
        """
        order = np.random.default_rng([SEED, *tensor.name.encode()])
        rows = order.permuted(np.tile(np.arange(tensor.rows), (tensor.matrices, 1)), axis=1)
        wrong = {kind: np.empty(0) for kind in kinds}
        size, done = np.empty(0), 0
        count = -(-FIRST // (tensor.matrices * tensor.length))
        while done < tensor.rows:
            more = self._measured(tensor, kinds, rows[:, done : done + count])
            size = np.concatenate([size, more[0]])
            wrong = {k: np.concatenate([wrong[k], e]) for k, e in zip(kinds, more[1], strict=True)}
            done += count
            count = done
            if all(_spread(each, size) <= NEAR for each in wrong.values()):
                break
        whole = float(size.sum())
        errors = {kind: float(each.sum()) / whole if whole else 0.0 for kind, each in wrong.items()}
        return errors, whole / len(size) * tensor.rows * tensor.matrices

    def _measured(
        self, tensor: StoredTensor, kinds: tuple[str, ...], rows: NDArray[np.intp]
    ) -> tuple[Doubles, list[Doubles]]:
        """Squared size, and squared error of each type, of each row of `rows` [matrices, count]."""

        def work(part: tuple[int, NDArray[np.intp]]) -> tuple[Doubles, list[Doubles]]:
            matrix, some = part
            numbers = np.concatenate([tensor.numbers(matrix, int(row), 1) for row in some])
            importance = self.weights(tensor, matrix)
            factor = np.float64(1) if importance is None else importance.astype(np.float64)

            def weighed(values: Floats) -> Doubles:
                sums: Doubles = (factor * np.square(values.astype(np.float64))).sum(axis=1)
                return sums

            kept = (self.rounded(tensor, kind, matrix, numbers) for kind in kinds)
            return weighed(numbers), [weighed(each - numbers) for each in kept]

        with ThreadPoolExecutor(self.threads) as pool:
            parts = [*pool.map(work, _blocks(rows, max(AT_ONCE // tensor.length, 1)))]
        sizes = np.concatenate([part[0] for part in parts])
        return sizes, [np.concatenate([p[1][i] for p in parts]) for i in range(len(kinds))]


def _blocks(rows: NDArray[np.intp], step: int) -> Iterator[tuple[int, NDArray[np.intp]]]:
    for matrix, chosen in enumerate(rows):
        for start in range(0, len(chosen), step):
            yield matrix, np.sort(chosen[start : start + step])


def _spread(wrong: Doubles, size: Doubles) -> float:
    """Standard error of a ratio of sums over rows, as a share of it (Cochran, ratio estimators)."""
    total = size.sum()
    ratio = wrong.sum() / total if total else 0.0
    if ratio == 0 or len(size) < 2:
        return 0.0
    residual = wrong - ratio * size
    return float(np.sqrt((residual**2).sum() * len(size) / (len(size) - 1)) / (ratio * total))
