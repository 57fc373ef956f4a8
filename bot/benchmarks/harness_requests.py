"""What lm-evaluation-harness asks of a model, and what the model answers, as records.

The harness runs in one process and the model in another; between them lie files of these, a line
of JSON each. An answer belongs to its request, by a hash of all that the request says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from bot.errors import BuildError
from bot.records.coding import digest

LONGEST = 16 << 20  # bytes of a request or an answer
MOST = 4_000_000  # requests of a benchmark: each of MMLU's questions asks four


@dataclass(frozen=True, kw_only=True)
class HarnessRequest:
    """One of the harness's three kinds of request (lm_eval/api/model.py, `LM`).

    `likelihood`: how likely is `continuation` after `context`. `rolling`: how likely is all of
    `continuation`. `text`: what comes after `context`, greedily, up to the first of `until`, at
    most `limit` tokens.
    """

    kind: Literal["likelihood", "rolling", "text"]
    context: str = ""
    continuation: str = ""
    until: tuple[str, ...] = ()
    limit: int = 0

    @cached_property
    def key(self) -> str:
        """A hash of all that the request says."""
        return digest(asdict(self))


@dataclass(frozen=True, kw_only=True)
class ModelAnswer:
    """`likelihood`, `rolling`: the sum of log-probabilities, in nats, and whether each token is
    the likeliest one at its place; `text`: what was written."""

    logprob: float = 0.0
    greedy: bool = False
    text: str = ""


_REQUEST, _ANSWER = TypeAdapter(HarnessRequest), TypeAdapter(ModelAnswer)


def write_requests(path: Path, requests: Iterable[HarnessRequest]) -> None:
    """All requests, each once, in the order asked."""
    unique = {request.key: request for request in requests}
    with path.open("w", encoding="utf-8") as file:
        for request in unique.values():
            file.write(json.dumps(asdict(request)) + "\n")


def read_requests(path: Path) -> list[HarnessRequest]:
    """Requests as `write_requests` left them. Raises BuildError for anything else."""
    return [_read(_REQUEST, line, path) for line in _lines(path)]


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST + 1), "")):
            if len(line) > LONGEST or number >= MOST:
                raise BuildError(f"{path.name} holds more than any benchmark asks; leave that out")
            yield line


def _read(kind: TypeAdapter[Any], line: str, path: Path) -> Any:
    try:
        return kind.validate_json(line, strict=True)
    except ValidationError as error:
        raise BuildError(f"{path.name} holds what is no request; run it again") from error


# ── answers, as they come ───────────────────────────────────────────────────────────────────


def answer_of(data: Any) -> ModelAnswer:
    """An answer from JSON values. Raises ValueError (ValidationError is one) for another shape."""
    return _ANSWER.validate_json(json.dumps(data), strict=True)


class Answers:
    """Answers by the keys of their requests, kept in a file as they come.

    A line is `[key, answer, sha256 of both]`; whoever opens the file again has all whole lines. A
    last line that a kill cut short is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known, size = _known(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.truncate(size)

    def add(self, answers: Sequence[tuple[str, ModelAnswer]]) -> None:
        """Keep answers."""
        lines = [_line(key, answer) for key, answer in answers]
        with self.path.open("ab") as file:
            file.write(b"".join(lines))
        self.known.update(answers)


def read_answers(path: Path) -> dict[str, ModelAnswer]:
    """The answers of a file, for a process that may not write it."""
    return _known(path)[0]


def _line(key: str, answer: ModelAnswer) -> bytes:
    values = [key, asdict(answer)]
    return json.dumps([*values, digest(values)]).encode() + b"\n"


def _known(path: Path) -> tuple[dict[str, ModelAnswer], int]:
    known: dict[str, ModelAnswer] = {}
    size = 0
    if not path.is_file():
        return known, size
    with path.open("rb") as file:
        for line in file:
            try:
                key, answer, check = json.loads(line)
                if check != digest([key, answer]) or not line.endswith(b"\n"):
                    break
                known[str(key)] = answer_of(answer)
            except (ValueError, TypeError):
                break
            size += len(line)
    return known, size
