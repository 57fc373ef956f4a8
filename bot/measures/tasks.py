"""Task files as llama-perplexity reads them, and the tasks it draws from them.

HellaSwag: six lines a task (context, index of the right ending, four endings), or the binary file
of the same tasks, in the same order; the same are drawn of both. Winogrande: CSV,
`index,sentence with _,choice 1,choice 2,1 or 2`. Multiple choice: llama.cpp's binary files
(multiple_choice_task::deserialize of tools/perplexity/perplexity.cpp), or JSONL:

    {"question": "…", "choices": ["…", "…"], "answer": 0}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct, error
from typing import Any, Literal

import numpy as np

from bot.disk.writing import decoded
from bot.errors import SettingsError

Kind = Literal["hellaswag", "winogrande", "multiple-choice"]

ENDINGS = 4
LINES = 2 + ENDINGS
MOST_CHOICES = 100  # llama.cpp's own bound
LONGEST = 1 << 20  # bytes of a text of a binary file
_U32 = Struct("<I")


@dataclass(frozen=True, kw_only=True)
class ChoiceTask:
    """Texts of which the likeliest is the model's answer, and the index of the right one."""

    texts: tuple[str, ...]
    right: int
    # Winogrande: the part of each text up to the choice's end; what follows is scored
    bases: tuple[str, ...] = ()


def read_tasks(path: Path, kind: Kind, count: int | None) -> list[ChoiceTask]:
    """The tasks that llama-perplexity would ask, in its order: `count` of them, or all.

    Raises SettingsError naming the line or task that is wrong.
    """
    if kind == "hellaswag":
        return draw_tasks(_hellaswag(path), count)
    data = path.read_bytes()
    if kind == "winogrande":
        return draw_scaled(_winogrande(path, data), count)
    text = data.lstrip()[:1] == b"{"
    return draw_scaled(_jsonl(path, data) if text else _binary(path, data), count)


def _hellaswag(path: Path) -> list[ChoiceTask]:
    data = path.read_bytes()
    if _is_binary(data):
        return _binary(path, data)
    lines = decoded(data, str(path)).split("\n")
    if lines and not lines[-1]:
        lines.pop()
    if not lines or len(lines) % LINES:
        raise SettingsError(f"{path} has {len(lines)} lines, not six for each task; mend the file")
    return [_six_lines(path, lines, start) for start in range(0, len(lines), LINES)]


def _six_lines(path: Path, lines: Sequence[str], start: int) -> ChoiceTask:
    right = lines[start + 1].strip()
    if right not in {str(i) for i in range(ENDINGS)}:
        raise SettingsError(f"{path}:{start + 2} is not the number of an ending; mend the file")
    endings = lines[start + 2 : start + LINES]
    return ChoiceTask(
        texts=tuple(f"{lines[start]} {ending}" for ending in endings), right=int(right)
    )


def _winogrande(path: Path, data: bytes) -> list[ChoiceTask]:
    """load_winogrande_from_csv(), which never reads the last line.

    llama-perplexity cuts a file's final newline off, and the reader takes no line without one.
    """
    lines = decoded(data, str(path)).removesuffix("\n").split("\n")[:-1]
    tasks = [_blank(path, number, line) for number, line in enumerate(lines, 1)]
    if not tasks:
        raise SettingsError(f"{path} holds no tasks; name a Winogrande file")
    return tasks


def _blank(path: Path, number: int, line: str) -> ChoiceTask:
    parts = _five(line)
    sentence = parts[1].removeprefix('"').removesuffix('"') if len(parts) == 5 else ""
    if "_" not in sentence or parts[4].strip() not in ("1", "2"):
        raise SettingsError(
            f"{path}:{number} is not `index,sentence with _,choice,choice,1 or 2`; mend the file"
        )
    before, _, after = sentence.partition("_")
    choices = parts[2:4]
    return ChoiceTask(
        texts=tuple(f"{before}{choice}{after}" for choice in choices),
        right=int(parts[4]) - 1,
        bases=tuple(f"{before}{choice}" for choice in choices),
    )


def _five(line: str) -> list[str]:
    """A line cut at its first four commas outside quotes, which only open once."""
    parts: list[str] = []
    start, quoted = 0, False
    for i, sign in enumerate(line):
        if sign == '"':
            quoted = not quoted
        elif sign == "," and not quoted and len(parts) < 4:
            parts.append(line[start:i])
            start = i + 1
    return [*parts, line[start:]]


