"""What fitting will take, before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bot.apart.worker import away
from bot.fitting.fitter import corrections
from bot.fitting.probe_groups import groups_of
from bot.fitting.work import probes_of
from bot.measures.logits import base_bytes
from bot.measures.reference import need
from bot.measures.windows import scored_per_chunk, sequences
from bot.plan.fitted import fitted_names
from bot.quantize.calibrating import known_matrix
from bot.quantize.fitted_tiers import FOUND, fitted_profiles, folder_of, known_of, read_found
from bot.quantize.works import seconds_of_group
from bot.workplace.children import loading, room_for
from bot.workplace.job import Job


@dataclass(frozen=True, kw_only=True)
class FitCost:
    """What fitting a job's tiers will take."""

    tensors: int
    probes: int  # of groups, in all
    known: int  # of these, made before
    corrections: int  # probes of whole choices and of layers put back, at most
    chunks: int  # of text, for each probe
    context: int
    seconds: float  # of all that is still to be done, at most
    memory_bytes: int
    disk_bytes: int  # of the 16-bit model's numbers, as long as it works


def costs_ahead(job: Job) -> FitCost:
    """What `fitted_of` would take, by a group of windows that is decoded now.

    Without the matrix: another's probes may be known, which are not of these inputs.
    """
    model, fit, profiles = job.plan.model, job.settings.fit, fitted_profiles(job)
    names = fitted_names(model.architecture, model.tensors)
    groups, matrix = groups_of(names, fit.probes), known_matrix(job)
    known = known_of(read_found(folder_of(job, matrix) / FOUND)).probes if matrix else ()
    left = probes_of(groups, known)
    layers = 1 + model.architecture.layers
    whole = corrections(len(profiles), fit.rounds, layers)
    source = Path(model.source.path).absolute()
    ask = away(seconds_of_group, room_for(job.settings, source))
    seconds = ask(loading(source, job.settings.llama), context=fit.context)
    vocabulary = model.architecture.vocabulary
    rows = scored_per_chunk(fit.context) * sequences(fit.context)
    micro_batch = job.settings.llama.micro_batch
    memory = need(model.source.bytes, vocabulary, rows, micro_batch=micro_batch)
    return FitCost(
        tensors=len(names),
        probes=len(groups),
        known=len(groups) - left,
        corrections=whole,
        chunks=fit.chunks,
        context=fit.context,
        seconds=(left + whole + 1) * seconds * -(-fit.chunks // sequences(fit.context)),
        memory_bytes=memory.device + memory.host,
        disk_bytes=base_bytes(vocabulary, fit.context, fit.chunks),
    )
