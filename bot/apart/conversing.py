"""Conversations as a model's own chat template writes them: rendered in a child.

As transformers' `apply_chat_template`; the template is a stranger's program, see chat_template.py.
Each conversation is rendered by itself: one that is refused, by `raise_exception` or for a role
that the template does not know, is told, and the others come.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bot.apart.chat_template import LARGEST as LARGEST_TEMPLATE
from bot.apart.chat_template import LONGEST, reason_of, template_of
from bot.apart.errand import LARGEST, carry_out, sent
from bot.apart.sandbox import IsolationSetting, Limits
from bot.errors import BuildError, SettingsError
from bot.foreign import read_bounded
from bot.legible import legible
from bot.records.coding import from_json

LIMITS = Limits(
    seconds=300,
    memory=2 << 30,
    name="rendering conversations",
    longer="the template may never end; mend it",
    larger="mend the template",
)
RESULT = "rendered.json"
REASONING = ("reasoning_content", "thinking", "reasoning")
LETTERS = 4 << 20  # of all that is rendered
DAY = datetime(2026, 1, 1, tzinfo=UTC)  # prompts are the same on any day


@dataclass(frozen=True, kw_only=True)
class Speaking:
    """A chat template, and the texts of tokens that it may name."""

    template: str
    bos: str = ""
    eos: str = ""


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Conversations as the template writes them, in the data set's order."""

    texts: tuple[str, ...]
    refused: int  # conversations that it does not take
    reason: str | None = None  # why the first of these was refused


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


def rendered_prompts(
    speaking: Speaking, asked: Sequence[Asked], isolation: IsolationSetting
) -> tuple[RenderedText, ...]:
    """Each conversation in a template.

    `enable_thinking` and `reasoning_effort` are what templates know of switches. Their clock stands
    still, so that all files of a model get the same prompts on any day.
    """
    order = json.dumps({"speaking": asdict(speaking), "asked": [asdict(one) for one in asked]})
    try:
        with sent(__name__, order, limits=LIMITS, isolation=isolation) as folder:
            told = read_bounded(folder / RESULT, LARGEST)
        texts = from_json(tuple[RenderedText, ...], told)
    except BuildError as error:
        return (RenderedText(fault=legible(str(error), LONGEST)),) * len(asked)
    if len(texts) != len(asked):
        return (RenderedText(fault="it rendered another number of conversations"),) * len(asked)
    return texts


def rendered(file: Path, speaking: Speaking, isolation: IsolationSetting) -> Rendered:
    """The conversations of a file that data_set.py made, JSON lines, rendered.

    Raises BuildError where the template takes none of them, or goes past a limit.
    """
    if len(speaking.template) > LARGEST_TEMPLATE:
        raise BuildError("the chat template is larger than anybody could read; mend it")
    order = json.dumps({"speaking": asdict(speaking), "path": str(file.absolute())})
    with sent(__name__, order, limits=LIMITS, reads=(file,), isolation=isolation) as folder:
        told = from_json(Rendered, read_bounded(folder / RESULT, LARGEST))
    if not told.texts:
        raise BuildError(
            f"the chat template takes no conversation of {file.name}: {told.reason}; mend it, or "
            "name other conversations"
        )
    return told


# ── in the child ────────────────────────────────────────────────────────────────────────────


def _carried_out(order: str, made: Path) -> None:
    wanted = json.loads(order)
    speaking, told = Speaking(**wanted["speaking"]), made / RESULT
    if "asked" in wanted:
        texts = prompts_rendered(speaking, [Asked(**one) for one in wanted["asked"]])
        told.write_text(json.dumps([asdict(text) for text in texts]), encoding="utf-8")
        return
    with Path(wanted["path"]).open(encoding="utf-8") as lines:
        found = all_rendered(speaking, (json.loads(line) for line in lines))
    told.write_text(json.dumps(asdict(found)), encoding="utf-8")


def prompts_rendered(speaking: Speaking, asked: Sequence[Asked]) -> tuple[RenderedText, ...]:
    """What comes of rendering in this process, which must be a child's."""
    try:
        template = template_of(speaking.template)
    except Exception as error:  # noqa: BLE001 - a stranger's program may raise anything
        return (RenderedText(fault=reason_of(error)),) * len(asked)

    def one(conversation: Asked) -> RenderedText:
        switches = {
            "add_generation_prompt": conversation.prompts,
            "enable_thinking": conversation.thinking,
            "reasoning_effort": "medium" if conversation.thinking else "low",
            "strftime_now": DAY.strftime,
        }
        messages, tools = conversation.messages, conversation.tools or None
        try:
            return RenderedText(text=written(template, speaking, messages, tools, **switches))
        except Exception as error:  # noqa: BLE001 - as above; a template need not take everything
            return RenderedText(fault=reason_of(error))

    return tuple(one(conversation) for conversation in asked)


def all_rendered(speaking: Speaking, conversations: Iterator[Mapping[str, Any]]) -> Rendered:
    """Conversations in this process, which must be a child's; no more than `LETTERS` of them."""
    try:
        template = template_of(speaking.template)
    except Exception as error:
        raise SettingsError(f"the chat template is none: {reason_of(error)}") from error
    texts: list[str] = []
    refused, reason, letters = 0, None, 0
    for conversation in conversations:
        try:
            text = written(template, speaking, conversation["messages"], conversation.get("tools"))
        except Exception as error:  # noqa: BLE001 - a stranger's program may raise anything
            refused += 1
            reason = reason or reason_of(error)
            continue
        texts.append(text)
        letters += len(text)
        if letters > LETTERS:
            break
    return Rendered(texts=tuple(texts), refused=refused, reason=reason)


def written(
    template: Any,
    speaking: Speaking,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    **more: Any,
) -> str:
    """One conversation, as render_jinja_template of transformers' chat_template_utils.py."""
    values = {"add_generation_prompt": False, **more}
    text: str = template.render(
        messages=[_thinking(message) for message in messages],
        tools=tools,
        documents=None,
        bos_token=speaking.bos,
        eos_token=speaking.eos,
        **values,
    )
    return text


def _thinking(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with its reasoning by each name of it, as _alias_reasoning_fields has it."""
    told = next((message[key] for key in REASONING if message.get(key) is not None), None)
    if told is None:
        return dict(message)
    return {"thinking": told, **message, "reasoning_content": told}


if __name__ == "__main__":
    carry_out(_carried_out)
