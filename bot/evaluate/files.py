"""Files measured without a job: any GGUF against any reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from bot import rights
from bot.clients.files import gguf
from bot.disk.paths import inside
from bot.disk.writing import keep_text
from bot.errors import SettingsError
from bot.evaluate.bench import Bench
from bot.evaluate.costing import budgeting
from bot.evaluate.costing.measure_costs import Candidates, Costing, MeasureCost, WantedMeasures
from bot.evaluate.data import fetch_other, find_tasks, is_other
from bot.evaluate.scores import ScoreTable
from bot.evaluate.subject import Subject
from bot.measures.logits import MAGIC
from bot.records.coding import digest, from_json, to_json
from bot.records.measured import KLD, Comparison, Row
from bot.records.results import Budget, Evaluation, Results
from bot.settings.making import BenchmarkTask
from bot.workplace import demo_texts
from bot.workplace.asked import evaluation_inputs
from bot.workplace.job import tools_of
from bot.workplace.texts import pin_data
from bot.workplace.workplace import Workplace

PLAIN = ("ppl", KLD, "tasks", "speed", "noise", "behaviour", "benchmarks")


def wanted_measures(workplace: Workplace, measures: Sequence[str], against: bool) -> WantedMeasures:
    """What `--measures` asks for; without it all that the settings name.

    Raises SettingsError for a name that is none.
    """
    tasks = find_tasks(workplace)
    labels = {data.label.lower(): data for data in tasks}
    given = "benchmarks" in measures
    if not measures:
        speed = workplace.settings.evaluation.speed
        usual = ("ppl", "tasks", "benchmarks", *((KLD, "noise") if against else ()))
        measures = (*usual, *(("speed",) * speed))
    for name in measures:
        if name.lower() not in (*PLAIN, *labels):
            raise SettingsError(
                f"there is no measure {name!r}, only {', '.join((*PLAIN, *labels))}; "
                "sets of tasks are named in evaluation.tasks"
            )
    names = {name.lower() for name in measures}
    if not against and names & {KLD, "noise"}:
        raise SettingsError("a divergence needs a reference; name it with --against")
    chosen = [data for label, data in labels.items() if label in names or "tasks" in names]
    return WantedMeasures(
        perplexity="ppl" in names,
        divergence=KLD in names,
        noise="noise" in names,
        speed="speed" in names,
        behaviour="behaviour" in names,
        tasks=tuple(chosen),
        benchmarks=_benchmarks(workplace, given) if "benchmarks" in names else (),
    )


def _benchmarks(workplace: Workplace, named: bool) -> tuple[BenchmarkTask, ...]:
    """The settings' benchmarks. Raises SettingsError where they are `named` and there are none."""
    tasks = workplace.settings.evaluation.benchmarks.tasks
    if named and not tasks:
        raise SettingsError(
            "no benchmark is named; give --benchmarks, or set evaluation.benchmarks.tasks"
        )
    return tasks


def evaluate_files(
    workplace: Workplace,
    files: Sequence[str],
    against: str | None,
    measures: Sequence[str],
    *,
    out: Path | None = None,
    logits: Path | None = None,
) -> Evaluation:
    """Measure files against a model or its log-probabilities.

    A file is a path, or ORG/REPOSITORY:PATTERN of the Hub. `out` is written after each measure,
    `logits` gets the reference's log-probabilities. Raises what measuring raises; what was
    measured before that stays known.
    """
    asked = _settled(_asked_for(workplace, files, against, measures), measures)
    bench, subjects, selection = asked.bench, asked.subjects, asked.selection

    def wrote() -> None:
        if out is not None:
            _write(out, rows.evaluation(complete=False))

    table = ScoreTable(
        bench,
        subjects,
        tasks=selection.tasks,
        speed=selection.speed,
        behaviour=selection.behaviour,
        benchmarks=selection.benchmarks,
        wrote=wrote,
    )
    rows = _Rows(table, asked)
    table.fill(
        divergence=selection.divergence, noise=selection.noise, perplexity=selection.perplexity
    )
    if logits is not None:
        bench.logits.copy_to(logits)
    evaluation = rows.evaluation(complete=True)
    if out is not None:
        _write(out, evaluation)
    return evaluation


