"""What answers come to, and when a tier has surely lost a habit of the model's."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from bot.behaviour.answering import Outcome
from bot.behaviour.habits import (
    HABITS,
    LEVEL,
    SAME_MEMORY,
    habits_of,
    is_whole,
    losses,
    other_prompts,
    stale,
)
from bot.evidence import worsened
from bot.gate.verdicts import behaviour_checks
from bot.records.measured import Behaviour, Habit, MemoryEdit


def behaviour(*answers: str, prompts: int = 16, worst: float | None = 0.0) -> Behaviour:
    """With these answers, habit by habit; `-` for all that are not given."""
    given = [*answers, *["-" * prompts] * (len(HABITS) - len(answers))]
    return Behaviour(
        limit=64,
        prompts=tuple(f"{i:012x}" for i in range(prompts)),
        form="Hermes",
        habits=tuple(Habit(name=n, answers=a) for n, a in zip(HABITS, given, strict=True)),
        edits=(MemoryEdit(kept=4, tokens=9, dropped=True, worst=worst),),
    )


def failed(ours: Behaviour, reference: Behaviour, limit: float = 0.1) -> list[str]:
    return [rule for rule, good, _ in behaviour_checks(ours, reference, limit) if not good]


def test_outcomes_become_habits() -> None:
    outcomes = [Outcome(ends=True, goes_on=True, closes=False), Outcome(ends=False, calls=True)]
    found = {habit.name: habit for habit in habits_of(outcomes)}
    assert {name: habit.answers for name, habit in found.items()} == {
        "ends": "10", "goes on": "1-", "calls": "-1", "finds": "--", "closes": "0-",
    }  # fmt: skip
    assert (found["ends"].judged, found["ends"].good) == (2, 1)
    assert (found["finds"].judged, found["finds"].good) == (0, 0)


def test_equal_behaviour_passes_every_rule() -> None:
    good = behaviour("1" * 16, "1" * 16)
    assert failed(good, good) == []
    assert {rule for rule, _, _ in behaviour_checks(good, good, 0.1)} == {
        "template", "behaviour", "memory",
    }  # fmt: skip


def test_a_lost_habit_fails_and_names_itself() -> None:
    ours, reference = behaviour("0" * 16, "1" * 16), behaviour("1" * 16, "1" * 16)
    assert failed(ours, reference) == ["behaviour"]
    texts = [text for _, good, text in behaviour_checks(ours, reference, 0.1) if not good]
    assert "ends: 16 lost and 0 won of 16" in texts[0]


def test_what_the_model_does_not_do_itself_is_no_fault() -> None:
    base = behaviour("0" * 16, "1" * 16)
    assert failed(base, base) == []
    assert failed(behaviour("-" * 16, "1" * 16), behaviour("1" * 16, "1" * 16)) == []


def test_a_few_losses_may_be_chance() -> None:
    reference = behaviour("1" * 16)
    most = next(k for k in range(17) if worsened(0, k) * 1 < LEVEL)
    assert failed(behaviour("0" * (most - 1) + "1" * (17 - most)), reference) == []
    assert failed(behaviour("0" * most + "1" * (16 - most)), reference) == ["behaviour"]


def test_a_sure_loss_within_the_limit_passes() -> None:
    prompts = 200
    ours = behaviour("0" * 15 + "1" * 185, prompts=prompts)
    reference = behaviour("1" * 200, prompts=prompts)
    (loss,) = losses(ours, reference)
    assert loss.is_sure
    assert failed(ours, reference, 0.1) == []
    assert failed(ours, reference, 0.05) == ["behaviour"]


def test_equal_files_are_seldom_said_to_have_lost_anything() -> None:
    """Answers that are right by chance, however often: of 1,000 pairs at most 1 is expected."""
    draw, called = random.Random(5), 0  # noqa: S311 - no secret
    for _ in range(1000):
        share = draw.random()
        one, other = (
            behaviour(*("".join("01"[draw.random() < share] for _ in range(16)) for _ in HABITS))
            for _ in range(2)
        )
        called += "behaviour" in failed(one, other)
    assert called <= 6, "P(more than 6) is 0.0001 at the level"


def test_another_template_fails() -> None:
    good = behaviour("1" * 16)
    other = replace(good, prompts=("", *good.prompts[1:]))
    assert other_prompts(other, good) == 1
    assert failed(other, good) == ["template"]


@pytest.mark.parametrize("worst", [None, 2 * SAME_MEMORY])
def test_a_stale_memory_fails_unless_it_is_the_models_too(worst: float | None) -> None:
    good, bad = behaviour("1" * 16), behaviour("1" * 16, worst=worst)
    assert stale(bad) == (1, worst)
    assert failed(bad, good) == ["memory"]
    assert failed(bad, bad) == []


def test_what_another_machine_hands_in_has_to_add_up() -> None:
    good = behaviour("1" * 16)
    assert is_whole(good)
    assert not is_whole(replace(good, habits=good.habits[1:]))
    assert not is_whole(behaviour("1" * 15))
    assert not is_whole(behaviour("x" * 16))
    assert not is_whole(behaviour("1" * 16, worst=-1.0))
