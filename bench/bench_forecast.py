"""What `bot plan --time` foretells of a release beside what the release takes.

    python bench/bench_forecast.py                            nine tiers of the demo model
    python bench/bench_forecast.py MODEL.gguf --bandwidth 20 --settings more.yaml

The model is published twice to a local Hub, over a line of so many MB/s, with the same settings.
The first time measures this machine: what it leaves in the ledger is all that the second one's
forecast knows. For the second all that the first made is removed, so that it does everything again;
its timeline holds predicted beside real. Prints both of each kind of work, and of the whole.
Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

os.environ["HF_HUB_DISABLE_XET"] = "1"  # Xet to a Hub of this machine goes past its line

from bot.clients.llama.quantization import to_bf16
from bot.disk.folders import Folders
from bot.localhub.server import RunningHub
from bot.release.timeline import PastTimeline, read_timeline, timeline_text
from bot.settings.sections import DEMO
from bot.store.paces import PACES

REPO = "demo/Tiny-MoE-14M-APEX-GGUF"
SETTINGS = {
    "llama": {"threads": 2, "gpu_layers": 0},
    "demo_texts": True,  # of the demo's model: its own
    "source": {"license": "apache-2.0"},
}
KEPT = ("ledger.sqlite", "kernels")  # of the working folder, between both


def main() -> None:
    """Both releases and the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", type=Path, help="a 16-bit GGUF; default: the demo's")
    parser.add_argument("--bandwidth", type=float, default=5.0, help="of the line, MB/s")
    parser.add_argument("--settings", type=Path, help="more of bot.yaml")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    asked = parser.parse_args()
    more = yaml.safe_load(asked.settings.read_text()) if asked.settings else {}
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        model = asked.model or folder / "Tiny-MoE-14M-BF16.gguf"
        if asked.model is None:
            to_bf16(DEMO / "tiny-moe-Q8_0.gguf", model, threads=2)
        compile_kernels(folder, model.absolute(), more)
        published(folder, model.absolute(), more, asked.bandwidth)
        forgotten(folder / "work")
        past = published(folder, model.absolute(), more, asked.bandwidth)
    print(timeline_text(past, 110))
    print()
    print("\n".join(compared(past)))


def compile_kernels(folder: Path, model: Path, more: Mapping[str, object]) -> None:
    """Have the probe of a plan compile what passes need, once for a machine."""
    command = configured(folder, more)
    subprocess.run([*command, "plan", str(model), "--time"], check=True, stdout=subprocess.DEVNULL)


def configured(folder: Path, more: Mapping[str, object]) -> list[str]:
    """The command with the settings of all runs."""
    config = folder / "bot.yaml"
    config.write_text(yaml.safe_dump({**SETTINGS, **more, "workdir": str(folder / "work")}))
    return [sys.executable, "-m", "bot", "--config", str(config)]


def published(
    folder: Path, model: Path, more: Mapping[str, object], bandwidth: float
) -> PastTimeline:
    """A whole release to a Hub of its own; its timeline."""
    command = [*configured(folder, more), "publish", str(model)]
    with RunningHub(folder / "hub", bandwidth=bandwidth * 1e6) as server:
        token = server.store.add_user("demo")
        environment = {**os.environ, "HF_TOKEN": token, "HF_ENDPOINT": server.url}
        subprocess.run([*command, "--to", REPO], env=environment, check=True)
    (kept,) = folder.glob("work/jobs/*/timeline.json")
    shutil.rmtree(folder / "hub")
    return read_timeline(kept)


def forgotten(work: Path) -> None:
    """Remove all that was made in a working folder; what is known of the machine's paces stays."""
    for path in work.iterdir():
        if not path.name.startswith(KEPT):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with sqlite3.connect(Folders(work).ledger) as ledger:
        ledger.execute("DELETE FROM work WHERE job <> ?", (PACES,))


def compared(past: PastTimeline) -> Sequence[str]:
    """A line for each kind of work, by the first word of its tasks, and one for the whole."""
    last = max(span.run for span in past.spans)
    (foreseen,) = (seen for seen in past.foreseen if seen.run == last)
    tasks = [span for span in past.spans if span.run == last and not span.part]
    told = [span for span in tasks if span.name in foreseen.seconds]
    kinds: dict[str, list[float]] = {}
    for span in told:
        pair = kinds.setdefault(span.name.partition(" ")[0], [0.0, 0.0])
        pair[0] += foreseen.seconds[span.name]
        pair[1] += span.seconds
    took = max(span.end for span in told) - min(span.start for span in told)
    rows = [*kinds.items(), ("whole", [foreseen.whole, took])]
    head = f"{'work':<12} {'predicted':>9} {'real':>9} {'ratio':>6}"
    return [head, *(f"{name:<12} {a:9.1f} {b:9.1f} {a / b:6.2f}" for name, (a, b) in rows if b)]


if __name__ == "__main__":
    main()
