"""Log-probabilities of the reference: in a file of their own, or made beside each file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from bot.evaluate.against.against import Against
from bot.evaluate.intervals import means_of_chunks
from bot.evaluate.kept import KeptMeasures
from bot.evaluate.loads import Sessions
from bot.evaluate.paired import chunk_means
from bot.evaluate.subject import Subject
from bot.measures.journal import Journal
from bot.measures.logits import base_bytes
from bot.measures.opening import divergence_pass, pass_beside, reference_pass
from bot.measures.perplexity import perplexity_of
from bot.measures.reference import Need, ReferenceChoice, choose, require_memory
from bot.measures.windows import TextWindows
from bot.progress import Report
from bot.records.coding import digest, dump
from bot.records.measured import Divergence, Noise, Perplexity
from bot.workplace.job import free_memory_of
from bot.workplace.workplace import Workplace


@dataclass(frozen=True)
class ReferenceLogits:
    """A reference's log-probabilities of its text, and the passes that compare with them."""

    workplace: Workplace
    against: Against
    kept: KeptMeasures
    sessions: Sessions

    # ── the file ────────────────────────────────────────────────────────────────────────────

    @property
    def path(self) -> Path:
        """Where the file lies, or will lie, in llama.cpp's format."""
        return self.kept.folder(self._inputs()) / "reference.logits"

    def made(self) -> Path | None:
        """The file, where one was made."""
        return self.path if self.path.is_file() else None

    def use(self) -> Path:
        """Where the file lies, or will lie; it is kept while this runs."""
        path = self.path
        use(path.parent)
        name = path.with_name(MEASURED)
        model = self.against.model
        if model is not None and not name.is_file():
            keep_text(name, inside(self.workplace.folders.root, model.path) + "\n")
        return path

    def drop(self) -> None:
        """Remove the file: what is measured later makes it again.

        Whoever else works with it is the one to remove it.
        """
        path = self.path
        leave(path.parent)
        with unused(path.parent) as ours:
            if ours:
                path.unlink(missing_ok=True)

    def copy_to(self, target: Path) -> None:
        """Copy the file to `target`; it is made if it is not there."""
        copy(self.file(), target, self.workplace.settings.reserve)
        rights.hand_out(target)

    def prepare(self, largest: int, candidates: int) -> None:
        """Make the file ahead, where the choice falls on a file.

        `candidates` files are still to be measured, of which the largest has `largest` bytes.
        """
        self.use()
        if not self.beside(largest, candidates):
            self.file()

    def prepare_file(self, largest: int, candidates: int) -> None:
        """As `prepare`, unless settings want a stride or the reference beside: then nothing."""
        evaluation = self.workplace.settings.evaluation
        if evaluation.stride is None and evaluation.reference != "beside":
            self.prepare(largest, candidates)

    def file(self) -> Path:
        """The file, made if it is not there. Raises CapacityError without room for it."""
        if self.against.base is not None:
            return self.against.base
        reference, text, inputs = self.against.require_model(), self.against.cut, self._inputs()
        target, size = self.use(), self._bytes

        def is_whole() -> bool:
            return target.is_file() and target.stat().st_size == size

        if is_whole():
            return target

        def work(report: Report) -> Any:
            partial = partial_of(target)
            require_free(target.parent, size - taken(partial), self.workplace.settings.reserve)
            self.sessions.require_memory(reference, text)
            journal = self.kept.journal(inputs)
            perplexity = self._write(text.windows, partial, journal, report)
            partial.replace(target)
            return {"perplexity": dump(perplexity)}

        of = ("perplexity", reference, text.data, inputs, work)
        self.kept.once(*of, is_whole=is_whole, chunks=len(text.windows.tokens))
        return target

    def _write(
        self, windows: TextWindows, target: Path, journal: Journal, report: Report
    ) -> Perplexity:
        """The reference's log-probabilities in `target`, and its perplexity."""
        folder = target.parent.absolute()
        reading = self.sessions.reading(self.against.require_model(), self.against.cut)
        room = self.sessions.pass_room(reading, report, windows, journal, writes=(folder,))
        measure = away(reference_pass, room)
        return measure(reading, windows, folder / target.name, done=journal.coded)

    @property
    def _bytes(self) -> int:
        text = self.against.cut
        return base_bytes(text.vocabulary, text.windows.context, len(text.windows.tokens))

    def _inputs(self) -> dict[str, Any]:
        return self.kept.perplexity_inputs(self.against.require_model())

    # ── a file, or beside ───────────────────────────────────────────────────────────────────

    def beside(self, largest: int, candidates: int) -> bool:
        """Whether the reference runs beside each of so many files, and no file is made of it."""
        model = self.against.require_model()
        return self.choice(replace(model, name="tiers", bytes=largest), candidates).beside

    def choice(self, subject: Subject, candidates: int) -> ReferenceChoice:
        """Where log-probabilities come from for a subject, and why.

        Raises CapacityError when neither disk nor memory has room for the reference.
        """
        settings = self.workplace.settings
        evaluation, base = settings.evaluation, self.against.base
        if base is not None:
            return ReferenceChoice(beside=False, reason=f"the log-probabilities of {base.name}")
        file, size = self.path, self._bytes
        if file.is_file() and file.stat().st_size == size and evaluation.stride is None:
            return ReferenceChoice(
                beside=False, reason=f"{size / 1e9:.2f} GB of log-probabilities, kept"
            )
        return choose(
            "beside" if evaluation.stride is not None else evaluation.reference,
            candidates=candidates,
            disk=size,
            free_disk=free_disk(file) + taken(partial_of(file)) - settings.reserve,
            both=self._both(subject),
            free=free_memory_of(settings),
        )

    def _both(self, subject: Subject) -> Need:
        text, need = self.against.cut, self.sessions.need
        return need(self.against.require_model(), text) + need(subject, text)

    # ── comparisons ─────────────────────────────────────────────────────────────────────────

    def diverging(
        self, subject: Subject, file: Path | None, inputs: Mapping[str, Any], report: Report
    ) -> tuple[Perplexity, Divergence, dict[str, Any]]:
        """A subject's perplexity and divergence from `file`, or beside the reference without one.

        And means of each chunk: KLD and -ln p, in nats, by which files are compared, and those
        that other intervals are of.
        """
        text, journal = self.against.cut, self.kept.journal(inputs)
        if file is not None:
            self.sessions.require_memory(subject, text)
            reading = self.sessions.reading(subject, text)
            room = self.sessions.pass_room(reading, report, text.windows, journal, beside=(file,))
            measure = away(divergence_pass, room)
            ppl, kld = measure(reading, file.absolute(), together=None, done=journal.coded)
        else:
            ppl, kld = self._diverging_beside(subject, journal, report)
        means = {"chunks": "kld", "nll": "nll"}
        scored, values = text.windows.scored, journal.values
        chunks = {k: chunk_means(values[of], scored).tolist() for k, of in means.items()}
        return ppl, kld, {**chunks, "means": means_of_chunks(values, scored)}

    def _diverging_beside(
        self, subject: Subject, journal: Journal, report: Report
    ) -> tuple[Perplexity, Divergence]:
        reference, text = self.against.require_model(), self.against.cut
        require_memory(
            f"{reference.name} beside {subject.name}",
            self._both(subject),
            free_memory_of(self.workplace.settings),
        )
        inputs = self._inputs()
        # under the lock of this very measure: others of the same reference keep one of their own
        reference_journal = Journal(journal.path.with_name("reference.tokens"), digest(inputs))
        start = monotonic()
        beside, reading = (reference.path,), self.sessions.reading(subject, text)
        room = self.sessions.pass_room(
            reading, report, text.windows, journal, reference_journal, beside=beside
        )
        summary = away(pass_beside, room)(
            reading,
            self.sessions.reading(reference, text),
            text.windows,
            done=journal.coded,
            reference_done=reference_journal.coded,
        )
        if self.kept.known("perplexity", reference, inputs) is None:
            value = {"perplexity": dump(perplexity_of(reference_journal.values["nll"]))}
            seconds = monotonic() - start
            self.kept.record("perplexity", reference, inputs, value, seconds, text.data)
        reference_journal.path.unlink()
        return summary

    def noise(
        self, folder: Path, windows: TextWindows, sizes: tuple[int, ...], report: Report
    ) -> list[Noise]:
        """Divergence of the reference from itself, with so many windows at a time.

        Works in `folder`, and leaves nothing there.
        """
        file, journal_file = folder / "noise.logits", folder / "noise.tokens"
        text, chunks = self.against.cut, len(windows.tokens)
        file.unlink(missing_ok=True)  # a killed run's; what it holds is measured again
        size = base_bytes(text.vocabulary, windows.context, chunks)
        require_free(folder, size, self.workplace.settings.reserve)
        journal, noises = Journal(journal_file, "0" * 64), []
        reading = self.sessions.reading(self.against.require_model(), text)
        try:
            journal.keep(0)
            self._write(windows, file, journal, report)
            for together in sizes:
                part = replace(windows, together=together)
                journal.keep(0)
                room = self.sessions.pass_room(reading, report, part, journal, beside=(file,))
                measure = away(divergence_pass, room)
                _, kld = measure(reading, file.absolute(), together=together, done=[])
                noise = Noise(
                    batch=together * windows.context,
                    sequences=together,
                    chunks=chunks,
                    mean=kld.mean,
                    max=kld.max,
                )
                noises.append(noise)
        finally:
            file.unlink(missing_ok=True)
            journal_file.unlink(missing_ok=True)
        return noises
