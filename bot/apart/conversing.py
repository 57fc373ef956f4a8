"""Conversations of a data set as a model's own chat template writes them: rendered in a child.

As transformers' `apply_chat_template(messages, tools, add_generation_prompt=False)`; the template
is a stranger's program, see chat_template.py. A conversation that it refuses, by `raise_exception`
or for a role that it does not know, is left out, and counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bot.apart.chat_template import LARGEST as LARGEST_TEMPLATE
from bot.apart.chat_template import template_environment
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
    with Path(wanted["path"]).open(encoding="utf-8") as lines:
        told = all_rendered(Speaking(**wanted["speaking"]), (json.loads(line) for line in lines))
    (made / RESULT).write_text(json.dumps(asdict(told)), encoding="utf-8")


def all_rendered(speaking: Speaking, conversations: Iterator[Mapping[str, Any]]) -> Rendered:
    """Conversations in this process, which must be a child's; no more than `LETTERS` of them."""
    try:
        template = template_environment().from_string(speaking.template)
    except Exception as error:
        raise SettingsError(f"the chat template is none: {legible(str(error), 200)}") from error
    texts: list[str] = []
    refused, reason, letters = 0, None, 0
    for conversation in conversations:
        try:
            text = written(template, speaking, conversation["messages"], conversation.get("tools"))
        except Exception as error:  # noqa: BLE001 - a stranger's program may raise anything
            refused += 1
            reason = reason or legible(f"{type(error).__name__}: {error}", 200)
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
