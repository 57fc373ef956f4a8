"""Multiple choice: which of four endings does the model find likeliest.

HellaSwag as hellaswag_score() of tools/perplexity/perplexity.cpp: six lines a task (context, index
of the right ending, four endings), N tasks drawn without replacement by std::mt19937(1), the score
of an ending is the mean log-probability of its tokens after `context + " "`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama.session import Session, Token
from bot.errors import SettingsError
from bot.records import Choices

Progress = Callable[[int, int], None]  # done, total

ENDINGS = 4
LINES = 2 + ENDINGS
Z95 = 1.95996398454  # llama.cpp's own constant


@dataclass(frozen=True, kw_only=True)
class Task:
    """A context, its endings, and which of them is right."""

    context: str
    right: int
    endings: tuple[str, ...]


def read_tasks(path: Path) -> tuple[Task, ...]:
    """All tasks of a six-line file. Raises SettingsError naming the line that is wrong."""
    lines = path.read_text(encoding="utf-8").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    if not lines or len(lines) % LINES:
        raise SettingsError(f"{path} has {len(lines)} lines, not six for each task; mend the file")
    return tuple(_task(path, lines, start) for start in range(0, len(lines), LINES))


def _task(path: Path, lines: Sequence[str], start: int) -> Task:
    right = lines[start + 1].strip()
    if right not in {str(i) for i in range(ENDINGS)}:
        raise SettingsError(f"{path}:{start + 2} is not the number of an ending; mend the file")
    endings = tuple(lines[start + 2 : start + LINES])
    return Task(context=lines[start], right=int(right), endings=endings)


def draw(tasks: Sequence[Task], count: int) -> list[Task]:
    """`count` tasks in llama-perplexity's order: Lemire's method on std::mt19937(1)."""
    left = list(tasks)
    draws = _raw_draws()
    return [left.pop(_below(len(left), draws)) for _ in range(min(count, len(left)))]


def _raw_draws() -> Callable[[], int]:
    """32-bit outputs of std::mt19937(1): RandomState seeds the same generator the same way."""
    state = np.random.RandomState(1)
    return lambda: int(state.randint(0, 1 << 32, dtype=np.uint32))


def _below(n: int, draw: Callable[[], int]) -> int:
    """libstdc++'s uniform_int_distribution(0, n - 1) over 32-bit draws (uniform_int_dist.h)."""
    product = draw() * n
    while (product & 0xFFFFFFFF) < ((1 << 32) - n) % n:
        product = draw() * n
    return product >> 32


def wilson(correct: int, tasks: int) -> tuple[float, float]:
    """95 % Wilson score interval of a share."""
    share, z = correct / tasks, Z95 * Z95 / tasks
    spread = z * sqrt(tasks * (4 * share * (1 - share) + z)) / (2 * Z95)
    return (share + z / 2 - spread) / (1 + z), (share + z / 2 + spread) / (1 + z)


def hellaswag(
    session: Session, tasks: Sequence[Task], *, name: str, progress: Progress
) -> tuple[Choices, tuple[bool, ...]]:
    """Accuracy over `tasks`, and whether each was answered rightly, in order.

    `session` needs room for four sequences. Raises SettingsError for a task too long for it.
    """
    answers = []
    for done, task in enumerate(tasks):
        progress(done, len(tasks))
        answers.append(_likeliest(session, task) == task.right)
    progress(len(tasks), len(tasks))
    low, high = wilson(sum(answers), len(tasks))
    choices = Choices(name=name, tasks=len(tasks), correct=sum(answers), low=low, high=high)
    return choices, tuple(answers)


def _likeliest(session: Session, task: Task) -> int:
    texts = [session.tokenize(f"{task.context} {ending}") for ending in task.endings]
    prefix = _common(texts)
    batch = _batch(texts, prefix)
    if len(batch) > session.n_ctx:
        raise SettingsError(
            f"a task takes {len(batch)} tokens, the context holds {session.n_ctx}; "
            "raise evaluation.context"
        )
    session.clear()
    scores = _log_softmax(session.decode(batch))
    means, row = [], 1
    for text in texts:
        rest = text[prefix:]
        own = scores[row : row + len(rest) - 1]
        row += len(rest) - 1
        total = float(scores[0, rest[0]]) + float(own[np.arange(len(own)), rest[1:]].sum())
        means.append(total / len(rest))
    return int(np.argmax(means))


def _common(texts: Sequence[Sequence[int]]) -> int:
    """Tokens that all texts begin with; at least one token of each is left over."""
    shortest = min(len(text) for text in texts)
    same = (len({text[i] for text in texts}) == 1 for i in range(shortest - 1))
    return next((i for i, equal in enumerate(same) if not equal), shortest - 1)


def _batch(texts: Sequence[Sequence[int]], prefix: int) -> list[Token]:
    """The shared beginning once, then each text's own tokens; logits where a next token counts."""
    everyone = tuple(range(len(texts)))
    batch = [
        Token(id=texts[0][i], position=i, sequences=everyone, wanted=i == prefix - 1)
        for i in range(prefix)
    ]
    for sequence, text in enumerate(texts):
        batch += [
            Token(id=text[i], position=i, sequences=(sequence,), wanted=i < len(text) - 1)
            for i in range(prefix, len(text))
        ]
    return batch


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted: NDArray[np.float64] = logits.astype(np.float64)
    shifted -= logits.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted
