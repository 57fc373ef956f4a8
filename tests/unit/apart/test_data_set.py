"""Files of data sets become running texts, or conversations as chat templates take them."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from bot.apart.data_set import Wanted, conversation_of, extract, made_text
from bot.errors import SettingsError

ASKED, TOLD = {"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}
CHAT = {"messages": [ASKED, TOLD]}
FUNCTION = {"name": "add", "parameters": {"type": "object", "properties": {}}}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}


def reply(text: str, role: str, *replies: dict[str, Any], lang: str = "en") -> dict[str, Any]:
    return {"text": text, "role": role, "lang": lang, "replies": list(replies)}


TREE = {"prompt": reply("Hi?", "prompter", reply("Hello.", "assistant"), reply("No", "assistant"))}
HERMES = {
    "conversations": [
        {"from": "system", "value": "You call functions: <tools>…</tools>"},
        {"from": "human", "value": "One and?"},
        {"from": "gpt", "value": 'So: <tool_call>\n{"name": "add", "arguments": {"a": 1}}\n'
                                 "</tool_call>"},
        {"from": "tool", "value": "<tool_response>\n{\"sum\": 2}\n</tool_response>"},
        {"from": "gpt", "value": "Two."},
    ],
    "tools": json.dumps([{"type": "function", "function": FUNCTION}]),
}  # fmt: skip
CALLED = {
    "messages": [
        {"role": "user", "content": "One and?"},
        {"role": "assistant", "content": "So:", "tool_calls": [CALL]},
        {"role": "tool", "content": '{"sum": 2}'},
        {"role": "assistant", "content": "Two."},
    ],
    "tools": [{"type": "function", "function": FUNCTION}],
}
BROKEN = {
    **HERMES,
    "conversations": [
        {"from": "human", "value": "?"},
        {"from": "gpt", "value": "<tool_call>{a: 1}</tool_call>"},
    ],
}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (CHAT, CHAT),
        ({"conversations": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Hello."}]},
         CHAT),
        (TREE, CHAT),
        ({"instruction": "Hi?", "input": "", "output": "Hello."}, CHAT),
        ({"problem": "Hi?", "solution": "Hello."}, CHAT),
        ({"instruction": "Sum", "input": "1 2", "output": "3"},
         {"messages": [{"role": "user", "content": "Sum\n\n1 2"},
                       {"role": "assistant", "content": "3"}]}),
        (HERMES, CALLED),
        (BROKEN, None),
        ({"messages": [ASKED, {**TOLD, "tool_calls": [{"name": 3}]}]}, None),
        ({"messages": [ASKED]}, None),
        ({"messages": [ASKED, {"role": "critic", "content": "No."}, TOLD]}, None),
        ({"messages": "none"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_records_of_each_kind_become_messages(record: Any, expected: Any) -> None:
    assert conversation_of(record) == expected


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def chats(*names: str) -> str:
    return lines(*({"messages": [{**ASKED, "content": name}, TOLD], "n": name} for name in names))


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        (chats("a", "b", "c"), {}, ["a", "b", "c"]),
        ("[" + ",\n".join(chats("a", "b", "c").splitlines()) + "]\n", {}, ["a", "b", "c"]),
        (chats("a", "b", "c"), {"half": "odd"}, ["b"]),
        (chats("a", "b", "c"), {"half": "even"}, ["a", "c"]),
        (chats("a", "b", "c"), {"where": {"n": ("a", "b")}}, ["a", "b"]),
        (lines({"x": 1}) + chats("a"), {}, ["a"]),
    ],
)  # fmt: skip
def test_records_are_chosen_by_number_and_by_value(
    tmp_path: Path, text: str, more: Any, said: list[str]
) -> None:
    file = tmp_path / "set.json"
    file.write_text(text)
    wanted = Wanted(path=str(file), form="conversations", conversations=True, **more)
    made = [json.loads(line) for line in made_text(wanted).splitlines()]
    assert [one["messages"][0]["content"] for one in made] == said


def test_languages_are_those_of_a_trees_beginning(tmp_path: Path) -> None:
    german = {"prompt": reply("Hallo?", "prompter", reply("Guten Tag.", "assistant"), lang="de")}
    file = tmp_path / "trees.jsonl.gz"
    file.write_bytes(gzip.compress(lines(TREE, german).encode()))
    wanted = Wanted(path=str(file), form="text", conversations=True, where={"lang": ("de",)})
    assert made_text(wanted) == "Hallo?\n\nGuten Tag."


def test_a_member_of_a_zip_is_unpacked_in_a_child(tmp_path: Path) -> None:
    file, target = tmp_path / "set.zip", tmp_path / "made.txt"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("raw/test.raw", " = Title = \r\n ä\n")
    wanted = Wanted(path=str(file), form="text", conversations=False, member="raw/test.raw")
    assert extract(wanted, target, "best").read_bytes() == " = Title = \r\n ä\n".encode()
    other = Wanted(path=str(file), form="text", conversations=False, member="raw/none")
    with pytest.raises(SettingsError, match=r"set\.zip has no member raw/none"):
        extract(other, target, "best")


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"{\"messages\": 1}\n{oops", "a.jsonl", "no JSON near letter 16"),
        (b"[" * 200_000, "a.json", "no JSON near letter 1"),
        (b"{}\n", "a.jsonl", "no records that could be read"),
        (b"\xff\xfe{}", "a.jsonl", "not UTF-8"),
        (b"\x1f\x8b\x08no", "a.jsonl.gz", "cannot be unpacked"),
        (b"PK\x03\x04", "a.zip", "cannot be unpacked"),
    ],
)  # fmt: skip
def test_what_is_no_data_set_is_refused(
    tmp_path: Path, content: bytes, name: str, said: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    member = "x" if name.endswith(".zip") else None
    wanted = Wanted(path=str(file), form="conversations", conversations=True, member=member)
    with pytest.raises(SettingsError, match=said):
        made_text(wanted)
