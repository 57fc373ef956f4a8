"""What a GPU would wait for, by replay: sums of activations and work on logits, from memory.

    python bench/bench_replay.py
    python bench/bench_replay.py --threads 4 --rounds 9 --rows 64

Nothing is decoded: a layer's activations of 512 tokens (a 35B-A3B: 256 experts, 8 used, 2,048 wide,
512 inside) and rows of logits lie in memory. NumPy and our kernels take turns in each of several
rounds, of which each side's best counts; results are compared in every run. Speed on logits is per
thread's CPU second, of rows that no cache holds; peak memory is of a process of each side's own.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama.observer import Stats, Sums
from bot.kernels.choice import Kernels, form
from bot.kernels.rows.rowwork import RowKernels, loaded, prepared
from bot.measures import divergence, logits
from bot.measures.journal import Values, empty

FOLDER = Path(tempfile.gettempdir()) / "apex-bench-kernels"  # compiled by the first run
TOKENS, EXPERTS, USED, WIDTH, INNER = 512, 256, 8, 2048, 512
HEADS = 4096  # numbers of attention's output
VOCABULARIES = (151_936, 248_320)
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
Floats = NDArray[np.float32]
Layer = dict[str, Stats]


def kernels() -> RowKernels:
    """Ours, compiled where they are not."""
    place = prepared(Kernels(folder=FOLDER))
    made = None if place is None else loaded(place)
    if made is None:
        raise SystemExit("Numba does not run here; there is nothing to compare")
    return made


# ── sums of a layer ─────────────────────────────────────────────────────────────────────────


class Activations:
    """What comes before a layer's weights, for 512 tokens; a router that prefers some experts."""

    def __init__(self) -> None:
        random = np.random.default_rng(35)

        def numbers(*shape: int) -> Floats:
            return random.standard_normal(shape, np.float32)

        taste = random.gumbel(size=(TOKENS, EXPERTS)) + random.normal(size=EXPERTS)
        self.ids = np.argsort(-taste, axis=1)[:, :USED].astype(np.int32)
        self.experts = {"gate_exps": numbers(TOKENS, 1, WIDTH)}
        self.experts["down_exps"] = numbers(TOKENS, USED, INNER)
        self.dense = {"attn_q": numbers(1, 1, TOKENS, WIDTH)}
        self.dense["attn_output"] = numbers(1, 1, TOKENS, HEADS)
        self.dense["ffn_gate_inp"] = self.experts["gate_exps"].reshape(1, 1, TOKENS, WIDTH)
        self.dense["down_shexp"] = numbers(1, 1, TOKENS, INNER)

    def added(self, sums: Sums, before: Layer, part: str) -> Layer:
        """Statistics of the layer's weights after these tokens; `part`: experts, dense or all."""
        after = {}
        if part != "dense":
            for name, x in self.experts.items():
                after[name] = sums.by_expert(x, self.ids, EXPERTS, before.get(name))
        if part != "experts":
            for name, x in self.dense.items():
                after[name] = sums.by_matrix(x, 1, before.get(name))
        return after


def same_sums(one: Layer, other: Layer) -> bool:
    """Whether all statistics are equal to the bit."""
    sums = all(one[name].sums.tobytes() == other[name].sums.tobytes() for name in one)
    return sums and all(np.array_equal(one[name].counts, other[name].counts) for name in one)


class Side:
    """One way to add up, with what it has added so far."""

    def __init__(self, layer: Activations, part: str, sums: Sums) -> None:
        self._layer, self._part, self._sums = layer, part, sums
        self.stats: Layer = {}

    def add(self) -> None:
        """Another 512 tokens."""
        self.stats = self._layer.added(self._sums, self.stats, self._part)


def of_layers(ours: RowKernels, threads: int, rounds: int) -> None:
    """Sums of a layer: by NumPy, by ours on one thread and on all."""
    layer, counts = Activations(), sorted({1, threads})
    names = ["NumPy", *(f"{count} thread{'s' * (count > 1)}" for count in counts)]
    for part in ("experts", "dense", "all"):
        ways = [Sums(), *(Sums(ours.squares(count)) for count in counts)]
        sides = [Side(layer, part, way) for way in ways]
        took = in_turn([side.add for side in sides], rounds, time.perf_counter)
        equal = all(same_sums(sides[0].stats, side.stats) for side in sides)
        told = [f"{name} {1e3 * s:.2f} ms" for name, s in zip(names, took, strict=True)]
        ratios = ", ".join(f"{took[0] / s:.1f}" for s in took[1:])
        print(f"sums, {part:<8}{', '.join(told)}: {ratios} times; equal to the bit: {equal}")


# ── logits ──────────────────────────────────────────────────────────────────────────────────


