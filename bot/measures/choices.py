"""Multiple choice: which of some texts does the model find likeliest.

The rules of hellaswag_score(), winogrande_score() and multiple_choice_score() in
tools/perplexity/perplexity.cpp: an answer's score is the mean log-probability of its own tokens
after the beginning that all answers share, which is decoded once. Tasks are packed into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama.session import Session, Token
from bot.errors import BuildError, SettingsError
from bot.measures.logits import Floats, rows_at_once, softmax
from bot.measures.tasks import ChoiceTask
from bot.records.measured import Choices

Progress = Callable[[int, int], None]  # done, total

Picks = tuple[tuple[tuple[int, int], ...], ...]  # for each answer (row of the task, token)

Z95 = 1.95996398454  # llama.cpp's own constant
LOGITS = 1 << 28  # values of a batch at most: 1 GiB
SHORT_TAIL = 3  # Winogrande: a shorter tail than this is scored with the choice itself


def wilson(correct: int, tasks: int) -> tuple[float, float]:
    """95 % Wilson score interval of a share."""
    share, z = correct / tasks, Z95 * Z95 / tasks
    spread = z * sqrt(tasks * (4 * share * (1 - share) + z)) / (2 * Z95)
    return (share + z / 2 - spread) / (1 + z), (share + z / 2 + spread) / (1 + z)


def count(name: str, answers: Sequence[bool]) -> Choices:
    """The share of right answers, its interval, and the answers themselves."""
    low, high = wilson(sum(answers), len(answers))
    bits = "".join("1" if answer else "0" for answer in answers)
    return Choices(
        name=name, tasks=len(answers), correct=sum(answers), low=low, high=high, answers=bits
    )


@dataclass(frozen=True, kw_only=True)
class Question:
    """A task as tokens: what is decoded, and which logits score which answer."""

    texts: tuple[tuple[int, ...], ...]
    prefix: int  # tokens that all texts begin with
    every: bool  # logits of a text's last token too
    picks: Picks
    right: int
    last_of_equals: bool  # which of two equal scores wins
    coupled: bool = True  # False: each text has the beginning for itself

    @property
    def tokens(self) -> int:
        """Tokens to decode."""
        again = 1 if self.coupled else len(self.texts)
        return again * self.prefix + sum(len(text) - self.prefix for text in self.texts)

    @property
    def rows(self) -> int:
        """Rows of logits that come back."""
        return 1 + sum(len(text) - self.prefix - (not self.every) for text in self.texts)


def answers_of(
    session: Session, tasks: Sequence[ChoiceTask], *, threads: int, progress: Progress
) -> tuple[bool, ...]:
    """Whether each task was answered rightly, in order.

    `session` needs `unified` memory and a sequence for each answer of a task. Raises SettingsError
    for a task that does not fit, BuildError for logits that are no numbers.
    """
    questions = [_tokenized(session, number, task) for number, task in enumerate(tasks, 1)]
    answers: list[bool] = []
    with ThreadPoolExecutor(threads) as pool:
        for group in _packed(session, questions):
            progress(len(answers), len(tasks))
            session.clear()
            logits = session.decode(batch_of(group))
            answers += _answered(
                pool, logits, group, f"{session.path.name} at task {len(answers) + 1}"
            )
    progress(len(tasks), len(tasks))
    return tuple(answers)


def _tokenized(session: Session, number: int, task: ChoiceTask) -> Question:
    texts = tuple(tuple(session.tokenize(text)) for text in task.texts)
    prefix = shared_beginning(texts)
    if prefix < 1:
        raise SettingsError(f"the answers of task {number} share no beginning; mend the task file")
    if task.bases:
        bases = [len(session.tokenize(base)) for base in task.bases]
        picks = picks_after_choice(texts, prefix, bases)
    else:
        picks = picks_of_endings(texts, prefix)
    question = Question(
        texts=texts,
        prefix=prefix,
        every=bool(task.bases),
        picks=picks,
        right=task.right,
        last_of_equals=bool(task.bases),
        coupled=session.couples,
    )
    if question.tokens > session.n_ctx:
        raise SettingsError(
            f"task {number} takes {question.tokens} tokens, {session.n_ctx} fit; "
            "raise evaluation.context"
        )
    if len(texts) > session.sequences:
        raise SettingsError(
            f"task {number} has {len(texts)} answers, {session.sequences} fit; leave it out"
        )
    return question


def shared_beginning(texts: Sequence[Sequence[int]]) -> int:
    """Tokens that all texts begin with; at least one token of each is left over."""
    shortest = min(len(text) for text in texts)
    same = (len({text[i] for text in texts}) == 1 for i in range(shortest - 1))
    return next((i for i, equal in enumerate(same) if not equal), shortest - 1)


def picks_of_endings(texts: Sequence[Sequence[int]], prefix: int) -> Picks:
    """Every token after the shared beginning; row 0 is the beginning's last token."""
    picks, row = [], 1
    for text in texts:
        rest = text[prefix:]
        rows = (0, *range(row, row + len(rest) - 1))
        picks.append(tuple(zip(rows, rest, strict=True)))
        row += len(rest) - 1
    return tuple(picks)


