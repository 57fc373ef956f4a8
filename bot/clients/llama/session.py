"""A loaded model: text to tokens, tokens to logits."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from llama_cpp import llama_cpp as c
from numpy.typing import NDArray

from bot.clients.llama.library import device_list, start
from bot.clients.llama.observer import Observer
from bot.errors import BuildError, SettingsError

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Token:
    """One token of a batch: where it stands, whose it is, and whether its logits are wanted."""

    id: int
    position: int
    sequences: tuple[int, ...] = (0,)
    wanted: bool = False


class Session:
    """A loaded model with one context; use as a context manager.

    `n_ctx` is the whole memory in tokens, shared by `sequences` sequences, or divided among them
    where it is not `unified`. `observer`, if given,
    is asked about every operation of the graph (see `Observer`).
    """

    def __init__(
        self,
        path: Path,
        *,
        n_ctx: int,
        threads: int,
        gpu_layers: int = -1,
        devices: Sequence[str] = (),
        sequences: int = 1,
        unified: bool = True,
        observer: Observer | None = None,
    ) -> None:
        self._log = start()
        self._log.lines.clear()
        self.path, self.n_ctx = path, n_ctx
        model_params = c.llama_model_default_params()
        model_params.n_gpu_layers = gpu_layers
        self._devices = device_list(devices) if devices else None
        if self._devices is not None:
            model_params.devices = ctypes.cast(self._devices, ctypes.c_void_p)
        self._model = c.llama_model_load_from_file(os.fsencode(path), model_params)
        if not self._model:
            raise BuildError(f"llama.cpp could not load {path.name}: {self._log.reason()}")
        self._observer = observer
        self._context = self._new_context(n_ctx, threads, sequences, unified)
        self._vocab = c.llama_model_get_vocab(self._model)
        self.vocabulary = int(c.llama_vocab_n_tokens(self._vocab))
        self.bos = int(c.llama_vocab_bos(self._vocab)) if self.adds_bos else None

    def _new_context(self, n_ctx: int, threads: int, sequences: int, unified: bool) -> Any:
        params = c.llama_context_default_params()
        params.n_ctx = params.n_batch = n_ctx
        params.n_ubatch = min(512, n_ctx)
        params.n_seq_max, params.kv_unified = sequences, unified
        params.n_threads = params.n_threads_batch = threads
        params.no_perf = True
        if self._observer is not None:
            params.cb_eval = self._observer.callback
        context = c.llama_init_from_model(self._model, params)
        if not context:
            c.llama_model_free(self._model)
            raise BuildError(
                f"no context of {n_ctx} tokens for {self.path.name}: {self._log.reason()}"
            )
        return context

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        c.llama_free(self._context)
        c.llama_model_free(self._model)

    @property
    def adds_bos(self) -> bool:
        """Whether the vocabulary puts a BOS token before a text."""
        return bool(c.llama_vocab_get_add_bos(self._vocab))

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text, BOS added where the vocabulary wants it, control tokens read.

        As `common_tokenize(ctx, text, true)` of llama.cpp's tools: parse_special is false.
        """
        data = text.encode()
        room = len(data) + 8
        buffer = (c.llama_token * room)()
        count = c.llama_tokenize(self._vocab, data, len(data), buffer, room, True, False)
        if count < 0:
            raise BuildError(f"{self.path.name} could not tokenize {len(data)} bytes of text")
        return list(buffer[:count])

    def chunks(self, text: str, context: int, limit: int | None) -> list[list[int]]:
        """A text as whole chunks of `context` tokens, at most `limit` of them.

        Raises SettingsError when the text does not fill two, as llama-perplexity demands.
        """
        tokens = self.tokenize(text)
        total = len(tokens) // context
        if total < 2:
            raise SettingsError(
                f"the text has {len(tokens)} tokens, less than two chunks of {context}; "
                "name a longer one"
            )
        count = total if limit is None else min(total, limit)
        return [tokens[i * context : (i + 1) * context] for i in range(count)]

    def decode_chunk(self, chunk: Sequence[int], first_wanted: int) -> Floats:
        """Logits from `first_wanted` on of one chunk, decoded from an empty memory.

        The chunk's first token gives way to BOS where the vocabulary adds one.
        """
        self.clear()
        ids = chunk if self.bos is None else [self.bos, *chunk[1:]]
        return self.decode(
            [Token(id=t, position=i, wanted=i >= first_wanted) for i, t in enumerate(ids)]
        )

    def text(self, tokens: Sequence[int]) -> str:
        """The text of token ids, without control tokens."""
        pieces = bytearray()
        buffer = ctypes.create_string_buffer(512)
        for token in tokens:
            size = c.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, False)
            pieces += buffer.raw[: max(size, 0)]
        return pieces.decode("utf-8", "replace")

    def is_end(self, token: int) -> bool:
        """Whether a token ends a generation."""
        return bool(c.llama_vocab_is_eog(self._vocab, token))

    def clear(self) -> None:
        """Forget everything that was decoded."""
        c.llama_memory_clear(c.llama_get_memory(self._context), True)

    def decode(self, tokens: Sequence[Token]) -> Floats:
        """Run the model over a batch; logits of the wanted tokens, [wanted, vocabulary].

        The array is a view of llama.cpp's own buffer, valid until the next call.
        Raises BuildError when llama.cpp cannot decode (a full context, a device lost).
        """
        with _batch(tokens) as batch:
            self._run(batch)
        wanted = [i for i, token in enumerate(tokens) if token.wanted]
        if not wanted:
            return np.empty((0, self.vocabulary), np.float32)
        pointer = c.llama_get_logits_ith(self._context, wanted[0])
        # outputs of one batch lie one after another in the order of its tokens
        return np.ctypeslib.as_array(pointer, shape=(len(wanted), self.vocabulary))

    def decode_side_by_side(self, ids: NDArray[np.int32], start: int) -> None:
        """Run the model over tokens [sequences, length] at positions from `start` on.

        All logits are computed; none are returned. Raises BuildError as `decode` does.
        """
        sequences, length = ids.shape
        tokens, count = np.ascontiguousarray(ids, np.int32), np.ones(ids.size, np.int32)
        positions = np.tile(np.arange(start, start + length, dtype=np.int32), sequences)
        owners = np.repeat(np.arange(sequences, dtype=np.int32), length)
        lists = owners.ctypes.data + owners.itemsize * np.arange(owners.size, dtype=np.uint64)
        wanted = np.ones(ids.size, np.int8)
        arrays = {"token": tokens, "pos": positions, "n_seq_id": count, "seq_id": lists}
        batch = c.llama_batch(n_tokens=ids.size)
        types = dict(c.llama_batch._fields_)
        for name, array in {**arrays, "logits": wanted}.items():
            setattr(batch, name, array.ctypes.data_as(types[name]))
        self._run(batch)

    def _run(self, batch: Any) -> None:
        status = c.llama_decode(self._context, batch)
        if self._observer is not None:
            self._observer.check()
        if status:
            raise BuildError(f"{self.path.name} could not decode: {self._log.reason()}")


@contextmanager
def _batch(tokens: Sequence[Token]) -> Iterator[Any]:
    """A llama_batch of the tokens, freed afterwards."""
    widest = max(len(token.sequences) for token in tokens)
    batch = c.llama_batch_init(len(tokens), 0, widest)
    try:
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i] = token.id, token.position
            batch.n_seq_id[i], batch.logits[i] = len(token.sequences), token.wanted
            for j, sequence in enumerate(token.sequences):
                batch.seq_id[i][j] = sequence
        yield batch
    finally:
        c.llama_batch_free(batch)


def generate(session: Session, prompt: str, limit: int) -> str:
    """The likeliest continuation of `prompt`, at most `limit` tokens, without the prompt."""
    tokens = session.tokenize(prompt)
    session.clear()
    batch = [Token(id=t, position=i, wanted=i == len(tokens) - 1) for i, t in enumerate(tokens)]
    made: list[int] = []
    while len(made) < limit:
        best = int(session.decode(batch)[0].argmax())
        if session.is_end(best):
            break
        made.append(best)
        batch = [Token(id=best, position=len(tokens) + len(made) - 1, wanted=True)]
    return session.text(made)
