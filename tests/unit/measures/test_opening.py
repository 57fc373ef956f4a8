"""Measures as works of a child: how texts are cut there, and what its parent takes from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bot.apart.voice import Voice
from bot.clients.llama.session import Session
from bot.errors import BuildError
from bot.measures.journal import Journal, Values, coded, empty
from bot.measures.opening import (
    Cut,
    Cutting,
    Listener,
    Reference,
    Relayed,
    cut_text,
    require_cut,
    require_same_cut,
)
from bot.measures.windows import TextWindows, cut
from tests.evaluation import KEY, with_other_tokens

CUTTING = Cutting(context=8, limit=None, stride=None)
WINDOWS = TextWindows(
    tokens=np.arange(5 * 8, dtype=np.int32).reshape(5, 8), first=4, together=2
)  # groups of 6, 6 and 3 values


class Lines:
    """What a voice sends."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.voice = Voice(lambda line: self.messages.append(json.loads(line)))

    @property
    def parts(self) -> list[Any]:
        return [message["tell"] for message in self.messages if "tell" in message]


def group(count: int, kld: float = 1.0) -> Values:
    values = empty(count)
    values["kld"] = kld
    return values


def test_a_text_is_cut_as_the_model_itself_cuts_it(demo_model: Path, demo_text: str) -> None:
    lines = Lines()
    cutting = Cutting(context=128, limit=3, stride=None)
    text_cut = cut_text(lines.voice, demo_model, demo_text, cutting)
    with Session(demo_model, n_ctx=32, threads=1, gpu_layers=0) as session:
        expected = cut(session, demo_text, context=128, limit=3)
        assert (text_cut.vocabulary, text_cut.tokenizer) == (session.vocabulary, session.tokenizer)
    assert np.array_equal(text_cut.windows.tokens, expected.tokens)
    assert require_cut("model", text_cut, cutting) is text_cut
    assert lines.messages == [{"progress": [0, 1]}]


def test_a_candidate_of_another_tokenizer_is_refused(
    demo_model: Path, demo_text: str, tmp_path: Path
) -> None:
    voice = Lines().voice
    text_cut = cut_text(voice, demo_model, demo_text, Cutting(context=128, limit=4, stride=None))
    reference = Reference(
        name="reference",
        vocabulary=text_cut.vocabulary,
        tokenizer=text_cut.tokenizer,
        all_windows=True,
    )
    require_same_cut(voice, demo_model, demo_text, text_cut.windows, reference)
    other = with_other_tokens(demo_model, tmp_path / "other.gguf")
    with pytest.raises(BuildError, match=r"other\.gguf cuts the text into other tokens"):
        require_same_cut(voice, other, demo_text, text_cut.windows, reference)
    smaller = replace(reference, vocabulary=100)
    with pytest.raises(BuildError, match="a vocabulary of 4096 tokens, reference one of 100"):
        require_same_cut(voice, demo_model, demo_text, text_cut.windows, smaller)


def text_cut_of(tokens: np.ndarray, **changed: int) -> Cut:
    windows = TextWindows(tokens=tokens, first=changed.get("first", 4), together=256)
    return Cut(windows=windows, vocabulary=changed.get("vocabulary", 100), tokenizer="x")


@pytest.mark.parametrize(
    ("text_cut", "cutting"),
    [
        (text_cut_of(np.full((2, 8), 100, np.int32)), CUTTING),
        (text_cut_of(np.full((2, 8), -1, np.int32)), CUTTING),
        (text_cut_of(np.zeros((2, 9), np.int32)), CUTTING),
        (text_cut_of(np.zeros((2, 8), np.int32), first=0), CUTTING),
        (text_cut_of(np.zeros((2, 8), np.int32), vocabulary=1 << 25), CUTTING),
        (text_cut_of(np.zeros((2, 8), np.int32)), replace(CUTTING, limit=1)),
        (text_cut_of(np.zeros((0, 8), np.int32)), CUTTING),
    ],
)
def test_windows_that_no_text_has_are_refused(text_cut: Cut, cutting: Cutting) -> None:
    with pytest.raises(BuildError, match=r"model\.gguf cuts a text into what are no tokens"):
        require_cut("model.gguf", text_cut, cutting)


def test_groups_of_a_child_come_into_the_journal_of_its_parent(tmp_path: Path) -> None:
    journals = Journal(tmp_path / "own", KEY), Journal(tmp_path / "reference", KEY)
    listener, lines = Listener(WINDOWS, *journals), Lines()
    relayed = Relayed(lines.voice, 1, [])
    relayed.add(group(6, 1.0))
    relayed.add(group(6, 2.0))
    relayed.keep(1)
    relayed.add(group(6, 3.0))
    relayed.add(group(3, 4.0))
    for part in lines.parts:
        listener.hear(part)
    assert journals[0].groups == []
    assert journals[1].values["kld"].tolist() == [1.0] * 6 + [3.0] * 6 + [4.0] * 3
    again = Relayed(lines.voice, 1, Journal(tmp_path / "reference", KEY).coded)
    assert np.array_equal(again.values, relayed.values)


def with_truth(count: int) -> str:
    """A group whose last token's yes or no is neither."""
    raw = bytearray(group(count).tobytes())
    raw[-1] = 2
    return coded(np.frombuffer(bytes(raw), group(1).dtype))


@pytest.mark.parametrize(
    "message",
    [
        None,
        {},
        {"journal": 1, "group": coded(group(6))},
        {"journal": -1, "group": coded(group(6))},
        {"journal": True, "group": coded(group(6))},
        {"journal": 0},
        {"journal": 0, "group": 7},
        {"journal": 0, "group": "no base64"},
        {"journal": 0, "group": coded(group(5))},
        {"journal": 0, "group": coded(group(6, float("nan")))},
        {"journal": 0, "group": with_truth(6)},
        {"journal": 0, "keep": 1},
        {"journal": 0, "keep": -1},
        {"journal": 0, "keep": "0"},
    ],
)
def test_what_was_not_asked_for_is_not_kept(tmp_path: Path, message: Any) -> None:
    journal = Journal(tmp_path / "tokens", KEY)
    with pytest.raises(ValueError, match=r"journal|group|base64"):
        Listener(WINDOWS, journal).hear(message)
    assert Journal(tmp_path / "tokens", KEY).groups == []


def test_no_group_comes_after_the_last(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "tokens", KEY)
    listener = Listener(WINDOWS, journal)
    for count in (6, 6, 3):
        listener.hear({"journal": 0, "group": coded(group(count))})
    with pytest.raises(ValueError, match="no group"):
        listener.hear({"journal": 0, "group": coded(group(3))})
