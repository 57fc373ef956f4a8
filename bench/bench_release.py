"""A whole release three ways, side by side in one run, published over a line of a stated speed.

    python bench/bench_release.py                                 nine tiers of the demo model
    python bench/bench_release.py --bandwidth 2 --together 1,3,9  MB/s, tiers of a pass
    python bench/bench_release.py --tools llama.cpp/build/bin     and as the public script does it

Nine tiers are made, measured (perplexity and divergence, HellaSwag), described and sent to a local
Hub: overlapped, by the same stages one after another, and, with --tools, in the sequence of the
public APEX script: one llama-quantize call for each tier, separate passes for perplexity,
divergence and HellaSwag of each, all files sent at the end. Prints seconds, their ratios and the
timeline of the first. Both of ours must publish the same files.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ["HF_HUB_DISABLE_XET"] = "1"  # Xet to a Hub of this machine goes past its line

import yaml
from pydantic import SecretStr

from bot.clients.files import gguf
from bot.clients.hub.hub import Hub
from bot.clients.llama.quantization import to_bf16
from bot.disk.hashes import sha256
from bot.localhub.server import RunningHub
from bot.plan.profiles import load_profiles
from bot.plan.recipe import asked_types, make_recipes
from bot.predict.architecture import architecture_of
from bot.publish.upload import open_private, upload
from bot.records.built import Built
from bot.release import timeline
from bot.settings.sections import DEMO, data_folder

CONTEXT, CALIBRATION = 512, 40
REPO = "demo/Tiny-MoE-14M-APEX-GGUF"
RAW = argparse.RawDescriptionHelpFormatter


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line says."""

    source: Path
    bandwidth: float  # MB/s
    chunks: int
    tasks: int
    together: tuple[int, ...]
    tools: Path | None
    rounds: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How long a release took, and what is on the Hub then."""

    seconds: float
    files: dict[str, str]  # sha256 of models by name
    timeline: str


def released(folder: Path, asked: Asked, work: Callable[[str, str], None]) -> Outcome:
    """`work` is given the address of a fresh Hub and a token."""
    with RunningHub(folder / "hub", bandwidth=asked.bandwidth * 1e6) as server:
        token = server.store.add_user("demo")
        start = time.monotonic()
        work(server.url, token)
        seconds = time.monotonic() - start
        files = Hub(server.url, SecretStr(token)).release(REPO).files
    kept = next(folder.glob("work/jobs/*/timeline.json"), None)
    return Outcome(
        seconds=seconds,
        files={f.path: f.sha256 or "" for f in files if f.path.startswith("Tiny")},
        timeline=timeline.timeline_text(timeline.read_timeline(kept), 100) if kept else "",
    )


def ours(folder: Path, asked: Asked, together: int | None) -> Outcome:
    """`bot publish` in a process of its own; without tiers of a pass nothing overlaps."""
    settings = {
        "workdir": str(folder / "work"),
        "llama": {"threads": asked.threads, "gpu_layers": 0},
        "quantize": {"together": together},
        "calibration": {"context": CONTEXT, "chunks": CALIBRATION},
        "evaluation": {"context": CONTEXT, "chunks": asked.chunks, "task_count": asked.tasks},
        "publish": {"overlap": together is not None},
        "demo_texts": True,  # of the demo's model: its own
        "source": {"license": "apache-2.0"},
    }
    config = folder / "bot.yaml"
    config.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "bot", "--config", str(config), "-q"]

    def work(url: str, token: str) -> None:
        subprocess.run(
            [*command, "publish", str(asked.source), "--to", REPO],
            env={**os.environ, "HF_TOKEN": token, "HF_ENDPOINT": url},
            stdout=subprocess.DEVNULL,
            check=True,
        )

    return released(folder, asked, work)


def script(folder: Path, asked: Asked, tools: Path) -> Outcome:
    """The public script's sequence, with llama.cpp's tools; then one upload of everything."""
    header = gguf.read_gguf(asked.source)
    found = architecture_of(header.metadata, header.tensors)
    recipes = make_recipes(load_profiles(data_folder("profiles"), None), found, header.tensors)
    text, tasks, matrix = DEMO / "evaluation.txt", DEMO / "tasks.txt", folder / "imatrix.gguf"
    base, common = folder / "reference.kld", ["-t", str(asked.threads), "-ngl", "0"]
    measured = ["-f", str(text), "-c", str(CONTEXT), "--chunks", str(asked.chunks), *common]
    hellaswag = ["-f", str(tasks), "--hellaswag", "--hellaswag-tasks", str(asked.tasks), *common]

    seconds: dict[str, float] = {}

    def tool(name: str, *arguments: str | Path) -> None:
        start, command = time.monotonic(), [str(tools / name), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        seconds[name] = seconds.get(name, 0.0) + time.monotonic() - start
        if done.returncode:
            raise SystemExit(f"{name} failed: {done.stderr.decode()[-2000:]}")

    def work(url: str, token: str) -> None:
        calibration: tuple[str | Path, ...] = (
            "-f",
            DEMO / "calibration.txt",
            "-c",
            str(CONTEXT),
            *common,
        )
        tool("llama-imatrix", "-m", asked.source, "-o", matrix, "--chunks", "40", *calibration)
        files = {}
        for recipe in (recipe for recipe in recipes if recipe.same_as is None):
            types, out = folder / f"{recipe.tier}.txt", folder / f"Tiny-{recipe.tier}.gguf"
            wanted = asked_types(recipe, found, header.tensors)
            lines = (f"^{re.escape(name)}$={kind.lower()}" for name, kind in wanted.items())
            types.write_text("\n".join(lines) + "\n")
            weighed: list[str | Path] = ["--imatrix", matrix] if recipe.imatrix else []
            made = (asked.source, out, recipe.base, str(asked.threads))
            tool("llama-quantize", *weighed, "--tensor-type-file", types, *made)
            files[out.name] = out
        tool("llama-perplexity", "-m", asked.source, *measured, "--save-all-logits", base)
        tool("llama-perplexity", "-m", asked.source, *hellaswag)
        for out in files.values():
            against: list[str | Path] = ["--kl-divergence", "--kl-divergence-base", base]
            tool("llama-perplexity", "-m", out, *measured)
            tool("llama-perplexity", "-m", out, *measured, *against)
            tool("llama-perplexity", "-m", out, *hellaswag)
        built = {
            name: Built(path=str(path), bytes=path.stat().st_size, sha256=sha256(path))
            for name, path in files.items()
        }
        start = time.monotonic()
        hub = Hub(url, SecretStr(token))
        upload(hub, open_private(hub, REPO), built, "Release")
        seconds["upload"] = time.monotonic() - start
        parts = (f"{name} {spent:.1f} s" for name, spent in seconds.items())
        print(f"public script: {', '.join(parts)}", file=sys.stderr)

    return released(folder, asked, work)


def main() -> None:
    """Run it and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RAW)
    parser.add_argument("--bandwidth", type=float, default=1.5, help="MB/s [1.5]")
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--together", default="3", help="tiers of a pass, several to compare [3]")
    parser.add_argument("--tools", type=Path, help="folder of llama.cpp's tools")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        source = root / "Tiny-MoE-14M-BF16.gguf"
        to_bf16(DEMO / "tiny-moe-Q8_0.gguf", source, given.threads)
        asked = Asked(
            source=source,
            bandwidth=given.bandwidth,
            chunks=given.chunks,
            tasks=given.tasks,
            together=tuple(int(number) for number in given.together.split(",")),
            tools=given.tools,
            rounds=given.rounds,
            threads=given.threads,
        )
        report(root, asked)


