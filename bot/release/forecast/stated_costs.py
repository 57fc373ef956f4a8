"""What measuring takes on a machine of settings, before any model is there to be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bot.behaviour.prompts import read_prompts
from bot.evaluate.costing.measure_costs import MeasureCost, When, Whose
from bot.measures.speed import GENERATED, PROMPT
from bot.release.forecast.rates import StatedRates
from bot.release.room import NOT_HERE
from bot.settings.making import EvaluationSettings
from bot.settings.settings import Settings
from bot.store.paces import Pace, PastWork

LETTERS = 4  # of a token, about: WikiText-2's test has 4.3 with a vocabulary of 150,000
TASK = 160  # tokens of HellaSwag's task: what its four endings begin with once, and each ending
Seconds = Callable[[int], float]  # by bytes of the file


def stated_costs(
    settings: Settings, rates: StatedRates, sizes: Sequence[int]
) -> tuple[MeasureCost, ...]:
    """Of each measure, for files of these sizes, the 16-bit model's the last."""
    return tuple(_costs(settings.evaluation, rates, sizes))


def _costs(
    evaluation: EvaluationSettings, rates: StatedRates, sizes: Sequence[int]
) -> Iterator[MeasureCost]:
    def cost(
        measure: str, tokens: int, seconds: Seconds, whose: Whose, when: When = "tier"
    ) -> MeasureCost:
        works = tuple(
            PastWork(kind=measure, units=1, seconds=seconds(size), bytes=size) for size in sizes
        )
        files = {"reference": 1, "tiers": len(sizes) - 1, "all": len(sizes)}[whose]
        return MeasureCost(
            measure=measure, files=files, unit="runs", units=1, tokens=tokens, whose=whose,
            when=when, works=works, pace=Pace.said(works[-1].seconds),
        )  # fmt: skip

    def read(measure: str, tokens: int, whose: Whose, when: When = "tier") -> MeasureCost:
        return cost(measure, tokens, lambda size: rates.reading(size, tokens), whose, when)

    for name, tokens in _texts(evaluation):
        yield read(f"reference, {name}", tokens, "reference", "first")
        yield read(f"PPL and KLD, {name}", tokens, "tiers")
    noise = 3 * evaluation.noise_chunks * evaluation.context
    if noise:
        yield read("noise floor", noise, "reference", "rest")
    for path in evaluation.tasks:
        yield read(path.stem, evaluation.task_count * TASK, "all")
    asked = evaluation.behaviour
    if asked.measure:
        written = len(read_prompts(asked.prompts).prompts) * asked.tokens
        yield cost("behaviour", written, lambda size: rates.writing(size, written), "all")
    if evaluation.speed:
        runs = evaluation.repetitions + 1

        def speeds(size: int) -> float:
            return rates.reading(size, runs * PROMPT) + rates.writing(size, runs * GENERATED)

        yield cost("speed", runs * (PROMPT + GENERATED), speeds, "all", "end")


def _texts(evaluation: EvaluationSettings) -> Iterator[tuple[str, int]]:
    size = evaluation.text.stat().st_size if evaluation.text.is_file() else NOT_HERE
    chunks = max(size // (LETTERS * evaluation.context), 1)
    if evaluation.chunks is not None:
        chunks = min(chunks, evaluation.chunks)
    yield evaluation.text.stem, chunks * evaluation.context
    for name, domain in evaluation.domains.items():
        yield name, domain.chunks * domain.context
