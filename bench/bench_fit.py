"""Fitted tiers against tiers by role, and llama.cpp's own types, of the very same sizes.

    python bench/bench_fit.py MODEL.gguf --matrix imatrix.gguf \\
        --calibration a.txt --calibration b.txt --text wiki.test.raw --tasks hellaswag.txt
    python bench/bench_fit.py … --against baselines --chunks 100
    python bench/bench_fit.py … --ablate --chunks 100
    python bench/bench_fit.py … --predict 30

Every file is made by `bot quantize`, and measured on texts that no probe has read. A line for each
size: mean KLD of both, how much less, and whether that is sure: a paired test over chunks (signs of
differences exchanged), corrected for the number of sizes (Holm); 99.9 % KLD by a paired bootstrap
over chunks; tasks by McNemar's test. `--ablate` makes the same sizes without a part of the work: no
probes (errors of types alone), a tenth of them, probes of whole layers, no correction. `--predict`
asks for so many random sizes and holds what was predicted of each, before it was measured, against
what its types give on the probe text.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from bot.clients.llama.session import Session
from bot.evaluate.paired import compare_divergences, mcnemar
from bot.kernels.choice import Kernels
from bot.kernels.rows.rowwork import RowKernels, loaded, prepared
from bot.measures.choices import answers_of
from bot.measures.divergence import measure_divergence
from bot.measures.journal import Passing, Values
from bot.measures.logits import open_base
from bot.measures.perplexity import reference_perplexity
from bot.measures.tasks import read_tasks
from bot.measures.windows import cut, read_evaluation_text, scored_per_chunk, sequences

TIERS = (
    *("Quality", "I-Quality", "Balanced", "I-Balanced", "Compact", "I-Compact"),
    *("I-Mini", "I-Nano", "I-Micro"),
)
BASELINES = ("I-Q4_K_M", "I-IQ4_XS", "I-Q3_K_M", "I-IQ3_XXS", "I-Q2_K")
CONTEXT, RESAMPLED, SEED = 512, 4000, 20_261_129
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """A file, and the one fitted to its size."""

    name: str
    file: Path
    fitted: Path


def main(arguments: argparse.Namespace) -> None:
    """Make, measure, compare."""
    work = arguments.work or Path(tempfile.mkdtemp(prefix="apex-bench-fit-"))
    if arguments.predict:
        predict(arguments, work)
        return
    if arguments.ablate:
        ablate(arguments, work)
        return
    pairs = made(arguments, work)
    for text in arguments.text:
        compare(arguments, work, text, pairs)
    if arguments.tasks is not None:
        compare_tasks(arguments, pairs)


# ── files ───────────────────────────────────────────────────────────────────────────────────


def settings(arguments: argparse.Namespace, work: Path) -> Path:
    """A bot.yaml for this model, matrix and texts."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / "bot.yaml"
    texts = [str(text.absolute()) for text in arguments.calibration]
    matrix = {} if arguments.matrix is None else {"file": str(arguments.matrix.absolute())}
    values = {
        "workdir": str((work / "work").absolute()),
        "calibration": {**matrix, "texts": texts, "chunks": arguments.calibration_chunks},
        "evaluation": {"tasks": []},
        "llama": {"threads": arguments.threads},
        "fit": json.loads(arguments.fit),
        "demo_texts": True,
    }
    path.write_text(yaml.safe_dump(values))
    return path


def asked(arguments: argparse.Namespace, work: Path, *words: str) -> dict[str, Any]:
    """What `bot quantize` or `bot fit` answers in JSON."""
    command = [sys.executable, "-m", "bot", "--config", str(settings(arguments, work)), *words]
    done = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def made(arguments: argparse.Namespace, work: Path) -> list[Pair]:
    """Both files of each size."""
    model = str(arguments.model)
    if arguments.against == "tiers":
        fits = [f"Fit-{tier}" for tier in TIERS]
        files = asked(arguments, work, "quantize", model, "--tiers", ",".join([*TIERS, *fits]))
        # a tier that coincides with another is that one's file
        return [Pair(t, _path(files[t]), _fitted(files, t)) for t in TIERS if t in files]
    named = ("quantize", model, "--tiers", "I-Mini", "--baselines", ",".join(BASELINES))
    files = asked(arguments, work, *named)
    sizes = {name: f"Fit-{_bytes(files[name]) / 1e9:.9g}GB" for name in BASELINES}
    fitted = asked(arguments, work, "quantize", model, "--tiers", ",".join(sizes.values()))
    return [Pair(n, _path(files[n]), _path(fitted[sizes[n]])) for n in BASELINES]


