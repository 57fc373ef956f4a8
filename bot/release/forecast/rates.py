"""How long pieces of a release take: by what this machine did before, or by what is said of one.

Where this machine never did such a piece, a short probe tells what it can: how fast a file is read
and hashed, how fast weights are rounded. What no probe tells, the line to a Hub that nothing was
sent over yet, is not known, and is said to be so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Protocol

import numpy as np

from bot.clients.llama.session import MICRO_BATCH
from bot.fitting.handing import compiled
from bot.fitting.tensor_errors import untimed
from bot.kernels.choice import Kernels
from bot.kernels.quantizers import Quantizers
from bot.quantize.passes.rounding_units import WEIGHT
from bot.settings.running import RunnerSettings
from bot.store.paces import (
    COMMIT,
    COMPARE,
    CONVERT,
    DESCRIBE,
    HASH,
    LOOK,
    QUANTIZE,
    READING,
    Pace,
    PastWork,
    most_like,
)
from bot.tensors.sizes import tensor_bytes

READ = 64 << 20  # bytes of a file that a probe reads
ROWS, ROW = 256, 4096  # weights that a probe rounds: a million
PROBED = "Q4_K"
TURNS = 3  # of rounding; the first warms up
CONVERTING = 3.0  # times as long as hashing: read, written, hashed
LOOKING = 2.0  # times as long as hashing: rows read and held against the 16-bit model's
TEXTS = ("perplexity", "divergence")  # measures that read a text once
STEPS = {COMPARE: 1.0, DESCRIBE: 20.0, COMMIT: 10.0}  # seconds, where none was seen yet


class Rates(Protocol):
    """What a piece of work takes; None where nobody knows."""

    def of(self, kind: str, units: int) -> Pace | None:
        """Of work that no model decodes, as one unit: bytes, or units of rounding."""
        ...

    def decoding(self, kind: str, data: str, units: int, tokens: int) -> Pace | None:
        """Of work that the 16-bit model decodes: so many units of a kind, so many tokens in all.

        `data` is what they are of: done before, it has as many as it had then.
        """
        ...


class MeasuredRates:
    """This machine's, by what it did with a model's family and with any other."""

    def __init__(
        self,
        works: Sequence[PastWork],
        kernels: Kernels,
        kinds: Collection[str],
        threads: int,
        file: Path | None,
    ) -> None:
        """`kinds` are the types to come, whose kernels a probe compiles once; `file` is one that
        probes may read: without it reading is not known until it was done.
        """
        self._works, self._kernels, self._kinds = works, kernels, kinds
        self._threads, self._file = threads, file

    def of(self, kind: str, units: int) -> Pace | None:
        """As `Rates.of`: by the pieces that were most like it, else by a probe."""
        if works := self._like(kind, units):
            return Pace.of(works).times(units)
        if kind == QUANTIZE:
            return self._rounding.times(units)
        if kind in (HASH, CONVERT, LOOK):
            factor = {CONVERT: CONVERTING, LOOK: LOOKING}.get(kind, 1.0)
            return None if self._hashing is None else self._hashing.times(units * factor)
        return Pace.said(STEPS[kind]) if kind in STEPS else None

    def decoding(self, kind: str, data: str, units: int, tokens: int) -> Pace | None:
        """As `Rates.decoding`: by such pieces, else by how fast the model reads."""
        if same := [work for work in self._works if (work.kind, work.data) == (kind, data)]:
            return Pace.of(same).times(max(work.units for work in same))
        if works := self._like(kind, units):
            return Pace.of(works).times(units)
        return None if self._reading is None else self._reading.times(tokens)

    def _like(self, kind: str, units: int) -> list[PastWork]:
        works = [work for work in self._works if work.kind == kind]
        return most_like(works, lambda work: work.units, units)

    @cached_property
    def _reading(self) -> Pace | None:
        """Of a token of the 16-bit model: by a trial, or by passes over texts."""
        if tried := [work for work in self._works if work.kind == READING]:
            return Pace.of(tried)
        passes = [work for work in self._works if work.kind in TEXTS and work.context]
        return (
            Pace.of([replace(work, units=work.units * work.context) for work in passes])
            if (passes)
            else None
        )

    @cached_property
    def _hashing(self) -> Pace | None:
        """Of a byte, by the beginning of a file."""
        if self._file is None:
            return None
        began, done, content = perf_counter(), 0, hashlib.sha256()
        with self._file.open("rb") as file:
            while done < READ and (block := file.read(1 << 20)):
                content.update(block)
                done += len(block)
        seconds = (perf_counter() - began) / max(done, 1)
        return Pace(seconds=seconds, deviation=None, samples=1, origin="tried")

    @cached_property
    def _rounding(self) -> Pace:
        """Of a unit of rounding, on all threads, by a million weights of one type."""
        rows = np.random.default_rng(0).standard_normal((ROWS, ROW)).astype(np.float32)
        out = np.empty(tensor_bytes(PROBED, (ROW, ROWS)), np.uint8)
        took = list[float]()
        compiled(self._kernels, self._kinds)
        with Quantizers(self._kernels, [PROBED], untimed) as quantizers:
            while len(took) < TURNS:
                is_ready, began = quantizers.is_ready(PROBED), perf_counter()
                quantizers.quantize("probe", PROBED, rows, np.ones(ROW, np.float32), out)
                if is_ready:  # else the library made them, as in the first seconds of a pass
                    took.append(perf_counter() - began)
        units = ROWS * ROW * WEIGHT[PROBED] * self._threads
        return Pace(seconds=min(took) / units, deviation=None, samples=1, origin="tried")


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Where the bytes of a model lie while it is decoded: on devices, in main memory, on disk."""

    device: float
    memory: float
    disk: float


