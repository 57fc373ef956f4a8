"""A job's fitted tiers: how much each tensor matters is measured once, types are chosen by it.

What was measured lies in a folder of its own, by all that it depends on: another size, another
tier, a killed run find it there. It is published as sensitivity.json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.apart.worker import Room, away
from bot.disk.folders import SENSITIVITY
from bot.disk.locks import alone
from bot.disk.writing import keep_text
from bot.errors import SettingsError
from bot.fitting.fitter import Target, corrections
from bot.fitting.handing import compiled
from bot.fitting.probe_groups import groups_of
from bot.fitting.work import FitOrder, Known, Rounded, TextPart, rounded_types, sensitivity_of
from bot.kernels.choice import Kernels
from bot.plan.fitted import Freedom, asked_bytes, fitted_names, typed_recipe
from bot.plan.models import Plan
from bot.plan.profiles import FittedProfile, RolesProfile, load_profiles
from bot.plan.recipe import asked_types, file_type, make_recipe, without_twins
from bot.progress import Report
from bot.quantize import quantize
from bot.quantize.imatrix import Matrix, read_matrix
from bot.quantize.mixture import mix
from bot.quantize.passes.layout import OutputSpec, open_source, outputs
from bot.quantize.works import fitted
from bot.records.built import Built
from bot.records.coding import digest, dump, load_record, to_json
from bot.records.recipes import Recipe
from bot.records.sensitivity import Fitted, Probe
from bot.settings.making import FitSettings
from bot.store.paces import FIT, PastWork, host_of, paced
from bot.tensors.sizes import padded
from bot.workplace.asked import micro_batch_of
from bot.workplace.children import loading, room_for, row_kernels, tell_isolation
from bot.workplace.job import Job
from bot.workplace.texts import calibration_texts, read_text

FOUND = "found.jsonl"  # a line for each probe and each tensor's errors
LETTERS = 6  # of a token, at most on average: texts have more chunks than is reckoned with
LONGEST = 1 << 24  # bytes of a line: types of a few thousand tensors take 100,000


def fitted_profiles(job: Job) -> tuple[FittedProfile, ...]:
    """The tiers of a job whose types are chosen for a size."""
    return tuple(p for p in job.plan.profiles if isinstance(p, FittedProfile))


def fitted_of(job: Job, matrix: Built) -> tuple[Fitted, ...]:
    """The types of each fitted tier, and how they were found; sensitivity.json beside the files.

    Each is kept by itself: a job with some of the tiers finds what was found for all. Raises
    SettingsError for a size that the smallest types do not fit into.
    """
    missing = [p for p in fitted_profiles(job) if _known_fit(job, p, matrix) is None]
    if missing:
        names = ", ".join(profile.tier for profile in missing)
        with (
            job.workplace.narrator.work(f"fitting {names}") as told,
            paced(job.workplace.ledger, job.key[:12], _fit_work(job, len(missing)), told) as report,
        ):
            for profile, fit in zip(missing, _fit(job, missing, matrix, report), strict=True):
                inputs = _inputs(job, profile, matrix)
                job.workplace.ledger.record(job.key, _step(profile), inputs, [], dump(fit))
    elif fitted_profiles(job) and not (job.paths.release / SENSITIVITY).is_file():
        _publish_again(job, matrix)
    return known_fitted(job, matrix) or ()


def _fit_work(job: Job, targets: int) -> PastWork:
    """A fit, for those who ask how long the next will take; its units are passes over the text."""
    return PastWork(
        kind=FIT,
        family=job.plan.model.source.sha256,
        context=job.settings.fit.context,
        units=fit_passes(job.plan, job.settings.fit, targets) * job.settings.fit.chunks,
        seconds=0,
        host=host_of(job.tools, job.settings.llama),
    )


def fit_passes(plan: Plan[Any], fit: FitSettings, targets: int) -> int:
    """Passes over the text that types for so many sizes take, at most."""
    names = fitted_names(plan.model.architecture, plan.model.tensors)
    layers = 1 + plan.model.architecture.layers
    return len(groups_of(names, fit.probes)) + corrections(targets, fit.rounds, layers) + 1


def known_fitted(job: Job, matrix: Built) -> tuple[Fitted, ...] | None:
    """As `fitted_of`, where all are found already."""
    known = [_known_fit(job, profile, matrix) for profile in fitted_profiles(job)]
    found = tuple(fit for fit in known if fit is not None)
    return found if len(found) == len(known) else None


def _known_fit(job: Job, profile: FittedProfile, matrix: Built) -> Fitted | None:
    inputs = _inputs(job, profile, matrix)
    done = job.workplace.ledger.finished(job.key, _step(profile), inputs, shape=Fitted)
    return None if done is None else load_record(Fitted, done.value)


def _step(profile: FittedProfile) -> str:
    return f"fit {profile.tier}"


def with_fitted(job: Job, fits: Sequence[Fitted]) -> tuple[Recipe, ...]:
    """The job's recipes, those of fitted tiers with the types that were found."""
    if not fits:
        return job.plan.recipes
    types = {fit.tier: fit.types for fit in fits}
    profiles = {profile.tier: profile for profile in fitted_profiles(job)}
    model = job.plan.model

    def settle(recipe: Recipe) -> Recipe:
        profile = profiles.get(recipe.tier)
        if profile is None:
            return recipe
        return typed_recipe(profile, model.architecture, model.tensors, types[recipe.tier])

    plain = tuple(recipe for recipe in job.plan.recipes if recipe.plain)
    tiers = (recipe for recipe in job.plan.recipes if not recipe.plain)
    return (*without_twins(settle(recipe) for recipe in tiers), *plain)