@dataclass(frozen=True, kw_only=True)
class _AskedFiles:
    """Files that shall be measured, against what, and by what."""

    workplace: Workplace
    bench: Bench
    subjects: Sequence[Subject]
    reference: Subject | None
    base: Path | None  # log-probabilities in place of a reference
    publishers: Mapping[str, str]  # REPOSITORY@COMMIT by sha256
    selection: WantedMeasures
    budget: Budget | None = None

    @property
    def costing(self) -> Costing:
        """What measuring them takes."""
        largest = max(subject.bytes for subject in self.subjects)
        candidates = Candidates(count=len(self.subjects), largest=largest)
        model = self.reference or self.subjects[0]
        return Costing(self.workplace, self.bench, model, candidates, self.selection)


def _asked_for(
    workplace: Workplace, files: Sequence[str], against: str | None, measures: Sequence[str]
) -> _AskedFiles:
    """Files as they are named, hashed and fetched. Raises SettingsError for a wrong measure."""
    pin_data(workplace, {demo_texts.TEXT, demo_texts.TASKS})
    selection = wanted_measures(workplace, measures, against is not None)
    _require_texts(workplace, selection)
    base = _base(against)
    publishers: dict[str, str] = {}
    subjects = [_subject(workplace, name, publishers) for name in files]
    reference = _subject(workplace, against, publishers) if against and base is None else None
    return _AskedFiles(
        workplace=workplace,
        bench=Bench(workplace, tools_of(workplace.settings), reference, base),
        subjects=subjects,
        reference=reference,
        base=base,
        publishers=publishers,
        selection=selection,
    )


def _settled(asked: _AskedFiles, measures: Sequence[str]) -> _AskedFiles:
    """The same with as much of each text and set as a budget has room for, where there is one."""
    workplace = asked.workplace
    minutes = workplace.settings.evaluation.budget_minutes
    if minutes is None:
        return asked
    hashes = [subject.sha256 for subject in asked.subjects]
    against = asked.reference.sha256 if asked.reference else str(asked.base)
    wanted = [against, sorted({*measures}), evaluation_inputs(workplace.settings)]
    inputs = {"files": hashes, "wanted": wanted}
    budget = budgeting.settled_files(workplace, inputs, minutes, asked.costing)
    place = workplace.with_settings(budgeting.settled(workplace.settings, budget))
    bench = Bench(place, asked.bench.tools, asked.reference, asked.base)
    against_any = asked.reference is not None or asked.base is not None
    selection = wanted_measures(place, measures, against_any)
    return replace(asked, workplace=place, bench=bench, selection=selection, budget=budget)


def foreseen_measures(
    workplace: Workplace, files: Sequence[str], against: str | None, measures: Sequence[str]
) -> tuple[MeasureCost, ...]:
    """What `evaluate_files` would take, of whole texts and sets. Raises as that does."""
    return _asked_for(workplace, files, against, measures).costing.costs()


@dataclass(frozen=True)
class _Rows:
    """The rows of files as their table of scores fills."""

    table: ScoreTable
    asked: _AskedFiles

    def evaluation(self, *, complete: bool) -> Evaluation:
        """What is measured so far; comparisons only where that is `complete`."""
        asked = self.asked
        rows = [row for subject in asked.subjects if (row := self._row(subject))]
        of_text = asked.selection.perplexity or asked.selection.divergence
        names = {row.sha256: row.name for row in rows}
        facts = self.table.facts(asked.subjects[0]) if of_text else None
        return Evaluation(
            evaluation=replace(facts, budget=asked.budget) if facts else None,
            reference=self._row(asked.reference) if asked.reference else None,
            files=tuple(rows),
            comparisons=self.table.comparisons(names) if complete else (),
        )

    def _row(self, subject: Subject) -> Row | None:
        scores = self.table.scores(subject.sha256)
        if scores is None:
            return None
        header = gguf.read_split(subject.path)
        parameters = sum(tensor.parameters for tensor in header.tensors)
        return Row(
            name=subject.name,
            file=subject.path.name,
            bytes=subject.bytes,
            sha256=subject.sha256,
            bits_per_weight=subject.bytes * 8 / parameters,
            imatrix="quantize.imatrix.entries_count" in header.metadata,
            scores=scores,
            publisher=self.asked.publishers.get(subject.sha256),
        )


def _write(out: Path, evaluation: Evaluation) -> None:
    """A file of the user's own, outside of the working folder."""
    keep_text(out, to_json(evaluation))
    rights.hand_out(out)


