"""A chat template is rendered in a child, whatever it is."""

from __future__ import annotations

import pytest

from bot.apart.chat_template import KEY, TemplateFacts, template_facts, tried

CHATML = (
    "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content }}"
    "{{ '<|im_end|>\\n' }}{%- endfor %}{%- if tools %}{{ tools | tojson }}{% endif %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think></think>' }}"
    "{%- endif %}{%- endif %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
)
MARKED = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "{% endgeneration %}{% else %}{{ m.content }}{% endif %}"
    "{% if loop.index > 9 %}{% break %}{% endif %}{% endfor %}{{ strftime_now('%Y') }}"
)


@pytest.mark.parametrize(
    ("template", "facts"),
    [
        (CHATML, TemplateFacts(turns=True, system=True, tools=True, thinking=True)),
        (NO_SYSTEM, TemplateFacts(turns=True)),
        (MARKED, TemplateFacts(turns=True, system=True)),
    ],
)
def test_what_a_template_takes_is_told(template: str, facts: TemplateFacts) -> None:
    assert tried(template) == facts


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{% for m in messages %}{{ m.content }}", "TemplateSyntaxError"),
        ("{{ messages[0].content | upside_down }}", "upside_down"),
        ("{{ messages[0].content.nothing.more }}", "UndefinedError"),
        ("{{ raise_exception('not today') }}", "not today"),
        ("Hello.", "what the user says is not in it"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% include 'other' %}", "no loader"),
    ],
)
def test_what_cannot_be_rendered_is_named(template: str, fault: str) -> None:
    found = tried(template)
    assert fault in (found.fault or "")
    assert found.words.startswith("cannot be rendered: ")


def test_a_template_runs_in_a_child_with_an_end() -> None:
    assert template_facts({}) is None
    assert template_facts({KEY: CHATML}) == tried(CHATML)
    assert template_facts({KEY: 5}) == TemplateFacts(
        fault="it is no text of a size that anybody could read"
    )
    bomb = "{% set x = namespace(s='a') %}" + "{% set x.s = x.s * 100000 %}" * 3
    assert "MemoryError" in (template_facts({KEY: bomb}) or TemplateFacts()).words


@pytest.mark.road
def test_one_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    from bot.apart import chat_template

    limits = chat_template.LIMITS
    monkeypatch.setattr(chat_template, "LIMITS", limits.__class__(seconds=2, memory=1 << 30))
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    assert (template_facts({KEY: loops}) or TemplateFacts()).fault is not None
