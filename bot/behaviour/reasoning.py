"""Reasoning blocks in what a model wrote: by the marks that its chat template itself holds."""

from __future__ import annotations

from dataclasses import dataclass

# what opens a block and what closes it, in templates of mixtures that reason
MARKS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),  # DeepSeek-R1, Qwen3, GLM-4.5, MiniMax-M2, …
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel|>analysis<|message|>", "<|end|>"),  # gpt-oss
    ("<|channel>thought", "<channel|>"),  # Gemma 4
)


@dataclass(frozen=True, kw_only=True)
class Reasoned:
    """What came of an answer's reasoning: `answer` is the text after it, or all of the text."""

    opened: bool
    closed: bool
    answer: str


def marks_of(template: str) -> tuple[str, str] | None:
    """The marks that a template knows; None where it has none of ours.

    Harmony writes the channel's name beside its mark at most, so its opening is told by the channel
    alone.
    """
    for begin, end in MARKS:
        known = begin if not begin.startswith("<|channel|>") else "<|channel|>"
        if known in template and end in template:
            return begin, end
    return None


def reasoned(prompt: str, text: str, marks: tuple[str, str] | None) -> Reasoned:
    """An answer to a rendered prompt, which may itself have opened a block at its end."""
    if marks is None:
        return Reasoned(opened=False, closed=False, answer=text)
    begin, end = marks
    at = text.find(begin)
    opened = prompt.rstrip().endswith(begin) or at >= 0
    stop = text.find(end, max(at, 0)) if opened else -1
    answer = text[stop + len(end) :] if stop >= 0 else text
    return Reasoned(opened=opened, closed=stop >= 0, answer=answer)