def _require_texts(workplace: Workplace, measures: WantedMeasures) -> None:
    """Raise SettingsError where what is measured on would be the demo's, unless that is said."""
    of_text = measures.perplexity or measures.divergence or measures.noise
    uses = {demo_texts.TEXT} if of_text else set()
    demo_texts.refuse(workplace.settings, uses | ({demo_texts.TASKS} if measures.tasks else set()))


def stored_comparisons(path: Path, one: str, other: str) -> tuple[Comparison, ...]:
    """What a results.json says of two of its rows.

    Raises SettingsError when it is none, or does not know the two.
    """
    try:
        results = from_json(Results, path.read_bytes())
    except ValidationError as error:
        raise SettingsError(
            f"{path} is no results.json of this version; make it again with `bot evaluate`"
        ) from error
    rows = (*results.tiers, *results.baselines, *results.others)
    names = {row.name: row.same_as or row.name for row in rows}
    if missing := [name for name in (one, other) if name not in names]:
        raise SettingsError(f"{path} has no row {missing[0]}, only {', '.join(names)}")
    pair = {names[one], names[other]}
    return tuple(c for c in results.comparisons if {c.one, c.other} == pair)


def _base(against: str | None) -> Path | None:
    """The path of a file of log-probabilities, if the reference is one."""
    path = Path(against or "").expanduser()
    if not against or not path.is_file():
        return None
    with path.open("rb") as file:
        return path if file.read(len(MAGIC)) == MAGIC else None


def _subject(workplace: Workplace, name: str, publishers: dict[str, str]) -> Subject:
    if not is_other(name):
        path = Path(name).expanduser()
        return subject_of(workplace, path, path.stem)
    other = fetch_other(workplace, name)
    subject = subject_of(workplace, other.path, other.name, other.sha256, other.bytes)
    publishers[subject.sha256] = other.publisher
    return subject


def subject_of(
    workplace: Workplace, path: Path, name: str, sha256: str | None = None, size: int | None = None
) -> Subject:
    """A GGUF file or its shards to be measured, hashed once and remembered.

    Raises SourceError for what is no GGUF.
    """
    path = path.absolute()
    paths = gguf.shards(path, gguf.read_gguf(path))  # before llama.cpp sees a stranger's file
    if sha256 is not None and size is not None:
        return Subject(name=name, path=path, bytes=size, sha256=sha256)
    inputs = {"path": inside(workplace.folders.root, path)}
    files = workplace.step(
        digest(inputs), "hash", inputs, paths, f"hashing {path.name}", lambda _report: None
    ).files
    model_sha256 = files[0].sha256 if len(files) == 1 else digest([file.sha256 for file in files])
    return Subject(
        name=name, path=path, bytes=sum(file.bytes for file in files), sha256=model_sha256
    )


@dataclass(frozen=True, kw_only=True)
class AskedOf:
    """What a benchmark would ask of a file: requests that are not known yet, texts among them."""

    file: str
    benchmark: str
    requests: int
    texts: int
    most_tokens: int  # of all its texts together
    seconds: float | None  # at the rates of its measure of speed; None where there is none


def foreseen_benchmarks(workplace: Workplace, files: Sequence[str]) -> tuple[AskedOf, ...]:
    """What the benchmarks of the settings would ask of files, without a model at work.

    The time counts one text after another; side by side they take less. Raises SettingsError as
    `Benchmarking.benchmark` does.
    """
    bench = Bench(workplace, tools_of(workplace.settings), None)
    subjects = [_subject(workplace, name, {}) for name in files]
    tasks = _benchmarks(workplace, named=True)
    return tuple(_asked_of(bench, subject, task) for subject in subjects for task in tasks)


def _asked_of(bench: Bench, subject: Subject, task: BenchmarkTask) -> AskedOf:
    asked, rates = bench.benchmarks.foreseen(subject, task), bench.known_speed(subject)
    seconds = None
    if rates is not None:
        read, write = (rate.mean for rate in rates)
        seconds = round(asked.tokens / read + asked.most_tokens / write, 1)
    return AskedOf(
        file=subject.name,
        benchmark=task.name,
        requests=asked.requests,
        texts=asked.texts,
        most_tokens=asked.most_tokens,
        seconds=seconds,
    )
