"""The importance matrix: tokens a second of decoding alone, of ours, and of llama-imatrix.

    python bench/bench_imatrix.py                                       the demo model
    python bench/bench_imatrix.py --tool llama.cpp/build/bin/llama-imatrix
    python bench/bench_imatrix.py --model M-BF16.gguf --text T.txt --chunks 64

The same chunks in the same batches, all sides in turn in each of several rounds, of which each
side's best counts, so that other work on the machine weighs little. llama-imatrix is timed over all
chunks and over one batch: the difference leaves out its start. With --tool the files are compared
as well.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama.observer import Observer
from bot.clients.llama.quantization import to_bf16
from bot.clients.llama.session import Session
from bot.quantize import imatrix
from bot.settings.sections import DEMO

CONTEXT, SEQUENCES = 512, 4  # llama-imatrix's defaults: chunks of 512, 2048 tokens together
Batches = Sequence[NDArray[np.int32]]
Seconds = tuple[float, float]  # wall-clock and CPU


def opened(model: Path, threads: int, observer: Observer | None) -> Session:
    """The model as `bot calibrate` opens it, on the CPU."""
    return Session(
        model,
        n_ctx=CONTEXT * SEQUENCES,
        threads=threads,
        gpu_layers=0,
        sequences=SEQUENCES,
        unified=False,
        observer=observer,
    )


def batches_of(session: Session, text: str, chunks: int) -> Batches:
    """Chunks [sequences, context] as they are decoded together."""
    tokens = session.tokenize(text)
    count = min(chunks, len(tokens) // CONTEXT)
    ids = np.array(tokens[: count * CONTEXT], np.int32).reshape(count, CONTEXT)
    if session.bos is not None:
        ids[:, 0] = session.bos
    return [ids[i : i + SEQUENCES] for i in range(0, len(ids), SEQUENCES)]


def timed(session: Session, batch: NDArray[np.int32], clock: Callable[[], float]) -> float:
    """Seconds for one batch from an empty memory."""
    session.clear()
    start = clock()
    session.decode_side_by_side(batch, 0)
    return clock() - start


def in_turn(sessions: Sequence[Session], batches: Batches) -> list[Seconds]:
    """Seconds of each session over all batches, batch by batch beside the others."""
    spent = np.zeros((len(sessions), 2))
    for batch in batches:
        for which, session in enumerate(sessions):
            before = time.process_time()
            spent[which, 0] += timed(session, batch, time.perf_counter)
            spent[which, 1] += time.process_time() - before
    return [(float(wall), float(cpu)) for wall, cpu in spent]


def tool_seconds(command: Sequence[str], chunks: int) -> Seconds:
    """Seconds of a whole run of llama-imatrix."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run([*command, "--chunks", str(chunks)], check=True, capture_output=True)
    wall, now = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


def compare(ours: Observer, theirs: Path) -> str:
    """How far our sums are from the tool's."""
    found = imatrix.read_matrix(theirs)
    worst = 0.0
    for name, sums in found.sums.items():
        own = ours.stats[name].sums.reshape(sums.shape)
        if not np.array_equal(ours.stats[name].counts, found.counts[name]):
            return f"counts of {name} differ"
        worst = max(worst, float((np.abs(own - sums) / np.maximum(sums, 1e-30)).max()))
    return "every sum and count equal to the bit" if worst == 0 else f"sums within {worst:.1e}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a GGUF file [default: the demo model]")
    parser.add_argument("--text", type=Path, default=DEMO / "evaluation.txt")
    parser.add_argument("--chunks", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tool", type=Path, help="llama-imatrix")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = given.model or Path(folder) / "demo.gguf"
        if given.model is None:
            to_bf16(DEMO / "tiny-moe-Q8_0.gguf", model, threads=given.threads)
        measure(model, given, Path(folder))


def measure(model: Path, given: argparse.Namespace, folder: Path) -> None:
    """All sides and their ratios."""
    text = given.text.read_text(encoding="utf-8")
    observer, once = Observer(), Observer()
    sides = [opened(model, given.threads, None), opened(model, given.threads, observer)]
    batches = batches_of(sides[0], text, given.chunks)
    count = sum(len(batch) for batch in batches)
    in_turn(sides, batches[:1])  # first touch of all memory
    target = folder / "tool.gguf"
    tools = commands(given, model, target) if given.tool else {}
    rounds = []
    for _ in range(given.rounds):
        runs = [tool_seconds(one, n) for one in tools.values() for n in (SEQUENCES, count)]
        rounds.append((*in_turn(sides, batches), *runs))
    found = np.array(rounds).min(axis=0)  # [sides and runs, wall-clock and CPU]
    started = (found[3::2] - found[2::2]) * count / (count - SEQUENCES)
    best = np.concatenate([found[:2], started])
    if tools:
        with opened(model, given.threads, once) as session:
            in_turn([session], batches)
        print(f"against llama-imatrix's file: {compare(once, target)}")
    print(f"{count} chunks of {CONTEXT}, {given.threads} threads, best of {given.rounds} rounds")
    plain, ours = best[0], best[1]
    for name, side in zip(("llama_decode alone", "bot calibrate", *tools), best, strict=True):
        rate, of_plain, to_it = count * CONTEXT / side[0], plain / side, side / ours
        print(
            f"{name:<24}{rate:7.0f} tokens/s; of decoding alone {of_plain[0]:.2f}, by CPU time "
            f"{of_plain[1]:.2f}; ours to it {to_it[0]:.2f}, by CPU time {to_it[1]:.2f}"
        )


def commands(given: argparse.Namespace, model: Path, target: Path) -> dict[str, list[str]]:
    """llama-imatrix without and with its perplexity, which writes the file."""
    command = [str(given.tool), "-m", str(model), "-f", str(given.text), "-o", str(target)]
    command += ["-c", str(CONTEXT), "-t", str(given.threads), "-ngl", "0"]
    return {"llama-imatrix --no-ppl": [*command, "--no-ppl"], "llama-imatrix": command}


if __name__ == "__main__":
    main()
