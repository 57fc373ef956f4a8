"""Batches: which tokens are decoded together, as arrays that llama.cpp reads where they lie."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as c
from numpy.typing import NDArray

Ints = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Token:
    """One token of a batch: its position, its sequences, whether logits are computed after it."""

    id: int
    position: int
    sequences: tuple[int, ...] = (0,)
    logits: bool = False  # as `llama_batch.logits`


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Tokens to decode together. Must outlive the call it is given to."""

    ids: Ints  # [tokens]
    positions: Ints  # [tokens]
    sequences: Ints  # [tokens, most sequences of a token]
    counts: Ints  # [tokens]: how many of `sequences` count
    logits: NDArray[np.int8]  # [tokens]: 1 where logits are computed

    @classmethod
    def of(cls, tokens: Sequence[Token]) -> Batch:
        """The batch of single tokens."""
        counts = np.array([len(token.sequences) for token in tokens], np.int32)
        sequences = np.zeros((len(tokens), int(counts.max())), np.int32)
        for i, token in enumerate(tokens):
            sequences[i, : len(token.sequences)] = token.sequences
        return cls(
            ids=np.array([token.id for token in tokens], np.int32),
            positions=np.array([token.position for token in tokens], np.int32),
            sequences=sequences,
            counts=counts,
            logits=np.array([token.logits for token in tokens], np.int8),
        )

    @classmethod
    def rows(cls, ids: Ints, first_logits: int, *, start: int = 0) -> Batch:
        """Texts of equal length, [sequences, tokens], each a sequence of its own.

        Logits are computed from column `first_logits` on, sequence after sequence. Positions
        begin at `start`.
        """
        sequences, length = ids.shape
        return cls(
            ids=np.ascontiguousarray(ids, np.int32).reshape(-1),
            positions=np.tile(np.arange(start, start + length, dtype=np.int32), sequences),
            sequences=np.repeat(np.arange(sequences, dtype=np.int32), length)[:, None].copy(),
            counts=np.ones(sequences * length, np.int32),
            logits=np.tile((np.arange(length) >= first_logits).astype(np.int8), sequences),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def outputs(self) -> int:
        """How many rows of logits come back."""
        return int(self.logits.sum())

    @cached_property
    def first_output(self) -> int:
        """The first token whose logits are wanted, -1 without any."""
        return int(self.logits.argmax()) if self.outputs else -1

    @cached_property
    def _addresses(self) -> NDArray[np.uint64]:
        """Where each token's sequences lie."""
        step = np.uint64(self.sequences.shape[1] * self.sequences.itemsize)
        places = step * np.arange(len(self), dtype=np.uint64)
        addresses: NDArray[np.uint64] = np.uint64(self.sequences.ctypes.data) + places
        return addresses

    @cached_property
    def native(self) -> Any:
        """The llama_batch over these arrays."""
        return c.llama_batch(
            n_tokens=len(self),
            token=_pointer(self.ids, c.llama_token),
            embd=None,
            pos=_pointer(self.positions, c.llama_pos),
            n_seq_id=_pointer(self.counts, ctypes.c_int32),
            seq_id=_pointer(self._addresses, ctypes.POINTER(c.llama_seq_id)),
            logits=_pointer(self.logits, ctypes.c_int8),
        )


def _pointer(array: NDArray[Any], kind: Any) -> Any:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))
