"""Conversations are rendered as transformers renders them, by ten templates of mixtures' kinds."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bot.apart.chat_template import template_environment
from bot.apart.conversing import Speaking, all_rendered, rendered, written
from bot.errors import BotError, BuildError

TRANSFORMERS = "transformers.utils.chat_template_utils"
TEMPLATES = sorted((Path(__file__).parents[2] / "chat_templates").glob("*.jinja"))
TOOL = {
    "type": "function",
    "function": {
        "name": "find_flower",
        "description": "Find a <rare> flower & its name – häufig.",
        "parameters": {
            "type": "object",
            "properties": {
                "name": {
                    "type": "string",
                    "enum": ["rose", "Veilchen"],
                    "description": "Its name.",
                },
                "heights": {"type": "array", "items": {"type": "number"}},
                "place": {"type": "object", "properties": {"lat": {"type": "number"}}},
            },
            "required": ["name"],
        },
    },
}
CALL: dict[str, Any] = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "type": "function",
            "function": {"name": "find_flower", "arguments": {"name": "rose", "heights": [1, 2.5]}},
        }
    ],
}
USER = {"role": "user", "content": "Which flower is <b>blue</b>?\n  Grüße, 花 \U0001f33c"}
SAID = {"role": "assistant", "content": "<think>\nHm, violets.\n</think>\n\nThe violet.  \r\n"}
FOUND = {"role": "tool", "content": '{"found": "Rosa \\"alba\\""}'}
SYSTEM = {"role": "system", "content": "  Be brief & kind. "}
REASONED = {"role": "assistant", "content": "A rose.", "reasoning_content": "It is red."}
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "a question": [USER],
    "an answer": [USER, SAID],
    "a system message": [SYSTEM, USER, SAID, USER],
    "two of them": [SYSTEM, SYSTEM, USER, SAID],
    "several turns": [USER, SAID, USER, REASONED, USER, SAID],
    "a call": [USER, CALL, FOUND, SAID],
    "two calls": [USER, CALL | {"content": "I look.", "tool_calls": CALL["tool_calls"] * 2},
                  FOUND, FOUND, REASONED, USER],
    "a call last": [SYSTEM, USER, CALL],
    "nobody asks": [SAID, USER],
    "parts": [{"role": "user", "content": [{"type": "text", "text": " what? "}]}, SAID],
    "an unknown role": [USER, {"role": "critic", "content": "No."}],
}  # fmt: skip
OPTIONS: list[dict[str, Any]] = [
    {"add_generation_prompt": prompt, **thinking}
    for prompt in (False, True)
    for thinking in ({}, {"enable_thinking": True}, {"enable_thinking": False})
]
SPEAKING = {"bos": "<s>", "eos": "</s>"}


def ours(template: str, messages: Any, tools: Any, options: Any) -> str | None:
    """What we write; None where the template refuses."""
    made = template_environment().from_string(template)
    try:
        return written(made, Speaking(template=template, **SPEAKING), messages, tools, **options)
    except Exception:  # noqa: BLE001 - of whatever kind
        return None


@pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_every_conversation_is_what_transformers_writes(path: Path) -> None:
    render_jinja_template = import_module(TRANSFORMERS).render_jinja_template

    template, same, refused = path.read_text(encoding="utf-8"), 0, 0
    for (name, messages), tools, options in product(CONVERSATIONS.items(), (None, [TOOL]), OPTIONS):
        text = ours(template, messages, tools, options)
        try:
            texts, _ = render_jinja_template(
                conversations=[messages], tools=tools, chat_template=template,
                bos_token="<s>", eos_token="</s>", **options,
            )  # fmt: skip
            expected = texts[0]
        except Exception:  # noqa: BLE001 - of whatever kind
            expected = None
        assert text == expected, (name, tools is not None, options)
        same, refused = same + (text is not None), refused + (text is None)
    assert same >= 60, (same, refused)  # of 132 it writes most, so that something was compared


def test_there_are_ten_templates_and_each_shows_what_is_said() -> None:
    assert len(TEMPLATES) == 10
    for path in TEMPLATES:
        text = ours(path.read_text(encoding="utf-8"), [USER, SAID], None, {})
        assert text is not None, path.stem
        assert "The violet." in text, path.stem
        assert "花" in text, path.stem


def test_conversations_that_a_template_refuses_are_counted_and_left_out() -> None:
    strict = next(path for path in TEMPLATES if path.stem == "inst_strict").read_text()
    lines = [{"messages": m} for m in (CONVERSATIONS["an answer"], CONVERSATIONS["a call"])]
    told = all_rendered(Speaking(template=strict, **SPEAKING), iter(lines))
    assert (len(told.texts), told.refused) == (1, 1)
    assert told.texts[0].startswith("<s> [INST] Which")
    assert told.texts[0].endswith("</s>")
    assert "must alternate" in (told.reason or "")


def test_a_child_renders_a_file_and_refuses_a_template_that_takes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "chat.jsonl"
    file.write_text(json.dumps({"messages": [USER, SAID]}) + "\n", encoding="utf-8")
    plain = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{{ eos_token }}"
    told = rendered(file, Speaking(template=plain, **SPEAKING), "best")
    assert told.texts == (f"user: {USER['content']}\nassistant: {SAID['content']}\n</s>",)
    with pytest.raises(BuildError, match=r"no conversation of chat\.jsonl: TemplateError: no"):
        rendered(file, Speaking(template="{{ raise_exception('no') }}"), "best")
    with pytest.raises(BotError, match="none"):
        rendered(file, Speaking(template="{% if %}"), "best")
