import json
import struct
from pathlib import Path

import numpy as np
import pytest

from bot.errors import SettingsError
from bot.measures import tasks
from bot.measures.tasks import ChoiceTask, Kind


def some(count: int) -> list[ChoiceTask]:
    return [ChoiceTask(texts=(f"c{i} a", f"c{i} b"), right=i % 2) for i in range(count)]


def stored(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def binary(rows: list[tuple[str, list[str], int]]) -> bytes:
    """A task file as multiple_choice_task::deserialize() reads it."""
    bodies = []
    for question, answers, right in rows:
        labels = [int(i == right) for i in range(len(answers))]
        parts = [stored(question), struct.pack("<I", len(answers)), *map(stored, answers)]
        parts += [struct.pack(f"<{len(labels)}i", *labels), struct.pack("<I", 0)]
        bodies.append(b"".join(parts))
    starts = np.cumsum([4 + 4 * len(bodies), *(len(body) for body in bodies[:-1])])
    head = struct.pack(f"<{1 + len(bodies)}I", len(bodies), *starts)
    return head + b"".join(bodies)


def test_the_generator_is_mt19937() -> None:
    """First outputs of std::mt19937(1), as any C++ standard library gives them."""
    draw = tasks.raw_draws()
    assert [draw() for _ in range(4)] == [1791095845, 4282876139, 3093770124, 4005303368]


def test_below_follows_lemire() -> None:
    # product = 1791095845 * 10042 = 4187 * 2^32 + rest, and the rest is not rejected
    assert tasks.drawn_below(10042, lambda: 1791095845) == (1791095845 * 10042) >> 32
    draws = iter([0, 1 << 31])  # for 3, a low half below 2^32 mod 3 = 1 is drawn again
    assert tasks.drawn_below(3, lambda: next(draws)) == 1


def test_drawing_takes_each_task_once_and_fewer_are_a_prefix() -> None:
    everything = some(50)
    drawn = tasks.draw_tasks(everything, None)
    assert sorted(drawn, key=lambda t: int(t.texts[0][1:-2])) == everything
    assert drawn != everything
    assert tasks.draw_tasks(everything, 20) == drawn[:20]
    assert len(tasks.draw_tasks(everything, 99)) == 50


def test_scaled_draws_keep_the_order_when_all_are_asked() -> None:
    everything = some(10)
    assert tasks.draw_scaled(everything, None) == everything
    assert tasks.draw_scaled(everything, 10) == everything
    # 0.417, 0.997, 0.720 of what is left, the last taking the place of the drawn one
    assert tasks.draw_scaled(everything, 3) == [everything[4], everything[8], everything[5]]


def test_winogrande_is_read_as_the_tool_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "wg.csv"
    path.write_text(
        "0,Sarah beat Maria so _ won.,Sarah,Maria,2\n"
        '1,"One, two: _ is it",this,that,1\n'
        "2,The last _ line is never read,one,two,1\n"
    )
    first, second = tasks.read_tasks(path, "winogrande", None)
    assert first.texts == ("Sarah beat Maria so Sarah won.", "Sarah beat Maria so Maria won.")
    assert first.bases == ("Sarah beat Maria so Sarah", "Sarah beat Maria so Maria")
    assert (first.right, second.right) == (1, 0)
    assert second.texts[1] == "One, two: that is it"


def test_both_forms_of_multiple_choice_are_the_same_tasks(tmp_path: Path) -> None:
    rows = [("What?", ["this", "that", "neither"], 1), ("Which é?", ["a", "b"], 0)]
    packed, lines = tmp_path / "tasks.bin", tmp_path / "tasks.jsonl"
    packed.write_bytes(binary(rows))
    lines.write_text(
        "\n".join(json.dumps({"question": q, "choices": c, "answer": a}) for q, c, a in rows)
    )
    packed_tasks = tasks.read_tasks(packed, "multiple-choice", None)
    assert packed_tasks == tasks.read_tasks(lines, "multiple-choice", None)
    assert packed_tasks[0] == ChoiceTask(
        texts=("What? this", "What? that", "What? neither"), right=1
    )


GOOD = {"question": "q", "choices": ["a", "b"], "answer": 0}
WRONG: list[tuple[Kind, bytes, str]] = [
    ("hellaswag", b"", "0 lines"),
    ("hellaswag", b"c\n0\na\nb\nc\n", "5 lines"),
    ("hellaswag", b"c\n4\na\nb\nc\nd\n", ":2 is not the number"),
    ("hellaswag", b"c\nx\na\nb\nc\nd\n", ":2 is not the number"),
    ("hellaswag", b"\xff\n0\na\nb\nc\nd\n", "not UTF-8 at byte 0"),
    ("winogrande", b"", "holds no tasks"),
    ("winogrande", b"0,no gap,a,b,1\nlast\n", ":1 is not `index"),
    ("winogrande", b"0,a _ gap,a,b,3\nlast\n", ":1 is not `index"),
    ("multiple-choice", b"\x01\x00", "ends too early"),
    ("multiple-choice", b"\xff\xff\xff\xff", "where at most"),
    ("multiple-choice", binary([("q", ["a", "b"], 1)])[:-9], "ends too early"),
    ("multiple-choice", binary([("q", ["a", ""], 0)]), "without question, answers"),
    ("multiple-choice", binary([("q", ["a", "b"], 7)]), "without question, answers"),
    ("multiple-choice", b"{nonsense", ":1 is not"),
    ("multiple-choice", json.dumps({**GOOD, "answer": 2}).encode(), ":1 is not"),
    ("multiple-choice", json.dumps({**GOOD, "answer": True}).encode(), ":1 is not"),
    ("multiple-choice", json.dumps({**GOOD, "choices": ["a", 1]}).encode(), ":1 is not"),
]


@pytest.mark.parametrize(("kind", "data", "message"), WRONG)
def test_a_broken_task_file_is_said(tmp_path: Path, kind: Kind, data: bytes, message: str) -> None:
    path = tmp_path / "tasks"
    path.write_bytes(data)
    with pytest.raises(SettingsError, match=message):
        tasks.read_tasks(path, kind, None)
