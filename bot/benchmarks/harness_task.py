"""What is asked of lm-evaluation-harness, and how a conversation becomes a prompt for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2.exceptions import TemplateError

from bot.apart.chat_template import template_of
from bot.apart.conversing import Speaking, written

Messages = Sequence[Mapping[str, str]]


def chat_prompt(speaking: Speaking, messages: Messages, *, answer_next: bool) -> str:
    """Messages as `HFLM.apply_chat_template` renders them (lm_eval/models/huggingface.py).

    In a child. A template that refuses a system's message is rendered without one. Without
    `answer_next` the last message goes on: what the template writes after it is cut off, as
    transformers' `continue_final_message` does.
    """
    try:
        return _prompt(speaking, messages, answer_next)
    except TemplateError:
        others = [message for message in messages if message["role"] != "system"]
        return _prompt(speaking, others, answer_next)


def _prompt(speaking: Speaking, messages: Messages, answer_next: bool) -> str:
    template = template_of(speaking.template)
    text = written(template, speaking, messages, add_generation_prompt=answer_next)
    if answer_next:
        return text
    last = messages[-1]["content"]
    at = text.rfind(last.strip())
    if at < 0:
        raise TemplateError("the last message is not in it")
    kept = last.lstrip() if text[at:].startswith(last.lstrip()) else last.strip()
    return text[: at + len(kept)]


@dataclass(frozen=True, kw_only=True)
class AskedTask:
    """One task, group or tag of the harness by its name, and how it is asked.

    `folder` has task files of one's own. `data` maps names of data sets to folders with their
    files. `code`: whether what a task brings, or a model writes, may be run.
    """

    task: str
    fewshot: int | None = None
    limit: int | None = None  # documents of each task
    most_tokens: int | None = None  # of a text, where a task allows more
    chat: Speaking | None = None
    folder: Path | None = None
    data: Mapping[str, Path] = field(default_factory=dict)
    code: bool = False
