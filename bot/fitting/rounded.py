"""Whether a file's experts are the 16-bit model's, rounded: rows of each, held together.

A type can take numbers only so far from what they were. An expert that is another's, turned, scaled
or mixed up is further away, whatever the model answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama import ggml
from bot.errors import SourceError
from bot.fitting.sixteen import Floats, StoredTensor, stored_tensors
from bot.tensors.roles import ROUTED, has_role

SEED = 20_261_129
AT_ONCE = 1 << 20  # numbers that a thread takes together
LEAST = 1 << 13  # numbers of a matrix that a limit is good for
FEWEST = 64  # rows of a tensor, however few matrices it has

# Squared error over squared size, of `LEAST` numbers or more: twice the largest that
# bench/bench_rounding.py finds, at most `OTHER`. Zeros are at 1, another expert at 2, one with
# turned signs at 4. Of 16 bits half a step of the mantissa.
OTHER = 0.95  # of a type that is not listed
LIMITS: Mapping[str, float] = {
    "F32": 0.0,
    "F16": 2.0**-22,
    "BF16": 2.0**-16,
    "Q8_0": 0.0003,
    "Q6_K": 0.041,
    "Q5_1": 0.024,
    "Q5_K": 0.039,
    "Q5_0": 0.055,
    "Q4_1": 0.096,
    "Q4_K": 0.13,
    "IQ4_NL": 0.11,
    "IQ4_XS": 0.091,
    "Q4_0": 0.064,
    "MXFP4": 0.093,
    "IQ3_S": 0.55,
    "Q3_K": 0.13,
    "IQ3_XXS": 0.59,
    "IQ2_S": OTHER,
    "Q2_K": 0.49,
    "IQ2_XS": 0.85,
    "IQ2_XXS": OTHER,
    "IQ1_M": 0.83,
    "IQ1_S": OTHER,
}
OWN_RANGE = ("F32", "BF16", "MXFP4")  # types that no F16 number stands in
STEP = 2.0**-13  # what a scale in 16 bits may add to a number: 2^-25, at most 4,096 times (Q6_K)


@dataclass(frozen=True, kw_only=True)
class Distance:
    """How far a matrix's rows are from the 16-bit model's: squared error over squared size."""

    tensor: str
    matrix: int
    matrices: int
    kind: str
    kept: bool  # the 16-bit model's own type: then an error is 1 for any other byte
    error: float
    allowed: float

    @property
    def share(self) -> float:
        """Of what rounding may do; above 1, or no number: it is not that matrix."""
        if self.error == 0:
            return 0.0
        return self.error / self.allowed if self.allowed else np.inf

    @property
    def is_rounding(self) -> bool:
        """Whether rounding may have done it."""
        return self.share <= 1  # not of no number

    @property
    def place(self) -> str:
        """The tensor, and its expert where it has some."""
        name = self.tensor[:120]
        return f"{name} expert {self.matrix}" if self.matrices > 1 else name


@dataclass(frozen=True, kw_only=True)
class Resemblance:
    """A look at all tensors: how many matrices and rows, and the one that is furthest."""

    matrices: int
    rows: int
    furthest: Distance


def compare_rows(
    file: Path, source: Path, *, rows: int, threads: int, progress: Callable[[int, int], None]
) -> Resemblance:
    """Hold rows of every matrix of `file` against the 16-bit model's in `source`.

    Of each matrix, such as each expert, `rows` rows are drawn, more where these hold less than
    `LEAST` numbers, one of each stretch; of a tensor `FEWEST`. They are the same at each call.
    What has its 16-bit model's type has its bytes. Memory takes `AT_ONCE` numbers a thread, some
    12 MB; both files are mapped. Raises SourceError naming the matrix that is furthest from what
    rounding can do, a tensor that is in one of them alone, or what the 16-bit model itself cannot
    mean: no number, or a routed expert of zeros.
    """
    ours, theirs = stored_tensors(file), stored_tensors(source)
    _require_same(ours, theirs, file)
    pieces = [piece for name in ours for piece in _pieces(ours[name], theirs[name], rows)]
    furthest, wrong, matrices, count = None, 0, 0, 0
    with ThreadPoolExecutor(threads) as pool:
        for done, found in enumerate(pool.map(_distances, pieces), 1):
            matrices += len(found)
            count += pieces[done - 1].chosen.size
            wrong += sum(not one.is_rounding for one in found)
            furthest = max([*found, *([furthest] if furthest else [])], key=lambda d: d.share)
            progress(done, len(pieces))
    if furthest is None:
        raise SourceError(f"{file} holds no tensors; check the path")
    if wrong:
        raise SourceError(_words(file, furthest, wrong))
    return Resemblance(matrices=matrices, rows=count, furthest=furthest)


def _words(file: Path, furthest: Distance, wrong: int) -> str:
    more = f" (and {wrong - 1} more)" if wrong > 1 else ""
    what = (
        f"{furthest.error:.3g} of its squared size away, and rounding to {furthest.kind} takes "
        f"{furthest.allowed:.3g} at most"
    )
    if furthest.kept:
        what = f"other bytes, though it keeps the type {furthest.kind}"
    return (
        f"{file}: {furthest.place} is not the 16-bit model's{more}: {what}; build it again, or "
        "fetch another file"
    )


def _require_same(
    ours: Mapping[str, StoredTensor], theirs: Mapping[str, StoredTensor], file: Path
) -> None:
    for name in sorted({*ours, *theirs}):
        one, other = ours.get(name), theirs.get(name)
        if one is None or other is None or _shape(one) != _shape(other):
            lack = "lacks" if one is None else "has another" if other else "has, beside the model,"
            raise SourceError(
                f"{file} {lack} {name[:120]}: it is of another model; name its own 16-bit file"
            )


def _shape(tensor: StoredTensor) -> tuple[int, int, int]:
    return tensor.length, tensor.rows, tensor.matrices


@dataclass(frozen=True, kw_only=True, eq=False)
class _Piece:
    """Some matrices of a tensor, `first` on, with the rows to look at, [matrices, rows]."""

    ours: StoredTensor
    theirs: StoredTensor
    first: int
    chosen: NDArray[np.intp]


def _pieces(ours: StoredTensor, theirs: StoredTensor, rows: int) -> Iterator[_Piece]:
    least = max(-(-LEAST // ours.length), -(-FEWEST // ours.matrices))
    count = min(max(rows, least), ours.rows)
    random = np.random.default_rng([SEED, *ours.name.encode()])
    places = np.arange(count) + random.random((ours.matrices, count))
    chosen = (places * ours.rows / count).astype(np.intp)
    step = max(AT_ONCE // (count * ours.length), 1)
    for first in range(0, ours.matrices, step):
        yield _Piece(ours=ours, theirs=theirs, first=first, chosen=chosen[first : first + step])


def _distances(piece: _Piece) -> list[Distance]:
    ours, theirs = piece.ours, piece.theirs
    kept, meant = _bytes(ours, piece), _bytes(theirs, piece)
    matrices = len(piece.chosen)
    if ours.kind == theirs.kind:
        unequal = (kept != meant).reshape(matrices, -1).any(axis=1)
        errors, limits = unequal.astype(np.float64), np.zeros(matrices)
        if ours.kind in ("F32", "F16", "BF16"):
            _require_sense(piece, _squares(_numbers(theirs, meant), matrices))
    else:
        numbers = _numbers(theirs, meant)
        sizes = _squares(numbers, matrices)
        _require_sense(piece, sizes)
        lost = 0.0 if ours.kind in OWN_RANGE else STEP**2 * numbers.size / matrices
        limits = LIMITS.get(ours.kind, OTHER) + np.divide(
            lost, sizes, out=np.zeros(matrices), where=sizes > 0
        )
        wrong = _squares(_numbers(ours, kept) - numbers, matrices)
        # of zeros any number is too far
        errors = np.divide(wrong, sizes, out=np.where(wrong > 0, np.inf, 0.0), where=sizes > 0)
    return [
        Distance(
            tensor=ours.name,
            matrix=piece.first + i,
            matrices=ours.matrices,
            kind=ours.kind,
            kept=ours.kind == theirs.kind,
            error=float(errors[i]) if np.isfinite(errors[i]) else np.inf,
            allowed=float(limits[i]),
        )
        for i in range(matrices)
    ]


def _require_sense(piece: _Piece, sizes: NDArray[np.float64]) -> None:
    """The 16-bit model's rows are numbers, and a routed expert has one that is not zero."""
    theirs = piece.theirs
    for matrix, size in enumerate(sizes, piece.first):
        place = f"{theirs.name[:120]}" + (f" expert {matrix}" if theirs.matrices > 1 else "")
        if not np.isfinite(size):
            raise SourceError(
                f"the 16-bit model's own {place} is no number; start from another source"
            )
        routed = theirs.matrices > 1 and has_role(theirs.name, ROUTED)
        if not size and routed and not _any(theirs, matrix):
            raise SourceError(
                f"the 16-bit model's own {place} holds zeros alone; start from another source"
            )


