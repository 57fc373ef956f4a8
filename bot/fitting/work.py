"""Fitting as a work for a child process (apart/worker.py): the model is a stranger's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bot.apart.voice import Voice
from bot.clients.llama.session import Loading, Session
from bot.clients.llama.vocabulary import Vocabulary
from bot.errors import SettingsError
from bot.fitting.fitter import (
    PROBED_TYPES,
    Measures,
    Target,
    TypeFitter,
    corrections,
    rounding_of,
)
from bot.fitting.handing import copied
from bot.fitting.probe_groups import Groups, layers_of
from bot.fitting.probing import Prober, nothing
from bot.fitting.sixteen import StoredTensor, stored_tensors
from bot.fitting.tensor_errors import Rounding, untimed
from bot.kernels.quantizers import Quantizers
from bot.kernels.rows.rowwork import RowKernels, loaded
from bot.measures.journal import Passing
from bot.measures.logits import BaseFile, open_base
from bot.measures.perplexity import reference_perplexity
from bot.measures.windows import TextWindows, first_scored, sequences
from bot.plan.fitted import GAUSSIAN
from bot.records.coding import dump
from bot.records.sensitivity import Fitted, Probe, ProbeText, Sensitivity

Floats = NDArray[np.float32]
Importance = Mapping[str, Floats]
BASE = "probes.base"  # the 16-bit model's own log-probabilities


@dataclass(frozen=True, kw_only=True)
class TextPart:
    """A text of the mix, and how many chunks of it are read, spread over all of it."""

    text: str
    chunks: int


@dataclass(frozen=True, kw_only=True)
class Rounded:
    """Errors of a tensor's types, and its weighted size: see `Sensitivity`."""

    tensor: str
    errors: dict[str, float]
    energy: float


@dataclass(frozen=True, kw_only=True)
class Known:
    """What was found before, of the same model and text."""

    probes: tuple[Probe, ...] = ()
    rounded: tuple[Rounded, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FitOrder:
    """What is to be found out, and with what."""

    parts: tuple[TextPart, ...]
    context: int
    free: Mapping[str, tuple[str, ...]]  # types that each tensor may get
    groups: Groups
    targets: tuple[Target, ...]
    rounds: int
    folder: Path  # to write in
    row_kernels: Path | None
    kernels: Path | None


@dataclass(frozen=True, kw_only=True)
class Work:
    """All that measuring in place needs, ready."""

    session: Session
    prober: Prober
    rounding: Rounding
    tensors: Mapping[str, StoredTensor]


@contextmanager
def opened(model: Loading, order: FitOrder, importance: Importance) -> Iterator[Work]:
    """The model loaded, its own numbers on the text written, for the length of a block."""
    tensors = stored_tensors(model.path)
    rows = None if order.row_kernels is None else loaded(order.row_kernels)
    with (
        copied(order.kernels) as kernels,
        Quantizers(kernels, rounded_types(order), untimed) as quantizers,
        session_of(model, order.context) as session,
        own_numbers(session, windows_of(session, order), order.folder / BASE, rows) as base,
    ):
        rounding = Rounding(quantizers, importance, model.threads)
        prober = Prober(session, base, tensors, rounding, rows)
        yield Work(session=session, prober=prober, rounding=rounding, tensors=tensors)


def rounded_types(order: FitOrder) -> tuple[str, ...]:
    """All types that a tensor may be rounded to."""
    chosen = {*PROBED_TYPES, *(kind for kinds in order.free.values() for kind in kinds)}
    chosen.update(kind for target in order.targets for kind in target.like_types.values())
    return tuple(kind for kind in GAUSSIAN if kind in chosen)


def session_of(model: Loading, context: int) -> Session:
    """The model, to be written to, with room for a group of windows."""
    together = sequences(context)
    return model.session(together * context, sequences=together, unified=False, writable=True)


def windows_of(words: Vocabulary, order: FitOrder) -> TextWindows:
    """Chunks of all texts, spread over each. Raises SettingsError where one is too short."""
    chosen = [_spread(words, part, order.context) for part in order.parts if part.chunks]
    return TextWindows(
        tokens=np.concatenate(chosen),
        first=first_scored(order.context),
        together=sequences(order.context),
    )


def _spread(words: Vocabulary, part: TextPart, context: int) -> NDArray[np.int32]:
    tokens = np.array(words.tokenize(part.text), np.int32)
    count = len(tokens) // context
    if count < part.chunks:
        raise SettingsError(
            f"a calibration text has {count} chunks of {context} tokens, not the {part.chunks} "
            "that fit.chunks wants of it; name a longer one, or lower fit.chunks"
        )
    rows = tokens[: count * context].reshape(count, context)
    places = (np.arange(part.chunks) * 2 + 1) * count // (2 * part.chunks)
    return rows[places]


@contextmanager
def own_numbers(
    session: Session, windows: TextWindows, path: Path, kernels: RowKernels | None
) -> Iterator[BaseFile]:
    """The loaded model's own log-probabilities, in a file that goes when the block ends."""
    try:
        reference_perplexity(
            session,
            windows,
            path,
            Passing(),
            threads=session.threads,
            progress=nothing,
            kernels=kernels,
        )
        with open_base(path) as base:
            yield base
    finally:
        path.unlink(missing_ok=True)


def fit_all(
    voice: Voice, model: Loading, order: FitOrder, importance: Importance, known: Known
) -> list[Fitted]:
    """Types for each target; tells errors and probes as they are found."""
    done = 0
    total = len(order.free) + len(order.groups)
    total += corrections(len(order.targets), order.rounds, len(layers_of([*order.free])))

    def step() -> None:
        nonlocal done
        done += 1
        voice.progress(min(done, total), total)

    voice.progress(0, total)
    with opened(model, order, importance) as work:
        rounded = {each.tensor: each for each in known.rounded}
        for name, kinds in order.free.items():
            if name not in rounded:
                errors, energy = rounding_of(work.rounding, work.tensors[name], kinds)
                rounded[name] = Rounded(tensor=name, errors=errors, energy=energy)
                voice.tell({"rounded": dump(rounded[name])})
            step()
        measures = Measures(work.prober, known.probes, lambda p: voice.tell(_told(p)), step)
        found = sensitivity_of(order, Known(rounded=tuple(rounded.values())))
        fitter = TypeFitter(measures, _chosen(work.tensors, order), order.free, order.groups, found)
        fitter.sense()
        fits = [fitter.fit(target, order.rounds) for target in order.targets]
        voice.progress(total, total)
        return fits


def _told(probe: Probe) -> dict[str, object]:
    return {"probe": dump(probe)}


def _chosen(tensors: Mapping[str, StoredTensor], order: FitOrder) -> dict[str, StoredTensor]:
    return {name: tensors[name] for name in order.free}


def sensitivity_of(order: FitOrder, known: Known, **facts: str | None) -> Sensitivity:
    """What is known as it is published; `facts` are the hashes and versions it depends on."""
    return Sensitivity(
        source_sha256=facts.get("source") or "",
        matrix_sha256=facts.get("matrix"),
        read=ProbeText(
            texts=(), chunks=tuple(part.chunks for part in order.parts), context=order.context
        ),
        llama_cpp=facts.get("llama_cpp") or "",
        groups=order.groups,
        probes=known.probes,
        rounding={each.tensor: each.errors for each in known.rounded},
        energy={each.tensor: each.energy for each in known.rounded},
    )


def probes_of(groups: Groups, known: Sequence[Probe]) -> int:
    """How many groups are still to be probed."""
    probed = {frozenset(probe.types) for probe in known}
    return sum(frozenset(group) not in probed for group in groups)
