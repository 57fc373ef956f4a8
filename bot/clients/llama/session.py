"""A loaded model: text to tokens, tokens to logits."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from llama_cpp import llama_cpp as c
from numpy.typing import NDArray

from bot.clients.llama.batch import Batch, Token
from bot.clients.llama.inplace import LoadedWeights
from bot.clients.llama.library import device_list, reach_servers, start
from bot.clients.llama.observer import Observer
from bot.clients.llama.vocabulary import Vocabulary
from bot.errors import BuildError, CapacityError

__all__ = ["Batch", "Floats", "Loading", "Session", "Token", "generate"]

Floats = NDArray[np.float32]
# how ggml's and llama.cpp's own lines speak of memory that they did not get
MICRO_BATCH = 512  # tokens that go through the graph at once: llama.cpp's own default
_SHORT = re.compile(
    r"(failed|unable|cannot) to alloc|cannot allocate|alloc\w{0,20} failed|bad_alloc"
    r"|out of memory|insufficient memory|OutOfDeviceMemory",
    re.IGNORECASE,
)
# families whose cache takes no token for several sequences unless all have equal lengths
# (dsv4_build_raw_write_ubatch of llama-kv-cache-dsv4.cpp, which ends the process)
UNCOUPLED = frozenset({"deepseek4"})


class Session(Vocabulary):
    """A loaded model with a context or more; use as a context manager.

    `n_ctx` is the whole memory in tokens of `sequences` sequences; they share it as they need it
    when `unified`, else each has its part. `lanes` are contexts of equal shape over the same
    weights: the logits of one stay while another decodes. `observer`, if given, is asked about
    every operation of the graph (see `Observer`). `writable`: its weights may be replaced.
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
        lanes: int = 1,
        micro_batch: int = MICRO_BATCH,
        observer: Observer | None = None,
        writable: bool = False,
    ) -> None:
        self._log = start()
        self._log.forget()
        if gpu_layers:
            reach_servers()
        self.path, self.n_ctx, self.threads = path, n_ctx, threads
        self.sequences, self.unified, self.lanes = sequences, unified, lanes
        self.micro_batch = min(micro_batch, n_ctx)
        model_params = c.llama_model_default_params()
        model_params.n_gpu_layers = gpu_layers
        if writable:  # in memory of its own, and as the file has it
            model_params.load_mode, model_params.use_extra_bufts = 0, False
        self._devices = device_list(devices) if devices else None
        if self._devices is not None:
            model_params.devices = ctypes.cast(self._devices, ctypes.c_void_p)
        self._model = c.llama_model_load_from_file(os.fsencode(path), model_params)
        if not self._model:
            raise self._refused(f"llama.cpp could not load {path.name}")
        self._observer = observer
        self._contexts: list[Any] = []
        for _ in range(lanes):
            self._contexts.append(self._new_context())
        super().__init__(path, self._model)

    def _new_context(self) -> Any:
        params = c.llama_context_default_params()
        params.n_ctx = params.n_batch = self.n_ctx
        params.n_ubatch = self.micro_batch
        params.n_seq_max, params.kv_unified = self.sequences, self.unified
        params.n_threads = params.n_threads_batch = self.threads
        params.no_perf = True
        if self._observer is not None:
            params.cb_eval = self._observer.callback
        context = c.llama_init_from_model(self._model, params)
        if not context:
            self._free()
            raise self._refused(f"no context of {self.n_ctx} tokens for {self.path.name}")
        return context

    def _refused(self, what: str, *, lost: bool = False) -> BuildError | CapacityError:
        """What llama.cpp could not do: for want of memory or of a device, or else.

        `lost`: llama_decode came back with less than -1, where an allocation or a computation on a
        device failed (llama.h).
        """
        message = f"{what}: {self._log.reason()}"
        if lost or self._log.contains(_SHORT):
            return CapacityError(f"{message}; free some memory, or lower llama.gpu_layers")
        return BuildError(message)

    @property
    def weights(self) -> LoadedWeights:
        """The loaded weights, to be replaced where it is `writable`."""
        return LoadedWeights(self._model)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._free()

    def _free(self) -> None:
        for context in self._contexts:
            c.llama_free(context)
        c.llama_model_free(self._model)

    @property
    def couples(self) -> bool:
        """Whether a token may stand in several sequences of unequal lengths."""
        buffer = ctypes.create_string_buffer(128)
        c.llama_model_meta_val_str(self._model, b"general.architecture", buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") not in UNCOUPLED

    def clear(self, lane: int = 0) -> None:
        """Forget everything that was decoded."""
        c.llama_memory_clear(c.llama_get_memory(self._contexts[lane]), True)

    def forget_from(self, position: int, lane: int = 0) -> bool:
        """Forget what was decoded from a position on; False where the memory cannot: see `clear`.

        A recurrent state is of all that it read, and cannot be taken back.
        """
        memory = c.llama_get_memory(self._contexts[lane])
        return bool(c.llama_memory_seq_rm(memory, 0, position, -1))

    def copy(self, source: int, target: int) -> None:
        """Let sequence `target`, which holds nothing, go on from all that `source` holds.

        Nothing is decoded again; with `unified` memory both share what is stored.
        """
        c.llama_memory_seq_cp(c.llama_get_memory(self._contexts[0]), source, target, -1, -1)

    def forget(self, sequence: int) -> None:
        """Forget all of one sequence, but for what others share with it."""
        c.llama_memory_seq_rm(c.llama_get_memory(self._contexts[0]), sequence, -1, -1)

    def decode(self, tokens: Sequence[Token] | Batch, lane: int = 0) -> Floats:
        """Run the model over a batch; returns the logits that it asks for, [outputs, vocabulary].

        The array is a view of llama.cpp's own buffer, valid until the lane's next call.
        Raises BuildError when llama.cpp cannot decode (a full context, a device lost).
        """
        batch = tokens if isinstance(tokens, Batch) else Batch.of(tokens)
        self._run(batch, lane)
        if not batch.outputs:
            return np.empty((0, self.vocabulary), np.float32)
        pointer = c.llama_get_logits_ith(self._contexts[lane], batch.first_output)
        # outputs of one batch lie one after another in the order of its tokens
        return np.ctypeslib.as_array(pointer, shape=(batch.outputs, self.vocabulary))

    def decode_side_by_side(self, ids: NDArray[np.int32], start: int) -> None:
        """Run the model over tokens [sequences, length] at positions from `start` on.

        All logits are asked for, so that the last block sees every token; none are returned.
        Raises BuildError as `decode` does.
        """
        self._run(Batch.rows(ids, 0, start=start), 0)

    def _run(self, batch: Batch, lane: int) -> None:
        status = c.llama_decode(self._contexts[lane], batch.native)
        if self._observer is not None:
            self._observer.check()
        if status:
            raise self._refused(f"{self.path.name} could not decode", lost=status < -1)

    def wait(self, lane: int = 0) -> None:
        """Wait until a device has finished what it was given."""
        c.llama_synchronize(self._contexts[lane])


@dataclass(frozen=True, kw_only=True)
class Loading:
    """A model's file, or the first of its shards, and where it computes."""

    path: Path
    threads: int
    gpu_layers: int = -1
    devices: tuple[str, ...] = ()
    micro_batch: int = MICRO_BATCH

    def session(self, n_ctx: int, **more: Any) -> Session:
        """Load it; `more` is `Session`'s. Raises as that does."""
        return Session(
            self.path,
            n_ctx=n_ctx,
            micro_batch=self.micro_batch,
            threads=self.threads,
            gpu_layers=self.gpu_layers,
            devices=self.devices,
            **more,
        )


def generate(session: Session, prompt: str, limit: int) -> str:
    """The likeliest continuation of `prompt`, at most `limit` tokens, without the prompt."""
    tokens = session.tokenize(prompt)
    session.clear()
    batch = [Token(id=t, position=i, logits=i == len(tokens) - 1) for i, t in enumerate(tokens)]
    written: list[int] = []
    while len(written) < limit:
        best = int(session.decode(batch)[0].argmax())
        if session.is_end(best):
            break
        written.append(best)
        batch = [Token(id=best, position=len(tokens) + len(written) - 1, logits=True)]
    return session.text(written)
