"""Tool calls of each family's form: whole ones are read, all others refused."""

from __future__ import annotations

import pytest

from bot.behaviour.tool_calls import LONGEST, Call, Offered, calls_in, form_of, is_proper

WEATHER = Offered(name="get_weather", parameters=("city", "day"), required=("city",))
ANSWERS = {  # form, what a model of it writes for the weather in Oslo
    "Hermes": [
        'I look.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    ],
    "Qwen3-Coder": [
        (
            "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n"
            "</tool_call>"
        )
    ],
    "GLM": [
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n</tool_call>"
    ],
    "Kimi": [
        (
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
            '<|tool_call_argument_begin|>{"city": "Oslo"}<|tool_call_end|>'
            "<|tool_calls_section_end|>"
        )
    ],
    "DeepSeek": [
        (
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
            '{"city": "Oslo"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
        ),
        (
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
            '{"city": "Oslo"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
        ),
    ],
    "Mistral": [
        '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
        '[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}',
        '[TOOL_CALLS]get_weather[CALL_ID]a1b2c3d4e[ARGS]{"city": "Oslo"}',
        '[TOOL_CALLS]get_weather{"city": "Oslo"}',
    ],
    "MiniMax": [
        (
            '<minimax:tool_call>\n<invoke name="get_weather">\n'
            '<parameter name="city">Oslo</parameter>\n</invoke>\n</minimax:tool_call>'
        )
    ],
    "harmony": [
        (
            "<|channel|>analysis<|message|>Use it.<|end|><|start|>assistant<|channel|>commentary "
            'to=functions.get_weather <|constrain|>json<|message|>{"city": "Oslo"}'
        )
    ],
}
EVERY = [(form, text) for form, texts in ANSWERS.items() for text in texts]


@pytest.mark.parametrize(("form", "text"), EVERY)
def test_a_call_is_read_in_every_form(form: str, text: str) -> None:
    assert calls_in(form, text) == (Call(name="get_weather", arguments={"city": "Oslo"}),)
    assert is_proper(form, text, [WEATHER])


@pytest.mark.parametrize(("form", "text"), EVERY)
def test_no_beginning_of_a_call_is_one(form: str, text: str) -> None:
    assert not any(is_proper(form, text[:stop], [WEATHER]) for stop in range(len(text)))


@pytest.mark.parametrize(("form", "text"), EVERY)
def test_other_tools_and_parameters_are_not_proper(form: str, text: str) -> None:
    assert not is_proper(form, text.replace("get_weather", "get_whether"), [WEATHER])
    assert not is_proper(form, text.replace("city", "town"), [WEATHER])
    needs_both = Offered(name="get_weather", parameters=("city", "day"), required=("city", "day"))
    assert not is_proper(form, text, [needs_both])


@pytest.mark.parametrize("form", ANSWERS)
def test_talk_is_no_call(form: str) -> None:
    assert calls_in(form, "It is sunny in Oslo.") == ()
    assert not is_proper(form, "It is sunny in Oslo.", [WEATHER])


@pytest.mark.parametrize(
    "inner",
    [
        '{"name": "get_weather", "arguments": {"city": NaN}}',
        '{"name": "get_weather", "arguments": "Oslo"}',
        '{"name": 7, "arguments": {}}',
        '["get_weather"]',
        '{"name": "get_weather", "arguments": {"city": ' + "[" * 40_000 + "]" * 40_000 + "}}",
        "{'name': 'get_weather'}",
        "",
    ],
)
def test_what_is_no_strict_json_is_refused(inner: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        calls_in("Hermes", f"<tool_call>{inner}</tool_call>")


def test_answers_and_calls_are_bounded() -> None:
    one = '<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo"}}</tool_call>'
    with pytest.raises(ValueError, match="too many"):
        calls_in("Hermes", one * 40)
    with pytest.raises(ValueError, match="too long"):
        calls_in("Hermes", "a" * (LONGEST + 1))


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ('<tool_call>\\n{"name": <name>, "arguments": <args>}\\n</tool_call>', "Hermes"),
        ("<tool_call>\\n<function=a>\\n<parameter=b>", "Qwen3-Coder"),
        ("<tool_call>{name}\\n<arg_key>k</arg_key>\\n<arg_value>", "GLM"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", ""),
        ("{{ tools | tojson }} answer in <mytool>", ""),
    ],
)
def test_the_form_is_told_by_the_template_alone(template: str, form: str) -> None:
    assert form_of(template) == form
