"""Benchmarks of lm-evaluation-harness: a file's answers, asked once and kept as they come."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bot.apart.conversing import Speaking
from bot.apart.worker import Room, away
from bot.benchmarks.benchmark_works import (
    AnswerListener,
    Consulted,
    RoundSize,
    consult,
    data_of,
    respond,
    sized,
)
from bot.benchmarks.harness_requests import Answers, read_requests
from bot.benchmarks.harness_task import AskedTask
from bot.benchmarks.request_lines import Bounds
from bot.errors import BuildError, SettingsError
from bot.evaluate.against.cutting import speaking_of
from bot.evaluate.asking.data_folders import DataFolders, folder_hash
from bot.evaluate.data import Data
from bot.evaluate.kept import KeptMeasures
from bot.evaluate.loads import Sessions
from bot.evaluate.subject import Measured, Subject
from bot.progress import Report
from bot.records.coding import digest, dump
from bot.records.measured import BENCHMARK, Benchmark, BenchmarkData, Text
from bot.settings.making import BenchmarkTask
from bot.workplace.children import room_for, terms_of
from bot.workplace.workplace import Workplace

HARNESS = "lm_eval"  # the harness's package
EXTRA = "pip install 'apex-bot[lm-eval]'"
ROUNDS = 4  # the harness asks a round for each kind of request, and there are three
LINE = 64 << 20  # bytes of what the harness counted of a group of many tasks


class Benchmarking:
    """Asks a file what tasks of the harness ask, by settings."""

    def __init__(self, workplace: Workplace, kept: KeptMeasures) -> None:
        self._workplace, self._kept = workplace, kept
        self._settings = workplace.settings
        self._asked_for = self._settings.evaluation.benchmarks
        self._sessions = Sessions(self._settings)
        self._data = DataFolders(workplace)

    @cached_property
    def harness(self) -> str:
        """The harness's version. Raises SettingsError where it is not installed."""
        try:
            return metadata.version(HARNESS)
        except metadata.PackageNotFoundError as error:
            raise SettingsError(
                f"benchmarks need lm-evaluation-harness, which is not installed; {EXTRA}"
            ) from error

    @property
    def bounds(self) -> Bounds:
        """How much is decoded together."""
        asked = self._asked_for
        return Bounds(context=asked.context, memory=asked.memory, sequences=asked.parallel)

    def benchmark(self, subject: Subject, task: BenchmarkTask) -> Measured:
        """What the harness finds of a file by one of its tasks, groups or tags.

        Raises SettingsError for a task that is not there or may not run, or without the harness.
        """
        asked, data = self._question(subject, task)
        inputs = self._inputs(subject, task, asked, data)
        origin = f"lm-evaluation-harness {self.harness}"
        told = ", ".join(f"{one.name}@{one.commit}" if one.commit else one.name for one in data)
        identity = digest([inputs["harness"], inputs["sets"], inputs["own"], task.name])
        text = Text(name=task.name, sha256=identity, origin=f"{origin}; {told}" if told else origin)
        known = Data(path=Path(task.name), text=text, kind=None, label=task.name, count=task.limit)

        def work(report: Report) -> Any:
            folder = self._kept.folder(inputs)
            found, requests = self._rounds(subject, asked, folder, report)
            return dump(
                Benchmark(
                    name=task.name,
                    harness=self.harness,
                    fewshot=task.fewshot,
                    limit=task.limit,
                    chat=asked.chat is not None,
                    most_tokens=task.most_tokens,
                    requests=requests,
                    data=data,
                    scores=found.scores,
                )
            )

        measured = self._kept.once(f"{BENCHMARK}{task.name}", subject, known, inputs, work)
        self._drop(self._kept.folder(inputs))
        return measured

    def foreseen(self, subject: Subject, task: BenchmarkTask) -> RoundSize:
        """What a benchmark's first round would ask of a file; raises as `benchmark`."""
        asked, data = self._question(subject, task)
        inputs = self._inputs(subject, task, asked, data)
        if self._kept.known(f"{BENCHMARK}{task.name}", subject, inputs) is not None:
            return RoundSize(requests=0, texts=0, tokens=0, most_tokens=0)
        with TemporaryDirectory() as name:
            folder = Path(name).resolve()
            self._consult(asked, folder)
            requests = folder / "asked" / "requests.jsonl"
            room = room_for(self._settings, subject.path, requests)
            return away(sized, room)(subject.path.absolute(), self.bounds, requests)

    # ── rounds ──────────────────────────────────────────────────────────────────────────────

    def _rounds(
        self, subject: Subject, asked: AskedTask, folder: Path, report: Report
    ) -> tuple[Consulted, int]:
        """Ask the harness and the model in turns, until nothing is missing."""
        answers = Answers(folder / "answers.jsonl")
        for _ in range(ROUNDS):
            consulted = self._consult(asked, folder)
            if not consulted.missing:
                return consulted, len(answers.known)
            requests = folder / "asked" / "requests.jsonl"
            keys = frozenset(request.key for request in read_requests(requests))
            listener = AnswerListener(answers, keys)
            room = self._sessions.room(subject, report, answers.path, requests)
            answer = away(respond, replace(room, hear=listener.hear))
            answer(self._sessions.loading(subject), self.bounds, requests, answers.path)
            if not keys <= set(answers.known):
                raise BuildError(f"{subject.name} left requests of {asked.task} unanswered")
        raise BuildError(f"{asked.task} asks on and on; leave it out of evaluation.benchmarks")

    def _consult(self, asked: AskedTask, folder: Path) -> Consulted:
        out = folder / "asked"
        out.mkdir(parents=True, exist_ok=True)
        room = replace(self._room(asked, folder), writes=(out,))
        return away(consult, room)(asked, folder / "answers.jsonl", out / "requests.jsonl")

    def _room(self, asked: AskedTask, *folders: Path) -> Room:
        """What the harness sees: its tasks, data and answers, and no model."""
        own = (asked.folder,) if asked.folder else ()
        return Room(
            about=Path(asked.task),
            terms=terms_of(self._settings),
            reads=tuple(dict.fromkeys((*folders, *own, *asked.data.values()))),
            line=LINE,
        )

    def _drop(self, folder: Path) -> None:
        for name in ("answers.jsonl", "asked/requests.jsonl"):
            (folder / name).unlink(missing_ok=True)

    # ── what is asked ───────────────────────────────────────────────────────────────────────

    def _inputs(
        self,
        subject: Subject,
        task: BenchmarkTask,
        asked: AskedTask,
        data: tuple[BenchmarkData, ...],
    ) -> dict[str, Any]:
        """All that decides what is found."""
        bounds = self.bounds
        how = [task.fewshot, task.limit, task.most_tokens, asked.code]
        sets = [[one.name, one.commit, self._data.content(one.name)] for one in data]
        return self._kept.inputs(
            f"{BENCHMARK}{task.name}",
            subject,
            None,
            harness=self.harness,
            asked=[*how, dump(asked.chat) if asked.chat else None],
            bounds=[bounds.context, bounds.memory, bounds.sequences],
            sets=sets,
            own=folder_hash(asked.folder) if asked.folder else None,
        )

    def _question(
        self, subject: Subject, task: BenchmarkTask
    ) -> tuple[AskedTask, tuple[BenchmarkData, ...]]:
        """A task as the harness is asked it, with its data sets here; and which they are."""
        version = self.harness
        del version  # asked for before anything is fetched
        own = self._asked_for.folder
        folder = None if own is None else own.resolve()
        if folder is not None and not folder.is_dir():
            raise SettingsError(f"{own} is no folder; mend evaluation.benchmarks.folder")
        asked = AskedTask(
            task=task.name,
            fewshot=task.fewshot,
            limit=task.limit,
            most_tokens=task.most_tokens,
            chat=self._chat(subject) if self._asked_for.chat else None,
            folder=folder,
            code=self._asked_for.code,
        )
        names = away(data_of, self._room(asked))(asked)
        taken = [self._data_set(name, folder) for name in names]
        data = {one.name: place for found in taken if found for one, place in [found]}
        facts = tuple(found[0] for found in taken if found)
        return replace(asked, data=data), facts

    def _data_set(self, name: str, own: Path | None) -> tuple[BenchmarkData, Path] | None:
        """A data set's folder on this machine; None where it stands among the own tasks."""
        return None if own is not None and (own / name).is_dir() else self._data.of(name)

    def _chat(self, subject: Subject) -> Speaking:
        speaking = speaking_of(self._settings, subject.path)
        if speaking is None:
            raise SettingsError(
                f"{subject.name} has no chat template; set evaluation.benchmarks.chat: false"
            )
        return speaking