def _fitted(files: dict[str, Any], tier: str) -> Path:
    """The file fitted to a tier's size; the largest that fits, where two are one file."""
    room = _bytes(files[tier])
    fits = [built for name, built in files.items() if name.startswith("Fit-")]
    largest = max((each for each in fits if _bytes(each) <= room), key=_bytes)
    return _path(files.get(f"Fit-{tier}", largest))


def _path(built: dict[str, Any]) -> Path:
    return Path(str(built["path"]))


def _bytes(built: dict[str, Any]) -> int:
    return int(str(built["bytes"]))


# ── measures ────────────────────────────────────────────────────────────────────────────────


def kernels(work: Path) -> RowKernels | None:
    """Ours on logits, compiled where they are not."""
    place = prepared(Kernels(folder=work / "work" / "kernels"))
    return None if place is None else loaded(place)


def session(path: Path, threads: int) -> Session:
    """A model with room for a group of windows."""
    together = sequences(CONTEXT)
    return Session(
        path, n_ctx=together * CONTEXT, threads=threads, sequences=together, unified=False
    )


@contextmanager
def measured(
    arguments: argparse.Namespace, work: Path, text: Path
) -> Iterator[Callable[[Path], Values]]:
    """What gives a file's values on a text, token for token."""
    rows, base, threads = kernels(work), work / "reference.base", arguments.threads
    with session(arguments.model, threads) as reference:
        windows = cut(
            reference, read_evaluation_text(text), context=CONTEXT, limit=arguments.chunks
        )
        reference_perplexity(
            reference, windows, base, Passing(), threads=threads, progress=_quiet, kernels=rows
        )

    def values(path: Path) -> Values:
        journal = Passing()
        with session(path, threads) as candidate, open_base(base) as opened:
            measure_divergence(
                candidate, opened, journal, threads=threads, progress=_quiet, kernels=rows
            )
        return journal.values

    yield values
    base.unlink()


def compare(arguments: argparse.Namespace, work: Path, text: Path, pairs: Sequence[Pair]) -> None:
    """A line for each size, on one text."""
    lines = []
    with measured(arguments, work, text) as values:
        for pair in pairs:
            one, other = (_kld(values(path)) for path in (pair.file, pair.fitted))
            lines.append((pair, one, other))
            print(f"  {pair.name} measured: {one.mean():.5f} → {other.mean():.5f}", file=sys.stderr)
    print(f"\n{text.name}, {len(lines[0][1])} chunks of {CONTEXT}", flush=True)
    print("size of      MB      mean KLD          less   p (Holm)  99.9 %            p (Holm)")
    means = [
        compare_divergences(
            "kld", {"one": one.mean(axis=1), "other": other.mean(axis=1)}, [("one", "other")]
        )[0].p
        for _, one, other in lines
    ]
    sure, sure_tail = holm(means), holm([bootstrapped(one, other) for _, one, other in lines])
    for (pair, one, other), p, tail in zip(lines, sure, sure_tail, strict=True):
        high = [float(np.quantile(each, 0.999)) for each in (one, other)]
        size, fitted = pair.file.stat().st_size, pair.fitted.stat().st_size
        print(
            f"{pair.name:<11} {size / 1e6:6.3f}  {one.mean():.5f} → {other.mean():.5f}  "
            f"{1 - other.mean() / one.mean():5.1%}  {p:.4f}    {high[0]:.3f} → {high[1]:.3f}    "
            f"{tail:.4f}   {fitted - size:+d} bytes ({fitted / size - 1:+.3%})",
            flush=True,
        )


def _quiet(_done: int, _total: int) -> None:
    """Lines tell enough."""


def _kld(values: Values) -> Floats:
    """Divergence of each token, [chunks, scored]."""
    kld: Floats = values["kld"].astype(np.float64).reshape(-1, scored_per_chunk(CONTEXT))
    return kld


def bootstrapped(one: Floats, other: Floats) -> float:
    """Two-sided p that the 99.9 % quantiles differ, chunks drawn anew in pairs."""
    random = np.random.default_rng(SEED)
    seen = np.quantile(other, 0.999) - np.quantile(one, 0.999)
    beyond = 0
    for _ in range(RESAMPLED):
        chosen = random.integers(0, len(one), len(one))
        drawn = np.quantile(other[chosen], 0.999) - np.quantile(one[chosen], 0.999)
        beyond += int(abs(drawn - seen) >= abs(seen))
    return (beyond + 1) / (RESAMPLED + 1)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's correction of p for as many tests."""
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, number in enumerate(np.argsort(ps)):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[number]))
        adjusted[number] = highest
    return adjusted


