"""All tiers in one pass against one llama_model_quantize call for each, side by side in one run.

    python bench/bench_quantize.py                          the demo model
    python bench/bench_quantize.py --gb 2                   a synthetic source of that size
    python bench/bench_quantize.py --gb 0.5 --tiers I-Nano  one tier alone
    python bench/bench_quantize.py --gb 2 --avx2            beside it kernels of AVX2 alone
    python bench/bench_quantize.py --grow 1.5,3,6           memory and time by size

Prints wall-clock and CPU seconds of both, their ratios, bytes read of the source, and the share of
each type and of all that is around it: reading, conversion to f32, checks, writing, hashing,
handing over; nine tiers, then some tiers alone. Each side runs in a process of its own, because
search grids are built once a process. Kernels are compiled before, and how long that takes is told
apart; ours hashes its files meanwhile, llama.cpp's are hashed when the clock has stopped. The sides
run in turn, half a second each while the others are stopped, so that other work on the machine
weighs on all alike; of a small source several rounds are made, and the median of each side is
compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bot.clients.files import gguf
from bot.clients.files.ggufheader import read_header, text_value, u32, write_header
from bot.clients.llama.library import ggml_type
from bot.clients.llama.quantization import to_bf16
from bot.disk.hashes import sha256
from bot.kernels.choice import Kernels
from bot.plan.profiles import FILE_TYPES, load_profiles
from bot.plan.recipe import asked_types, file_type, make_recipes
from bot.predict.architecture import architecture_of
from bot.quantize import quantize
from bot.quantize.imatrix import Matrix
from bot.quantize.passes import onepass
from bot.quantize.passes.layout import OutputSpec
from bot.records.model import Tensor
from bot.settings.sections import DEMO, data_folder
from tests.oracle import quantize_recipe

THREADS = 2
ALONE = ("Quality", "Compact", "I-Mini", "I-Nano")
AVX2 = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+64bit,+avx,+avx2,+bmi,+bmi2,+cmov,+cx16,+f16c,+fma,+fxsr,+lzcnt,+mmx,"
    "+movbe,+popcnt,+sse,+sse2,+sse3,+sse4.1,+sse4.2,+ssse3,+xsave",
}
OURS, AVX2_SIDE, THEIRS = "one pass", "one pass, AVX2", "llama.cpp"
ROUNDS, SMALL = 5, 100_000_000  # rounds for a source of fewer bytes
KERNELS = Path(tempfile.gettempdir()) / "apex-bench-kernels"  # compiled by the first run
TURN = 0.5  # seconds that a side runs before the other does
RAW = argparse.RawDescriptionHelpFormatter


def synthetic(path: Path, gigabytes: float) -> None:
    """A BF16 file like the demo model's, wider and deeper, with random weights."""
    width, experts, inner = 1024, 16, 512  # 2 GB make 40 layers, the depth APEX was made for
    per_layer = experts * 3 * width * inner * 2
    layers = max(1, round(gigabytes * 1e9 / per_layer))
    keys = dict(read_header(DEMO / "tiny-moe-Q8_0.gguf").keys)
    for key, value in (
        ("block_count", layers),
        ("embedding_length", width),
        ("expert_count", experts),
        ("expert_feed_forward_length", inner),
    ):
        keys[f"qwen35moe.{key}"] = u32(f"qwen35moe.{key}", value)
    keys.pop("qwen35moe.attention.recurrent_layers", None)
    keys["general.name"] = text_value("general.name", "Synthetic")
    keys["general.file_type"] = u32("general.file_type", 32)
    shapes: list[tuple[str, tuple[int, ...]]] = [("token_embd.weight", (width, 4096))]
    for layer in range(layers):
        shapes += [
            (f"blk.{layer}.ffn_{p}_exps.weight", (width, inner, experts)) for p in ("gate", "up")
        ]
        shapes.append((f"blk.{layer}.ffn_down_exps.weight", (inner, width, experts)))
        shapes.append((f"blk.{layer}.attn_qkv.weight", (width, 2 * width)))
    kind = ggml_type("BF16")
    entries = [(n, s, kind, 2 * int(np.prod(s))) for n, s in shapes]
    random = np.random.default_rng(1)
    with path.open("wb") as file:
        file.write(write_header(keys.values(), entries, 32))
        for _, shape in shapes:
            weights = random.standard_normal(int(np.prod(shape)), np.float32) * np.float32(0.02)
            file.write((weights.view(np.uint32) >> 16).astype(np.uint16).tobytes())


def made_up(model: Path) -> Matrix:
    """An importance matrix over every tensor of the layers."""
    random = np.random.default_rng(7)
    sums, counts = {}, {}
    for tensor in gguf.read_gguf(model).tensors:
        if tensor.type == "BF16" and tensor.name.startswith("blk."):
            experts = tensor.shape[2] if len(tensor.shape) > 2 else 1
            sums[tensor.name] = random.gamma(1.0, 1.0, (experts, tensor.shape[0])).astype("f4")
            counts[tensor.name] = np.ones(experts, np.float32)
    return Matrix(datasets=("made-up",), chunks=1, sums=sums, counts=counts)


