"""Whether a model's chat template can be rendered, and what it knows: tried in a child.

A template is a stranger's program. It is rendered as transformers renders it
(chat_template_utils.py, _compile_jinja_template): Jinja's immutable sandbox, `tojson`,
`raise_exception`, `strftime_now`, loop controls and generation blocks; the child holds no token,
and its time and memory have an end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Never

from jinja2 import Template, nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bot.apart.errand import carry_out, sent
from bot.apart.sandbox import IsolationSetting, Limits
from bot.clock import SystemClock
from bot.errors import BuildError
from bot.foreign import read_bounded
from bot.legible import legible
from bot.records.coding import from_json

KEY = "tokenizer.chat_template"
LARGEST = 1 << 20  # bytes of a template, and of what the child tells
LIMITS = Limits(
    seconds=30,
    memory=1 << 30,
    name="rendering the chat template",
    longer="it may never end; mend the template",
    larger="mend the template",
)
RESULT = "template.json"
LONGEST = 200  # letters of a reason
WORD = "Heliotrope"  # that a rendered conversation has to hold
USER = {"role": "user", "content": WORD}
TURNS = [USER, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And then?"}]
SYSTEM = [{"role": "system", "content": "Be brief."}, USER]
TOOL = {
    "type": "function",
    "function": {
        "name": "find_flower",
        "description": "Find a flower by its name.",
        "parameters": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
        },
    },
}


@dataclass(frozen=True, kw_only=True)
class TemplateFacts:
    """What came of rendering: `fault` says why a single message of a user's could not be.

    The others tell whether it takes several turns, a system's message and tools, and whether
    `enable_thinking` changes what it writes.
    """

    fault: str | None = None
    turns: bool = False
    system: bool = False
    tools: bool = False
    thinking: bool = False

    @property
    def words(self) -> str:
        """`renders turns, a system message and tools; thinking can be switched`."""
        if self.fault is not None:
            return f"cannot be rendered: {self.fault}"
        known = {"several turns": self.turns, "a system message": self.system, "tools": self.tools}
        taken = ", ".join(name for name, takes in known.items() if takes) or "one message alone"
        return f"renders {taken}" + ("; thinking can be switched" if self.thinking else "")


def template_facts(
    metadata: Mapping[str, Any], isolation: IsolationSetting = "best"
) -> TemplateFacts | None:
    """Of a header's template; None where it has none."""
    template = metadata.get(KEY)
    if template is None:
        return None
    if not isinstance(template, str) or len(template) > LARGEST:
        return TemplateFacts(fault="it is no text of a size that anybody could read")
    return _rendered(template, isolation)


@lru_cache(maxsize=4)  # all tiers of a model have the same
def _rendered(template: str, isolation: IsolationSetting) -> TemplateFacts:
    try:
        with sent(__name__, json.dumps(template), limits=LIMITS, isolation=isolation) as folder:
            told = read_bounded(folder / RESULT, LARGEST)
        return from_json(TemplateFacts, told.decode())
    except BuildError as error:
        return TemplateFacts(fault=legible(str(error), LONGEST))


# ── in the child ────────────────────────────────────────────────────────────────────────────


class _Generation(Extension):
    """`{% generation %}`, by which trainers mark answers: what is inside is written as it is.

    A call block, as transformers has it: what is set inside does not hold outside.
    """

    tags = {"generation"}  # noqa: RUF012 - as jinja2's own class has it

    def parse(self, parser: Parser) -> nodes.CallBlock:
        """The block's statements, called for what they write."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        block = nodes.CallBlock(self.call_method("_written"), [], [], body)
        block.set_lineno(line)
        return block

    def _written(self, caller: Callable[[], str]) -> str:
        return caller()


def _refuse(message: str) -> Never:
    raise TemplateError(str(message))


def _now(form: str) -> str:
    return datetime.fromtimestamp(SystemClock().now()).astimezone().strftime(form)


def _as_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def template_environment() -> ImmutableSandboxedEnvironment:
    """What a template is rendered in, in this process, which must be a child's."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _as_json
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
    return environment


def template_of(text: str) -> Template:
    """A template, to be rendered in this process, which must be a child's.

    Raises jinja2.TemplateError for what is none; rendering it, whatever a stranger's program may.
    """
    return template_environment().from_string(text)


def tried(text: str) -> TemplateFacts:
    """What comes of rendering a template in this process, which must be a child's."""
    try:
        template = template_of(text)

        def written(messages: Sequence[Mapping[str, str]], **more: Any) -> str:
            return template.render(
                messages=messages,
                add_generation_prompt=True,
                bos_token="<s>",  # noqa: S106 - no password
                eos_token="</s>",  # noqa: S106
                **more,
            )

        if WORD not in written([USER]):
            return TemplateFacts(fault="what the user says is not in it")
    except Exception as error:  # noqa: BLE001 - a stranger's program may raise anything
        return TemplateFacts(fault=reason_of(error))

    def takes(*expected: str, messages: Sequence[Mapping[str, str]], **more: Any) -> bool:
        try:
            text = written(messages, **more)
        except Exception:  # noqa: BLE001 - as above; a template need not take everything
            return False
        return all(word in text for word in expected)

    def thinks(switch: bool) -> str:
        try:
            return written([USER], enable_thinking=switch)
        except Exception:  # noqa: BLE001 - as above
            return ""

    return TemplateFacts(
        turns=takes(WORD, "Yes.", "And then?", messages=TURNS),
        system=takes(WORD, "Be brief.", messages=SYSTEM),
        tools=takes(WORD, "find_flower", messages=[USER], tools=[TOOL]),
        thinking=thinks(True) != thinks(False),
    )


def reason_of(error: Exception) -> str:
    """What a template raised, in one bounded line."""
    line = getattr(error, "lineno", None)
    where = f" (line {line})" if isinstance(line, int) else ""
    return legible(f"{type(error).__name__}: {error}", LONGEST) + where


def _carried_out(order: str, made: Path) -> None:
    facts = tried(json.loads(order))
    (made / RESULT).write_text(json.dumps(asdict(facts)), encoding="utf-8")


if __name__ == "__main__":
    carry_out(_carried_out)
