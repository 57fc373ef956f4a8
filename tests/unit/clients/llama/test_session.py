"""A loaded model: which logits come back, sequences, lanes, and what cannot be decoded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bot.clients.llama.batch import Batch, Token
from bot.clients.llama.session import Loading, Session, generate
from bot.errors import BuildError
from bot.settings.sections import DEMO

MODEL = DEMO / "tiny-moe-Q8_0.gguf"
TEXT = "The river rises in the hills and"
CONTEXT = 64


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    loading = Loading(path=MODEL, threads=1, gpu_layers=0)
    with loading.session(CONTEXT, sequences=2, lanes=2) as loaded:
        yield loaded


def every(tokens: list[int], sequence: int = 0) -> list[Token]:
    """Tokens of one sequence, all with their logits."""
    return [
        Token(id=token, position=i, sequences=(sequence,), logits=True)
        for i, token in enumerate(tokens)
    ]


def test_logits_come_back_for_the_tokens_that_ask_for_them(session: Session) -> None:
    tokens = session.tokenize(TEXT)
    session.clear()
    full = session.decode(every(tokens)).copy()
    assert full.shape == (len(tokens), session.vocabulary)
    assert np.isfinite(full).all()
    session.clear()
    last = [Token(id=t, position=i, logits=i == len(tokens) - 1) for i, t in enumerate(tokens)]
    alone = session.decode(last)
    assert alone.shape == (1, session.vocabulary)
    assert np.allclose(alone[0], full[-1], atol=1e-3)
    session.clear()
    assert session.decode(Batch.rows(np.array([tokens], np.int32), len(tokens))).shape == (
        0, session.vocabulary)  # fmt: skip


def test_sequences_do_not_see_each_other(session: Session) -> None:
    tokens = session.tokenize(TEXT)
    session.clear()
    alone = session.decode(every(tokens)).copy()
    session.clear()
    both = session.decode(Batch.rows(np.array([tokens, tokens[::-1]], np.int32), 0))
    assert np.allclose(both[: len(tokens)], alone, atol=1e-3)
    assert not np.allclose(both[len(tokens) :], alone, atol=1e-3)


def test_the_logits_of_one_lane_stay_while_another_decodes(session: Session) -> None:
    tokens = session.tokenize(TEXT)
    for lane in range(2):
        session.clear(lane)
    first = session.decode(every(tokens), lane=0)
    before = first.copy()
    session.decode(every(tokens[::-1]), lane=1)
    session.wait(1)
    assert np.array_equal(first, before)


def test_a_full_context_takes_no_more_until_it_is_cleared(session: Session) -> None:
    session.clear()
    token = session.tokenize(TEXT)[-1]

    def fill() -> None:
        for start in range(0, 16 * CONTEXT, CONTEXT):  # llama.cpp rounds a context up
            session.decode([Token(id=token, position=start + i) for i in range(CONTEXT)])

    with pytest.raises(BuildError, match="could not decode"):
        fill()
    session.clear()
    assert session.decode(every([token] * 3)).shape[0] == 3


def test_generation_is_greedy_and_bounded(session: Session) -> None:
    texts = [generate(session, TEXT, limit) for limit in (2, 4, 8)]
    assert all(longer.startswith(shorter) for shorter, longer in pairwise(texts))
    assert generate(session, TEXT, 8) == texts[-1]
    assert generate(session, TEXT, 0) == ""


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(BuildError, match=r"could not load model\.gguf"):
        Session(path, n_ctx=8, threads=1)