def tier_specs(model: Path, folder: Path, tiers: list[str]) -> list[OutputSpec]:
    """The tiers as files to make; of one type alone where a tier is called as a type."""
    header, matrix = gguf.read_gguf(model), made_up(model)
    architecture = architecture_of(header.metadata, header.tensors)
    plain = [tier for tier in tiers if tier in FILE_TYPES]
    if plain:
        return [_plain(folder, kind, header.tensors) for kind in plain]
    return [
        OutputSpec(
            target=folder / f"{recipe.tier}.gguf",
            file_type=file_type(recipe.base),
            types=asked_types(recipe, architecture, header.tensors),
            weights=quantize.Importance(matrix) if recipe.imatrix else None,
            notes=quantize.notes(matrix) if recipe.imatrix else (),
        )
        for recipe in make_recipes(
            load_profiles(data_folder("profiles"), tiers or None), architecture, header.tensors
        )
    ]


def _plain(folder: Path, kind: str, tensors: Sequence[Tensor]) -> OutputSpec:
    return OutputSpec(
        target=folder / f"{kind}.gguf",
        file_type=FILE_TYPES[kind],
        types={tensor.name: kind for tensor in tensors if tensor.type == "BF16"},
        weights=None,
    )


def side(engine: str, model: Path, folder: Path, tiers: list[str]) -> None:
    """Do one side's work and print what it took as JSON."""
    files, matrix = tier_specs(model, folder, tiers), made_up(model)
    spent = onepass.Spent()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu, start = usage.ru_utime + usage.ru_stime, time.monotonic()
    if engine != THEIRS:
        onepass.quantize_all(
            model,
            files,
            threads=THREADS,
            memory=4 << 30,
            progress=lambda _done, _total, _words: None,
            spent=spent,
            kernels=Kernels(folder=KERNELS),
        )
    else:
        for spec in files:
            quantize_recipe(
                model,
                spec.target,
                file_type=spec.file_type,
                types=spec.types,
                imatrix=matrix if spec.weights is not None else None,
                threads=THREADS,
            )
    end = time.monotonic()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    took = {"start": start, "end": end, "cpu": usage.ru_utime + usage.ru_stime - cpu}
    took["memory"] = usage.ru_maxrss * 1024
    hashes = {spec.target.name: sha256(spec.target) for spec in files}
    told = {"spent": spent.seconds, "read": spent.source_bytes, "hashes": hashes}
    print(json.dumps({**took, **told}))


def compile_kernels(avx2: bool) -> None:
    """All kernels, where they are not compiled yet; how long that took."""
    start, usage = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    program = (
        "from pathlib import Path\nfrom bot.kernels.choice import KINDS, Kernels, form\n"
        f"kernels = Kernels(folder=Path({str(KERNELS)!r}))\n"
        "used = [kind for kind in KINDS if kernels.kernel(kind) is not None]\n"
        "print(form(), len(used), 'of', len(KINDS), 'types')"
    )
    environment = {**os.environ, **(AVX2 if avx2 else {})}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    took = f"{time.monotonic() - start:.1f} s, {cpu:.1f} s CPU"
    print(f"kernels: {done.stdout.strip()}; compiled and tried, or found: {took}")


def run(engines: Sequence[str], model: Path, folder: Path, tiers: str) -> list[dict[str, Any]]:
    """Sides in processes of their own, in turn; their files are taken away again.

    The `wall` of each is the time that it ran, from the beginning of its work to the end.
    """
    command = [sys.executable, __file__, "--tiers", tiers, "--side"]
    sides: list[subprocess.Popen[str]] = []
    for engine in engines:
        (folder / engine).mkdir()
        whole = [*command, engine, str(model), str(folder / engine)]
        environment = {**os.environ, **(AVX2 if engine == AVX2_SIDE else {})}
        sides.append(subprocess.Popen(whole, stdout=subprocess.PIPE, text=True, env=environment))
        sides[-1].send_signal(signal.SIGSTOP)
    turns: list[list[tuple[float, float]]] = [[] for _ in sides]
    while any(side.returncode is None for side in sides):
        for side, ran in zip(sides, turns, strict=True):
            if side.returncode is None:
                ran.append(_turn(side))
    return [
        _told(side, ran, folder / engine)
        for side, ran, engine in zip(sides, turns, engines, strict=True)
    ]


def _turn(side: subprocess.Popen[str]) -> tuple[float, float]:
    """Let a side run for a while; from when to when it did."""
    start = time.monotonic()
    side.send_signal(signal.SIGCONT)
    try:
        side.wait(TURN)
    except subprocess.TimeoutExpired:
        side.send_signal(signal.SIGSTOP)
    return start, time.monotonic()