class StatedRates:
    """Those of a machine of settings, and a model of so many weights, so many of them active.

    A micro-batch of many tokens touches every expert. What lies on the devices is computed there,
    as fast as they compute or read their memory; what lies in main memory goes to them over the
    bus, once for each micro-batch, as llama.cpp does it for batches of 32 and more; what has no
    room there is read from the disk again and again.
    """

    def __init__(
        self,
        runner: RunnerSettings,
        sixteen: int,
        parameters: int,
        active: int,
        micro_batch: int = MICRO_BATCH,
    ) -> None:
        """`sixteen`: bytes of the model that tiers are made of."""
        self._runner, self._sixteen, self._micro_batch = runner, sixteen, micro_batch
        self._parameters, self._active = parameters, active

    def of(self, kind: str, units: int) -> Pace | None:
        """As `Rates.of`."""
        runner = self._runner
        disk = runner.disk_gb_s * 1e9
        match kind:
            case "fetch":
                seconds = units * 8 / (runner.down_mbit * 1e6)
            case "send":
                seconds = units * 8 / (runner.up_mbit * 1e6)
            case "quantize":
                seconds = units * 1e-9 / (runner.cores * runner.core_speed)
            case "hash" | "convert" | "look":
                seconds = units * {CONVERT: CONVERTING, LOOK: LOOKING}.get(kind, 1.0) / disk
            case _:
                seconds = STEPS[kind]
        return Pace.said(seconds)

    def decoding(self, kind: str, data: str, units: int, tokens: int) -> Pace | None:
        """As `Rates.decoding`."""
        del kind, data, units
        return Pace.said(self.reading(self._sixteen, tokens))

    def reading(self, size: int, tokens: int) -> float:
        """Seconds for so many tokens of texts, by a file of `size` bytes."""
        lies, runner = self._placed(size), self._runner
        computed = 2 * self._active * self._micro_batch / (runner.tflops * 1e12)
        batch = max(computed, lies.device / (runner.device_gb_s * 1e9))
        batch += lies.memory / (runner.bus_gb_s * 1e9) + lies.disk / (runner.disk_gb_s * 1e9)
        return tokens / self._micro_batch * batch

    def writing(self, size: int, tokens: int) -> float:
        """Seconds for so many tokens one after another: each reads the weights that are active."""
        lies, runner = self._placed(size), self._runner
        token = lies.device / runner.device_gb_s + lies.memory / runner.memory_gb_s
        token += lies.disk / runner.disk_gb_s
        return tokens * token * 1e-9 * self._active / self._parameters

    def _placed(self, size: int) -> Placed:
        device = min(size, self._runner.device_gb * 1e9)
        memory = min(size - device, self._runner.memory_gb * 1e9)
        return Placed(device=device, memory=memory, disk=size - device - memory)