def _inputs(job: Job, profile: FittedProfile, matrix: Built) -> dict[str, Any]:
    fit = job.settings.fit.model_dump(mode="json")
    return {**_sensed(job, matrix), "fit": fit, "profile": profile.model_dump(mode="json")}


def _sensed(job: Job, matrix: Built) -> dict[str, Any]:
    """All that a probe's number depends on, but which tensors it rounds."""
    settings, tools = job.settings, job.tools
    return {
        "source": job.plan.model.source.sha256,
        "matrix": matrix.sha256,
        "texts": [[text.sha256, text.weight] for text in calibration_texts(job.workplace)],
        "context": settings.fit.context,
        "chunks": settings.fit.chunks,
        "tools": [tools.llama_cpp, tools.build, tools.device, *job.settings.llama.rpc],
        **micro_batch_of(settings),
    }


# ── the work ────────────────────────────────────────────────────────────────────────────────


def _fit(job: Job, profiles: Sequence[FittedProfile], matrix: Built, report: Report) -> list[Any]:
    folder = folder_of(job, matrix)
    with alone(folder):
        found = read_found(folder / FOUND)
        source = Path(job.plan.model.source.path).absolute()
        order = _order(job, profiles, matrix)
        order = replace(order, kernels=compiled(_kernels(job), rounded_types(order)))
        tell_isolation(job.workplace.narrator, job.settings)
        with (folder / FOUND).open("a", encoding="utf-8") as file:

            def hear(part: Any) -> None:
                _keep(part, found)
                file.write(json.dumps(part) + "\n")
                file.flush()

            given = Path(matrix.path).absolute()
            fits = _ask(job, order, given, source, found, hear, report)
    _publish(job, order, matrix, found)
    return fits


def folder_of(job: Job, matrix: Built) -> Path:
    """Where lies what was found with a matrix."""
    return job.workplace.folders.measure(digest(["sensitivity", _sensed(job, matrix)]))


def _ask(
    job: Job,
    order: FitOrder,
    matrix: Path,
    source: Path,
    found: dict[str, Any],
    hear: Any,
    report: Report,
) -> list[Fitted]:
    beside = [path for path in (order.row_kernels, order.kernels) if path is not None]
    room: Room = room_for(
        job.settings,
        source,
        matrix,
        *beside,
        writes=(order.folder,),
        report=report,
        hear=hear,
        line=LONGEST,
    )
    return away(fitted, room)(loading(source, job.settings.llama), order, matrix, known_of(found))


def _kernels(job: Job) -> Kernels:
    return Kernels(folder=job.workplace.folders.kernels if job.settings.quantize.kernels else None)


def _order(job: Job, profiles: Sequence[FittedProfile], matrix: Built) -> FitOrder:
    model, settings = job.plan.model, job.settings
    by_expert = read_matrix(Path(matrix.path)).of(model.tensors)
    free = free_types(job, by_expert)
    return FitOrder(
        parts=_parts(job),
        context=settings.fit.context,
        free=free,
        groups=groups_of([*free], settings.fit.probes),
        targets=tuple(_target(job, profile, by_expert) for profile in profiles),
        rounds=settings.fit.rounds,
        folder=(folder_of(job, matrix) / "handed").absolute(),
        row_kernels=row_kernels(settings),
        kernels=None,  # `_fit` has them compiled
    )


def free_types(job: Job, matrix: Matrix) -> dict[str, tuple[str, ...]]:
    """The types that each tensor may get, by settings and by what the matrix knows."""
    model, free = job.plan.model, Freedom.of(job.settings.fit)
    by_name = {tensor.name: tensor for tensor in model.tensors}
    return {
        name: free.types_of(by_name[name], has_data=not matrix.places(name))
        for name in fitted_names(model.architecture, model.tensors)
    }


