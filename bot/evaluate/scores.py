"""Rows of results from measures, and what their comparison supports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from bot.evaluate import paired
from bot.evaluate.bench import Bench
from bot.evaluate.data import Data
from bot.evaluate.domains import domain_divergence, domain_facts, domain_runs
from bot.evaluate.intervals import divergence_interval, over_chunks, perplexity_interval
from bot.evaluate.kept import answered, behaved, benchmarked, drafted, speeds
from bot.evaluate.subject import Measured, Subject
from bot.records.built import Built
from bot.records.coding import load_record
from bot.records.measured import (
    BENCHMARK,
    KLD,
    ON_DOMAIN,
    PPL,
    ChunkInterval,
    Comparison,
    Divergence,
    Noise,
    Perplexity,
    Scores,
)
from bot.records.results import EvaluationFacts
from bot.settings.making import BenchmarkTask

Wrote = Callable[[], None]  # told after each measure


class ScoreTable:
    """The scores of some files as they come in.

    Divergence and perplexity of all files come first, then tasks and speed, file by file; `wrote`
    is called after each measure.
    """

    def __init__(
        self,
        bench: Bench,
        subjects: Sequence[Subject],
        *,
        tasks: Sequence[Data],
        speed: bool,
        benchmarks: Sequence[BenchmarkTask] = (),
        wrote: Wrote,
        behaviour: bool = False,
    ) -> None:
        self._bench, self._subjects, self._benchmarks = bench, subjects, benchmarks
        self._tasks, self._speed, self._wrote = tasks, speed, wrote
        self._behaviour = behaviour
        self._measured: dict[str, list[Measured]] = {}
        self._chunks: dict[str, dict[str, list[float]]] = {KLD: {}, PPL: {}}
        self._on_domain: dict[str, dict[str, Measured]] = {}  # by hash and name
        self.noise: tuple[Noise, ...] = ()

    def fill(self, *, divergence: bool = True, noise: bool = True, perplexity: bool = True) -> None:
        """Measure what is missing."""
        reference = self._bench.against.model
        if divergence:
            self._divergences()
            self._on_domains()
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
            if self._behaviour and (measured := self._bench.behaviour(subject)) is not None:
                self._keep(subject.sha256, measured)
            if self._speed:
                self._keep(subject.sha256, self._bench.speed(subject))
            for task in self._benchmarks:
                self._keep(subject.sha256, self._bench.benchmarks.benchmark(subject, task))

    def draft(self, subject: Subject, drafter: Built | None) -> None:
        """Measure the guesses of a file's prediction layers. Raises as `Bench.drafts`."""
        self._keep(subject.sha256, self._bench.drafts(subject, drafter))

    def _divergences(self) -> None:
        bench = self._bench
        missing = [s.sha256 for s in self._subjects if bench.known_divergence(s) is None]
        for subject in self._subjects:
            candidates = len(set(missing))
            measured = bench.divergence(subject, candidates)
            missing = [digest for digest in missing if digest != subject.sha256]
            self._chunks[KLD][subject.sha256] = measured.value["chunks"]
            if "nll" in measured.value:  # earlier versions kept none
                self._chunks[PPL][subject.sha256] = measured.value["nll"]
            self._keep(subject.sha256, measured)

    def _on_domains(self) -> None:
        """The divergence on each domain, one after another: its reference's file is one of many."""
        for name, bench in self._bench.domains.items():
            missing = [s.sha256 for s in self._subjects if bench.known_divergence(s) is None]
            for subject in self._subjects:
                measured = bench.divergence(subject, len(set(missing)))
                missing = [digest for digest in missing if digest != subject.sha256]
                self._on_domain.setdefault(subject.sha256, {})[name] = measured
                self._wrote()

    def _keep(self, digest: str, measured: Measured) -> None:
        rows = self._measured.setdefault(digest, [])
        if measured not in rows:
            rows.append(measured)
        self._wrote()

    def scores(self, digest: str) -> Scores | None:
        """What was measured of a file so far; None where nothing was."""
        rows = self._measured.get(digest)
        if not rows:
            return None
        values: dict[str, Any] = {}
        for row in rows:
            if row.run.measure in ("divergence", "perplexity"):
                values |= row.value
        ppl, kld = values.get("perplexity"), values.get("divergence")
        named = {data.label for data in self._tasks}
        on_domains = self._on_domain.get(digest, {})
        return Scores(
            perplexity=load_record(Perplexity, ppl) if ppl else None,
            divergence=load_record(Divergence, kld) if kld else None,
            domains=tuple(domain_divergence(name, row) for name, row in on_domains.items()),
            choices=tuple(answered(row) for row in rows if row.run.measure in named),
            speed=next((speeds(row) for row in rows if row.run.measure == "speed"), ()),
            drafts=next((drafted(row) for row in rows if row.run.measure == "drafts"), ()),
            behaviour=next((behaved(row) for row in rows if row.run.measure == "behaviour"), None),
            intervals=tuple(self._intervals(digest)),
            benchmarks=tuple(
                benchmarked(row) for row in rows if row.run.measure.startswith(BENCHMARK)
            ),
            runs=(*(row.run for row in rows), *domain_runs(on_domains)),
        )

    def _intervals(self, digest: str) -> Iterator[ChunkInterval]:
        """Of what is a mean over tokens, where chunks of the file are known, and enough of them."""
        for of, interval in ((PPL, perplexity_interval), (KLD, over_chunks)):
            means = self._chunks[of].get(digest)
            found = interval(np.array(means)) if means else None
            if found is not None:
                yield ChunkInterval(of=of, low=found.low, high=found.high)
        for row in self._measured.get(digest, ()):
            if row.run.measure == "divergence":  # earlier versions kept no means
                for of, means in row.value.get("means", {}).items():
                    if (found := divergence_interval(of, np.array(means))) is not None:
                        yield ChunkInterval(of=of, low=found.low, high=found.high)

    def comparisons(self, names: Mapping[str, str]) -> tuple[Comparison, ...]:
        """Every pair of files, by `names` of their hashes, in every measure both have.

        All of them are one family: see docs/statistics.md.
        """
        family: list[Comparison] = []
        for measure, by_digest in (*self._chunks.items(), *self._chunks_of_domains().items()):
            chunks = {names[d]: np.array(means) for d, means in by_digest.items() if d in names}
            family += paired.compare_divergences(measure, chunks)
        answers: dict[str, dict[str, list[bool]]] = {}
        for digest, name in names.items():
            for measure, bits in self._answers(digest).items():
                answers.setdefault(measure, {})[name] = [bit == "1" for bit in bits]
        for measure, by_name in answers.items():
            family += [
                paired.compare_answers(measure, one, other, (by_name[one], by_name[other]))
                for one, other in combinations(by_name, 2)
            ]
        return paired.corrected(family)

    def _chunks_of_domains(self) -> dict[str, dict[str, list[float]]]:
        """Mean KLD of each chunk of a domain, by what comparisons call it, and by hash."""
        chunks: dict[str, dict[str, list[float]]] = {}
        for digest, by_domain in self._on_domain.items():
            for name, measured in by_domain.items():
                chunks.setdefault(f"{ON_DOMAIN}{name}", {})[digest] = measured.value["chunks"]
        return chunks

    def _answers(self, digest: str) -> dict[str, str]:
        """Right and wrong answers of a file, by measure: sets of tasks, and benchmarks whose
        metric is that for each document."""
        scores = self.scores(digest)
        if scores is None:
            return {}
        found = {choice.name: choice.answers for choice in scores.choices}
        for benchmark in scores.benchmarks:
            found |= {
                one.measure: one.right
                for one in benchmark.scores
                if one.right and one.higher_is_better
            }
        return found

    def facts(self, subject: Subject) -> EvaluationFacts:
        """How perplexity and divergence were measured, of `subject` where there is no reference."""
        windows, settings = self._bench.against.windows(subject), self._bench.settings.evaluation
        return EvaluationFacts(
            text=self._bench.against.text.text,
            context=windows.context,
            chunks=len(windows.tokens),
            scored_tokens=windows.scored * len(windows.tokens),
            tasks=tuple(data.text for data in self._tasks),
            stride=settings.stride,
            batch=windows.together * windows.context,
            noise=self.noise,
            chat_template=self._bench.against.chats,
            domains=tuple(domain_facts(name, on) for name, on in self._bench.domains.items()),
        )
