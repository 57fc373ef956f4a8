"""Refuses to calibrate or measure a real model on the demo's texts, unless settings allow it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from bot.errors import SettingsError
from bot.plan.plain import baselines
from bot.plan.profiles import load_profiles
from bot.settings.settings import Settings
from bot.workplace.texts import is_demo

MATRIX, TEXT, TASKS = "calibration.texts", "evaluation.text", "evaluation.tasks"  # keys
EVERY_USE = frozenset({MATRIX, TEXT, TASKS})
LINES = {  # what stands in bot.yaml instead
    (MATRIX,): "calibration: {preset: recommended}",
    (TEXT,): "evaluation: {text: FILE}",
    (TASKS,): "evaluation: {tasks: [FILE]}",
    (TEXT, TASKS): "evaluation: {preset: recommended}",
}
ADVICE = (
    "only the demo's few pages, which say nothing of a real model; add to bot.yaml `{lines}`, "
    "or `demo_texts: true` to take them all the same"
)


def not_named(
    settings: Settings, uses: Collection[str], tiers: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Keys of bot.yaml, each with what to write there, whose texts would be the demo's.

    `uses` are keys of what is asked for, `tiers` those to be made; all where none is named.
    Raises SettingsError for tiers or baselines that are unknown.
    """
    if settings.demo_texts:
        return
    matrix = (MATRIX,) if MATRIX in uses and _calibrated(settings, tiers) else ()
    for keys in (matrix, tuple(key for key in _measured(settings) if key in uses)):
        if keys:
            yield keys[0], ADVICE.format(lines=LINES[keys])


def refuse(settings: Settings, uses: Collection[str]) -> None:
    """Raise SettingsError where what is asked for would be the demo's."""
    complaints = [f"{key}: {text}" for key, text in not_named(settings, uses, ())]
    if complaints:
        raise SettingsError("; ".join(complaints))


def _calibrated(settings: Settings, tiers: Sequence[str]) -> bool:
    """Whether a matrix has to be made of a text of the demo's."""
    calibration = settings.calibration
    if calibration.file or not any(
        source.path and is_demo(source.path) for source in calibration.texts
    ):
        return False
    profiles = load_profiles(settings.profiles, tiers or None)
    plain = baselines(settings.quantize.baselines)
    return any(profile.imatrix for profile in profiles) or any(b.imatrix for b in plain)


def _measured(settings: Settings) -> Iterator[str]:
    evaluation = settings.evaluation
    if _of_demo(settings, evaluation.text):
        yield TEXT
    if any(_of_demo(settings, path) for path in evaluation.tasks):
        yield TASKS


def _of_demo(settings: Settings, path: Path) -> bool:
    entry = settings.data.get(str(path))
    if entry is None:
        return is_demo(path)
    return entry.repository is None and is_demo(entry.path)
