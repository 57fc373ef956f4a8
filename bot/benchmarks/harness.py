"""lm-evaluation-harness at work: it asks, and counts what was answered. Runs in a child only.

The harness is installed as `apex-bot[lm-eval]`. Tasks are its own, or YAML files in a folder of
the publisher's; what is counted, with which error, is the harness's business alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from bot.apart.conversing import Speaking
from bot.benchmarks.harness_requests import HarnessRequest, ModelAnswer
from bot.benchmarks.harness_task import AskedTask, chat_prompt
from bot.errors import SettingsError
from bot.records.measured import BenchmarkScore

Respond = Callable[[Sequence[HarnessRequest]], Sequence[ModelAnswer]]

WRITTEN = 256  # tokens of a text where a task says nothing: the harness's own default
# readers of `datasets` that take files, not a data set of that name
READERS = frozenset(
    {"arrow", "csv", "json", "pandas", "parquet", "sql", "text", "webdataset", "xml"}
)


class HarnessModel(LM):  # type: ignore[misc]  # the harness has no types
    """The harness's model, whose answers come from `respond`: a session, or a file of answers."""

    def __init__(
        self, respond: Respond, *, chat: Speaking | None = None, most_tokens: int | None = None
    ) -> None:
        super().__init__()
        self._respond, self._chat, self._most = respond, chat, most_tokens

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """Of each (context, continuation): log-probability in nats, whether it is the greedy one"""
        asked = [
            HarnessRequest(kind="likelihood", context=context, continuation=continuation)
            for context, continuation in (request.args for request in requests)
        ]
        return [(answer.logprob, answer.greedy) for answer in self._respond(asked)]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        """Of each (text,): the log-probability of all of it, in nats."""
        asked = [
            HarnessRequest(kind="rolling", continuation=request.args[0]) for request in requests
        ]
        return [answer.logprob for answer in self._respond(asked)]

    def generate_until(self, requests: list[Any]) -> list[str]:
        """Of each (context, generation settings): the likeliest text, to the first stop.

        Raises SettingsError for a task that wants texts drawn at random.
        """
        return [
            answer.text
            for answer in self._respond([self._text(*request.args) for request in requests])
        ]

    def _text(self, context: str, wanted: Mapping[str, Any]) -> HarnessRequest:
        settings = normalize_gen_kwargs(dict(wanted), WRITTEN)
        if settings["do_sample"] and float(settings.get("temperature", 0.0)) > 0:
            raise SettingsError(
                "the task draws texts at random (do_sample), and texts are written greedily here; "
                "leave it out"
            )
        limit = min(int(settings["max_gen_toks"]), self._most or 1 << 30)
        return HarnessRequest(
            kind="text", context=context, until=tuple(settings["until"]), limit=limit
        )

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A conversation as the model's own template writes it."""
        if self._chat is None:
            raise SettingsError("the model has no chat template; set evaluation.benchmarks.chat")
        return chat_prompt(self._chat, chat_history, answer_next=add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template's text, for the harness's notes."""
        return self._chat.template if self._chat is not None and chat_template else ""

    @property
    def tokenizer_name(self) -> str:
        """A name for caches of prompts, which are not used."""
        return "apex-bot"


class MissingError(Exception):
    """Requests that nobody has answered yet."""

    def __init__(self, requests: list[HarnessRequest]) -> None:
        super().__init__(f"{len(requests)} requests")
        self.requests = requests


def looked_up(known: Mapping[str, ModelAnswer]) -> Respond:
    """Answers that are known; raises MissingError with all of a round, where one is not."""

    def respond(requests: Sequence[HarnessRequest]) -> list[ModelAnswer]:
        if any(request.key not in known for request in requests):
            raise MissingError(list(requests))
        return [known[request.key] for request in requests]

    return respond


def evaluated(asked: AskedTask, respond: Respond) -> dict[str, Any]:
    """What the harness finds, as `simple_evaluate` gives it.

    Raises SettingsError for a task that it does not know, or that may not run here.
    """
    lm = HarnessModel(respond, chat=asked.chat, most_tokens=asked.most_tokens)
    with _surroundings(asked):
        manager = manager_for(asked)
        require_no_code(manager, asked)
        results: dict[str, Any] = simple_evaluate(
            model=lm,
            tasks=[asked.task],
            num_fewshot=asked.fewshot,
            limit=asked.limit,
            apply_chat_template=asked.chat is not None,
            fewshot_as_multiturn=asked.chat is not None,
            task_manager=manager,
            confirm_run_unsafe_code=asked.code,
        )
    return results


def manager_for(asked: AskedTask) -> Any:
    """The harness's tasks; those of the own folder alone where they have the name: it has many.

    Raises SettingsError for a name that neither has.
    """
    folder = None if asked.folder is None else str(asked.folder)
    manager = TaskManager(include_path=folder, include_defaults=False) if folder else None
    if manager is None or asked.task not in manager.all_tasks:
        manager = TaskManager(include_path=folder)
    if asked.task not in manager.all_tasks:
        raise SettingsError(
            f"lm-evaluation-harness has no task {asked.task!r}; `lm-eval ls tasks` lists all"
        )
    return manager


def leaf_tasks(manager: Any, name: str) -> Iterator[tuple[str, dict[str, Any], Path | None]]:
    """Name, settings and file of each task that a name means; functions in them are not loaded."""
    entry = manager.task_index.get(name)
    if entry is None:
        return
    if entry.kind.name == "TAG":
        for member in sorted(entry.tags):
            yield from leaf_tasks(manager, member)
        return
    config = entry.cfg or load_yaml(entry.yaml_path, resolve_func=False)
    if entry.kind.name != "GROUP":
        yield name, config, entry.yaml_path
        return
    yield from _members(manager, config)


def _members(manager: Any, config: Mapping[str, Any]) -> Iterator[Any]:
    for member in config.get("task") or ():
        if isinstance(member, Mapping):
            child = member.get("group") or member.get("task")
            if isinstance(child, str) and child in manager.task_index:
                yield from leaf_tasks(manager, child)
            elif "group" in member:
                yield from _members(manager, member)
            else:
                yield str(child), dict(member), None
        else:
            yield from leaf_tasks(manager, str(member))


def require_no_code(manager: Any, asked: AskedTask) -> None:
    """Raise SettingsError where code would run that settings do not allow: the model's own, or
    functions that stand beside task files of one's own."""
    if asked.code:
        return
    for name, config, path in leaf_tasks(manager, asked.task):
        if config.get("unsafe_code"):
            raise SettingsError(
                f"{name} runs what the model writes; evaluation.benchmarks.code allows it"
            )
        if path is None or asked.folder is None:
            continue
        if path.is_relative_to(asked.folder) and _has_code(path):
            raise SettingsError(
                f"{path.name} names functions, which would be run; "
                "evaluation.benchmarks.code allows it"
            )


def _has_code(path: Path) -> bool:
    """Whether a task file, or one that it may include, names a function."""
    files = {path, *path.parent.rglob("*.yaml"), *path.parent.rglob("*.yml")}
    return any("!function" in file.read_text("utf-8", "replace") for file in files)


def data_sets(manager: Any, name: str) -> tuple[str, ...]:
    """Names of the data sets of a Hub that a task takes."""
    found = (config.get("dataset_path") for _, config, _ in leaf_tasks(manager, name))
    return tuple(sorted({path for path in found if isinstance(path, str)} - READERS))


@contextmanager
def _surroundings(asked: AskedTask) -> Iterator[None]:
    """A current folder in which data sets lie under their names, and own files under theirs."""
    before = Path.cwd()
    with TemporaryDirectory(dir=before) as name:
        here = Path(name)
        for own in sorted(asked.folder.iterdir()) if asked.folder else ():
            (here / own.name).symlink_to(own)
        for repository, folder in asked.data.items():
            place = here / repository
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(folder)
        os.chdir(here)
        try:
            yield
        finally:
            os.chdir(before)


def scores_of(results: Mapping[str, Any]) -> tuple[BenchmarkScore, ...]:
    """Every number of the harness's results, of tasks and of groups."""
    found = []
    for task, metrics in results["results"].items():
        better = results["higher_is_better"].get(task) or {}
        shots = results["n-shot"].get(task)
        for key, value in metrics.items():
            metric, _, filtered = key.partition(",")
            if not filtered or metric.endswith("_stderr") or not _is_number(value):
                continue
            error = metrics.get(f"{metric}_stderr,{filtered}")
            found.append(
                BenchmarkScore(
                    task=task,
                    metric=metric,
                    filter=filtered,
                    value=float(value),
                    error=float(error) if _is_number(error) else None,
                    higher_is_better=better.get(metric),
                    documents=int(metrics.get("sample_len", 0)),
                    version=_version(results["versions"].get(task)),
                    fewshot=shots if isinstance(shots, int) else None,
                    right=_right(results.get("samples", {}).get(task, ()), metric, filtered),
                )
            )
    return tuple(found)


def _right(samples: Sequence[Mapping[str, Any]], metric: str, filtered: str) -> str:
    """`1` or `0` for each document, where all its values are that; else nothing."""
    values = [one[metric] for one in samples if one.get("filter") == filtered and metric in one]
    if not values or any(value not in (0, 1) for value in values if _is_number(value)):
        return ""
    if not all(isinstance(value, bool) or _is_number(value) for value in values):
        return ""
    return "".join("1" if value else "0" for value in values)


def _version(value: Any) -> str:
    return "" if value is None else str(value)


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) or hasattr(value, "__float__")
    return number and not isinstance(value, str) and math.isfinite(float(value))
