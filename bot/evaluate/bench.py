"""Measures of single files, each made once for its inputs and kept in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bot import rights
from bot.apart.worker import LINE, Room, away
from bot.clients.llama import library
from bot.clients.llama.loading import Loading
from bot.disk.folders import MEASURED
from bot.disk.locks import alone, leave, unused, use
from bot.disk.paths import inside
from bot.disk.space import free_disk, require_free, taken
from bot.disk.writing import copy, keep_text, partial_of
from bot.errors import BuildError
from bot.evaluate.data import Data, find_text
from bot.evaluate.paired import chunk_means
from bot.measures import choices
from bot.measures.journal import Journal
from bot.measures.logits import base_bytes, open_base
from bot.measures.opening import (
    Cutting,
    Listener,
    Reading,
    Reference,
    answers_to,
    cut_text,
    divergence_pass,
    pass_beside,
    perplexity_pass,
    reference_pass,
    require_cut,
    require_same,
    speeds_of,
)
from bot.measures.perplexity import perplexity_of
from bot.measures.reference import Need, ReferenceChoice, choose, need, require_memory
from bot.measures.tasks import read_tasks
from bot.measures.windows import TextWindows, read_evaluation_text, sequences
from bot.progress import Report
from bot.records.coding import digest, dump, load_record
from bot.records.measured import Choices, Divergence, Noise, Perplexity, Run, Speed, Tools
from bot.workplace.asked import METRICS_VERSION
from bot.workplace.children import loading, room_for, tell_isolation
from bot.workplace.job import free_memory_of
from bot.workplace.workplace import Workplace

if TYPE_CHECKING:
    from bot.measures.journal import Journal
    from bot.measures.opening import Reading

V = TypeVar("V")
JOB = "measures"  # of the ledger: measures belong to files, not to a job
A_TOKEN = 16  # bytes of a token at most on its way from another process


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A file to be measured, or the first of its shards."""

    name: str
    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A measure's value as it lies in the ledger, and how it came about."""

    value: Any
    run: Run