def _any(tensor: StoredTensor, matrix: int) -> bool:
    """Whether a matrix has a number that is not zero."""
    step = max(AT_ONCE // tensor.length, 1)
    starts = range(0, tensor.rows, step)
    return any(
        tensor.numbers(matrix, start, min(step, tensor.rows - start)).any() for start in starts
    )


def _bytes(tensor: StoredTensor, piece: _Piece) -> NDArray[np.uint8]:
    """The chosen rows as they lie in the file, one after another."""
    rows = tensor.data.reshape(tensor.matrices * tensor.rows, tensor.row_bytes)
    matrices = np.arange(piece.first, piece.first + len(piece.chosen))
    return np.array(rows[(matrices[:, None] * tensor.rows + piece.chosen).reshape(-1)])


def _numbers(tensor: StoredTensor, data: NDArray[np.uint8]) -> Floats:
    out = np.empty(len(data) * tensor.length, np.float32)
    ggml.to_f32(tensor.kind, data.reshape(-1), out)
    return out


def _squares(numbers: Floats, matrices: int) -> NDArray[np.float64]:
    """Sum of squares of each matrix."""
    parts = numbers.reshape(matrices, -1)
    sums: NDArray[np.float64] = np.einsum("ij,ij->i", parts, parts, dtype=np.float64)
    return sums
