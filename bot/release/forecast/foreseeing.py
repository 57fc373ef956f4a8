"""The forecast of a plan: for this machine, or for one that settings describe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bot.errors import SettingsError
from bot.evaluate.costing.budgeting import plan_costs, times_within
from bot.evaluate.costing.measure_costs import MeasureCost
from bot.plan.models import Model, Plan, Sketch
from bot.quantize.tier_files import kernels_of, passes
from bot.records.coding import digest
from bot.release.forecast.foretold import Forecast, Foreteller, SourceAhead
from bot.release.forecast.planned import lanes_of
from bot.release.forecast.rates import MeasuredRates, StatedRates
from bot.release.forecast.several import forecast_of_several
from bot.release.forecast.stated_costs import stated_costs
from bot.release.graph import Resource
from bot.release.room import (
    freed_passes,
    is_tight,
    largest_group,
    reference_guess,
    room_ahead,
)
from bot.settings.settings import Settings
from bot.store.paces import host_of, past_works
from bot.workplace.asked import calibration_inputs
from bot.workplace.children import used_devices_of
from bot.workplace.job import tools_of
from bot.workplace.workplace import Workplace

LETTERS = 4  # of a token of a calibration text, about
NOT_FETCHED = 2_000_000  # bytes that a text still to be fetched is taken to have


def forecast_here(
    workplace: Workplace, plan: Plan[Sketch], *, sends: bool = True, tries: bool = True
) -> Forecast:
    """On this machine, by what it did before; `tries`: else by short trials.

    Raises SourceError where the model is not here, UnknownPaceError where nobody knows how fast it
    is and nothing shall be tried.
    """
    minutes = workplace.settings.evaluation.budget_minutes
    times = times_within(plan_costs(workplace, plan, tries=tries), minutes)
    return forecast_by(workplace, plan, times.costs, sends=sends)


def forecast_by(
    workplace: Workplace,
    plan: Plan[Sketch],
    costs: tuple[MeasureCost, ...],
    *,
    sends: bool = True,
) -> Forecast:
    """On this machine, where it is known what measuring costs."""
    settings, model = workplace.settings, plan.model
    source = model.source if isinstance(model, Model) else None
    known = past_works(workplace.ledger, "", host_of(tools_of(settings), settings.llama))
    family = source.sha256 if source is not None else ""
    rates = MeasuredRates(
        [work for work in known if work.family in ("", family)],
        kernels_of(workplace),
        {one.type for recipe in plan.distinct for one in recipe.assignments},
        settings.llama.threads,
        Path(source.path) if source is not None else None,
    )
    all_tiers = sum(plan.predicted(recipe) for recipe in plan.distinct)
    tight = sends and is_tight(settings, all_tiers, workplace.folders.root)
    foreteller = Foreteller(
        settings=settings,
        plan=plan,
        rates=rates,
        costs=costs,
        calibration=_calibration(settings),
        lanes=lanes_of(used_devices_of(settings)),
        sends=sends,
        one_by_one=tight,
    )
    at_a_time = freed_passes(settings, plan) if tight else ()
    # a pass of the reference alone is one whose log-probabilities are written
    writes = any(cost.when == "first" for cost in costs)
    room = room_ahead(workplace, plan, at_a_time, writes=writes)
    return foreteller.forecast(SourceAhead(), room)


def forecast_on(
    workplace: Workplace,
    plan: Plan[Sketch],
    name: str,
    *,
    sends: bool = True,
    machines: int = 1,
) -> Forecast:
    """On a machine of settings, or several such, from nothing: the model is not needed.

    Raises SettingsError where `runners` has no such name.
    """
    settings, model = workplace.settings, plan.model
    runner = settings.runners.get(name)
    if runner is None:
        names = ", ".join(settings.runners) or "nothing"
        raise SettingsError(f"runners has no {name} (it has {names}); describe it in bot.yaml")
    sixteen = model.file_bytes
    active = model.architecture.parameters_active
    rates = StatedRates(runner, sixteen, model.parameters, active, settings.llama.micro_batch)
    sizes = {recipe.tier: plan.predicted(recipe) for recipe in plan.distinct}
    lacks_room = sum(sizes.values()) + 2 * sixteen > runner.disk_gb * 1e9
    tight = sends and (lacks_room or settings.publish.free == "always")
    graphics: Mapping[Resource, str] = {"cpu": "cpu", "gpu": "gpu", "network": "network"}
    foreteller = Foreteller(
        settings=settings,
        plan=plan,
        rates=rates,
        costs=stated_costs(settings, rates, [*sizes.values(), sixteen]),
        calibration=_calibration(settings),
        lanes=graphics if runner.device_gb else {**graphics, "gpu": "cpu"},
        sends=sends,
        one_by_one=tight,
    )
    source, kept = _source_of(model)
    together = passes(plan, settings.quantize.together) if tight and machines == 1 else ()
    logits = reference_guess(settings, model.architecture.vocabulary)
    disk_bytes = kept + sixteen + largest_group(sizes, together) + logits
    if machines == 1:
        return foreteller.forecast(source, disk_bytes)
    handed = 0 if settings.jobs.travel == "folder" else sixteen + logits
    return forecast_of_several(foreteller, source, disk_bytes, machines=machines, handed=handed)


def _source_of(model: Sketch) -> tuple[SourceAhead, int]:
    """All of it, and bytes of it that stay on the disk beside the 16-bit file."""
    release, sixteen = model.release, model.file_bytes
    if release is None:
        return SourceAhead(fetched=sixteen, converted=sixteen, hashed=sixteen), sixteen
    fetched = sum(file.size for file in release.files)
    if any(file.path.endswith(".gguf") for file in release.files):
        return SourceAhead(fetched=fetched, hashed=sixteen), 0
    return SourceAhead(fetched=fetched, converted=sixteen, hashed=sixteen), fetched


def _calibration(settings: Settings) -> tuple[str, int]:
    """What decides the importance matrix, and its chunks: those of the texts at most."""
    calibration = settings.calibration
    paths = [text.path for text in calibration.texts]
    sizes = [p.stat().st_size if p is not None and p.is_file() else NOT_FETCHED for p in paths]
    whole = sum(sizes) // (LETTERS * calibration.context)
    chunks = min(calibration.chunks or whole, whole)
    return digest(calibration_inputs(settings)), max(chunks, 1)