@dataclass(frozen=True, kw_only=True)
class _Text:
    """The text as the reference's vocabulary cuts it."""

    data: Data
    words: str
    windows: TextWindows
    vocabulary: int
    tokenizer: str | None  # None where a file of log-probabilities is the reference


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
        self.made = 0  # measures that were not in the ledger
        self._texts: dict[Path, _Text] = {}

    # ── what is asked ───────────────────────────────────────────────────────────────────────

    def perplexity(self, subject: Subject) -> Measured:
        """Perplexity alone; the reference's own where `subject` is it."""
        text = self._text_for(subject)
        inputs = self._perplexity_inputs(subject)

        def work(report: Report) -> Any:
            self._require_memory(subject, text)
            journal = self._journal(inputs)
            asked = away(perplexity_pass, self._pass(subject, report, text.windows, journal))
            found = asked(self._reading(subject), text.windows, done=journal.coded)
            return {"perplexity": dump(found)}

        return self._once("perplexity", subject, text.data, inputs, work)

    def prepare(self, largest: int, candidates: int) -> None:
        """Make the reference's file of log-probabilities ahead, where it will be used.

        For `candidates` files still to be measured, of which the largest has `largest` bytes.
        """
        subject = replace(self._model(), name="tiers", bytes=largest)
        if not self._choice(subject, candidates).beside:
            self._file()

    def known_divergence(self, subject: Subject) -> Measured | None:
        """The divergence of a subject, if it was measured before."""
        return self._known("divergence", subject, self._against(subject))

    def divergence(self, subject: Subject, candidates: int) -> Measured:
        """Perplexity and divergence in one pass, `candidates` files being still to be measured.

        Raises CapacityError when neither disk nor memory has room for the reference, BuildError
        for a file of another vocabulary or tokenizer.
        """
        if (known := self.known_divergence(subject)) is not None:
            return known
        text, inputs = self._text, self._against(subject)
        self._require_same(subject)
        choice = self._choice(subject, candidates)
        self._workplace.narrator.say(f"reference of {subject.name}: {choice.reason}")
        file = None if choice.beside else self._file()

        def work(report: Report) -> Any:
            ppl, kld, chunks = self._diverging(subject, file, inputs, report)
            value = {"perplexity": dump(ppl), "divergence": dump(kld)}
            return {**value, **chunks, "beside": choice.beside}

        return self._once("divergence", subject, text.data, inputs, work)

    def tasks(self, subject: Subject, data: Data) -> Measured:
        """The share of a set of tasks that a file answers rightly."""
        wanted = self.settings.evaluation
        more = {"count": data.count, "kind": data.kind, "context": wanted.context}
        parallel = wanted.parallel
        inputs = self._inputs("tasks", subject, data, parallel=parallel, **more)

        def work(report: Report) -> Any:
            if data.kind is None:
                raise TypeError("a running text has no tasks")
            found = read_tasks(data.path, data.kind, data.count)
            sequences = max(parallel, *(len(task.texts) for task in found))
            asked = away(answers_to, self._room(subject, report))
            model = self._loading(subject)
            answers = asked(model, found, n_ctx=self._together, sequences=sequences)
            if len(answers) != len(found):
                raise BuildError(f"{subject.name} answered {len(answers)} of {len(found)} tasks")
            return dump(choices.count(data.label, answers))

        return self._once(data.label, subject, data, inputs, work)

    def speed(self, subject: Subject) -> Measured:
        """Tokens per second."""
        repetitions = self.settings.evaluation.repetitions
        inputs = self._inputs("speed", subject, None, repetitions=repetitions)

        def work(report: Report) -> Any:
            asked = away(speeds_of, self._room(subject, report))
            found = asked(self._loading(subject), repetitions=repetitions)
            return [dump(one) for one in found]

        return self._once("speed", subject, None, inputs, work)

    def noise(self) -> tuple[Noise, ...]:
        """The reference against itself: in the same batches, and on a GPU in smaller ones too."""
        chunks, reference = self.settings.evaluation.noise_chunks, self.reference
        if not chunks or reference is None or self._window["stride"] is not None:
            return ()
        text = self._text
        tokens = text.windows.tokens[:chunks]
        windows = replace(text.windows, tokens=tokens)
        inputs = self._inputs("noise", reference, text.data, **self._window, of=chunks)
        sizes = (windows.together, 1) if self._on_gpu and windows.together > 1 else ()

        def work(report: Report) -> Any:
            folder = self._workplace.folders.measure(digest(inputs))  # locked: see _once
            found = self._noise(folder, reference, windows, sizes or (windows.together,), report)
            return [dump(noise) for noise in found]

        value = self._once("noise", reference, text.data, inputs, work).value
        return load_record(tuple[Noise, ...], value)

    def keep_logits(self, target: Path) -> None:
        """Copy the reference's log-probabilities, in llama.cpp's format, to `target`."""
        copy(self._file(), target, self.settings.reserve)
        rights.hand_out(target)

    def make_logits(self, largest: int, candidates: int) -> None:
        """As `prepare`, where the settings let the reference's file be."""
        wanted = self.settings.evaluation
        if wanted.stride is None and wanted.reference != "beside":
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
        path = self.logits_path
        leave(path.parent)
        with unused(path.parent) as ours:
            if ours:
                path.unlink(missing_ok=True)

    # ── how it is done ──────────────────────────────────────────────────────────────────────

    def _diverging(
        self, subject: Subject, file: Path | None, inputs: Mapping[str, Any], report: Report
    ) -> tuple[Perplexity, Divergence, dict[str, list[float]]]:
        """Both, and the mean of each chunk, by which files are compared."""
        text, journal = self._text, self._journal(inputs)
        if file is not None:
            self._require_memory(subject, text)
            room = self._pass(subject, report, text.windows, journal, beside=(file,))
            asked, reading = away(divergence_pass, room), self._reading(subject)
            ppl, kld = asked(reading, file.absolute(), together=None, done=journal.coded)
        else:
            ppl, kld = self._beside(subject, journal, report)
        means = {"chunks": "kld", "nll": "nll"}
        scored, values = text.windows.scored, journal.values
        return ppl, kld, {k: chunk_means(values[of], scored).tolist() for k, of in means.items()}

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
        told = Journal(journal.path.with_name("reference.tokens"), digest(inputs))
        start = monotonic()
        beside = (reference.path,)
        room = self._pass(subject, report, text.windows, journal, told, beside=beside)
        found = away(pass_beside, room)(
            self._reading(subject),
            self._reading(reference),
            text.windows,
            done=journal.coded,
            told=told.coded,
        )
        if self._known("perplexity", reference, inputs) is None:
            value = {"perplexity": dump(perplexity_of(told.values["nll"]))}
            self._record("perplexity", reference, inputs, value, monotonic() - start, text.data)
        told.path.unlink()
        return found

    def _file(self) -> Path:
        """The reference's log-probabilities on disk, made if they are not there."""
        if self._base is not None:
            return self._base
        reference, text, inputs = self._model(), self._text, self._reference_inputs()
        target = self.use_logits()
        size = base_bytes(text.vocabulary, text.windows.context, len(text.windows.tokens))

        def there() -> bool:
            return target.is_file() and target.stat().st_size == size

        if there():
            return target

        def work(report: Report) -> Any:
            partial = partial_of(target)
            require_free(target.parent, size - taken(partial), self.settings.reserve)
            self._require_memory(reference, text)
            found = self._refer(reference, text.windows, partial, self._journal(inputs), report)
            partial.replace(target)
            return {"perplexity": dump(found)}

        self._once("perplexity", reference, text.data, inputs, work, there=there)
        return target

    def _noise(
        self,
        folder: Path,
        reference: Subject,
        windows: TextWindows,
        sizes: tuple[int, ...],
        report: Report,
    ) -> list[Noise]:
        file, journal = folder / "noise.logits", folder / "noise.tokens"
        size = base_bytes(self._text.vocabulary, windows.context, len(windows.tokens))
        file.unlink(missing_ok=True)  # a killed run's; what it holds is measured again
        require_free(folder, size, self.settings.reserve)
        told, found = Journal(journal, "0" * 64), []
        try:
            told.keep(0)
            self._refer(reference, windows, file, told, report)
            for together in sizes:
                part = replace(windows, together=together)
                told.keep(0)
                room = self._pass(reference, report, part, told, beside=(file,))
                asked, reading = away(divergence_pass, room), self._reading(reference)
                _, kld = asked(reading, file.absolute(), together=together, done=[])
                batch = together * windows.context
                chunks = len(windows.tokens)
                found.append(
                    Noise(
                        batch=batch, sequences=together, chunks=chunks, mean=kld.mean, max=kld.max
                    )
                )
        finally:
            file.unlink(missing_ok=True)
            journal.unlink(missing_ok=True)
        return found

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
        room = self._pass(reference, report, windows, journal, writes=(folder,))
        asked, reading = away(reference_pass, room), self._reading(reference)
        return asked(reading, windows, folder / target.name, done=journal.coded)

    @property
    def logits_path(self) -> Path:
        """Where the file with the reference's log-probabilities lies, or will lie."""
        key = digest(self._reference_inputs())
        return self._workplace.folders.measure(key) / "reference.logits"

    # ── the reference ───────────────────────────────────────────────────────────────────────

    @cached_property
    def _text(self) -> _Text:
        """The text, cut by the reference; the tokens of a file of log-probabilities are its own."""
        if self._base is None:
            return self._text_of(self._model().path)
        data = self.text
        with open_base(self._base) as base:
            return _Text(
                data=data,
                words=read_evaluation_text(data.path),
                windows=base.windows,
                vocabulary=base.vocabulary,
                tokenizer=None,
            )

    def _text_of(self, path: Path) -> _Text:
        if path not in self._texts:
            self._texts[path] = self._cut(path)
        return self._texts[path]

    def _cut(self, path: Path) -> _Text:
        wanted, data = self.settings.evaluation, self.text
        text = read_evaluation_text(data.path)
        how = Cutting(context=wanted.context, limit=wanted.chunks, stride=wanted.stride)
        room = room_for(self.settings, path, line=LINE + A_TOKEN * len(text.encode()))
        found = require_cut(path.name, away(cut_text, room)(path.absolute(), text, how), how)
        return _Text(
            data=data,
            words=text,
            windows=found.windows,
            vocabulary=found.vocabulary,
            tokenizer=found.tokenizer,
        )

    def windows(self, subject: Subject) -> TextWindows:
        """What the text is cut into, by `subject` itself where there is no reference."""
        return self._text_for(subject).windows

    def _text_for(self, subject: Subject) -> _Text:
        alone = self.reference is None and self._base is None
        return self._text_of(subject.path) if alone else self._text

    @cached_property
    def text(self) -> Data:
        """The text of perplexity and divergence."""
        return find_text(self._workplace)

    def _require_same(self, subject: Subject) -> None:
        text = self._text
        reference = Reference(
            name=self._base.name if self._base is not None else self._model().name,
            vocabulary=text.vocabulary,
            tokenizer=text.tokenizer,
            whole=self.settings.evaluation.stride is None,
        )
        asked = away(require_same, room_for(self.settings, subject.path))
        asked(subject.path.absolute(), text.words, text.windows, reference)

    def _choice(self, subject: Subject, candidates: int) -> ReferenceChoice:
        wanted, text = self.settings.evaluation, self._text
        if self._base is not None:
            return ReferenceChoice(
                beside=False, reason=f"the log-probabilities of {self._base.name}"
            )
        size = base_bytes(text.vocabulary, text.windows.context, len(text.windows.tokens))
        file, partial = self.use_logits(), partial_of(self.logits_path)
        if file.is_file() and file.stat().st_size == size and wanted.stride is None:
            return ReferenceChoice(
                beside=False, reason=f"{size / 1e9:.2f} GB of log-probabilities, kept"
            )
        return choose(
            "beside" if wanted.stride is not None else wanted.reference,
            candidates=candidates,
            disk=size,
            free_disk=free_disk(file) + taken(partial) - self.settings.reserve,
            both=self._both(subject),
            free=free_memory_of(self.settings),
        )

    def _both(self, subject: Subject) -> Need:
        return self._need(self._model(), self._text) + self._need(subject, self._text)

    def _model(self) -> Subject:
        if self.reference is None:
            raise TypeError("no reference was given")
        return self.reference

    # ── sessions ────────────────────────────────────────────────────────────────────────────

    @property
    def _together(self) -> int:
        """Tokens that are decoded at once."""
        context = self.settings.evaluation.context
        return sequences(context) * context

    @cached_property
    def _on_gpu(self) -> bool:
        llama = self.settings.llama
        used = library.used_devices(llama.devices, gpu=llama.gpu_layers != 0)
        return any(device.kind != "cpu" for device in used)

    @property
    def _lanes(self) -> int:
        return 2 if self.settings.evaluation.overlap else 1

    def _need(self, subject: Subject, text: _Text) -> Need:
        rows = text.windows.together * (text.windows.scored + 1)
        return need(subject.bytes, text.vocabulary, rows, self._lanes)

    def _require_memory(self, subject: Subject, text: _Text) -> None:
        require_memory(subject.name, self._need(subject, text), free_memory_of(self.settings))

    def _loading(self, subject: Subject) -> Loading:
        return loading(subject.path, self.settings.llama)

    def _reading(self, subject: Subject) -> Reading:
        return Reading(model=self._loading(subject), lanes=self._lanes)

    def _room(self, subject: Subject, report: Report) -> Room:
        return room_for(self.settings, subject.path, report=report)

    def _pass(
        self,
        subject: Subject,
        report: Report,
        windows: TextWindows,
        *journals: Journal,
        beside: tuple[Path, ...] = (),
        writes: tuple[Path, ...] = (),
    ) -> Room:
        """A child's room for a pass over windows, whose groups go to the journals."""
        hear = Listener(windows, *journals).hear
        return room_for(
            self.settings, subject.path, *beside, writes=writes, report=report, hear=hear
        )

    # ── the ledger ──────────────────────────────────────────────────────────────────────────

    @property
    def _window(self) -> dict[str, Any]:
        wanted = self.settings.evaluation
        return {"context": wanted.context, "chunks": wanted.chunks, "stride": wanted.stride}

    def _inputs(
        self, measure: str, subject: Subject, data: Data | None, **more: Any
    ) -> dict[str, Any]:
        llama = self.settings.llama
        return {
            "version": METRICS_VERSION,
            "measure": measure,
            "model": subject.sha256,
            "data": data.text.sha256 if data else None,
            "tools": [self.tools.llama_cpp_python, self.tools.llama_cpp, self.tools.build],
            "machine": [self.tools.device, llama.threads, llama.gpu_layers],
            **more,
        }

    def _reference_inputs(self) -> dict[str, Any]:
        return self._perplexity_inputs(self._model())

    def _perplexity_inputs(self, subject: Subject) -> dict[str, Any]:
        """With the hash of the model, or file, whose tokens the text is read in."""
        own = self.reference is None and self._base is None
        tokens = subject.sha256 if own else self._reference_hash
        return self._inputs("perplexity", subject, self.text, **self._window, tokens=tokens)

    def _against(self, subject: Subject) -> dict[str, Any]:
        return self._inputs(
            "divergence", subject, self.text, **self._window, reference=self._reference_hash
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

    def _journal(self, inputs: Mapping[str, Any]) -> Journal:
        key = digest(inputs)
        return Journal(self._workplace.folders.measure(key) / "tokens", key)

    def _step(self, measure: str, subject: Subject, inputs: Mapping[str, Any]) -> str:
        return f"{measure} {subject.sha256[:12]} {digest(inputs)[:16]}"

    def _known(self, measure: str, subject: Subject, inputs: Mapping[str, Any]) -> Measured | None:
        step, shape = self._step(measure, subject, inputs), shape_of(measure)
        done = self._workplace.ledger.finished(JOB, step, inputs, shape=shape)
        if done is None:
            return None
        return Measured(value=done.value["value"], run=load_record(Run, done.value["run"]))

    def _once(
        self,
        measure: str,
        subject: Subject,
        data: Data | None,
        inputs: Mapping[str, Any],
        work: Callable[[Report], Any],
        *,
        there: Callable[[], bool] | None = None,
    ) -> Measured:
        """A measure from the ledger, or made now and kept there.

        Where the file that the work leaves behind is not `there`, it is done again.
        """
        folder = self._workplace.folders.measure(digest(inputs))
        known = self._known(measure, subject, inputs)
        if known is not None and (there is None or there()):
            return known
        with alone(folder):
            known = self._known(measure, subject, inputs)
            if known is not None and (there is None or there()):
                return known
            tell_isolation(self._workplace.narrator, self.settings)
            with self._workplace.narrator.work(f"{measure} of {subject.name}") as report:
                start = monotonic()
                value = work(report)
            if known is None:
                known = self._record(measure, subject, inputs, value, monotonic() - start, data)
            (folder / "tokens").unlink(missing_ok=True)
        return known

    def _record(
        self,
        measure: str,
        subject: Subject,
        inputs: Mapping[str, Any],
        value: Any,
        seconds: float,
        data: Data | None,
    ) -> Measured:
        wanted = self.settings.evaluation
        against = measure in ("divergence", "noise")
        run = Run(
            measure=measure,
            data=data.text if data else None,
            model=subject.sha256,
            reference=self._reference_hash if against else None,
            beside=isinstance(value, dict) and bool(value.get("beside")),
            context=wanted.context,
            stride=wanted.stride,
            batch=512 if measure == "speed" else self._together,
            tools=self.tools,
            seconds=round(seconds, 3),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        step = self._step(measure, subject, inputs)
        kept = {"value": value, "run": dump(run)}
        self._workplace.ledger.record(JOB, step, inputs, [], kept)
        self.made += 1
        return Measured(value=value, run=run)


@dataclass(frozen=True, kw_only=True)
class _Perplexed:
    perplexity: Perplexity


@dataclass(frozen=True, kw_only=True)
class _Diverged(_Perplexed):
    divergence: Divergence
    chunks: list[float]
    nll: list[float] | None = None  # earlier versions kept none


@dataclass(frozen=True, kw_only=True)
class _Kept(Generic[V]):
    value: V
    run: Run


def shape_of(measure: str) -> Any:
    """The type of what the ledger keeps of a measure; tasks are called by their names."""
    kinds: dict[str, Any] = {
        "divergence": _Kept[_Diverged],
        "perplexity": _Kept[_Perplexed],
        "speed": _Kept[tuple[Speed, ...]],
        "noise": _Kept[tuple[Noise, ...]],
    }
    return kinds.get(measure, _Kept[Choices])


def speeds(found: Measured) -> tuple[Speed, ...]:
    """The two speeds of a measure."""
    return load_record(tuple[Speed, ...], found.value)


def answered(found: Measured) -> Choices:
    """The accuracy of a measure."""
    return load_record(Choices, found.value)
