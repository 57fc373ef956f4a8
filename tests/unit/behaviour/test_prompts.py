"""Files of prompts: the shipped one, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bot.behaviour.habits import LEVEL
from bot.behaviour.prompts import conversation, edited, read_prompts
from bot.errors import SettingsError
from bot.evidence import worsened
from bot.settings.making import BehaviourSettings

SHIPPED = BehaviourSettings().prompts
ONE = {"kind": "chat", "messages": [{"role": "user", "content": "Hello."}]}


def test_the_shipped_prompts_are_enough_to_say_something() -> None:
    prompts = read_prompts(SHIPPED)
    kinds = Counter(prompt.kind for prompt in prompts.prompts)
    assert set(kinds) == {"chat", "reasons", "tools", "finds"}
    habits = 5  # corrected for all of them by Holm
    assert all(habits * worsened(0, count) < LEVEL for count in kinds.values())
    assert all(len(edit.before) > 1 for edit in prompts.edits)


def test_what_is_hidden_lies_in_a_text_of_its_length() -> None:
    prompts = read_prompts(SHIPPED)
    for number, prompt in enumerate(prompts.prompts):
        content = conversation(prompt, prompts.filler, number).messages[-1]["content"]
        assert "{text}" not in content
        if prompt.kind == "finds":
            assert content.count(prompt.hidden) == 1
            assert prompt.characters < len(content) < 1.2 * prompt.characters + 400
            assert prompt.needle in prompt.hidden
            at = content.index(prompt.hidden) / len(content)
            assert at == pytest.approx(prompt.depth, abs=0.15)


def test_the_same_seed_gives_the_same_text() -> None:
    prompts = read_prompts(SHIPPED)
    prompt = next(one for one in prompts.prompts if one.kind == "finds")
    first, again, other = (conversation(prompt, prompts.filler, seed) for seed in (1, 1, 2))
    assert first == again != other


def test_only_reasoning_prompts_ask_for_reasoning() -> None:
    prompts = read_prompts(SHIPPED)
    for prompt in prompts.prompts:
        asked = conversation(prompt, prompts.filler, 0)
        assert asked.thinking == (prompt.kind == "reasons")
        assert asked.prompts
        assert bool(asked.tools) == (prompt.kind == "tools")
    assert not any(one.prompts for edit in prompts.edits for one in edited(edit))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({"prompts": []}, "prompts"),
        ({"prompts": [ONE], "more": 1}, "more"),
        ({"prompts": [{**ONE, "kind": "tools"}]}, "has tools"),
        ({"prompts": [{**ONE, "needle": "x"}]}, "needle"),
        ({"prompts": [{**ONE, "kind": "finds", "needle": "x", "hidden": "x."}]}, "{text}"),
        ({"prompts": [{**ONE, "messages": [{"role": "root", "content": "x"}]}]}, "role"),
        ({"prompts": [{**ONE, "characters": 10}]}, "filler"),
    ],
)
def test_others_are_refused(tmp_path: Path, content: dict[str, Any], fault: str) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(SettingsError, match=r"mend the prompts") as raised:
        read_prompts(path)
    assert fault in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"evaluation\.behaviour\.prompts"):
        read_prompts(tmp_path / "none.json")