def _parts(job: Job) -> tuple[TextPart, ...]:
    """Texts of the mix, each with its share of the chunks. Raises SettingsError for too few."""
    sources, fit = job.settings.calibration.texts, job.settings.fit
    texts = [read_text(job.workplace, source) for source in sources]
    lengths = [max(len(text) // (LETTERS * fit.context), 1) for text in texts]
    picks = mix(lengths, [source.weight for source in sources], fit.chunks)
    if len(picks) < fit.chunks:
        raise SettingsError(
            f"the calibration texts are sure to give {len(picks)} chunks of {fit.context} tokens, "
            f"not {fit.chunks}; name longer ones, or lower fit.chunks"
        )
    counts = [sum(text == number for text, _ in picks) for number in range(len(texts))]
    return tuple(TextPart(text=t, chunks=n) for t, n in zip(texts, counts, strict=True))


def _target(job: Job, profile: FittedProfile, matrix: Matrix) -> Target:
    """A tier's bytes: the file's own header and all tensors that are not chosen taken off."""
    model = job.plan.model
    facts = model.architecture, model.tensors
    names = {*fitted_names(*facts)}
    fixed = typed_recipe(profile, *facts, {})
    header = header_bytes(job, fixed, matrix)
    asked = asked_bytes(profile.fit, *facts, header)
    like = profile.fit.pattern or _nearest(job, asked)
    recipe = make_recipe(like, *facts) if like else None
    size = _bytes(job, recipe, matrix) if recipe else None
    if profile.fit.pattern is not None and size is not None:
        asked = size
    rest = sum(padded(each.bytes) for each in fixed.assignments if each.tensor not in names)
    types = {a.tensor: a.type for a in recipe.assignments if a.tensor in names} if recipe else {}
    return Target(
        tier=profile.tier,
        room=asked - header - rest,
        asked_bytes=asked,
        like=recipe.tier if recipe else None,
        like_types=types,
        like_bytes=size,
    )


def _nearest(job: Job, asked: int) -> RolesProfile | None:
    """The weighed tier by roles whose file is nearest in size, of all that have profiles."""
    model = job.plan.model
    weighed = [
        profile
        for profile in load_profiles(job.settings.profiles)
        if isinstance(profile, RolesProfile) and profile.imatrix
    ]

    def apart(profile: RolesProfile) -> float:
        recipe = make_recipe(profile, model.architecture, model.tensors)
        return abs(recipe.tensor_bytes + model.header_bytes - asked)

    return min(weighed, key=apart, default=None)


def _bytes(job: Job, recipe: Recipe, matrix: Matrix) -> int:
    """All of a tier's file."""
    data = sum(padded(each.bytes) for each in recipe.assignments)
    return header_bytes(job, recipe, matrix) + data


def header_bytes(job: Job, recipe: Recipe, matrix: Matrix) -> int:
    """Bytes of a tier's file, or of all its shards, that are no tensor's."""
    model, stamped = job.plan.model, job.settings.quantize.stamp
    notes = quantize.notes(matrix) if recipe.imatrix else ()
    stamp = quantize.stamp_of(recipe.tier, recipe.hash, job.tools.bot) if stamped else ()
    spec = OutputSpec(
        target=Path("model.gguf"),
        file_type=file_type(recipe.base),
        types=asked_types(recipe, model.architecture, model.tensors),
        weights=None,
        notes=(*notes, *stamp),
        shard=job.settings.quantize.shard,
    )
    return sum(len(file.head) for file in outputs(open_source(Path(model.source.path)), spec))


# ── what was found ──────────────────────────────────────────────────────────────────────────


def read_found(path: Path) -> dict[str, Any]:
    """Probes and errors by key; a line that is not whole is not there, nor is what follows it."""
    found: dict[str, Any] = {}
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    whole = ""
    for line in text.splitlines(keepends=True):
        try:
            _keep(json.loads(line), found)
        except (ValueError, TypeError):
            break
        if not line.endswith("\n"):
            break
        whole += line
    if whole != text:
        keep_text(path, whole)
    return found


def _keep(part: Any, found: dict[str, Any]) -> None:
    """Take one record up. Raises ValueError for anything else."""
    match part:
        case {"probe": dict(values), **rest} if not rest:
            probe = load_record(Probe, values)
            found[digest(sorted(probe.types.items()))] = probe
        case {"rounded": dict(values), **rest} if not rest:
            rounded = load_record(Rounded, values)
            found[rounded.tensor] = rounded
        case _:
            raise ValueError("neither a probe nor errors of a tensor")


def known_of(found: dict[str, Any]) -> Known:
    """What a folder's records hold, by kind."""
    return Known(
        probes=tuple(each for each in found.values() if isinstance(each, Probe)),
        rounded=tuple(each for each in found.values() if isinstance(each, Rounded)),
    )


def _publish_again(job: Job, matrix: Built) -> None:
    """Where this machine still has what was found: a job that was handed its types has not."""
    path = folder_of(job, matrix) / FOUND
    if path.is_file():
        _publish(job, _order(job, fitted_profiles(job), matrix), matrix, read_found(path))


def _publish(job: Job, order: FitOrder, matrix: Built, found: dict[str, Any]) -> None:
    sensitivity = sensitivity_of(
        order,
        known_of(found),
        source=job.plan.model.source.sha256,
        matrix=matrix.sha256,
        llama_cpp=job.tools.llama_cpp,
    )
    read = replace(sensitivity.read, texts=calibration_texts(job.workplace))
    keep_text(job.paths.release / SENSITIVITY, to_json(replace(sensitivity, read=read)))
