"""How files behave, on the card."""

from __future__ import annotations

from dataclasses import replace

from bot.behaviour.habits import HABITS
from bot.records.measured import Behaviour, Habit, MemoryEdit, Row
from bot.records.results import Results
from tests.unit.card.samples import nine_tiers, readme


def behaviour(ends: str, *, form: str = "Hermes", worst: float | None = 2e-5) -> Behaviour:
    answers = {"ends": ends, "goes on": "1111", "calls": "--10", "finds": "----", "closes": "----"}
    return Behaviour(
        limit=256,
        prompts=("a", "b", "c", "d"),
        form=form,
        habits=tuple(Habit(name=name, answers=answers[name]) for name in HABITS),
        edits=(MemoryEdit(kept=9, tokens=30, dropped=True, worst=worst),),
    )


def behaving(row: Row, found: Behaviour) -> Row:
    return replace(row, scores=replace(row.scores, behaviour=found))


def results(form: str = "Hermes", worst: float | None = 2e-5) -> Results:
    blank = nine_tiers()
    first, *rest = blank.tiers
    return replace(
        blank,
        reference=behaving(blank.reference, behaviour("1111", form=form)),
        tiers=(behaving(first, behaviour("1101", form=form, worst=worst)), *rest),
    )


def test_good_answers_stand_beside_the_references() -> None:
    text = readme(results())
    assert "### Behaviour" in text
    assert "to 4 prompts in each file's own chat template, written greedily, 256 tokens" in text
    heads = "| Model | Ends by its stop token | No repetition | Tool calls | Edited middle, nats |"
    assert heads in text, "a habit that was judged nowhere has no column"
    assert "| BF16 | 4 of 4 | 4 of 4 | 1 of 2 | 2.0e-05 |" in text
    assert f"| {nine_tiers().tiers[0].name} | 3 of 4 | 4 of 4 | 1 of 2 | 2.0e-05 |" in text
    assert "not judged" not in text


def test_an_unknown_form_of_tool_calls_is_told() -> None:
    assert "tool calls are not judged, as the template's form is none that is known" in readme(
        results(form="")
    )


def test_a_memory_without_numbers_is_a_dash() -> None:
    assert "| 3 of 4 | 4 of 4 | 1 of 2 | — |" in readme(results(worst=None))


def test_nothing_is_said_where_nothing_was_asked() -> None:
    assert "### Behaviour" not in readme(nine_tiers())
