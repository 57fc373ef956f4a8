"""Messages of a child: a line of JSON each."""

import json

import numpy as np
import pytest

from bot.apart.voice import Voice


def test_each_message_is_one_line() -> None:
    lines: list[bytes] = []
    voice = Voice(lines.append)
    voice.progress(1, 3)
    voice.progress(np.int64(2), np.int64(3))  # type: ignore[arg-type]  # as a numpy loop counts
    voice.tell({"text": "two\nlines"})
    voice.send({"result": None})
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in lines)
    assert [json.loads(line) for line in lines] == [
        {"progress": [1, 3]},
        {"progress": [2, 3]},
        {"tell": {"text": "two\nlines"}},
        {"result": None},
    ]


def test_what_json_has_no_number_for_is_not_sent() -> None:
    lines: list[bytes] = []
    with pytest.raises(ValueError, match="JSON compliant"):
        Voice(lines.append).tell(float("nan"))
    assert lines == []
