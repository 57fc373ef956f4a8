"""Conversations in a chat template of a stranger's, rendered in a child.

Each conversation is rendered by itself: what a template does not take is told, the others come.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bot.apart.chat_template import LIMITS, LONGEST, reason_of, template_of
from bot.apart.errand import carry_out, sent
from bot.apart.sandbox import IsolationSetting
from bot.errors import BuildError
from bot.foreign import read_bounded
from bot.legible import legible
from bot.records.coding import from_json

RESULT = "conversations.json"
DAY = datetime(2026, 1, 1, tzinfo=UTC)
LARGEST = 16 << 20  # bytes of all that is rendered


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A conversation to be rendered; `prompts`: an answer is waited for."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    thinking: bool
    prompts: bool


@dataclass(frozen=True, kw_only=True)
class RenderedText:
    """The text, or why there is none."""

    text: str = ""
    fault: str | None = None


def rendered(
    template: str,
    marks: tuple[str, str],
    asked: Sequence[Asked],
    isolation: IsolationSetting = "best",
) -> tuple[RenderedText, ...]:
    """Each conversation in a template; `marks` are the texts of BOS and EOS.

    `enable_thinking` and `reasoning_effort` are what templates know of switches. Their clock stands
    still, so that all files of a model get the same prompts on any day.
    """
    order = {"template": template, "marks": marks, "asked": [asdict(one) for one in asked]}
    try:
        with sent(__name__, json.dumps(order), limits=LIMITS, isolation=isolation) as folder:
            told = read_bounded(folder / RESULT, LARGEST)
        texts = from_json(tuple[RenderedText, ...], told)
    except BuildError as error:
        return (RenderedText(fault=legible(str(error), LONGEST)),) * len(asked)
    if len(texts) != len(asked):
        return (RenderedText(fault="it rendered another number of conversations"),) * len(asked)
    return texts


# ── in the child ────────────────────────────────────────────────────────────────────────────


def rendered_here(
    text: str, marks: tuple[str, str], asked: Sequence[Asked]
) -> tuple[RenderedText, ...]:
    """What comes of rendering in this process, which must be a child's."""
    try:
        template = template_of(text)
    except Exception as error:  # noqa: BLE001 - a stranger's program may raise anything
        return (RenderedText(fault=reason_of(error)),) * len(asked)

    def one(conversation: Asked) -> RenderedText:
        try:
            written = template.render(
                messages=conversation.messages,
                tools=conversation.tools or None,
                add_generation_prompt=conversation.prompts,
                enable_thinking=conversation.thinking,
                reasoning_effort="medium" if conversation.thinking else "low",
                bos_token=marks[0],
                eos_token=marks[1],
                strftime_now=DAY.strftime,
            )
        except Exception as error:  # noqa: BLE001 - as above; a template need not take everything
            return RenderedText(fault=reason_of(error))
        return RenderedText(text=written)

    return tuple(one(conversation) for conversation in asked)


def _carried_out(order: str, made: Path) -> None:
    told = json.loads(order)
    asked = [Asked(**one) for one in told["asked"]]
    bos, eos = told["marks"]
    texts = rendered_here(told["template"], (bos, eos), asked)
    (made / RESULT).write_text(json.dumps([asdict(text) for text in texts]), encoding="utf-8")


if __name__ == "__main__":
    carry_out(_carried_out)
