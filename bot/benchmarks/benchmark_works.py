"""Benchmarks of lm-evaluation-harness: works for children, see bot/apart/worker.py.

Two kinds of children do a benchmark, in turns. One has the harness and no model: it builds the
tasks and either finds that answers are missing, or counts. One has the model and no harness: it
answers. What one asks and the other answers lies in files between them; a run goes on at the
answers that are there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bot.apart.voice import Voice
from bot.benchmarks.harness_requests import (
    Answers,
    ModelAnswer,
    answer_of,
    read_answers,
    read_requests,
    write_requests,
)
from bot.benchmarks.harness_task import AskedTask
from bot.benchmarks.request_lines import Bounds, tokens_to_read
from bot.benchmarks.responding import Answering
from bot.clients.llama.session import Loading
from bot.clients.llama.vocabulary import vocabulary_of
from bot.errors import BotError, SettingsError
from bot.records.coding import dump
from bot.records.measured import BenchmarkScore

T = TypeVar("T")
REASON = 300  # letters of what a task says when it fails


@dataclass(frozen=True, kw_only=True)
class Consulted:
    """What the harness said: how many requests nobody has answered, or what it counted."""

    missing: int
    scores: tuple[BenchmarkScore, ...]


def consult(voice: Voice, asked: AskedTask, answers: Path, out: Path) -> Consulted:
    """The scores of a benchmark; where `answers` lacks some, the requests of a round, in `out`.

    Raises SettingsError for what the harness cannot do with the task.
    """
    voice.progress(0, 1)
    _alone()
    return _in_words(asked.task, lambda: _consulted(asked, answers, out))


def data_of(voice: Voice, asked: AskedTask) -> tuple[str, ...]:
    """Names of the data sets of a Hub that a benchmark takes. Raises as `consult`."""
    voice.progress(0, 1)
    _alone()
    return _in_words(asked.task, lambda: _data(asked))


def respond(voice: Voice, model: Loading, bounds: Bounds, requests: Path, answers: Path) -> int:
    """ModelAnswer all requests of a file but those that `answers` has; how many that were.

    Each answer goes to the parent as soon as its batch is decoded.
    """
    asked, known = read_requests(requests), read_answers(answers)
    told = 0

    def give(found: Sequence[tuple[str, ModelAnswer]]) -> None:
        nonlocal told
        told += len(found)
        for key, answer in found:
            voice.tell({"key": key, "answer": dump(answer)})

    with model.session(bounds.memory, sequences=bounds.held, unified=True) as session:
        answering = Answering(session, bounds, threads=model.threads)
        answering.answer(asked, known, give, voice.progress)
    return told


@dataclass(frozen=True, kw_only=True)
class RoundSize:
    """How much a round asks. `tokens`: to be read, beginnings that are shared once."""

    requests: int
    texts: int
    tokens: int
    most_tokens: int  # to be written at most


def sized(voice: Voice, path: Path, bounds: Bounds, requests: Path) -> RoundSize:
    """How much the requests of a file are for a model, of which the vocabulary alone is loaded."""
    asked = read_requests(requests)
    voice.progress(0, 1)
    with vocabulary_of(path) as words:
        tokens = tokens_to_read(words, bounds, asked)
    texts = [request for request in asked if request.kind == "text"]
    return RoundSize(
        requests=len(asked),
        texts=len(texts),
        tokens=tokens,
        most_tokens=sum(request.limit for request in texts),
    )


class AnswerListener:
    """The parent's side of `respond`: keeps each answer to a request that was asked."""

    def __init__(self, answers: Answers, asked: frozenset[str]) -> None:
        self._answers, self._asked = answers, asked

    def hear(self, message: Any) -> None:
        """Take an answer. Raises ValueError for anything else."""
        if not isinstance(message, dict) or set(message) != {"key", "answer"}:
            raise ValueError("no answer")
        key, answer = message["key"], answer_of(message["answer"])
        if key not in self._asked or key in self._answers.known:
            raise ValueError("an answer to nothing")
        self._answers.add([(key, answer)])


def _consulted(asked: AskedTask, answers: Path, out: Path) -> Consulted:
    from bot.benchmarks import harness

    try:
        results = harness.evaluated(asked, harness.looked_up(read_answers(answers)))
    except harness.MissingError as missing:
        write_requests(out, missing.requests)
        return Consulted(missing=len(missing.requests), scores=())
    return Consulted(missing=0, scores=harness.scores_of(results))


def _data(asked: AskedTask) -> tuple[str, ...]:
    from bot.benchmarks import harness

    manager = harness.manager_for(asked)
    harness.require_no_code(manager, asked)
    return harness.data_sets(manager, asked.task)


def _alone() -> None:
    """No network, nothing kept elsewhere: set before any of the harness's libraries is read."""
    home = Path(os.environ.get("HOME", "."))
    os.environ.update(
        HF_HOME=str(home / "huggingface"),
        HF_HUB_OFFLINE="1",
        HF_DATASETS_OFFLINE="1",
        HF_EVALUATE_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        TOKENIZERS_PARALLELISM="false",
    )


def _in_words(task: str, work: Callable[[], T]) -> T:
    """What the harness raises, which may be anything, as an error of ours."""
    try:
        return work()
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{task} needs the Python package {error.name}, which is not installed; install it"
        ) from error
    except (BotError, MemoryError):
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}"[:REASON]
        raise SettingsError(f"lm-evaluation-harness failed at {task}: {text}; mend it") from error
