"""The evaluation's pass against plain decoding, and against llama-perplexity, side by side.

    python bench/bench_evaluate.py                            the demo model, vocabulary 4,096
    python bench/bench_evaluate.py --vocabulary 151936        a synthetic model, 2,048 wide
    python bench/bench_evaluate.py --tools llama.cpp/build/bin --text wiki.test.raw

Both sides take turns on the same chunks, a group at a time, so that a busy machine is busy for
both. Plain decoding is `llama_decode` of four chunks of 512 at once, their logits asked for.
llama-perplexity runs twice (PPL, then KL divergence), we once: all its numbers in one pass.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from bot.clients.files.ggufheader import read_header, text_value, u32, write_header
from bot.clients.llama.library import build_flags, devices, ggml_type
from bot.clients.llama.quantization import to_bf16
from bot.clients.llama.session import Session
from bot.clients.llama.vocabulary import vocabulary_of
from bot.measures import divergence, passes, perplexity
from bot.measures.journal import Journal
from bot.measures.logits import BaseFile, open_base
from bot.measures.windows import TextWindows, cut, read_evaluation_text
from bot.settings.sections import DEMO

KEY = "00" * 32
CONTEXT = 512
WIDTH, LAYERS, HEADS, INNER = 2048, 2, 16, 5632  # of the synthetic model


def quiet(_done: int, _total: int) -> None:
    """Nobody looks."""


def synthetic(path: Path, vocabulary: int) -> None:
    """A dense BF16 model of random weights with a large vocabulary, real in its proportions."""
    old = read_header(DEMO / "tiny-moe-Q8_0.gguf").keys
    keys = {name: raw for name, raw in old.items() if name.startswith("tokenizer.")}
    words = [f"w{i}" for i in range(vocabulary)]
    words[:256] = [chr(256 + i) for i in range(256)]
    keys["tokenizer.ggml.tokens"] = array("tokenizer.ggml.tokens", 8, map(string, words))
    types = [struct.pack("<i", 1)] * vocabulary
    keys["tokenizer.ggml.token_type"] = array("tokenizer.ggml.token_type", 5, types)
    keys["tokenizer.ggml.merges"] = array("tokenizer.ggml.merges", 8, [string("w300 w301")])
    keys = {name: raw for name, raw in keys.items() if not name.endswith("_token_id")}
    for name, value in (
        ("context_length", 4096),
        ("embedding_length", WIDTH),
        ("block_count", LAYERS),
        ("feed_forward_length", INNER),
        ("attention.head_count", HEADS),
        ("vocab_size", vocabulary),
    ):
        keys[f"llama.{name}"] = u32(f"llama.{name}", value)
    epsilon = "llama.attention.layer_norm_rms_epsilon"
    keys[epsilon] = string(epsilon) + struct.pack("<If", 6, 1e-5)
    keys["general.architecture"] = text_value("general.architecture", "llama")
    keys["general.name"] = text_value("general.name", "Synthetic")
    shapes: list[tuple[str, tuple[int, ...]]] = [("token_embd.weight", (WIDTH, vocabulary))]
    shapes.append(("output_norm.weight", (WIDTH,)))
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        shapes += [(f"{block}.{name}_norm.weight", (WIDTH,)) for name in ("attn", "ffn")]
        names = ("attn_q", "attn_k", "attn_v", "attn_output")
        shapes += [(f"{block}.{name}.weight", (WIDTH, WIDTH)) for name in names]
        shapes += [(f"{block}.ffn_{name}.weight", (WIDTH, INNER)) for name in ("gate", "up")]
        shapes.append((f"{block}.ffn_down.weight", (INNER, WIDTH)))
    entries = [(n, s, *kind_of(s)) for n, s in shapes]
    random = np.random.default_rng(1)
    with path.open("wb") as file:
        file.write(write_header(keys.values(), entries, 32))
        for _, shape in shapes:
            if len(shape) == 1:
                file.write(np.ones(shape, np.float32).tobytes())
                continue
            for _ in range(shape[1]):
                row = random.standard_normal(shape[0], np.float32) * np.float32(0.05)
                file.write((row.view(np.uint32) >> 16).astype(np.uint16).tobytes())


def kind_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """Type and bytes: norms stay f32."""
    count = int(np.prod(shape))
    return (ggml_type("F32"), 4 * count) if len(shape) == 1 else (ggml_type("BF16"), 2 * count)


def string(value: str) -> bytes:
    """A string of GGUF."""
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def array(key: str, kind: int, values: Iterator[bytes] | Sequence[bytes]) -> bytes:
    """An array of GGUF under its key."""
    items = list(values)
    return string(key) + struct.pack("<IIQ", 9, kind, len(items)) + b"".join(items)


def chunks(model: Path, path: Path | None, count: int) -> TextWindows:
    """Chunks of a text; of random tokens where there is none."""
    with vocabulary_of(model) as words:
        if path is not None:
            return cut(words, read_evaluation_text(path), context=CONTEXT, limit=count)
        tokens = np.random.default_rng(2).integers(0, words.vocabulary, (count, CONTEXT))
    return TextWindows(tokens=tokens.astype(np.int32), first=CONTEXT // 2, together=4)


@contextmanager
def session(model: Path, threads: int, lanes: int) -> Iterator[Session]:
    """As the bench of the evaluation opens one."""
    with Session(
        model, n_ctx=4 * CONTEXT, threads=threads, sequences=4, unified=False, lanes=lanes
    ) as opened:
        yield opened


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def against_plain(
    model: Path, windows: TextWindows, folder: Path, threads: int, lanes: int, rounds: int
) -> None:
    """A pass of the KL divergence and plain decoding, group by group in turn."""
    base = folder / "base"
    with session(model, threads, 1) as opened:
        told = Journal(folder / "told", KEY)
        told.keep(0)
        perplexity.reference_perplexity(
            opened, windows, base, told, threads=threads, progress=quiet
        )
    groups = [
        replace(windows, tokens=windows.tokens[start : start + 8])
        for start in range(0, len(windows.tokens), 8)
    ]
    took = {"plain": [0.0, 0.0], "pass": [0.0, 0.0]}
    ratios: list[float] = []
    with session(model, threads, lanes) as opened, open_base(base) as kept:
        for number in [0, *list(range(len(groups))) * rounds]:  # the first is a warm-up
            part = groups[number]
            # rows of the file belong to whole windows: begin where the part does
            skip = number * 8 * windows.scored * kept.read(0, 1).nbytes
            at = replace(kept, windows=part, offset=kept.offset + skip)
            journal = Journal(folder / "tokens", KEY)
            journal.keep(0)

            def plain(part: TextWindows = part, opened: Session = opened) -> None:
                for group in range(part.groups):
                    passes.decode(opened, part, group)

            def whole(
                journal: Journal = journal, opened: Session = opened, at: BaseFile = at
            ) -> None:
                divergence.measure_divergence(opened, at, journal, threads=threads, progress=quiet)

            if not ratios and number == 0:
                plain()
            one, other = timed(plain), timed(whole)
            ratios.append(one[0] / other[0])
            for name, seconds in (("plain", one), ("pass", other)):
                took[name] = [a + b for a, b in zip(took[name], seconds, strict=True)]
    tokens = (1 + rounds * len(groups)) * groups[0].tokens.size
    rates = ", ".join(f"{name} {tokens / took[name][0]:,.0f} tokens/s" for name in took)
    wall, cpu = (took["plain"][i] / took["pass"][i] for i in (0, 1))
    overlap = "overlapped" if lanes == 2 else "in turn"
    print(
        f"{overlap:<10} {rates}: speed ratio {wall:.2f} (median of parts {np.median(ratios):.2f}), "
        f"by CPU seconds {cpu:.2f}"
    )


def against_tool(
    tools: Path, models: tuple[Path, Path], source: Path, folder: Path, given: argparse.Namespace
) -> None:
    """Our one pass, a process of its own, against the tool's two."""
    reference, candidate = models
    tool, base = tools / "llama-perplexity", folder / "tool-base"
    common = ["-f", str(source), "-c", str(CONTEXT), "-t", str(given.threads)]
    common += ["--chunks", str(given.chunks), "-ngl", "0"]
    subprocess.run(
        [str(tool), "-m", str(reference), *common, "--save-all-logits", str(base)],
        check=True,
        capture_output=True,
    )
    ours, theirs = [0.0, 0.0], [0.0, 0.0]
    kl = ["--kl-divergence", "--kl-divergence-base", str(base)]
    for _ in range(given.rounds):
        ppl = child([str(tool), "-m", str(candidate), *common])
        both = child([str(tool), "-m", str(candidate), *common[2:], *kl])
        mine = child([sys.executable, __file__, "--side", str(candidate), str(base), str(folder)])
        theirs = [a + b + c for a, b, c in zip(theirs, ppl, both, strict=True)]
        ours = [a + b for a, b in zip(ours, mine, strict=True)]
    print(
        f"llama-perplexity PPL + KL {theirs[0]:.1f} s, one pass {ours[0]:.1f} s: "
        f"ratio {ours[0] / theirs[0]:.2f}, by CPU seconds {ours[1] / theirs[1]:.2f}"
    )


