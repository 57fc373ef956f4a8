from pathlib import Path

import pytest

from bot.benchmarks.harness_requests import (
    Answers,
    HarnessRequest,
    ModelAnswer,
    answer_of,
    read_answers,
    read_requests,
    write_requests,
)
from bot.errors import BuildError

LIKELY = HarnessRequest(kind="likelihood", context="Is it?", continuation=" Yes")
TEXT = HarnessRequest(kind="text", context="Häuser:\n", until=("\n\n", "Q:"), limit=20)


def test_requests_come_back_and_each_once(tmp_path: Path) -> None:
    write_requests(tmp_path / "r", [LIKELY, TEXT, LIKELY])
    assert read_requests(tmp_path / "r") == [LIKELY, TEXT]


def test_keys_hold_all_that_is_asked() -> None:
    others = (
        HarnessRequest(kind="likelihood", context="Is it", continuation="? Yes"),
        HarnessRequest(kind="rolling", continuation=" Yes"),
        HarnessRequest(kind="text", context="Häuser:\n", until=("\n\n", "Q:"), limit=21),
        HarnessRequest(kind="text", context="Häuser:\n", until=("\n\n",), limit=20),
    )
    assert len({one.key for one in (LIKELY, TEXT, *others)}) == 6


@pytest.mark.parametrize("line", ["{}", "[]", '{"kind": "code"}', '{"kind": "text", "limit": "9"}'])
def test_other_lines_are_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "r").write_text(line + "\n")
    with pytest.raises(BuildError, match="no request"):
        read_requests(tmp_path / "r")


def test_answers_that_were_whole_are_there_again(tmp_path: Path) -> None:
    """However a kill cuts the file: what is known are the first answers, as they were given."""
    given = [
        (LIKELY.key, ModelAnswer(logprob=-1.25, greedy=True)),
        (TEXT.key, ModelAnswer(text="ein Dach\n")),
        ("x", ModelAnswer(logprob=-0.1)),
    ]
    answers = Answers(tmp_path / "a")
    for one in given:
        answers.add([one])
    whole = (tmp_path / "a").read_bytes()
    for size in range(len(whole) + 1):
        (tmp_path / "b").write_bytes(whole[:size])
        known = read_answers(tmp_path / "b")
        assert list(known.items()) == given[: len(known)]
        assert len(known) == whole[:size].count(b"\n")
        again = Answers(tmp_path / "b")
        again.add([("y", ModelAnswer())])
        assert read_answers(tmp_path / "b") == {**known, "y": ModelAnswer()}


def test_a_damaged_answer_ends_what_is_known(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "a")
    answers.add([("x", ModelAnswer(logprob=-1.0)), ("y", ModelAnswer(logprob=-2.0))])
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(data.replace(b"-2.0", b"-3.0"))
    assert list(read_answers(tmp_path / "a")) == ["x"]


@pytest.mark.parametrize("data", [None, [], {"logprob": "1"}, {"text": 3}, {"greedy": 1}])
def test_other_values_are_no_answers(data: object) -> None:
    with pytest.raises(ValueError, match="validation"):
        answer_of(data)
