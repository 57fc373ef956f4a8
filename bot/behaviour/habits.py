"""What a file's answers come to, and how they stand to those of the 16-bit model.

A file is judged by what the model itself does on the same prompts: an answer that the model does
not end is no fault of a tier that does not end it either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bot import evidence
from bot.behaviour.answering import Outcome
from bot.records.measured import Behaviour, Habit

HABITS = ("ends", "goes on", "calls", "finds", "closes")
LEVEL = 0.001  # probability that a file as good as the model is said to have lost a habit
# nats of one next token: the same tokens in the same batches gave the same bits wherever tried; a
# memory that keeps what was changed differs by tenths and more
SAME_MEMORY = 0.01
_LETTER = {True: "1", False: "0", None: "-"}


def habits_of(outcomes: Sequence[Outcome]) -> tuple[Habit, ...]:
    """Outcomes by habit; of closing, an answer that opened nothing is not judged."""
    columns = {
        "ends": [one.ends for one in outcomes],
        "goes on": [one.goes_on for one in outcomes],
        "calls": [one.calls for one in outcomes],
        "finds": [one.finds for one in outcomes],
        "closes": [one.closes for one in outcomes],
    }
    return tuple(
        Habit(name=name, answers="".join(_LETTER[value] for value in columns[name]))
        for name in HABITS
    )


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A habit of a file beside the model's, over the prompts on which both were judged."""

    habit: str
    judged: int
    kept: int  # prompts on which the model is good: the file, too
    lost: int  # and is not
    gained: int  # the other way round
    p: float  # of so many losses by chance, corrected for all habits that are compared

    @property
    def share(self) -> float:
        """Of the prompts that both were judged on, what was lost and not gained elsewhere."""
        return (self.lost - self.gained) / self.judged if self.judged else 0.0

    @property
    def is_sure(self) -> bool:
        """Whether chance does not lose as much."""
        return self.p < LEVEL


def losses(ours: Behaviour, reference: Behaviour) -> tuple[Loss, ...]:
    """Each habit that both were judged for: McNemar's exact test, one-sided, corrected by Holm."""
    pairs = [
        (habit.name, list(_pairs(habit, other)))
        for habit in ours.habits
        if (other := reference.habit(habit.name)) is not None
    ]
    counted = [(name, found) for name, found in pairs if found]
    raw = [
        evidence.worsened(found.count(("1", "0")), found.count(("0", "1"))) for _, found in counted
    ]
    return tuple(
        Loss(
            habit=name,
            judged=len(found),
            kept=found.count(("1", "1")),
            lost=found.count(("0", "1")),
            gained=found.count(("1", "0")),
            p=p,
        )
        for (name, found), p in zip(counted, evidence.holm(raw), strict=True)
    )


def _pairs(ours: Habit, reference: Habit) -> Iterator[tuple[str, str]]:
    """Answers of both to the prompts on which both are judged.

    A file that opens no reasoning block has none to close: it counts as not judged there.
    """
    if len(ours.answers) != len(reference.answers):
        return
    for pair in zip(ours.answers, reference.answers, strict=True):
        if "-" not in pair:
            yield pair


def other_prompts(ours: Behaviour, reference: Behaviour) -> int:
    """Prompts that the file's own template renders otherwise than the model's."""
    return sum(a != b for a, b in zip(ours.prompts, reference.prompts, strict=False)) + abs(
        len(ours.prompts) - len(reference.prompts)
    )


def stale(behaviour: Behaviour) -> tuple[int, float | None]:
    """Edits after which the memory was another than a fresh run's, and the worst divergence."""
    worst = [edit.worst for edit in behaviour.edits]
    bad = [value for value in worst if value is None or value > SAME_MEMORY]
    return len(bad), None if None in worst else max(filter(None, worst), default=0.0)


def is_whole(behaviour: Behaviour) -> bool:
    """Whether it can be what `habits_of` made: every habit, an answer for each prompt."""
    answers = [habit.answers for habit in behaviour.habits]
    worst = [edit.worst for edit in behaviour.edits if edit.worst is not None]
    return (
        tuple(habit.name for habit in behaviour.habits) == HABITS
        and all(len(one) == len(behaviour.prompts) and set(one) <= set("01-") for one in answers)
        and all(value >= 0 for value in worst)
    )
