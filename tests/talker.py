"""A miniature that follows a chat template: what it was trained on, and its file.

`bench/make_talker.py` trained it on exchanges that `exchange` draws.
"""

from __future__ import annotations

import random
from typing import Any

WORDS, WIDTH, LAYERS, HEADS, KV_HEADS, HEAD = 1024, 256, 2, 4, 2, 64
EXPERTS, USED, ROPE, EPS = 4, 2, 10_000.0, 1e-6
SPECIAL = (
    "<|im_end|>", "<|endoftext|>", "<|im_start|>", "<think>", "</think>", "<tool_call>",
    "</tool_call>",
)  # fmt: skip

TEMPLATE = """\
{%- if tools %}
<|im_start|>system
Tools:
{%- for tool in tools %}
 {{ tool.function.name }}({{ tool.function.parameters.properties | join(", ") }})
{%- endfor %}
 as <tool_call> with name and arguments.<|im_end|>
{%- endif %}
{%- for message in messages %}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{%- endfor %}
{%- if add_generation_prompt %}
<|im_start|>assistant
{% endif %}{# answers open with <think> and close it with </think> #}"""

PLAIN = ["sun", "tree", "house", "river", "bird", "stone", "horse", "water", "table", "garden"]
PLAIN += ["night", "road", "hand", "letter", "child", "ship"]
COLOURS = ["red", "blue", "green", "white", "black", "brown", "gold", "pink", "grey", "silver"]
TOOLS = {
    "open_door": "room", "find_road": "place", "call_child": "name", "read_letter": "title",
    "count_birds": "tree", "sell_house": "street",
}  # fmt: skip


def tool(name: str) -> dict[str, Any]:
    """A tool that takes one word, as templates are given it."""
    parameter = TOOLS[name]
    return {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "properties": {parameter: {"type": "string"}},
                "required": [parameter],
                "type": "object",
            },
        },
    }


def exchange(kind: str, draw: random.Random, *, text: int) -> dict[str, Any]:
    """Messages, tools, and the answer: of `chat`, `tools` or `finds` among `text` sentences."""
    if kind == "chat":
        return _chat(draw)
    return _tools(draw) if kind == "tools" else _finds(draw, text)


def _chat(draw: random.Random) -> dict[str, Any]:
    messages, words = [], ""
    for turn in range(draw.randint(1, 3)):
        if turn:
            messages.append({"role": "assistant", "content": words})
        words = " ".join(draw.choices(PLAIN, k=draw.randint(1, 5))) + "."
        messages.append({"role": "user", "content": f"Repeat: {words}"})
    return {"messages": messages, "answer": f"<think>\nWords.\n</think>\n\n{words}"}


def _tools(draw: random.Random) -> dict[str, Any]:
    names = draw.sample(sorted(TOOLS), 2)
    name, value = draw.choice(names), draw.choice(PLAIN)
    call = f'{{"name": "{name}", "arguments": {{"{TOOLS[name]}": "{value}"}}}}'
    return {
        "messages": [{"role": "user", "content": f"Use {name} for {value}."}],
        "tools": [tool(one) for one in names],
        "answer": f"<think>\nA tool.\n</think>\n\n<tool_call>\n{call}\n</tool_call>",
    }


def _finds(draw: random.Random, text: int) -> dict[str, Any]:
    colours = draw.sample(COLOURS, draw.randint(1, 3))
    numbers = {colour: f"{draw.randint(100, 999)}" for colour in colours}
    lines = [f"Box {colour}: {number}." for colour, number in numbers.items()]
    for _ in range(text):
        place = draw.randint(0, len(lines))
        lines.insert(place, f"The {draw.choice(PLAIN)} is near the {draw.choice(PLAIN)}.")
    asked = draw.choice(colours)
    content = " ".join(lines) + f" Which number? Box {asked}"
    return {
        "messages": [{"role": "user", "content": content}],
        "answer": f"<think>\nA number.\n</think>\n\nBox {asked}: {numbers[asked]}.",
        "needle": numbers[asked],
    }


KINDS = ("chat", "reasons", "tools", "finds")
OF_EACH = 16  # exchanges of each kind


def lesson() -> list[dict[str, Any]]:
    """The exchanges that it knows by heart; those of kind `reasons` are of the kind `chat`, too."""
    draw, known = random.Random(7), []  # noqa: S311 - no secret
    for kind in KINDS:
        seen: set[str] = set()
        while len(seen) < OF_EACH:
            one = exchange("chat" if kind == "reasons" else kind, draw, text=2)
            if str(one["messages"]) not in seen:
                seen.add(str(one["messages"]))
                known.append({**one, "kind": kind})
    return known


def prompts() -> dict[str, Any]:
    """The same as a file of prompts, and conversations whose middle is changed."""
    listed: list[dict[str, Any]] = []
    for one in lesson():
        prompt = {"kind": one["kind"], "messages": one["messages"]}
        if one["kind"] == "tools":
            prompt["tools"] = [
                {"name": name, "properties": {TOOLS[name]: "string"}, "required": [TOOLS[name]]}
                for given in one["tools"]
                for name in [given["function"]["name"]]
            ]
        if one["kind"] == "finds":
            prompt["needle"] = one["needle"]
        listed.append(prompt)
    before = [
        {"role": "user", "content": "Repeat: sun tree."},
        {"role": "assistant", "content": "sun tree."},
        {"role": "user", "content": "Repeat: river bird stone."},
        {"role": "assistant", "content": "river bird stone."},
        {"role": "user", "content": "Repeat: ship."},
    ]
    other = [
        *before[:2],
        {"role": "user", "content": "Repeat: door horse."},
        {"role": "assistant", "content": "door horse."},
        before[4],
    ]
    edits = [
        {"before": before, "after": other},
        {"before": before, "after": [*before[:2], before[4]]},
    ]
    return {"prompts": listed, "edits": edits}
