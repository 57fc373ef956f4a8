"""The child's side of a call: which works there are, and how each ends."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.apart import served
from bot.apart.voice import Voice
from bot.errors import BuildError
from bot.workplace import loaded
from bot.workplace.loaded import chosen_tensor_types


class Pieces(io.RawIOBase):
    """A pipe that takes a few bytes at a time."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: Any) -> int:
        self.content += bytes(data[:7])
        return len(data[:7])


def answered(call: dict[str, Any]) -> list[dict[str, Any]]:
    pieces = Pieces()
    served.answer(call, pieces)  # type: ignore[arg-type]  # all that it uses is `write`
    return [json.loads(line) for line in pieces.content.splitlines()]


def call(source: Path, work: str = "bot.workplace.loaded:chosen_tensor_types") -> dict[str, Any]:
    arguments = {"source": str(source), "file_type": 7, "weighed": False}
    return {"work": work, "arguments": arguments}


def test_a_result_comes_last(demo_candidate: Path) -> None:
    first, last = answered(call(demo_candidate))
    assert first == {"progress": [0, 1]}
    assert last["result"]["blk.0.ffn_down_exps.weight"] == "Q8_0"


def test_what_goes_wrong_is_an_answer_too(tmp_path: Path) -> None:
    path = tmp_path / "none.gguf"
    *_, last = answered(call(path))
    assert last["error"]
    assert "result" not in last
    (refused,) = answered(call(path, "os:remove"))
    assert refused == {"error": "ValueError", "text": "ValueError: os:remove is no work"}
    broken = {**call(path), "arguments": {"source": str(path), "file_type": "seven"}}
    (strange,) = answered(broken)
    assert strange["error"] in ("ValidationError", "TypeError")


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (BuildError("it is broken"), {"error": "BuildError", "text": "it is broken"}),
        (
            MemoryError(),
            {
                "error": "CapacityError",
                "text": "it takes more memory than there is; free some",
            },
        ),
        (KeyError("x"), {"error": "KeyError", "text": "KeyError: 'x'"}),
    ],
)
def test_errors_keep_their_kind(
    monkeypatch: pytest.MonkeyPatch, error: Exception, answer: dict[str, str]
) -> None:
    def failing(_voice: Voice) -> None:
        raise error

    monkeypatch.setattr(loaded, "failing", failing, raising=False)
    assert answered({"work": "bot.workplace.loaded:failing", "arguments": {}}) == [answer]


@pytest.mark.parametrize("name", ["os:system", "bot.workplace.loaded:_private", "", ":x"])
def test_only_public_functions_of_three_modules_are_works(name: str) -> None:
    with pytest.raises(ValueError, match="is no work"):
        served.work_named(name)
    work: Callable[..., Any] = served.work_named("bot.workplace.loaded:chosen_tensor_types")
    assert work is chosen_tensor_types


def test_arguments_are_read_by_the_hints_of_a_work() -> None:
    def work(voice: Voice, path: Path, *, count: int = 3) -> tuple[str, int]:
        del voice
        return path.name, count

    voice = Voice(lambda _line: None)
    work.__annotations__.update(voice=Voice, path=Path, count=int)
    work.__annotations__["return"] = tuple[str, int]
    assert served.done(work, {"path": "folder/x.gguf"}, voice) == ["x.gguf", 3]
    assert served.done(work, {"path": "x", "count": 5, "unknown": 1}, voice) == ["x", 5]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems bound no memory")
def test_a_confined_process_has_an_end_of_memory_and_dumps_no_core() -> None:
    program = (
        "import resource\nfrom bot.apart import served\n"
        "served.confine(1 << 28)\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_DATA))"
        "\ntry:\n    bytearray(1 << 29)\nexcept MemoryError:\n    print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["(0, 0) (268435456, 268435456)", "refused"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems bound no memory")
def test_who_was_given_less_memory_keeps_to_that() -> None:
    """As of `ulimit -d`, or of LimitDATA in a unit of systemd: no process can have more of it."""
    program = (
        "import resource\nfrom bot.apart import served\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (1 << 29, 1 << 29))\n"
        "served.confine(1 << 30)\nprint(resource.getrlimit(resource.RLIMIT_DATA))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "(536870912, 536870912)\n"
