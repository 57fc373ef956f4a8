"""A data set's file → a running text, or conversations, one JSON object a line: made in a child.

What is taken: a text; a member of a zip, or a file in gzip, with one; records, as JSON lines or one
JSON list. A record is a conversation where it has

    {"messages": [{"role": "user", "content": "…"}, …], "tools": […]}       as chat templates take
    {"conversations": [{"from": "human", "value": "…"}, …], "tools": "…"}   ShareGPT, Hermes
    {"prompt": {"text": "…", "role": "prompter", "replies": […]}}           OpenAssistant's trees
    {"instruction": "…", "input": "…", "output": "…"}                       and other pairs

Of a tree the first reply of each message is taken, which is the one that was ranked best. Calls in
Hermes' words become `tool_calls`, so that each model's own template writes them.
"""

from __future__ import annotations

import gzip
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from bot.apart.errand import LARGEST, carry_out, sent
from bot.apart.sandbox import IsolationSetting, Limits
from bot.disk.writing import copy, decoded
from bot.errors import SettingsError

LIMITS = Limits(
    seconds=600,
    memory=3 << 30,
    name="reading a data set",
    longer="name a smaller one",
    larger="name a smaller one",
)
MOST = 1 << 30  # bytes of a file, and of what it unpacks to
LETTERS = 4 << 20  # of conversations, which is more than any preset reads
LONGEST = 1 << 20  # letters of one record
TURNS = 200  # messages of a conversation
VERSION = 1  # raised where the same file becomes another text
RESULT = "set"
ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation"), "tool"),
    "system": "system",
}
PAIRS = (  # question, what belongs to it, answer
    ("instruction", "input", "output"),
    ("instruction", "context", "response"),
    ("problem", None, "solution"),
    ("question", None, "answer"),
    ("prompt", None, "response"),
    ("prompt", None, "completion"),
)
CALL = ("<tool_call>", "</tool_call>")
ANSWER = ("<tool_response>", "</tool_response>")


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


Conversation = dict[str, Any]  # {"messages": […], "tools": […]}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is wanted of a file; `form`: conversations as such, or all as one running text."""

    path: str
    form: Literal["text", "conversations"]
    conversations: bool
    member: str | None = None
    text: str | None = None  # the field of records that holds it
    half: Literal["even", "odd"] | None = None
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def extract(wanted: Wanted, target: Path, isolation: IsolationSetting) -> Path:
    """What is wanted of a file, in `target`. Raises SettingsError where there is nothing of it."""
    order, reads = json.dumps(asdict(wanted)), (Path(wanted.path),)
    with sent(__name__, order, limits=LIMITS, reads=reads, isolation=isolation) as folder:
        copy(folder / RESULT, target, 0)
    return target


# ── in the child ────────────────────────────────────────────────────────────────────────────


def _carried_out(order: str, made: Path) -> None:
    wanted = Wanted(**json.loads(order))
    text = made_text(wanted)
    content = text.encode("utf-8", "surrogatepass")
    if len(content) > LARGEST:
        raise SettingsError(
            f"{Path(wanted.path).name} holds a text of more than {LARGEST >> 20} MB; name a shorter"
        )
    (made / RESULT).write_bytes(content)


def made_text(wanted: Wanted) -> str:
    """The whole file that is made: a text, or a line for each conversation."""
    name = Path(wanted.path).name
    content = decoded(unpacked(Path(wanted.path), wanted.member), name)
    if not wanted.conversations and wanted.text is None:
        return content
    taken, letters = [], 0
    for record in chosen(records(content, name), wanted):
        piece = _piece(record, wanted)
        if piece is not None:
            taken.append(piece)
            letters += len(piece)
        if letters > LETTERS:
            break
    if not taken:
        raise SettingsError(f"{name} has no records that could be read; check its kind and `where`")
    return "\n".join(taken) + "\n" if wanted.form == "conversations" else "\n\n".join(taken)


def _piece(record: Mapping[str, Any], wanted: Wanted) -> str | None:
    """A record as it stands in what is made; None for one of another kind."""
    if not wanted.conversations:
        text = record.get(wanted.text or "")
        return text if isinstance(text, str) and text else None
    conversation = conversation_of(record)
    if conversation is None:
        return None
    if wanted.form == "conversations":
        return json.dumps(conversation, ensure_ascii=False)
    return "\n\n".join(_words(message) for message in conversation["messages"])


def _words(message: Mapping[str, Any]) -> str:
    calls = [json.dumps(call["function"]) for call in message.get("tool_calls", ())]
    return "\n".join(filter(None, [message["content"], *calls]))


def unpacked(path: Path, member: str | None) -> bytes:
    """The bytes that are meant of a file. Raises SettingsError for a damaged or too large one."""
    try:
        with path.open("rb") as file:
            if member is not None:
                with zipfile.ZipFile(file) as archive, archive.open(member) as inside:
                    return _bounded(inside, path.name)
            if path.suffix == ".gz":
                with gzip.open(file) as inside:
                    return _bounded(inside, path.name)
            return _bounded(file, path.name)
    except KeyError as error:
        raise SettingsError(f"{path.name} has no member {member}; mend its entry") from error
    except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError) as error:
        raise SettingsError(f"{path.name} cannot be unpacked ({error}); fetch it again") from error
    except NotImplementedError as error:
        raise SettingsError(f"{path.name} is packed in an unknown way; unpack it") from error


def _bounded(file: _Readable, name: str) -> bytes:
    content = file.read(MOST + 1)
    if len(content) > MOST:
        raise SettingsError(f"{name} holds more than {MOST >> 30} GB; name a smaller data set")
    return content