def report(root: Path, asked: Asked) -> None:
    """Every way in turn, as often as asked for; the fastest of each counts."""

    def way(together: int | None) -> Callable[[Path], Outcome]:
        return lambda folder: ours(folder, asked, together)

    ways = {f"overlapped, {number}": way(number) for number in asked.together}
    first = next(iter(ways))
    ways["one after another"] = way(None)
    if (tools := asked.tools) is not None:
        ways["public script"] = lambda folder: script(folder, asked, tools)
    best: dict[str, Outcome] = {}
    for number in range(asked.rounds):
        for name, work in ways.items():
            folder = root / f"{name.replace(' ', '-')}-{number}"
            folder.mkdir()
            found = work(folder)
            print(f"{name}: {found.seconds:.1f} s", file=sys.stderr, flush=True)
            if name not in best or found.seconds < best[name].seconds:
                best[name] = found
    assert all(
        best[f"overlapped, {n}"].files == best["one after another"].files for n in asked.together
    )
    base = best[first].seconds
    print(f"nine tiers, {asked.threads} threads, {asked.bandwidth} MB/s:")
    for name, found in best.items():
        print(f"  {name:<18} {found.seconds:7.1f} s   {found.seconds / base:5.2f}")
    print(f"\n{best[first].timeline}")


if __name__ == "__main__":
    main()
