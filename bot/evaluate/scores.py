"""Rows of results from measures, and what their comparison supports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from bot.evaluate import paired
from bot.evaluate.bench import Bench
from bot.evaluate.data import Data
from bot.evaluate.kept import answered, speeds
from bot.evaluate.subject import Measured, Subject
from bot.records.coding import load_record
from bot.records.measured import KLD, PPL, Comparison, Divergence, Noise, Perplexity, Scores
from bot.records.results import EvaluationFacts

Wrote = Callable[[], None]  # told after each measure


class ScoreTable:
    """The scores of some files as they come in.

    `order`: what is measured first is what makes a row; the rest follows file by file.
    """

    def __init__(
        self,
        bench: Bench,
        subjects: Sequence[Subject],
        *,
        tasks: Sequence[Data],
        speed: bool,
        wrote: Wrote,
    ) -> None:
        self._bench, self._subjects = bench, subjects
        self._tasks, self._speed, self._wrote = tasks, speed, wrote
        self._found: dict[str, list[Measured]] = {}
        self._chunks: dict[str, dict[str, list[float]]] = {KLD: {}, PPL: {}}
        self.noise: tuple[Noise, ...] = ()

    def fill(self, *, divergence: bool = True, noise: bool = True, perplexity: bool = True) -> None:
        """Measure what is missing."""
        reference = self._bench.reference
        if divergence:
            self._divergences()
        elif perplexity:
            for subject in self._subjects:
                self._keep(subject.sha256, self._bench.perplexity(subject))
        if reference is not None and perplexity:
            self._keep(reference.sha256, self._bench.perplexity(reference))
        if noise and divergence:
            self.noise = self._bench.noise()
            self._wrote()
        for subject in (*((reference,) if reference else ()), *self._subjects):
            for data in self._tasks:
                self._keep(subject.sha256, self._bench.tasks(subject, data))
            if self._speed:
                self._keep(subject.sha256, self._bench.speed(subject))

    def _divergences(self) -> None:
        bench = self._bench
        missing = [s.sha256 for s in self._subjects if bench.known_divergence(s) is None]
        for subject in self._subjects:
            left = len(set(missing))
            found = bench.divergence(subject, left)
            missing = [digest for digest in missing if digest != subject.sha256]
            self._chunks[KLD][subject.sha256] = found.value["chunks"]
            if "nll" in found.value:  # earlier versions kept none
                self._chunks[PPL][subject.sha256] = found.value["nll"]
            self._keep(subject.sha256, found)

    def _keep(self, digest: str, found: Measured) -> None:
        rows = self._found.setdefault(digest, [])
        if found not in rows:
            rows.append(found)
        self._wrote()

    def scores(self, digest: str) -> Scores | None:
        """What is known of a file so far; None without anything."""
        rows = self._found.get(digest)
        if not rows:
            return None
        values: dict[str, Any] = {}
        for row in rows:
            if row.run.measure in ("divergence", "perplexity"):
                values |= row.value
        ppl, kld = values.get("perplexity"), values.get("divergence")
        named = {data.label for data in self._tasks}
        return Scores(
            perplexity=load_record(Perplexity, ppl) if ppl else None,
            divergence=load_record(Divergence, kld) if kld else None,
            choices=tuple(answered(row) for row in rows if row.run.measure in named),
            speed=next((speeds(row) for row in rows if row.run.measure == "speed"), ()),
            runs=tuple(row.run for row in rows),
        )

    def comparisons(self, names: Mapping[str, str]) -> tuple[Comparison, ...]:
        """Every pair of files, by `names` of their hashes, in every measure both have.

        All of them are one family: see docs/statistics.md.
        """
        found: list[Comparison] = []
        for measure, known in self._chunks.items():
            chunks = {names[d]: np.array(values) for d, values in known.items() if d in names}
            found += paired.compare_divergences(measure, chunks)
        for data in self._tasks:
            answers = {
                name: [bit == "1" for bit in choice.answers]
                for digest, name in names.items()
                for choice in self._choices(digest)
                if choice.name == data.label
            }
            found += [
                paired.compare_answers(data.label, one, other, (answers[one], answers[other]))
                for one, other in combinations(answers, 2)
            ]
        return paired.claimed(found)

    def _choices(self, digest: str) -> tuple[Any, ...]:
        scores = self.scores(digest)
        return scores.choices if scores else ()

    def facts(self, subject: Subject) -> EvaluationFacts:
        """How perplexity and divergence were measured, of `subject` where there is no reference."""
        windows, settings = self._bench.windows(subject), self._bench.settings.evaluation
        return EvaluationFacts(
            text=self._bench.text.text,
            context=windows.context,
            chunks=len(windows.tokens),
            scored_tokens=windows.scored * len(windows.tokens),
            tasks=tuple(data.text for data in self._tasks),
            stride=settings.stride,
            batch=windows.together * windows.context,
            noise=self.noise,
        )
