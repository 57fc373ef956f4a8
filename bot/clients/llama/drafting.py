"""A model with its multi-token prediction layers: text drafted ahead, and verified.

The layers guess the token after next from a hidden row of the model and the next token; guesses are
decoded together with it, and those that the model agrees with are kept, so that the text is the
model's own. As llama.cpp does it (common_speculative_impl_draft_mtp of common/speculative.cpp and
the loop of tools/server/server-context.cpp), greedily and for one sequence.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Self

import numpy as np
from llama_cpp import llama_cpp as c
from llama_cpp import llama_cpp_ext as ext
from numpy.typing import NDArray

from bot.clients.llama.library import device_list, reach_servers, start
from bot.clients.llama.session import MICRO_BATCH
from bot.clients.llama.vocabulary import Vocabulary
from bot.errors import BuildError

Floats = NDArray[np.float32]
_MTP = 1  # LLAMA_CONTEXT_TYPE_MTP
_DECODE = 1  # LLAMA_PROCESS_TYPE_DECODE


@dataclass(frozen=True, kw_only=True)
class Drafted:
    """A text that was written greedily, and how it came about.

    `rounds` tell of each draft how many tokens it had and how many of them were kept; `seconds` are
    those of writing, without the prompt.
    """

    tokens: tuple[int, ...]
    rounds: tuple[tuple[int, int], ...]
    seconds: float


@dataclass(eq=False)
class _Rows:
    """Tokens to decode, at consecutive positions, each with a hidden row or without."""

    context: Any
    _batch: Any = field(init=False)
    _kept: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._batch = c.llama_batch_ext_init(self.context)

    def decode(
        self,
        tokens: Sequence[int],
        first: int,
        hidden: Floats | None,
        *,
        outputs: Sequence[bool],
    ) -> int:
        """llama_process over them; `hidden` [tokens, width]."""
        batch, self._kept = self._batch, []
        c.llama_batch_ext_clear(batch)
        for number, (token, output) in enumerate(zip(tokens, outputs, strict=True)):
            index = c.llama_batch_ext_add_token(batch, 0, int(token))
            position = c.llama_pos(first + number)
            c.llama_batch_ext_set_pos(batch, index, ctypes.byref(position))
            if hidden is not None:
                row = hidden[number]
                pointer = row.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
                embedding = c.llama_embd(data=pointer, n_rows=1, n_embd=row.size)
                c.llama_batch_ext_set_embd_token(batch, index, embedding)
                self._kept.append(row)
            if output:
                c.llama_batch_ext_set_output_logits(batch, index, True)
        return int(c.llama_process(self.context, _DECODE, batch))

    def free(self) -> None:
        c.llama_batch_ext_free(self._batch)


class Drafting(Vocabulary):
    """A loaded model and its prediction layers; use as a context manager.

    The layers are in `drafter`, a file of their own, or in the model's. At most `drafts` tokens are
    guessed at once. Raises BuildError where llama.cpp cannot load them.
    """

    def __init__(
        self,
        path: Path,
        drafter: Path | None,
        *,
        n_ctx: int,
        drafts: int,
        threads: int,
        gpu_layers: int = -1,
        devices: Sequence[str] = (),
    ) -> None:
        self._log = start()
        if gpu_layers:
            reach_servers()
        self._log.forget()
        self.n_ctx, self._threads = n_ctx, threads
        self._devices = device_list(devices) if devices else None
        self._gpu_layers = gpu_layers
        with ExitStack() as stack:
            model = self._load(path, stack, layers=drafter is None)
            self._target = self._context(model, stack, n_rs_seq=drafts)
            source = self._load(drafter, stack, layers=True) if drafter else model
            self._draft = self._context(
                source, stack, ctx_type=_MTP, ctx_other=self._target, n_rs_seq=0
            )
            self._width = int(c.llama_model_n_embd_out(source))
            if self._width != int(c.llama_model_n_embd_out(model)):
                raise BuildError("the prediction layers are of another model: rows differ")
            heads = max(1, int(c.llama_model_n_layer_nextn(source)))
            self._shared = ext.llama_get_ctx_other(self._draft) == self._target
            self._chained = heads > 1 and not self._shared
            self._heads = heads if self._chained else 1
            self.drafts = min(drafts, heads) if self._chained else drafts
            ext.llama_set_embeddings_nextn(self._target, True, False)
            ext.llama_set_embeddings_nextn(self._draft, True, True)
            self._rows = {name: _Rows(name) for name in (self._target, self._draft)}
            for rows in self._rows.values():
                stack.callback(rows.free)
            super().__init__(path, model)
            self._stack = stack.pop_all()

    def _load(self, path: Path, stack: ExitStack, *, layers: bool) -> Any:
        parameters = c.llama_model_default_params()
        parameters.n_gpu_layers, parameters.load_mtp = self._gpu_layers, layers
        if self._devices is not None:
            parameters.devices = ctypes.cast(self._devices, ctypes.c_void_p)
        model = c.llama_model_load_from_file(os.fsencode(path), parameters)
        if not model:
            raise BuildError(f"llama.cpp could not load {path.name}: {self._log.reason()}")
        stack.callback(c.llama_model_free, model)
        return model

    def _context(self, model: Any, stack: ExitStack, **more: Any) -> Any:
        parameters = c.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = self.n_ctx
        parameters.n_ubatch = min(MICRO_BATCH, self.n_ctx)
        parameters.n_threads = parameters.n_threads_batch = self._threads
        for name, value in more.items():
            setattr(parameters, name, value)
        context = c.llama_init_from_model(model, parameters)
        if not context:
            raise BuildError(f"no context for drafts of {self.n_ctx} tokens: {self._log.reason()}")
        stack.callback(c.llama_free, context)
        return context

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def write(self, prompt: Sequence[int], limit: int, drafts: int) -> Drafted:
        """The likeliest `limit` tokens after a prompt, fewer where the text ends before.

        With `drafts` guesses at a time; with 0 the prediction layers do nothing. Raises BuildError
        where llama.cpp cannot decode.
        """
        for context in (self._target, self._draft):
            c.llama_memory_clear(c.llama_get_memory(context), True)
        pending = np.zeros(self._width, np.float32)
        last = [False] * (len(prompt) - 1) + [True]
        self._decode(self._target, prompt, 0, None, last)
        if drafts:
            pending = self._follow(prompt, 0, pending)[-1]
        token, position = self._best(len(prompt) - 1), len(prompt)
        written, rounds, began = [token], list[tuple[int, int]](), perf_counter()
        while len(written) < limit and not self.is_end(written[-1]):
            most = min(drafts, self.n_ctx - position - 2, limit - len(written) - 1)
            guesses = self._guess(token, position, pending)[:most] if most > 0 else []
            batch = [token, *guesses]
            self._decode(self._target, batch, position, None, [True] * len(batch))
            said = [self._best(number) for number in range(len(batch))]
            agreed = next((i for i, guess in enumerate(guesses) if guess != said[i]), len(guesses))
            if drafts:
                rows = self._follow(batch, position, pending)
                pending = rows[agreed]
            if guesses:
                rounds.append((len(guesses), agreed))
            position += agreed + 1
            self._forget(self._target, position)
            if drafts and not self._shared:
                self._forget(self._draft, position)
            for token in said[: agreed + 1]:
                written.append(token)
                if self.is_end(token):
                    break
        seconds = perf_counter() - began
        return Drafted(tokens=tuple(written), rounds=tuple(rounds), seconds=seconds)

    def _decode(
        self, context: Any, tokens: Sequence[int], first: int, hidden: Floats | None,
        outputs: Sequence[bool],
    ) -> None:  # fmt: skip
        if self._rows[context].decode(tokens, first, hidden, outputs=outputs):
            raise BuildError(f"{self.path.name} could not decode: {self._log.reason()}")

    def _best(self, number: int) -> int:
        """The likeliest token after a batch's token."""
        logits = c.llama_get_logits_ith(self._target, number)
        return int(np.ctypeslib.as_array(logits, shape=(self.vocabulary,)).argmax())

    def _follow(self, tokens: Sequence[int], first: int, pending: Floats) -> Floats:
        """Let the prediction layers see what the model just decoded; its hidden rows come back.

        Each token goes with the row before it, the first with `pending`.
        """
        pointer = ext.llama_get_embeddings_nextn(self._target)
        rows = np.ctypeslib.as_array(pointer, shape=(len(tokens), self._width)).copy()
        if self._shared:
            return rows
        before = np.vstack([pending[None], rows[:-1]])
        for head in range(self._heads):
            if self._chained:
                self._forget(self._draft, first)
                ext.llama_set_nextn_layer_offset(self._draft, head)
            self._decode(self._draft, tokens, first, before, [False] * len(tokens))
        if self._chained:
            ext.llama_set_nextn_layer_offset(self._draft, 0)
        return rows

    def _guess(self, token: int, position: int, pending: Floats) -> list[int]:
        """Tokens that are likely to follow `token`; nothing of them stays in memory."""
        tokens, hidden, guesses = [token], pending[None], list[int]()
        for number in range(self.drafts):
            if self._chained:
                self._forget(self._draft, position)
                ext.llama_set_nextn_layer_offset(self._draft, number)
            last = [False] * (len(tokens) - 1) + [True]
            # with a shared memory all guesses are at one position (gemma4)
            at = position if self._shared or self._chained else position + number
            self._decode(self._draft, tokens, at, hidden, last)
            logits = c.llama_get_logits_ith(self._draft, len(tokens) - 1)
            guess = int(np.ctypeslib.as_array(logits, shape=(self.vocabulary,)).argmax())
            pointer = ext.llama_get_embeddings_nextn_ith(self._draft, len(tokens) - 1)
            row = np.ctypeslib.as_array(pointer, shape=(self._width,)).copy()
            guesses.append(guess)
            if self._chained:
                tokens, hidden = [*tokens, guess], np.vstack([hidden, row[None]])
            else:
                tokens, hidden = [guess], row[None]
        if self._chained:
            ext.llama_set_nextn_layer_offset(self._draft, 0)
        if not self._shared:
            self._forget(self._draft, position)
        return guesses

    def _forget(self, context: Any, position: int) -> None:
        """Drop what was decoded from a position on. Raises BuildError where that cannot be."""
        if not c.llama_memory_seq_rm(c.llama_get_memory(context), 0, position, -1):
            raise BuildError(
                f"{self.path.name}: this llama.cpp cannot take drafts back from the memory of its "
                "family"
            )
