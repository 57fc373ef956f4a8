"""The data sets that presets name, made small from the demo's texts, in their own formats."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import pack
from typing import Any

from bot.settings.sections import DEMO

TASKS, PAIRS = 12, 16
LETTERS = 55_000  # of a text: two chunks of 8,192 tokens
WORD = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
TOOL = {"name": "look_up", "description": "Look a word up.", "parameters": WORD}
TEMPLATE = (
    "{%- if tools %}{{ '<|im_start|>system\\n' }}{% for tool in tools %}{{ tool | tojson }}\n"
    "{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}{%- for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content }}"
    "{%- for call in message.tool_calls or [] %}{{ '<tool_call>' + call.function | tojson }}"
    "{%- endfor %}{{ '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"
)


def write_kit(root: Path, letters: int = LETTERS) -> Path:
    """Every file that presets name, as ORG/NAME/FILE below `root`; texts of so many letters."""
    words = _paragraphs("evaluation.txt"), _paragraphs("calibration.txt")
    pairs = [*zip(*words, strict=False)][:PAIRS]
    _zip(root / "ggml-org/ci/wikitext-2-raw-v1.zip", letters)
    tasks = root / "ikawrakow/validation-datasets-for-llama.cpp/hellaswag-validation.bin"
    _write(tasks, binary_tasks(TASKS))
    trees = (
        {"prompt": {"text": asked, "role": "prompter", "lang": lang,
                    "replies": [{"text": told, "role": "assistant", "replies": []}]}}
        for asked, told in pairs for lang in ("en", "en", "de", "de")
    )  # fmt: skip
    chat = root / "OpenAssistant/oasst2/2023-11-05_oasst2_ready.trees.jsonl.gz"
    _write(chat, gzip.compress("".join(json.dumps(tree) + "\n" for tree in trees).encode()))
    code = [{"problem": asked, "solution": told} for asked, told in pairs]
    file = "ise-uiuc/Magicoder-OSS-Instruct-75K/data-oss_instruct-decontaminated.jsonl"
    _write(root / file, "".join(json.dumps(row) + "\n" for row in code).encode())
    calls = [_called(*pair) for pair in pairs]
    file = "NousResearch/hermes-function-calling-v1/func-calling.json"
    _write(root / file, json.dumps(calls).encode())
    sums = [{"instruction": asked, "output": told} for asked, told in pairs]
    _write(root / "TIGER-Lab/MathInstruct/MathInstruct.json", json.dumps(sums).encode())
    return root


def _paragraphs(name: str) -> list[str]:
    text = (DEMO / name).read_text(encoding="utf-8")
    return [part.strip() for part in text.split("\n\n") if len(part) > 80]


def _called(asked: str, told: str) -> dict[str, Any]:
    call = json.dumps({"name": "look_up", "arguments": {"word": asked.split()[0]}})
    turns = (("system", "Functions: …"), ("human", asked),
             ("gpt", f"<tool_call>\n{call}\n</tool_call>"),
             ("tool", f"<tool_response>\n{told}\n</tool_response>"), ("gpt", told))  # fmt: skip
    rows = [{"from": role, "value": value} for role, value in turns]
    return {"conversations": rows, "tools": json.dumps([{"type": "function", "function": TOOL}])}


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _zip(path: Path, letters: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, text in (("test", "evaluation.txt"), ("train", "calibration.txt")):
            content = (DEMO / text).read_text(encoding="utf-8")[:letters]
            archive.writestr(f"wikitext-2-raw/wiki.{member}.raw", content)


def binary_tasks(count: int) -> bytes:
    """The demo's first tasks as llama.cpp's binary file of multiple choice has them."""
    lines = (DEMO / "tasks.txt").read_text(encoding="utf-8").split("\n")
    tasks = [b"".join(_stored(lines[6 * at : 6 * at + 6])) for at in range(count)]
    place, places = 4 + 4 * count, []
    for task in tasks:
        places.append(place)
        place += len(task)
    return pack(f"<{count + 1}I", count, *places) + b"".join(tasks)


def _stored(lines: Sequence[str]) -> Iterator[bytes]:
    question, right, *answers = lines
    yield _text(question) + pack("<I", len(answers))
    yield from map(_text, answers)
    yield pack(f"<{len(answers)}I", *(int(number == int(right)) for number in range(len(answers))))


def _text(text: str) -> bytes:
    return pack("<I", len(text.encode())) + text.encode()