def child(command: Sequence[str]) -> tuple[float, float]:
    """Wall-clock and CPU seconds of a process."""
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - wall, cpu


def side(candidate: Path, base: Path, folder: Path) -> None:
    """Our side: every statistic of a candidate against a file of log-probabilities."""
    journal = Journal(folder / "side", KEY)
    journal.keep(0)
    with open_base(base) as kept, session(candidate, THREADS, 2) as opened:
        ppl, kld = divergence.measure_divergence(
            opened, kept, journal, threads=THREADS, progress=quiet
        )
    print(json.dumps([ppl.value, kld.mean]))


THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2


def main() -> None:
    """Both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=int, default=0)
    parser.add_argument("--text", type=Path, default=DEMO / "evaluation.txt")
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--tools", type=Path, help="folder of llama-perplexity")
    parser.add_argument("--side", nargs=3, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        side(*given.side)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, candidate = folder / "model.gguf", DEMO / "tiny-moe-Q8_0.gguf"
        if given.vocabulary:
            synthetic(model, given.vocabulary)
        else:
            to_bf16(candidate, model, given.threads)
        source = None if given.vocabulary else given.text
        windows = chunks(model, source, given.chunks)
        print(", ".join(f"{d.name} ({d.description})" for d in devices()), f"{build_flags()}")
        print(f"{len(windows.tokens)} chunks of {CONTEXT}, {given.threads} threads")
        for lanes in (1, 2):
            against_plain(model, windows, folder, given.threads, lanes, given.rounds)
        if given.tools and source:
            against_tool(given.tools, (model, candidate), source, folder, given)


if __name__ == "__main__":
    main()