def picks_after_choice(
    texts: Sequence[tuple[int, ...]], prefix: int, bases: Sequence[int]
) -> Picks:
    """Winogrande: what follows the choice, but for the last token, which is the full stop.

    Where the tail is short the choice is scored too, and then the second text's first token meets
    the first text's last logits: winogrande_score() does so, and numbers shall compare.
    """
    if len(set(texts)) == 1:
        return ((),) * len(texts)  # nothing tells them apart: nan in the tool, and so here
    long = all(len(text) - prefix > SHORT_TAIL for text in texts)
    picks, before = [], 0
    for text, base in zip(texts, bases, strict=True):
        start = base if long else prefix
        last = 1 if len(text) - start > 1 else 0
        row = before + start - prefix
        rest = text[start : len(text) - last]
        picks.append(tuple((row + i, token) for i, token in enumerate(rest)))
        before += len(text) - prefix
    return tuple(picks)


def _packed(session: Session, questions: Sequence[Question]) -> Iterator[list[Question]]:
    """As many tasks at a time as memory, sequences and logits have room for."""
    group: list[Question] = []
    tokens = sequences = rows = 0
    for task in questions:
        full = (
            tokens + task.tokens > session.n_ctx
            or sequences + len(task.texts) > session.sequences
            or (rows + task.rows) * session.vocabulary > LOGITS
        )
        if group and full:
            yield group
            group, tokens, sequences, rows = [], 0, 0, 0
        group.append(task)
        tokens += task.tokens
        sequences += len(task.texts)
        rows += task.rows
    if group:
        yield group


def batch_of(group: Sequence[Question]) -> list[Token]:
    """Each task's shared beginning once, then each text's own tokens; apart, each text whole."""
    batch: list[Token] = []
    first = 0
    for task in group:
        everyone = tuple(range(first, first + len(task.texts)))
        batch += _beginning(task, everyone if task.coupled else everyone[:1], scored=True)
        for sequence, text in zip(everyone, task.texts, strict=True):
            if not task.coupled and sequence != first:
                batch += _beginning(task, (sequence,), scored=False)
            batch += [
                Token(
                    id=text[i],
                    position=i,
                    sequences=(sequence,),
                    logits=task.every or i < len(text) - 1,
                )
                for i in range(task.prefix, len(text))
            ]
        first += len(task.texts)
    return batch


def _beginning(task: Question, sequences: tuple[int, ...], *, scored: bool) -> list[Token]:
    """The shared beginning for some sequences; its last logits are asked for once a task."""
    return [
        Token(id=token, position=i, sequences=sequences, logits=scored and i == task.prefix - 1)
        for i, token in enumerate(task.texts[0][: task.prefix])
    ]


def _answered(
    pool: ThreadPoolExecutor, logits: Floats, group: Sequence[Question], where: str
) -> list[bool]:
    block = rows_at_once(logits.shape[1])
    blocks = pool.map(
        lambda start: softmax(logits[start : start + block]).total, range(0, len(logits), block)
    )
    norms = np.concatenate(list(blocks))
    if not np.isfinite(norms).all():
        raise BuildError(
            f"{where} gives logits that are no numbers (NaN or infinity); make the file again"
        )
    answers, first = [], 0
    for task in group:
        scores = [_mean(logits, norms, first, picks) for picks in task.picks]
        if task.last_of_equals:  # first > second ? first : second
            best = 0 if scores[0] > scores[1] else 1
        else:
            best = int(np.argmax(scores))
        answers.append(best == task.right)
        first += task.rows
    return answers


def _mean(
    logits: Floats, norms: NDArray[np.float32], first: int, picks: Sequence[tuple[int, int]]
) -> float:
    """Mean log-probability of an answer's tokens; nan where it has none to score."""
    if not picks:
        return nan
    rows = [first + row for row, _ in picks]
    values = logits[rows, [token for _, token in picks]] - norms[rows]
    return float(values.sum(dtype=np.float64)) / len(picks)
