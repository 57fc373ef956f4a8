"""What a model's behaviour is looked at on: conversations, tools, texts in which to find something.

A file of prompts is JSON. Each prompt has a `kind`:

    chat      turns of a conversation; the answer has to end
    reasons   the same, with reasoning switched on where a template has the switch
    tools     the answer has to call one of the `tools`
    finds     the answer has to hold `needle`, which the sentence `hidden` tells; `{text}` in the
              last message is filler of `characters`, with that sentence at `depth` of it

`edits` are conversations before and after somebody changed their middle. `filler` are sentences.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from bot.apart.conversing import Asked
from bot.errors import SettingsError
from bot.foreign import read_bounded
from bot.settings.sections import Part

LARGEST = 4 << 20  # bytes of a file of prompts
PLACE = "{text}"
Kind = Literal["chat", "reasons", "tools", "finds"]
Words = Annotated[str, Field(min_length=1, max_length=20_000)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


class Message(Part):
    """A turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: Words


class Tool(Part):
    """A function that a model may call; `properties` are its parameters' JSON types."""

    name: Name
    description: Annotated[str, Field(max_length=2_000)] = ""
    properties: dict[Name, Literal["string", "number", "integer", "boolean"]]
    required: tuple[Name, ...] = ()

    @property
    def as_given(self) -> dict[str, Any]:
        """As templates are given it: the form of OpenAI's `tools`."""
        properties = {name: {"type": kind} for name, kind in self.properties.items()}
        described = {"description": self.description} if self.description else {}
        return {
            "type": "function",
            "function": {
                **described,
                "name": self.name,
                "parameters": {
                    "properties": properties,
                    "required": list(self.required),
                    "type": "object",
                },
            },
        }


class Prompt(Part):
    """A conversation that waits for an answer, and what that is looked at for."""

    kind: Kind
    messages: Annotated[tuple[Message, ...], Field(min_length=1, max_length=32)]
    tools: Annotated[tuple[Tool, ...], Field(max_length=16)] = ()
    needle: Annotated[str, Field(max_length=200)] = ""
    hidden: Annotated[str, Field(max_length=1_000)] = ""
    characters: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    depth: Annotated[float, Field(ge=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.kind == "tools") != bool(self.tools):
            raise ValueError("a prompt of kind tools has tools, and no other has")
        if (self.kind == "finds") != bool(self.needle):
            raise ValueError("a prompt of kind finds has a needle, and no other has")
        if self.hidden and PLACE not in self.messages[-1].content:
            raise ValueError(f"what is hidden needs {PLACE} in the last message")
        return self


class Edit(Part):
    """A conversation before and after its middle was changed."""

    before: Annotated[tuple[Message, ...], Field(min_length=2, max_length=32)]
    after: Annotated[tuple[Message, ...], Field(min_length=1, max_length=32)]


class PromptSet(Part):
    """A file of prompts."""

    about: str = ""
    filler: Annotated[tuple[Words, ...], Field(max_length=2_000)] = ()
    prompts: Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=500)]
    edits: Annotated[tuple[Edit, ...], Field(max_length=20)] = ()

    @model_validator(mode="after")
    def _filled(self) -> Self:
        if any(prompt.characters for prompt in self.prompts) and not self.filler:
            raise ValueError("texts to find something in need filler")
        return self


def read_prompts(path: Path) -> PromptSet:
    """The prompts of a file. Raises SettingsError for one that is none, with the key."""
    if not path.is_file():
        raise SettingsError(f"{path} does not exist; mend evaluation.behaviour.prompts")
    try:
        return PromptSet.model_validate_json(read_bounded(path, LARGEST))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{path}: {key}: {first['msg']}; mend the prompts") from error


def conversation(prompt: Prompt, filler: Sequence[str], seed: int) -> Asked:
    """A prompt with its filler, the same for the same seed."""
    messages = [message.model_dump() for message in prompt.messages]
    if PLACE in messages[-1]["content"]:
        text = _text(prompt, filler, seed)
        messages[-1]["content"] = messages[-1]["content"].replace(PLACE, text)
    return Asked(
        messages=messages,
        tools=[tool.as_given for tool in prompt.tools],
        thinking=prompt.kind == "reasons",
        prompts=True,
    )


def edited(edit: Edit) -> tuple[Asked, Asked]:
    """The conversation before and after, both whole."""
    before, after = (
        Asked(
            messages=[message.model_dump() for message in messages],
            tools=[],
            thinking=False,
            prompts=False,
        )
        for messages in (edit.before, edit.after)
    )
    return before, after


def _text(prompt: Prompt, filler: Sequence[str], seed: int) -> str:
    """Sentences in an order of their own, up to the length, and what is hidden among them."""
    draw, sentences, length = random.Random(seed), list[str](), 0  # noqa: S311 - no secret
    while filler and length < prompt.characters:
        for sentence in draw.sample(list(filler), len(filler)):
            if length < prompt.characters:
                sentences.append(sentence)
                length += len(sentence) + 1
    sentences.insert(round(prompt.depth * len(sentences)), prompt.hidden)
    return " ".join(filter(None, sentences))
