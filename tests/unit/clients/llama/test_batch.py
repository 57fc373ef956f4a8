"""Batches: tokens, positions and sequences as llama.cpp reads them."""

from __future__ import annotations

import numpy as np

from bot.clients.llama.batch import Batch, Token


def test_single_tokens() -> None:
    tokens = [
        Token(id=7, position=0, sequences=(0, 2)),
        Token(id=8, position=1, logits=True),
        Token(id=9, position=1, sequences=(2,), logits=True),
    ]
    batch = Batch.of(tokens)
    assert (len(batch), batch.outputs, batch.first_output) == (3, 2, 1)
    assert batch.counts.tolist() == [2, 1, 1]
    assert batch.sequences.tolist() == [[0, 2], [0, 0], [2, 0]]
    native = batch.native
    assert [native.token[i] for i in range(3)] == [7, 8, 9]
    assert [native.pos[i] for i in range(3)] == [0, 1, 1]
    assert [native.seq_id[i][0] for i in range(3)] == [0, 0, 2]
    assert (native.seq_id[0][1], native.n_seq_id[0]) == (2, 2)
    assert [native.logits[i] for i in range(3)] == [0, 1, 1]


def test_texts_of_equal_length_are_a_sequence_each() -> None:
    ids = np.arange(6, dtype=np.int32).reshape(2, 3)
    batch = Batch.rows(ids, 2, start=10)
    assert batch.ids.tolist() == [0, 1, 2, 3, 4, 5]
    assert batch.positions.tolist() == [10, 11, 12] * 2
    assert batch.sequences[:, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert batch.logits.tolist() == [0, 0, 1] * 2
    assert (batch.outputs, batch.first_output) == (2, 2)


def test_a_batch_may_ask_for_no_logits() -> None:
    batch = Batch.rows(np.zeros((1, 4), np.int32), 4)
    assert (batch.outputs, batch.first_output) == (0, -1)