def compare_tasks(arguments: argparse.Namespace, pairs: Sequence[Pair]) -> None:
    """Right answers of both files of each size."""
    tasks = read_tasks(arguments.tasks, "hellaswag", arguments.task_count)

    def answers(path: Path) -> tuple[bool, ...]:
        with Session(path, n_ctx=4096, threads=arguments.threads, sequences=64) as model:
            return answers_of(model, tasks, threads=arguments.threads, progress=_quiet)

    found = [(pair.name, answers(pair.file), answers(pair.fitted)) for pair in pairs]
    sure = holm([mcnemar(one, other) for _, one, other in found])
    print(f"\n{arguments.tasks.name}, {len(tasks)} tasks\nsize of      right           p (Holm)")
    for (name, one, other), p in zip(found, sure, strict=True):
        print(f"{name:<11} {np.mean(one):.1%} → {np.mean(other):.1%}   {p:.3f}")


# ── without a part of it ───────────────────────────────────────────────────────────────────


def ablate(arguments: argparse.Namespace, work: Path) -> None:
    """Mean KLD on each text of what each way of fitting makes of the weighed tiers' sizes."""
    weighed = arguments.sizes.split(",")
    asked_for = json.loads(arguments.fit)
    fits = [f"Fit-{tier}" for tier in weighed]
    ways: dict[str, dict[str, int | str]] = {"as it is": {}, "no correction": {"rounds": 0}}
    ways |= {"a tenth of the probes": {"probes": arguments.tenth}}
    ways |= {"probes of whole layers": {"probes": "layers"}}
    ways |= {"no probes": {"probes": 0, "rounds": 0}}
    files = {}
    for way, values in ways.items():
        arguments.fit = json.dumps({**asked_for, **values})
        told = asked(arguments, work, "quantize", str(arguments.model), "--tiers", ",".join(fits))
        files[way] = [_path(told[fit]) for fit in fits]
    arguments.fit = "{}"
    told = asked(arguments, work, "quantize", str(arguments.model), "--tiers", ",".join(weighed))
    files["by roles"] = [_path(told[tier]) for tier in weighed]
    for text in arguments.text:
        print(f"\n{text.name}: mean KLD at the size of {', '.join(weighed)}", flush=True)
        with measured(arguments, work, text) as kld_of:
            for way, paths in files.items():
                means = [kld_of(path)["kld"].mean() for path in paths]
                print(f"{way:<22} {'  '.join(f'{mean:.5f}' for mean in means)}", flush=True)


# ── predictions ─────────────────────────────────────────────────────────────────────────────


def predict(arguments: argparse.Namespace, work: Path) -> None:
    """Predicted and measured of random sizes between 2.2 and 7 bits a weight."""
    random = np.random.default_rng(SEED)
    bits = np.exp(random.uniform(np.log(2.2), np.log(7), arguments.predict))
    words = [word for each in sorted(bits) for word in ("--bits", f"{each:.3f}")]
    answer = asked(arguments, work, "fit", str(arguments.model), "--rounds", "0", *words)
    apart = []
    for fit in answer["fitted"]:
        predicted, measured = float(fit["predicted"]), float(fit["measured"])
        apart.append(abs(predicted / measured - 1))
        print(f"{fit['tier']}: {predicted:.5f} predicted, {measured:.5f} measured", flush=True)
    print(f"median error {np.median(apart):.1%}, largest {max(apart):.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--matrix", type=Path, help="[default: taken on the calibration texts]")
    parser.add_argument("--calibration-chunks", type=int, help="of the matrix [default: all]")
    parser.add_argument("--calibration", type=Path, action="append", required=True)
    parser.add_argument("--text", type=Path, action="append", default=[])
    parser.add_argument("--tasks", type=Path)
    parser.add_argument("--task-count", type=int, default=400)
    parser.add_argument("--against", choices=("tiers", "baselines"), default="tiers")
    parser.add_argument("--chunks", type=int, help="of each text [default: all]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fit", default="{}", help="settings of the section fit, as JSON")
    parser.add_argument("--ablate", action="store_true")
    weighed = ",".join(tier for tier in TIERS if tier.startswith("I-"))
    parser.add_argument("--sizes", default=weighed, help="of --ablate: tiers [default: I- ones]")
    parser.add_argument("--tenth", type=int, default=9, help="probes that are a tenth")
    parser.add_argument("--predict", type=int, default=0, metavar="SIZES")
    parser.add_argument("--work", type=Path, help="a folder to go on in")
    main(parser.parse_args())
