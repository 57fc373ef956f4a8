"""Scores for people: the text that verbs print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bot.cli.text.short_size import size
from bot.legible import legible
from bot.records.measured import Comparison, Imported, Row
from bot.records.results import CalibrationFacts, Evaluation, EvaluationFacts, Results
from bot.wording.columns import table

if TYPE_CHECKING:
    from bot.evaluate.files import AskedOf

_IMPORTED = ("mean", "median", "p999", "max")


def coverage_text(facts: CalibrationFacts) -> str:
    """What `bot calibrate` prints: texts, and layers in which some experts saw few tokens."""
    chunks = f"{facts.chunks} chunks of {facts.context} tokens"
    text_chunks = zip(facts.texts, facts.taken, strict=False)
    mix = legible(", ".join(f"{text.name} {count}" for text, count in text_chunks))
    lines = [f"{chunks}: {mix}" if mix else chunks]
    poor_layers = [layer for layer in facts.coverage if layer.unreached or layer.rare]
    columns = ("layer", "experts", "fewest tokens", "median", "unreached", "rare")
    rows = [
        tuple(map(str, (c.layer, c.experts, c.fewest, c.median, len(c.unreached), len(c.rare))))
        for c in poor_layers
    ]
    if poor_layers:
        lines.append(table(columns, rows))
    elif facts.coverage:
        fewest = min(layer.fewest for layer in facts.coverage)
        lines.append(f"every expert of {len(facts.coverage)} layers saw at least {fewest} tokens")
    return "\n".join(lines)


def results_table(results: Results) -> str:
    """The tier table of `bot evaluate`, largest first, and what it rests on."""
    rows = (
        results.reference,
        *sorted((*results.tiers, *results.baselines, *results.others), key=lambda row: -row.bytes),
    )
    parts = (*_benchmarks(rows), *_noise(results.evaluation), *_imported(results.imported))
    return "\n".join((_scores(rows), *parts))


def evaluation_text(evaluation: Evaluation) -> str:
    """What `bot evaluate FILE...` says."""
    rows = (*((evaluation.reference,) if evaluation.reference else ()), *evaluation.files)
    lines = [_scores(rows), *_benchmarks(rows)]
    lines += [*(_noise(evaluation.evaluation) if evaluation.evaluation else ())]
    return "\n".join((*lines, *comparison_lines(evaluation.comparisons)))


def comparison_lines(comparisons: Sequence[Comparison]) -> list[str]:
    """A line for each comparison."""
    lines = []
    for c in comparisons:
        interval = f" [{c.low:+.6f}, {c.high:+.6f}]" if c.low is not None else ""
        verdict = "differ" if c.differs else "cannot be told apart"
        corrected = "" if c.adjusted in (None, c.p) else f", corrected {c.adjusted:.4g}"
        lines.append(
            f"{c.measure}: {c.one} − {c.other} = {c.difference:+.6f}{interval}, "
            f"p = {c.p:.4g}{corrected}: they {verdict}"
        )
    return lines


def _scores(rows: Sequence[Row]) -> str:
    fixed = ("tier", "size", "bpw", "PPL", "±", "KLD mean", "±", "median", "99.9 %", "max")
    choice_names = dict.fromkeys(choice.name for row in rows for choice in row.scores.choices)
    speeds = dict.fromkeys(speed.name for row in rows for speed in row.scores.speed)
    columns = (*fixed, "same top", *choice_names, *(f"{name} t/s" for name in speeds))
    return table(columns, [_measured(row, list(choice_names), list(speeds)) for row in rows])


def _benchmarks(rows: Sequence[Row]) -> list[str]:
    """Each number of lm-evaluation-harness, row by row; nothing without any."""
    body = [
        (
            row.name,
            one.task,
            one.metric if one.filter == "none" else f"{one.metric}, {one.filter}",
            f"{one.value:.4f}",
            f"{one.error:.4f}" if one.error is not None else "—",
            str(one.documents),
            "—" if one.fewshot is None else str(one.fewshot),
        )
        for row in rows
        for benchmark in row.scores.benchmarks
        for one in benchmark.scores
    ]
    columns = ("tier", "benchmark", "metric", "value", "±", "documents", "few-shot")
    return ["", table(columns, body)] if body else []


def asked_table(rows: Sequence[AskedOf]) -> str:
    """What benchmarks would ask of files."""
    columns = ("file", "benchmark", "requests", "texts", "tokens to write, at most", "time")
    body = [
        (
            row.file,
            row.benchmark,
            f"{row.requests:,}",
            f"{row.texts:,}",
            f"{row.most_tokens:,}",
            "not known: measure speed first" if row.seconds is None else f"up to {row.seconds:,} s",
        )
        for row in rows
    ]
    return table(columns, body)


def _noise(facts: EvaluationFacts) -> list[str]:
    return [
        f"noise floor: the reference against itself, {n.sequences} of its {n.chunks} chunks at a "
        f"time: mean KLD {n.mean:.6f}, maximum {n.max:.6f}"
        for n in facts.noise
    ]


def _imported(rows: Sequence[Imported]) -> list[str]:
    return ["", imported_table(rows)] if rows else []


def imported_table(rows: Sequence[Imported]) -> str:
    """Other people's numbers, apart from ours and marked."""
    columns = ("imported", "size", "PPL", "KLD mean", "median", "99.9 %", "max", "HellaSwag")
    body = [
        (
            row.name,
            size(row.bytes) if row.bytes else "—",
            f"{row.perplexity:.4f}" if row.perplexity is not None else "—",
            *(f"{row.kld[k]:.6f}" if k in row.kld else "—" for k in _IMPORTED),
            f"{row.choices['HellaSwag']:.1%}" if "HellaSwag" in row.choices else "—",
        )
        for row in rows
    ]
    return "\n".join(
        ("Measured by others, on texts and machines of their own:", table(columns, body))
    )


def _measured(row: Row, choice_names: Sequence[str], speeds: Sequence[str]) -> tuple[str, ...]:
    ppl, kld = row.scores.perplexity, row.scores.divergence
    cells = [row.name, size(row.bytes), f"{row.bits_per_weight:.2f}"]
    cells += [f"{ppl.value:.4f}", f"{ppl.error:.4f}"] if ppl else ["—", "—"]
    if kld is None:
        cells += ["—"] * 6
    else:
        cells += [f"{kld.mean:.6f}", f"{kld.mean_error:.6f}", f"{kld.median:.6f}"]
        cells += [f"{kld.p999:.4f}", f"{kld.max:.4f}", f"{kld.same_top:.2%}"]
    shares = {choice.name: f"{choice.accuracy:.1%}" for choice in row.scores.choices}
    cells += [shares.get(name, "—") for name in choice_names]
    rates = {speed.name: f"{speed.mean:.1f} ± {speed.spread:.1f}" for speed in row.scores.speed}
    return (*cells, *(rates.get(name, "—") for name in speeds))