def records(content: str, name: str) -> Iterator[Mapping[str, Any]]:
    """The objects of JSON lines, or of one JSON list; they are read one by one.

    Raises SettingsError for what is neither.
    """
    decoder, place = json.JSONDecoder(), _after_space(content, 0)
    listed = content.startswith("[", place)
    place += listed
    while True:
        place = _after_space(content, place)
        if place >= len(content) or (listed and content.startswith("]", place)):
            return
        try:
            record, place = decoder.raw_decode(content, place)
        except (ValueError, RecursionError) as error:
            raise SettingsError(
                f"{name} is no JSON near letter {place:,}; name a file of JSON lines, or a list"
            ) from error
        if isinstance(record, dict):
            yield record
        place = _after_space(content, place)
        place += listed and content.startswith(",", place)


def _after_space(content: str, place: int) -> int:
    while place < len(content) and content[place] in " \t\r\n":
        place += 1
    return place


def chosen(rows: Iterator[Mapping[str, Any]], wanted: Wanted) -> Iterator[Mapping[str, Any]]:
    """The records of the wanted half that have a wanted value in each named field."""
    where = dict(wanted.where)
    for number, record in enumerate(rows):
        if wanted.half is not None and (number % 2 == 1) != (wanted.half == "odd"):
            continue
        if all(_value(record, name) in values for name, values in where.items()):
            yield record


def _value(record: Mapping[str, Any], name: str) -> Any:
    """A field of a record, or of the message that its tree begins with."""
    prompt = record.get("prompt")
    inner = prompt.get(name) if isinstance(prompt, dict) else None
    return record.get(name, inner)


def conversation_of(record: Mapping[str, Any]) -> Conversation | None:
    """A record as messages, and tools where it has some; None where it is no conversation."""
    tools = _tools(record.get("tools"))
    messages: list[dict[str, Any]] = []
    for turn in _turns(record):
        message = _message(*turn)
        if message is not None and tools:
            message = _called(message)
        if message is None:
            return None
        if not tools or message["role"] != "system":  # Hermes lists tools there; templates do it
            messages.append(message)
    roles = {message["role"] for message in messages}
    letters = sum(len(message["content"]) for message in messages)
    if not {"user", "assistant"} <= roles or len(messages) > TURNS or letters > LONGEST:
        return None
    return {"messages": messages, "tools": tools} if tools else {"messages": messages}


Turn = tuple[Any, Any, Mapping[str, Any]]  # role, text, the message itself


def _turns(record: Mapping[str, Any]) -> list[Turn]:
    for key, role, text in (("messages", "role", "content"), ("conversations", "from", "value")):
        rows = record.get(key)
        if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
            return [(row.get(role), row.get(text), row) for row in rows]
    if isinstance(record.get("prompt"), dict):
        return [*_branch(record["prompt"])]
    for question, more, answer in PAIRS:
        asked, told = record.get(question), record.get(answer)
        if isinstance(asked, str) and isinstance(told, str) and asked and told:
            beside = record.get(more) if more else None
            words = f"{asked}\n\n{beside}" if isinstance(beside, str) and beside else asked
            return [("user", words, {}), ("assistant", told, {})]
    return []


def _branch(message: Any) -> Iterator[Turn]:
    for _ in range(TURNS + 1):
        if not isinstance(message, dict):
            return
        yield message.get("role"), message.get("text"), {}
        replies = message.get("replies")
        message = replies[0] if isinstance(replies, list) and replies else None


def _message(role: Any, text: Any, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A message as templates take it; None where it is none, or one of its calls is no call."""
    name, calls = ROLES.get(role) if isinstance(role, str) else None, row.get("tool_calls")
    given = [_call(call) for call in calls] if isinstance(calls, list) else []
    content = "" if text is None and given else text
    if name is None or not isinstance(content, str) or None in given or not (content or given):
        return None
    message: dict[str, Any] = {"role": name, "content": content}
    if given:
        message["tool_calls"] = given
    if isinstance(row.get("reasoning_content"), str):
        message["reasoning_content"] = row["reasoning_content"]
    return message


def _call(call: Any) -> dict[str, Any] | None:
    """A call of a function as chat templates take it, its arguments an object."""
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return None
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = _json(arguments)
    if not isinstance(arguments, dict):
        return None
    return {"type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _tools(given: Any) -> list[dict[str, Any]]:
    """Definitions of tools, as a list or as its JSON."""
    listed = _json(given) if isinstance(given, str) else given
    rows = listed if isinstance(listed, list) else []
    tools = [row if "function" in row else {"type": "function", "function": row} for row in rows
             if isinstance(row, dict)]  # fmt: skip
    named = (isinstance(tool["function"], dict) and "name" in tool["function"] for tool in tools)
    return tools if all(named) else []


def _called(message: dict[str, Any]) -> dict[str, Any] | None:
    """A message with its calls taken out of Hermes' words; None where one of them is no JSON."""
    if message["role"] == "tool":
        parts = _between(message["content"], ANSWER)[1]
        return {**message, "content": "\n".join(parts).strip()} if parts else message
    if message["role"] != "assistant" or CALL[0] not in message["content"]:
        return message
    rest, parts = _between(message["content"], CALL)
    calls = [_call(_json(part)) for part in parts]
    if None in calls:
        return None
    return {"role": "assistant", "content": rest.strip(), "tool_calls": calls}


def _between(text: str, marks: Sequence[str]) -> tuple[str, list[str]]:
    """What stands outside of marks, and what in each pair of them."""
    opening, closing = marks
    first, *parts = text.split(opening)
    outside, inside = [first], []
    for part in parts:
        within, _, after = part.partition(closing)
        inside.append(within)
        outside.append(after)
    return "".join(outside), inside


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


if __name__ == "__main__":
    carry_out(_carried_out)
