"""Each type's kernel against ggml's own function, one thread, in turn in one run.

    python bench/bench_kernels.py                  all types
    python bench/bench_kernels.py Q4_K IQ4_XS      some
    NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+popcnt,+sse4.2 \\
        python bench/bench_kernels.py              as a processor without AVX-512 has them

Prints nanoseconds of the thread's CPU time per weight, medians, and compares all bytes. What it
takes to compile a kernel, and to try it, is printed apart, from an empty folder.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama import ggml
from bot.kernels.choice import KINDS, Kernels, form
from bot.kernels.kernel import BLOCK, Kernel

ROUNDS, LENGTH, OURS, THEIRS = 7, 2048, 64, 8  # rows of a round: ggml takes longer


def seconds_of(rows: NDArray[np.float32], work: object) -> float:
    """CPU seconds of this thread per weight."""
    start = time.thread_time()
    work()  # type: ignore[operator]
    return (time.thread_time() - start) / rows.size


def compare(kernel: Kernel, weights: NDArray[np.float32] | None) -> tuple[float, float, bool]:
    """Nanoseconds per weight of ggml and of ours, and whether all bytes are the same."""
    random = np.random.default_rng(1)
    rows = (random.standard_normal((OURS, LENGTH)) * 0.02).astype(np.float32)
    size = ggml.row_bytes(kernel.kind, LENGTH)
    ours, theirs = (np.zeros(count * size, np.uint8) for count in (OURS, THEIRS))
    hard = kernel(rows, weights, ours)
    took: tuple[list[float], list[float]] = [], []
    for _ in range(ROUNDS):
        few = rows[:THEIRS]
        took[0].append(
            seconds_of(few, lambda few=few: ggml.from_f32(kernel.kind, few, weights, theirs))
        )
        took[1].append(seconds_of(rows, lambda: kernel(rows, weights, ours)))
    blocks = ours[: theirs.size].reshape(-1, ggml.row_bytes(kernel.kind, BLOCK))
    differs = (blocks != theirs.reshape(blocks.shape)).any(axis=1)
    differs[hard[hard < len(blocks)]] = False  # these the library makes
    same = not differs.any()
    return 1e9 * statistics.median(took[0]), 1e9 * statistics.median(took[1]), same


def main() -> None:
    """A line for each type, with and without importance."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", default=KINDS)
    kinds = parser.parse_args().kinds
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.processor(),
    )  # fmt: skip
    print(f"{cpu}; kernels: {form()}")
    weights = np.random.default_rng(2).gamma(0.5, 1.0, LENGTH).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NUMBA_CACHE_DIR"] = folder
        print(f"{'type':<8} {'importance':<10} {'ggml':>8} {'ours':>8} {'times':>6}  bytes")
        for kind in kinds:
            if (grid := ggml.grid_of(kind)) is not None:
                ggml.prepare_grid(grid)
            start = time.process_time()
            kernel = Kernels(folder=Path(folder)).kernel(kind)
            first = time.process_time() - start
            if kernel is None:
                print(f"{kind:<8} left to the library")
                continue
            for importance in (weights, None):
                if importance is None and kernel.row.weighed:
                    continue
                theirs, ours, same = compare(kernel, importance)
                print(
                    f"{kind:<8} {'yes' if importance is not None else 'no':<10} {theirs:8.1f} "
                    f"{ours:8.1f} {theirs / ours:6.1f}  {'same' if same else 'DIFFERENT'}"
                    + (f"   compiled and tried in {first:.1f} s" if importance is not None else ""),
                    flush=True,
                )


if __name__ == "__main__":
    main()
