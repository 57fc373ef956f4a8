"""Reasoning blocks: opened by the prompt or the answer, closed or not."""

from __future__ import annotations

import pytest

from bot.behaviour.reasoning import marks_of, reasoned

THINK = ("<think>", "</think>")
HARMONY = ("<|channel|>analysis<|message|>", "<|end|>")


@pytest.mark.parametrize(
    ("prompt", "text", "opened", "closed", "answer"),
    [
        ("user: hi", "Hello.", False, False, "Hello."),
        ("user: hi", "<think>\nA.\n</think>\n\nHello.", True, True, "\n\nHello."),
        ("user: hi", "<think>\nand so on", True, False, "<think>\nand so on"),
        ("assistant\n<think>\n", "A.\n</think>\n\nHello.", True, True, "\n\nHello."),
        ("assistant\n<think>\n", "and so on", True, False, "and so on"),
        ("assistant\n<think>\n\n</think>\n\n", "Hello.", False, False, "Hello."),
        ("", "</think> Hello. <think>", True, False, "</think> Hello. <think>"),
    ],
)
def test_a_block_is_told(prompt: str, text: str, opened: bool, closed: bool, answer: str) -> None:
    found = reasoned(prompt, text, THINK)
    assert (found.opened, found.closed, found.answer) == (opened, closed, answer)


def test_harmony_reasons_in_a_channel() -> None:
    text = "<|channel|>analysis<|message|>A.<|end|><|start|>assistant<|channel|>final<|message|>B."
    found = reasoned("<|start|>assistant", text, HARMONY)
    assert (found.opened, found.closed) == (True, True)
    assert found.answer.endswith("B.")


def test_a_template_tells_its_marks() -> None:
    assert marks_of("{{ '<think>' }}…{{ '</think>' }}") == THINK
    assert marks_of("{{ '<|channel|>' }}…{{ '<|end|>' }}") == HARMONY
    assert marks_of("{{ messages }}") is None
    assert reasoned("", "<think>", None).answer == "<think>"
