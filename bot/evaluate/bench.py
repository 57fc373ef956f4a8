"""Measures of files against one reference, each made once and kept in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bot.apart.worker import away
from bot.errors import BuildError
from bot.evaluate.against.against import Against
from bot.evaluate.against.cutting import speaking_of
from bot.evaluate.against.reference_logits import ReferenceLogits
from bot.evaluate.asking import behaving
from bot.evaluate.asking.benchmarking import Benchmarking
from bot.evaluate.data import Data, find_domains
from bot.evaluate.kept import KeptMeasures, speeds
from bot.evaluate.loads import Sessions, on_gpu, tokens_at_once
from bot.evaluate.subject import Measured, Subject
from bot.measures import choices
from bot.measures.opening import (
    Predicting,
    answers_to,
    drafts_of,
    perplexity_pass,
    speeds_of,
)
from bot.measures.speed import OPENING, TEXTS
from bot.measures.tasks import read_tasks
from bot.progress import Report
from bot.records.built import Built
from bot.records.coding import dump, load_record
from bot.records.measured import Noise, Speed, Tools
from bot.settings.making import DomainSettings
from bot.workplace.asked import behaviour_inputs
from bot.workplace.texts import prompts_text
from bot.workplace.workplace import Workplace


class Bench:
    """Measures files against one reference: a model, or its log-probabilities in a file.

    Without a reference there is no divergence. What it is and how it cuts the text, `against`
    tells; `logits` are its log-probabilities.
    """

    def __init__(
        self,
        workplace: Workplace,
        tools: Tools,
        reference: Subject | None,
        base: Path | None = None,
    ) -> None:
        self._workplace, self.settings = workplace, workplace.settings
        self.tools, self.against = tools, Against(workplace, reference, base)
        self._sessions = Sessions(workplace.settings)
        self._kept = KeptMeasures(workplace, tools, self.against)
        self.logits = ReferenceLogits(workplace, self.against, self._kept, self._sessions)
        self.benchmarks = Benchmarking(workplace, self._kept)

    @property
    def new_measures(self) -> int:
        """How many measures were made now, and were not in the ledger."""
        own = self._kept.new_measures
        return own + sum(bench.new_measures for bench in self.domains.values())

    # ── what is asked ───────────────────────────────────────────────────────────────────────

    def perplexity(self, subject: Subject) -> Measured:
        """Perplexity alone; the reference's own where `subject` is it."""
        text = self.against.cut_of(subject)
        inputs = self._kept.perplexity_inputs(subject)

        def work(report: Report) -> Any:
            self._sessions.require_memory(subject, text)
            journal = self._kept.journal(inputs)
            reading = self._sessions.reading(subject, text)
            room = self._sessions.pass_room(reading, report, text.windows, journal)
            measure = away(perplexity_pass, room)
            perplexity = measure(reading, text.windows, done=journal.coded)
            return {"perplexity": dump(perplexity)}

        chunks = len(text.windows.tokens)
        return self._kept.once("perplexity", subject, text.data, inputs, work, chunks=chunks)

    def known_divergence(self, subject: Subject) -> Measured | None:
        """The divergence of a subject, if it was measured before."""
        return self._kept.known("divergence", subject, self._kept.divergence_inputs(subject))

    def divergence(self, subject: Subject, candidates: int) -> Measured:
        """Perplexity and divergence in one pass, `candidates` files being still to be measured.

        Raises CapacityError when neither disk nor memory has room for the reference, BuildError
        for a file of another vocabulary or tokenizer.
        """
        if (measured := self.known_divergence(subject)) is not None:
            return measured
        text, inputs = self.against.cut, self._kept.divergence_inputs(subject)
        self.against.require_same(subject)
        if self.against.base is None:
            self.logits.use()
        choice = self.logits.choice(subject, candidates)
        self._workplace.narrator.say(f"reference of {subject.name}: {choice.reason}")
        file = None if choice.beside else self.logits.file()

        def work(report: Report) -> Any:
            ppl, kld, chunks = self.logits.diverging(subject, file, inputs, report)
            value = {"perplexity": dump(ppl), "divergence": dump(kld)}
            return {**value, **chunks, "beside": choice.beside}

        return self._kept.once("divergence", subject, text.data, inputs, work)

    def tasks(self, subject: Subject, data: Data) -> Measured:
        """The share of a set of tasks that a file answers rightly."""
        evaluation = self.settings.evaluation
        more = {"count": data.count, "kind": data.kind, "context": evaluation.context}
        parallel = evaluation.parallel
        inputs = self._kept.inputs("tasks", subject, data, parallel=parallel, **more)

        def work(report: Report) -> Any:
            if data.kind is None:
                raise TypeError("a running text has no tasks")
            questions = read_tasks(data.path, data.kind, data.count)
            sequences = max(parallel, *(len(task.texts) for task in questions))
            answer = away(answers_to, self._sessions.room(subject, report))
            model = self._sessions.loading(subject)
            answers = answer(
                model, questions, n_ctx=tokens_at_once(self.settings), sequences=sequences
            )
            if len(answers) != len(questions):
                raise BuildError(
                    f"{subject.name} answered {len(answers)} of {len(questions)} tasks"
                )
            return dump(choices.count(data.label, answers))

        return self._kept.once(data.label, subject, data, inputs, work)

    def speed(self, subject: Subject) -> Measured:
        """Tokens per second."""
        repetitions = self.settings.evaluation.repetitions
        inputs = self._kept.inputs("speed", subject, None, repetitions=repetitions)

        def work(report: Report) -> Any:
            measure = away(speeds_of, self._sessions.room(subject, report))
            speeds = measure(self._sessions.loading(subject), repetitions=repetitions)
            return [dump(speed) for speed in speeds]

        return self._kept.once("speed", subject, None, inputs, work)

    def known_speed(self, subject: Subject) -> tuple[Speed, ...] | None:
        """Tokens per second, if they were measured before."""
        repetitions = self.settings.evaluation.repetitions
        inputs = self._kept.inputs("speed", subject, None, repetitions=repetitions)
        known = self._kept.known("speed", subject, inputs)
        return None if known is None else speeds(known)

    def drafts(self, subject: Subject, drafter: Built | None) -> Measured:
        """Tokens guessed ahead by the model's prediction layers, in `drafter` or in the subject.

        Raises BuildError where llama.cpp cannot draft with this family.
        """
        text = self.against.cut_of(subject)
        drafter_hash = drafter.sha256 if drafter else None
        path = Path(drafter.path) if drafter else None
        inputs = self._kept.inputs("drafts", subject, text.data, drafter=drafter_hash)

        def work(report: Report) -> Any:
            beginnings = text.windows.tokens[:TEXTS, :OPENING].tolist()
            room = self._sessions.room(subject, report, *([path] if path else []))
            measure = away(drafts_of, room)
            model = Predicting(model=self._sessions.loading(subject), drafter=path)
            drafts = measure(model, prompts=tuple(map(tuple, beginnings)))
            return [dump(one) for one in drafts]

        return self._kept.once("drafts", subject, text.data, inputs, work)

    def behaviour(self, subject: Subject) -> Measured | None:
        """How a file answers prompts; None for one without a chat template, or if not wanted."""
        wanted = behaviour_inputs(self.settings)
        if wanted is None:
            return None
        text = prompts_text(self.settings.evaluation.behaviour.prompts)
        inputs = self._kept.inputs("behaviour", subject, None, wanted=wanted, how=behaving.VERSION)
        prompts = self.settings.evaluation.behaviour.prompts
        data = Data(path=prompts, text=text, kind=None, label="behaviour", count=None)
        known = self._kept.known("behaviour", subject, inputs)
        if known is not None or not subject.path.is_file():
            return known
        speaking = speaking_of(self.settings, subject.path)
        if speaking is None:
            return None

        def work(report: Report) -> Any:
            return dump(behaving.behaviour_of(self._sessions, subject, speaking, report))

        return self._kept.once("behaviour", subject, data, inputs, work)

    def noise(self) -> tuple[Noise, ...]:
        """Divergence of the reference from itself, in its batches; on a GPU in single ones too."""
        chunks, reference = self.settings.evaluation.noise_chunks, self.against.model
        if not chunks or reference is None or self._kept.window["stride"] is not None:
            return ()
        text = self.against.cut
        tokens = text.windows.tokens[:chunks]
        windows = replace(text.windows, tokens=tokens)
        inputs = self._kept.inputs("noise", reference, text.data, **self._kept.window, of=chunks)
        sizes = (windows.together, 1) if on_gpu(self.settings) and windows.together > 1 else ()

        def work(report: Report) -> Any:
            folder = self._kept.folder(inputs)  # locked while a measure is made
            noises = self.logits.noise(folder, windows, sizes or (windows.together,), report)
            return [dump(noise) for noise in noises]

        value = self._kept.once("noise", reference, text.data, inputs, work).value
        return load_record(tuple[Noise, ...], value)

    def drop_logits(self) -> None:
        """Remove the reference's log-probabilities, of the text and of each domain."""
        for bench in (self, *self.domains.values()):
            bench.logits.drop()

    # ── domains ─────────────────────────────────────────────────────────────────────────────

    @cached_property
    def domains(self) -> Mapping[str, Bench]:
        """For each domain of the settings a bench with its text and context, and the reference.

        Conversations are left out where the reference has no chat template to render them with.
        """
        if self.against.model is None:
            return {}
        evaluation = self.settings.evaluation
        names = find_domains(self._workplace, conversations=self.against.chats)
        return {name: self._on(evaluation.domains[name]) for name in names}

    def _on(self, domain: DomainSettings) -> Bench:
        values = {"text": domain.data, "context": domain.context, "chunks": domain.chunks}
        alone: dict[str, Any] = {"domains": {}, "tasks": (), "stride": None, "noise_chunks": 0}
        evaluation = self.settings.evaluation.model_copy(update={**values, **alone})
        settings = self.settings.model_copy(update={"evaluation": evaluation})
        place = self._workplace.beside(settings, self._workplace.ledger)
        return Bench(place, self.tools, self.against.model)
