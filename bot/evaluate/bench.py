"""Measures of files against one reference, each made once and kept in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any

from bot import rights
from bot.apart.worker import away
from bot.disk.folders import MEASURED
from bot.disk.locks import leave, unused, use
from bot.disk.paths import inside
from bot.disk.space import free_disk, require_free, taken
from bot.disk.writing import copy, keep_text, partial_of
from bot.errors import BuildError
from bot.evaluate.asking import behaving
from bot.evaluate.asking.benchmarking import Benchmarking
from bot.evaluate.cutting import Cutter, CutText, chat_template_of, speaking_of
from bot.evaluate.data import Data, find_domains
from bot.evaluate.intervals import means_of_chunks
from bot.evaluate.kept import KeptMeasures, speeds
from bot.evaluate.loads import Sessions, on_gpu, tokens_at_once
from bot.evaluate.paired import chunk_means
from bot.evaluate.subject import Measured, Subject
from bot.measures import choices
from bot.measures.journal import Journal
from bot.measures.logits import base_bytes
from bot.measures.opening import (
    Predicting,
    Reference,
    answers_to,
    divergence_pass,
    drafts_of,
    pass_beside,
    perplexity_pass,
    reference_pass,
    require_same_cut,
    require_same_rendered,
    speeds_of,
)
from bot.measures.perplexity import perplexity_of
from bot.measures.reference import Need, ReferenceChoice, choose, require_memory
from bot.measures.speed import OPENING, TEXTS
from bot.measures.tasks import read_tasks
from bot.measures.windows import TextWindows
from bot.progress import Report
from bot.records.built import Built
from bot.records.coding import digest, dump, load_record
from bot.records.measured import Divergence, Noise, Perplexity, Speed, Tools
from bot.settings.making import DomainSettings
from bot.workplace.asked import behaviour_inputs
from bot.workplace.children import room_for
from bot.workplace.job import free_memory_of
from bot.workplace.texts import prompts_text
from bot.workplace.workplace import Workplace


class Bench:
    """Measures files against one reference: a model, or its log-probabilities in a file.

    Without a reference there is no divergence.
    """

    def __init__(
        self,
        workplace: Workplace,
        tools: Tools,
        reference: Subject | None,
        base: Path | None = None,
    ) -> None:
        self._workplace, self.settings = workplace, workplace.settings
        self.tools, self.reference, self._base = tools, reference, base
        self._cutter, self._sessions = Cutter(workplace), Sessions(workplace.settings)
        family = reference.sha256 if reference is not None else None
        self._kept = KeptMeasures(workplace, tools, lambda: self._reference_hash, family)
        self.benchmarks = Benchmarking(workplace, self._kept)

    @property
    def text(self) -> Data:
        """The text of perplexity and divergence."""
        return self._cutter.text

    @property
    def new_measures(self) -> int:
        """How many measures were made now, and were not in the ledger."""
        own = self._kept.new_measures
        return own + sum(bench.new_measures for bench in self.domains.values())

    # ── what is asked ───────────────────────────────────────────────────────────────────────

    def perplexity(self, subject: Subject) -> Measured:
        """Perplexity alone; the reference's own where `subject` is it."""
        text = self.cut_of(subject)
        inputs = self._perplexity_inputs(subject)

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

    def prepare(self, largest: int, candidates: int) -> None:
        """Make the reference's file of log-probabilities ahead, where the choice falls on a file.

        `candidates` files are still to be measured, of which the largest has `largest` bytes.
        """
        self.use_logits()
        if not self.beside(largest, candidates):
            self._file()

    def beside(self, largest: int, candidates: int) -> bool:
        """Whether the reference runs beside each of so many files, and no file is made of it."""
        subject = replace(self._model(), name="tiers", bytes=largest)
        return self._choice(subject, candidates).beside

    def known_divergence(self, subject: Subject) -> Measured | None:
        """The divergence of a subject, if it was measured before."""
        return self._kept.known("divergence", subject, self._against(subject))

    def divergence(self, subject: Subject, candidates: int) -> Measured:
        """Perplexity and divergence in one pass, `candidates` files being still to be measured.

        Raises CapacityError when neither disk nor memory has room for the reference, BuildError
        for a file of another vocabulary or tokenizer.
        """
        if (measured := self.known_divergence(subject)) is not None:
            return measured
        text, inputs = self._text, self._against(subject)
        self._require_same(subject)
        if self._base is None:
            self.use_logits()
        choice = self._choice(subject, candidates)
        self._workplace.narrator.say(f"reference of {subject.name}: {choice.reason}")
        file = None if choice.beside else self._file()

        def work(report: Report) -> Any:
            ppl, kld, chunks = self._diverging(subject, file, inputs, report)
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
        text = self.cut_of(subject)
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
        chunks, reference = self.settings.evaluation.noise_chunks, self.reference
        if not chunks or reference is None or self._kept.window["stride"] is not None:
            return ()
        text = self._text
        tokens = text.windows.tokens[:chunks]
        windows = replace(text.windows, tokens=tokens)
        inputs = self._kept.inputs("noise", reference, text.data, **self._kept.window, of=chunks)
        sizes = (windows.together, 1) if on_gpu(self.settings) and windows.together > 1 else ()

        def work(report: Report) -> Any:
            folder = self._kept.folder(inputs)  # locked while a measure is made
            noises = self._noise(folder, reference, windows, sizes or (windows.together,), report)
            return [dump(noise) for noise in noises]

        value = self._kept.once("noise", reference, text.data, inputs, work).value
        return load_record(tuple[Noise, ...], value)

    def keep_logits(self, target: Path) -> None:
        """Copy the reference's log-probabilities, in llama.cpp's format, to `target`."""
        copy(self._file(), target, self.settings.reserve)
        rights.hand_out(target)

    def make_logits(self, largest: int, candidates: int) -> None:
        """As `prepare`, unless settings want a stride or the reference beside: then nothing."""
        evaluation = self.settings.evaluation
        if evaluation.stride is None and evaluation.reference != "beside":
            self.prepare(largest, candidates)

    def kept_logits(self) -> Path | None:
        """The file with the reference's log-probabilities, where one was made."""
        return self.logits_path if self.logits_path.is_file() else None

    def use_logits(self) -> Path:
        """Where the file with the reference's log-probabilities lies, kept while this runs."""
        path = self.logits_path
        use(path.parent)
        name = path.with_name(MEASURED)
        if self.reference is not None and not name.is_file():
            keep_text(name, inside(self._workplace.folders.root, self.reference.path) + "\n")
        return path

    def drop_logits(self) -> None:
        """Remove the reference's log-probabilities: tiers measured later make them again.

        Whoever else works with them is the one to remove them.
        """
        for bench in self.domains.values():
            bench.drop_logits()
        path = self.logits_path
        leave(path.parent)
        with unused(path.parent) as ours:
            if ours:
                path.unlink(missing_ok=True)

    # ── domains ─────────────────────────────────────────────────────────────────────────────

    @cached_property
    def chats(self) -> bool:
        """Whether the reference has a chat template: instruction-tuned models do."""
        return self.reference is not None and chat_template_of(self.reference.path) is not None

    @cached_property
    def domains(self) -> Mapping[str, Bench]:
        """For each domain of the settings a bench with its text and context, and the reference.

        Conversations are left out where the reference has no chat template to render them with.
        """
        if self.reference is None:
            return {}
        evaluation = self.settings.evaluation
        names = find_domains(self._workplace, conversations=self.chats)
        return {name: self._on(evaluation.domains[name]) for name in names}

    def _on(self, domain: DomainSettings) -> Bench:
        values = {"text": domain.data, "context": domain.context, "chunks": domain.chunks}
        alone: dict[str, Any] = {"domains": {}, "tasks": (), "stride": None, "noise_chunks": 0}
        evaluation = self.settings.evaluation.model_copy(update={**values, **alone})
        settings = self.settings.model_copy(update={"evaluation": evaluation})
        place = self._workplace.beside(settings, self._workplace.ledger)
        return Bench(place, self.tools, self.reference)

    # ── how it is done ──────────────────────────────────────────────────────────────────────

    def _diverging(
        self, subject: Subject, file: Path | None, inputs: Mapping[str, Any], report: Report
    ) -> tuple[Perplexity, Divergence, dict[str, Any]]:
        """Both, and means of each chunk: KLD and -ln p, in nats, by which files are compared, and
        those that other intervals are of."""
        text, journal = self._text, self._kept.journal(inputs)
        if file is not None:
            self._sessions.require_memory(subject, text)
            reading = self._sessions.reading(subject, text)
            room = self._sessions.pass_room(reading, report, text.windows, journal, beside=(file,))
            measure = away(divergence_pass, room)
            ppl, kld = measure(reading, file.absolute(), together=None, done=journal.coded)
        else:
            ppl, kld = self._beside(subject, journal, report)
        means = {"chunks": "kld", "nll": "nll"}
        scored, values = text.windows.scored, journal.values
        chunks = {k: chunk_means(values[of], scored).tolist() for k, of in means.items()}
        return ppl, kld, {**chunks, "means": means_of_chunks(values, scored)}

    def _beside(
        self, subject: Subject, journal: Journal, report: Report
    ) -> tuple[Perplexity, Divergence]:
        reference, text = self._model(), self._text
        require_memory(
            f"{reference.name} beside {subject.name}",
            self._both(subject),
            free_memory_of(self.settings),
        )
        inputs = self._reference_inputs()
        # under the lock of this very measure: others of the same reference keep one of their own
        reference_journal = Journal(journal.path.with_name("reference.tokens"), digest(inputs))
        start = monotonic()
        beside, reading = (reference.path,), self._sessions.reading(subject, text)
        room = self._sessions.pass_room(
            reading, report, text.windows, journal, reference_journal, beside=beside
        )
        summary = away(pass_beside, room)(
            reading,
            self._sessions.reading(reference, text),
            text.windows,
            done=journal.coded,
            reference_done=reference_journal.coded,
        )
        if self._kept.known("perplexity", reference, inputs) is None:
            value = {"perplexity": dump(perplexity_of(reference_journal.values["nll"]))}
            self._kept.record(
                "perplexity", reference, inputs, value, monotonic() - start, text.data
            )
        reference_journal.path.unlink()
        return summary

    def _file(self) -> Path:
        """The reference's log-probabilities on disk, made if they are not there."""
        if self._base is not None:
            return self._base
        reference, text, inputs = self._model(), self._text, self._reference_inputs()
        target = self.use_logits()
        size = base_bytes(text.vocabulary, text.windows.context, len(text.windows.tokens))

        def is_whole() -> bool:
            return target.is_file() and target.stat().st_size == size

        if is_whole():
            return target

        def work(report: Report) -> Any:
            partial = partial_of(target)
            require_free(target.parent, size - taken(partial), self.settings.reserve)
            self._sessions.require_memory(reference, text)
            perplexity = self._refer(
                reference, text.windows, partial, self._kept.journal(inputs), report
            )
            partial.replace(target)
            return {"perplexity": dump(perplexity)}

        of = ("perplexity", reference, text.data, inputs, work)
        self._kept.once(*of, is_whole=is_whole, chunks=len(text.windows.tokens))
        return target

    def _noise(
        self,
        folder: Path,
        reference: Subject,
        windows: TextWindows,
        sizes: tuple[int, ...],
        report: Report,
    ) -> list[Noise]:
        file, journal_file = folder / "noise.logits", folder / "noise.tokens"
        size = base_bytes(self._text.vocabulary, windows.context, len(windows.tokens))
        file.unlink(missing_ok=True)  # a killed run's; what it holds is measured again
        require_free(folder, size, self.settings.reserve)
        journal, noises = Journal(journal_file, "0" * 64), []
        reading = self._sessions.reading(reference, self._text)
        try:
            journal.keep(0)
            self._refer(reference, windows, file, journal, report)
            for together in sizes:
                part = replace(windows, together=together)
                journal.keep(0)
                room = self._sessions.pass_room(reading, report, part, journal, beside=(file,))
                measure = away(divergence_pass, room)
                _, kld = measure(reading, file.absolute(), together=together, done=[])
                batch = together * windows.context
                chunks = len(windows.tokens)
                noises.append(
                    Noise(
                        batch=batch, sequences=together, chunks=chunks, mean=kld.mean, max=kld.max
                    )
                )
        finally:
            file.unlink(missing_ok=True)
            journal_file.unlink(missing_ok=True)
        return noises

    def _refer(
        self,
        reference: Subject,
        windows: TextWindows,
        target: Path,
        journal: Journal,
        report: Report,
    ) -> Perplexity:
        """The reference's log-probabilities in `target`, and its perplexity."""
        folder = target.parent.absolute()
        reading = self._sessions.reading(reference, self._text)
        room = self._sessions.pass_room(reading, report, windows, journal, writes=(folder,))
        measure = away(reference_pass, room)
        return measure(reading, windows, folder / target.name, done=journal.coded)

    @property
    def logits_path(self) -> Path:
        """Where the file with the reference's log-probabilities lies, or will lie."""
        return self._kept.folder(self._reference_inputs()) / "reference.logits"

    # ── the reference ───────────────────────────────────────────────────────────────────────

    @cached_property
    def _text(self) -> CutText:
        """The text, cut by the reference."""
        if self._base is None:
            return self._cutter.by_model(self._model().path)
        return self._cutter.by_logits(self._base)

    def windows(self, subject: Subject) -> TextWindows:
        """What the text is cut into, by `subject` itself where there is no reference."""
        return self.cut_of(subject).windows

    def cut_of(self, subject: Subject) -> CutText:
        """The text as it is cut for a subject: by the reference, or by itself without one."""
        alone = self.reference is None and self._base is None
        return self._cutter.by_model(subject.path) if alone else self._text

    def _require_same(self, subject: Subject) -> None:
        text = self._text
        reference = Reference(
            name=self._base.name if self._base is not None else self._model().name,
            vocabulary=text.vocabulary,
            tokenizer=text.tokenizer,
            all_windows=self.settings.evaluation.stride is None,
        )
        path, room = subject.path.absolute(), room_for(self.settings, subject.path)
        if text.conversations:
            require_rendered = away(require_same_rendered, room)
            require_rendered(path, text.conversations, text.windows, reference)
        else:
            away(require_same_cut, room)(path, text.words, text.windows, reference)

    def _choice(self, subject: Subject, candidates: int) -> ReferenceChoice:
        evaluation, text = self.settings.evaluation, self._text
        if self._base is not None:
            return ReferenceChoice(
                beside=False, reason=f"the log-probabilities of {self._base.name}"
            )
        size = base_bytes(text.vocabulary, text.windows.context, len(text.windows.tokens))
        file, partial = self.logits_path, partial_of(self.logits_path)
        if file.is_file() and file.stat().st_size == size and evaluation.stride is None:
            return ReferenceChoice(
                beside=False, reason=f"{size / 1e9:.2f} GB of log-probabilities, kept"
            )
        return choose(
            "beside" if evaluation.stride is not None else evaluation.reference,
            candidates=candidates,
            disk=size,
            free_disk=free_disk(file) + taken(partial) - self.settings.reserve,
            both=self._both(subject),
            free=free_memory_of(self.settings),
        )

    def _both(self, subject: Subject) -> Need:
        return self._sessions.need(self._model(), self._text) + self._sessions.need(
            subject, self._text
        )

    def _model(self) -> Subject:
        if self.reference is None:
            raise TypeError("no reference was given")
        return self.reference

    # ── keys ────────────────────────────────────────────────────────────────────────────────────

    def _reference_inputs(self) -> dict[str, Any]:
        return self._perplexity_inputs(self._model())

    def _perplexity_inputs(self, subject: Subject) -> dict[str, Any]:
        """With the hash of the model, or file, whose tokens the text is read in."""
        own = self.reference is None and self._base is None
        tokens = subject.sha256 if own else self._reference_hash
        return self._kept.inputs(
            "perplexity", subject, self.text, **self._kept.window, tokens=tokens
        )

    def _against(self, subject: Subject) -> dict[str, Any]:
        return self._kept.inputs(
            "divergence",
            subject,
            self.text,
            **self._kept.window,
            reference=self._reference_hash,
        )

    @cached_property
    def _reference_hash(self) -> str:
        if self._base is None:
            return self._model().sha256
        inputs = {"path": inside(self._workplace.folders.root, self._base.resolve())}
        title = f"hashing {self._base.name}"
        done = self._workplace.step(
            digest(inputs), "hash", inputs, [self._base.resolve()], title, lambda _report: None
        )
        return done.files[0].sha256