class Rows:
    """Rows of a reference's logits, of a candidate's, and of the file, by both sides."""

    def __init__(self, rows: int, vocabulary: int) -> None:
        random = np.random.default_rng(vocabulary)
        shape = (rows, vocabulary)
        self.reference = random.standard_normal(shape, np.float32) * np.float32(3)
        noise = random.standard_normal(shape, np.float32) * np.float32(0.1)
        self.candidate = self.reference + noise
        self.targets = random.integers(0, vocabulary, rows).astype(np.int32)
        self.packed = np.zeros((rows, logits.width(vocabulary)), np.uint16)
        self.pack(None)

    def each(self, work: Callable[[slice], object]) -> None:
        """Row after row, as a pass hands them out."""
        for i in range(len(self.targets)):
            work(slice(i, i + 1))

    def nll(self, ours: RowKernels | None) -> Floats:
        """Perplexity's part."""
        found = np.empty(len(self.targets), np.float32)

        def work(at: slice) -> None:
            found[at] = logits.nll_of(self.reference[at], self.targets[at], ours)

        self.each(work)
        return found

    def pack(self, ours: RowKernels | None) -> Floats:
        """A reference's part."""
        found = np.empty(len(self.targets), np.float32)

        def work(at: slice) -> None:
            out, targets = self.packed[at], self.targets[at]
            found[at] = logits.pack(self.reference[at], targets, out, ours)

        self.each(work)
        return found

    def compare(self, ours: RowKernels | None) -> Values:
        """A candidate's part."""
        found = empty(len(self.targets))

        def work(at: slice) -> None:
            candidate, packed = self.candidate[at], self.packed[at]
            divergence.compare_logits(candidate, packed, self.targets[at], found[at], ours)

        self.each(work)
        return found


def of_logits(ours: RowKernels, vocabulary: int, rows: int, rounds: int) -> None:
    """Scored positions a second and core: a candidate's, a reference's, perplexity alone."""
    work = Rows(rows, vocabulary)
    for name, call in (("compared", work.compare), ("packed", work.pack), ("nll", work.nll)):
        theirs, codes = call(None), work.packed.copy()
        mine = call(ours)
        sides = [partial(call, None), partial(call, ours)]
        took = in_turn(sides, rounds, time.thread_time)
        old, new = (rows / seconds for seconds in took)
        told = f"{old:,.0f} and {new:,.0f} positions/s and core: {new / old:.1f} times"
        print(f"{vocabulary:,}, {name:<9}{told}; {differences(theirs, mine)}", end="")
        print(f", codes differ: {(codes[:, 4:] != work.packed[:, 4:]).sum()}" * (name == "packed"))


def differences(theirs: Any, mine: Any) -> str:
    """How far two sides' values are from each other."""
    if theirs.dtype.names is None:
        theirs, mine = (side.view([("nll", side.dtype)]) for side in (theirs, mine))
    names = theirs.dtype.names
    apart = (np.abs(theirs[n].astype(np.float64) - mine[n].astype(np.float64)) for n in names)
    return "apart by " + ", ".join(f"{n} {a.max():.0e}" for n, a in zip(names, apart, strict=True))


# ── both ────────────────────────────────────────────────────────────────────────────────────


def in_turn(
    sides: Sequence[Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> list[float]:
    """Best seconds of each side, all in turn in every round."""
    best = [float("inf")] * len(sides)
    for _ in range(rounds):
        for i, side in enumerate(sides):
            start = clock()
            side()
            best[i] = min(best[i], clock() - start)
    return best


def peak(side: str, what: str, given: argparse.Namespace) -> float:
    """MB that a process of one side takes at most above what it held before the work."""
    command = [sys.executable, __file__, "--side", side, what, "--threads", str(given.threads)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(result.stdout)


def alone(side: str, what: str, threads: int) -> None:
    """One side in this process; prints its peak in MB above what was held before it began."""
    ours = kernels()  # both import the same
    used = ours if side == "kernels" else None
    if what == "sums":
        layer, sums = Activations(), Sums(ours.squares(threads) if used else None)
        before = forget()
        after = layer.added(sums, {}, "all")
        for _ in range(3):
            after = layer.added(sums, after, "all")
    else:
        work = Rows(2, int(what))
        before = forget()
        work.pack(used)
        work.compare(used)
    print((held("VmHWM") - before) / 1e3)


def held(what: str) -> int:
    """What this process holds (VmRSS) or held at most since `forget` (VmHWM), KB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


def forget() -> int:
    """From now on count the peak anew; what is held now, KB."""
    Path("/proc/self/clear_refs").write_text("5")
    return held("VmRSS")


def main() -> None:
    """Both pieces of work."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        alone(given.side[0], given.side[1], given.threads)
        return
    ours = kernels()
    print(f"{processor()}, {form()}; best of {given.rounds} rounds")
    of_layers(ours, given.threads, given.rounds)
    for vocabulary in VOCABULARIES:
        of_logits(ours, vocabulary, given.rows, given.rounds)
    if not Path("/proc/self/clear_refs").exists():
        return  # Linux alone tells a peak apart from what was before
    for what in ("sums", *map(str, VOCABULARIES)):
        old, new = (peak(side, what, given) for side in ("numpy", "kernels"))
        print(f"peak memory above the data, {what}: {old:.1f} MB by NumPy, {new:.1f} MB by kernels")


def processor() -> str:
    """Its name, as the system calls it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


if __name__ == "__main__":
    main()
