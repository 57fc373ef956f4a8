"""Releases far beyond this machine, on paper: the tables of docs/scale.md.

    python bench/bench_scale.py                                 every table
    python bench/bench_scale.py --model Kimi-K2-1T --machines 3 each task of one release

The predictor is that of `bot plan --time --runner`; shapes are those of tests/true_shapes.py, the
machine is what `BOX` says. Nothing is loaded, measured or sent: a model is its header.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bot.cli.text.forecast_text import forecast_text
from bot.clients.files.gguf import read_gguf
from bot.clock import span
from bot.plan.models import Plan, Sketch
from bot.predict.architecture import architecture_of
from bot.progress import Narrator
from bot.release.forecast.foreseeing import forecast_on
from bot.release.forecast.foretold import Forecast
from bot.settings.settings import load
from bot.workplace.planning import make_plan
from bot.workplace.workplace import Workplace
from tests.true_shapes import DEEPSEEK, GPT_OSS, QWEN, Shape, Size, write_header_of

MODELS: Mapping[str, tuple[Shape, Size]] = {
    "Qwen3.6-35B-A3B": (QWEN, QWEN.sized()),
    "gpt-oss-120b": (GPT_OSS, GPT_OSS.sized()),
    "DeepSeek-400B": (DEEPSEEK, DEEPSEEK.sized(layers=36)),  # its layers, fewer of them
    "DeepSeek-V3.1": (DEEPSEEK, DEEPSEEK.sized()),
    "Kimi-K2-1T": (DEEPSEEK, DEEPSEEK.sized(experts=384)),  # DeepSeek-V3's shape, more experts
}
MACHINES = (1, 3, 8)
BOX: Mapping[str, Any] = {  # the box of tests/simulation/month_releases.py
    "down_mbit": 1_000, "up_mbit": 1_000, "disk_gb": 10_000, "disk_gb_s": 5.0,
    "memory_gb": 512, "memory_gb_s": 200, "cores": 16, "core_speed": 1.0,
    "device_gb": 80, "device_gb_s": 2_000, "tflops": 100, "bus_gb_s": 25, "price_hour": 2.5,
}  # fmt: skip
KINDS = {
    "local": "fetch, convert", "model": "hash", "importance": "matrix", "reference": "16-bit model",
    "rest": "16-bit model", "make": "quantize", "measure": "measure", "send": "send",
    "hand": "hand on", "get": "hand on", "results": "end", "files": "end", "published": "end",
}  # fmt: skip
COLUMNS = tuple(dict.fromkeys(KINDS.values()))


def main() -> None:
    """The tables, or one release."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS)
    parser.add_argument("--machines", type=int, default=1)
    parser.add_argument("--preset", choices=("seed", "recommended"), default="seed")
    parser.add_argument("--micro-batch", type=int, default=2048)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        workplace = workplace_in(Path(name), asked.preset, asked.micro_batch)
        if asked.model:
            plan = plan_of(workplace, Path(name), asked.model)
            print(forecast_text(forecast_on(workplace, plan, "box", machines=asked.machines), 2.5))
            return
        plans = {model: plan_of(workplace, Path(name), model) for model in MODELS}
        print("\n".join(tables(workplace, plans)))


def workplace_in(folder: Path, preset: str, micro_batch: int) -> Workplace:
    """A preset's measures, on the machine."""
    settings = load(
        workdir=folder,
        runners={"box": dict(BOX)},
        evaluation={"preset": preset},
        llama={"micro_batch": micro_batch},
        calibration={"preset": "recommended"},
        jobs={"travel": "hub", "staging": "somebody", "tiers": 2},
    )
    return Workplace(settings, Narrator(quiet=True), None)


def plan_of(workplace: Workplace, folder: Path, name: str) -> Plan[Sketch]:
    """The nine tiers of a release that is its header alone."""
    shape, size = MODELS[name]
    path = folder / f"{name}.gguf"
    write_header_of(shape, size, path)
    header = read_gguf(path)
    sketch = Sketch(
        name=name,
        release=None,
        architecture=architecture_of(header.metadata, header.tensors),
        tensors=header.tensors,
        header_bytes=header.data_offset,
    )
    return make_plan(workplace, sketch)


def tables(workplace: Workplace, plans: Mapping[str, Plan[Sketch]]) -> Iterator[str]:
    """One machine: where the time goes. Several: how long, at which price."""
    yield from _table(("model", "16 bits", "disk", "memory", "sent", *COLUMNS, "whole"), [
        _alone(name, plan, forecast_on(workplace, plan, "box")) for name, plan in plans.items()
    ])  # fmt: skip
    yield f"\nSeveral, {workplace.settings.jobs.tiers} tiers a group; time and price:\n"
    yield from _table(("model", *(f"{count} of them" for count in MACHINES)), [
        (name, *(_priced(forecast_on(workplace, plan, "box", machines=count), count)
                 for count in MACHINES))
        for name, plan in plans.items()
    ])  # fmt: skip


def _alone(name: str, plan: Plan[Sketch], forecast: Forecast) -> Sequence[str]:
    sixteen = sum(tensor.bytes for tensor in plan.model.tensors)
    need = forecast.memory.device + forecast.memory.host
    seconds = dict.fromkeys(COLUMNS, 0.0)
    for task in forecast.tasks:
        seconds[KINDS[task.name.partition(" ")[0]]] += task.seconds
    sizes = (sixteen, forecast.disk_bytes, need, forecast.sent_bytes)
    return (
        name,
        *(f"{size / 1e9:,.0f} GB" for size in sizes),
        *(_hours(seconds[column]) for column in COLUMNS),
        span(forecast.seconds),
    )


def _priced(forecast: Forecast, machines: int) -> str:
    price = forecast.seconds / 3600 * machines * BOX["price_hour"]
    return f"{span(forecast.seconds)}, {price:,.0f}"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 360 else f"{seconds / 60:.0f} min"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


if __name__ == "__main__":
    main()