class _Reader:
    """A binary task file, every size checked before it is believed."""

    def __init__(self, path: Path, data: bytes) -> None:
        self._path, self._data, self.place = path, data, 0

    def number(self, most: int) -> int:
        try:
            (value,) = _U32.unpack_from(self._data, self.place)
        except error as short:
            raise self.wrong("it ends too early") from short
        self.place += _U32.size
        if value > most:
            raise self.wrong(f"{value} where at most {most} is right")
        return int(value)

    def text(self) -> str:
        size = self.number(LONGEST)
        raw = self._data[self.place : self.place + size]
        if len(raw) != size:
            raise self.wrong("it ends too early")
        self.place += size
        return decoded(raw, str(self._path))

    def wrong(self, what: str) -> SettingsError:
        return SettingsError(
            f"{self._path} is no task file of llama.cpp at byte {self.place}: {what}; "
            "fetch it again"
        )


def _is_binary(data: bytes) -> bool:
    """Whether there is a number of tasks, and where the first of them lies behind all places."""
    if len(data) < 2 * _U32.size:
        return False
    (count,), (first,) = _U32.unpack_from(data), _U32.unpack_from(data, _U32.size)
    places = _U32.size * (1 + int(count))
    return bool(count) and places <= int(first) < len(data)


def _binary(path: Path, data: bytes) -> list[ChoiceTask]:
    reader = _Reader(path, data)
    count = reader.number(len(data) // 4)
    positions = [reader.number(len(data)) for _ in range(count)]
    tasks = []
    for position in positions:
        reader.place = position
        tasks.append(_stored(reader))
    if not tasks:
        raise reader.wrong("it holds no tasks")
    return tasks


def _stored(reader: _Reader) -> ChoiceTask:
    question = reader.text()
    answers = [reader.text() for _ in range(reader.number(MOST_CHOICES))]
    labels = [reader.number(1) for _ in answers]
    if not question or not answers or not all(answers) or 1 not in labels:
        raise reader.wrong("a task without question, answers or a right one")
    return ChoiceTask(texts=tuple(f"{question} {a}" for a in answers), right=labels.index(1))


def _jsonl(path: Path, data: bytes) -> list[ChoiceTask]:
    lines = decoded(data, str(path)).split("\n")
    return [_object(path, n, line) for n, line in enumerate(lines, 1) if line.strip()]


def _object(path: Path, number: int, line: str) -> ChoiceTask:
    try:
        row: Any = json.loads(line)
        question, choices, right = row["question"], row["choices"], row["answer"]
        good = isinstance(question, str) and question and isinstance(choices, list)
        good = good and all(isinstance(choice, str) and choice for choice in choices)
        good = good and type(right) is int and 0 <= right < len(choices) <= MOST_CHOICES
    except (ValueError, KeyError, TypeError, RecursionError):
        good = False
    if not good:
        raise SettingsError(
            f'{path}:{number} is not {{"question", "choices", "answer"}}; mend the file'
        )
    return ChoiceTask(texts=tuple(f"{question} {choice}" for choice in choices), right=right)


def draw_tasks(tasks: Sequence[ChoiceTask], count: int | None) -> list[ChoiceTask]:
    """HellaSwag's tasks: Lemire's method on std::mt19937(1), always, so that fewer are a prefix."""
    remaining = list(tasks)
    draws = raw_draws()
    size = len(remaining) if count is None else min(count, len(remaining))
    return [remaining.pop(drawn_below(len(remaining), draws)) for _ in range(size)]


def draw_scaled(tasks: Sequence[ChoiceTask], count: int | None) -> list[ChoiceTask]:
    """Winogrande's and multiple choice's: all in the file's order, or `count` of std::mt19937(1).

    The last of those left takes a drawn one's place; the draw is scaled in f32, as in the tool.
    """
    if count is None or count >= len(tasks):
        return list(tasks)
    return [tasks[i] for i in _scaled(len(tasks), count)]


def _scaled(size: int, count: int) -> Iterator[int]:
    remaining, draws = list(range(size)), raw_draws()
    scale = np.float32(2.0**-32)
    for _ in range(count):
        at = int(scale * np.float32(draws()) * np.float32(len(remaining)))
        at = min(
            at, len(remaining) - 1
        )  # f32 may round up to the end, where the tool reads past it
        yield remaining[at]
        remaining[at] = remaining[-1]
        remaining.pop()


def raw_draws() -> Callable[[], int]:
    """32-bit outputs of std::mt19937(1): RandomState seeds the same generator the same way."""
    state = np.random.RandomState(1)
    return lambda: int(state.randint(0, 1 << 32, dtype=np.uint32))


def drawn_below(n: int, draw: Callable[[], int]) -> int:
    """libstdc++'s uniform_int_distribution(0, n - 1) over 32-bit draws (uniform_int_dist.h)."""
    product = draw() * n
    while (product & 0xFFFFFFFF) < ((1 << 32) - n) % n:
        product = draw() * n
    return product >> 32