def _told(
    side: subprocess.Popen[str], ran: Sequence[tuple[float, float]], files: Path
) -> dict[str, Any]:
    if side.returncode:
        raise SystemExit(f"{files.name} failed with exit code {side.returncode}")
    found: dict[str, Any] = json.loads(side.communicate()[0].splitlines()[-1])
    shutil.rmtree(files)
    start, end = found["start"], found["end"]
    found["wall"] = sum(max(0.0, min(b, end) - max(a, start)) for a, b in ran)
    return found


def compare(model: Path, folder: Path, tiers: str, *, avx2: bool) -> None:
    """All sides in turn, and their ratios."""
    count = len(tiers.split(",")) if tiers else 9
    size = model.stat().st_size
    rounds = ROUNDS if size < SMALL else 1
    print(
        f"{size / 1e9:.2f} GB source, {tiers or 'all nine tiers'}, {THREADS} threads, "
        f"rounds: {rounds}"
    )
    names = (OURS, AVX2_SIDE, THEIRS) if avx2 else (OURS, THEIRS)
    sides = [run(names, model, folder, tiers) for _ in range(rounds)]
    medians = [_median(side) for side in zip(*sides, strict=True)]
    report(dict(zip(names, medians, strict=True)), size, count)


def _median(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The round in the middle by its wall-clock time."""
    return sorted(rounds, key=lambda took: float(took["wall"]))[len(rounds) // 2]


def report(sides: dict[str, dict[str, Any]], size: int, count: int) -> None:
    """The comparison as text."""
    ours, theirs = sides[OURS], sides[THEIRS]
    for name in ("wall", "cpu"):
        line = "   ".join(f"{side} {took[name]:8.2f} s" for side, took in sides.items())
        mine = (took for side, took in sides.items() if side != THEIRS)
        ratios = ", ".join(f"{took[name] / theirs[name]:.3f}" for took in mine)
        print(f"{name:<6} {line}   ratio {ratios}")
    busy = (f"{side} {took['cpu'] / took['wall']:.2f}" for side, took in sides.items())
    print(f"cores busy: {', '.join(busy)}")
    memory = (f"{side} {took['memory'] / 1e6:.0f} MB" for side, took in sides.items())
    print(f"peak memory: {', '.join(memory)}")
    share = ours["read"] / (count * size)
    print(f"source bytes read: {ours['read']:,} against {count} times {size:,} ({share:.3f})")
    print(f"same bytes: {all(took['hashes'] == theirs['hashes'] for took in sides.values())}")
    for side, took in sides.items():
        if side != THEIRS:
            _shares(side, took)
    print(flush=True)


def _shares(side: str, took: dict[str, Any]) -> None:
    """What a pass spent its processor time on; Python's start and imports are the rest."""
    spent = {**took["spent"], "the rest": took["cpu"] - sum(took["spent"].values())}
    print(f"shares of {side}:")
    for what, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        if seconds >= 0.005 * took["cpu"]:
            print(f"  {what:<18} {seconds:8.1f} s  {seconds / took['cpu']:5.1%}")


def grow(folder: Path, sizes: list[float]) -> None:
    """Time and memory of one cheap type by the size of the source."""
    print("one pass, Q4_0, the source growing; the bound is 4.29 GB")
    for size in sizes:
        model = folder / "source.gguf"
        synthetic(model, size)
        [took], exact = run((OURS,), model, folder, "Q4_0"), model.stat().st_size / 1e9
        print(
            f"{exact:5.2f} GB  {took['wall']:6.1f} s  {took['cpu']:6.1f} s CPU  "
            f"{took['cpu'] / exact:5.2f} s CPU/GB  peak memory {took['memory'] / 1e6:.0f} MB",
            flush=True,
        )


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RAW)
    parser.add_argument("--gb", type=float, default=0.0, help="size of a synthetic source")
    parser.add_argument("--tiers", default=None, help="only these, together in one pass")
    parser.add_argument("--avx2", action="store_true", help="kernels of AVX2 alone, too")
    parser.add_argument("--grow", default="", help="sizes in GB, such as 1.5,3,6")
    parser.add_argument("--folder", type=Path, help="where the files go for a while")
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        names = [tier for tier in given.tiers.split(",") if tier]
        side(given.side[0], Path(given.side[1]), Path(given.side[2]), names)
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        if given.grow:
            grow(folder, [float(size) for size in given.grow.split(",")])
            return
        model = folder / "source.gguf"
        if given.gb:
            synthetic(model, given.gb)
        else:
            to_bf16(DEMO / "tiny-moe-Q8_0.gguf", model, THREADS)
        print(f"{processor()}, {len(os.sched_getaffinity(0))} cores")
        for avx2 in (False, True) if given.avx2 else (False,):
            compile_kernels(avx2)
        for tiers in ("", *ALONE) if given.tiers is None else (given.tiers,):
            compare(model, folder, tiers, avx2=given.avx2)


def processor() -> str:
    """Its name, as the system calls it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


if __name__ == "__main__":
    main()
