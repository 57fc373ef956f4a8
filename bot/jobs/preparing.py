"""The first job: all that every tier needs, made once and handed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.card import describe
from bot.detect import inspection
from bot.disk.folders import SENSITIVITY
from bot.disk.paths import inside
from bot.errors import CapacityError, SettingsError
from bot.evaluate import measure
from bot.evaluate.data import find_domains, find_tasks, find_text
from bot.gate import gating
from bot.jobs import claims
from bot.jobs.claims import Seals
from bot.jobs.orders import Folder, Handed, JobOrder, Needs, Prepared, Sent
from bot.jobs.recordpath import RecordPath
from bot.jobs.travel import Carrier, carried, carrier_of, sweep
from bot.plan.models import Local
from bot.publish.publication import held_already
from bot.quantize import calibrating, tier_files
from bot.records.coding import digest, dump
from bot.records.recipes import Recipe
from bot.release import needs
from bot.release.road import Request, Road
from bot.release.room import require_room_ahead
from bot.settings.settings import Settings
from bot.workplace import asked
from bot.workplace.asked import Pinned
from bot.workplace.children import used_devices_of
from bot.workplace.demo_texts import EVERY_USE
from bot.workplace.job import Job, tools_of
from bot.workplace.names import name_of, target_of
from bot.workplace.pinning import hash_model
from bot.workplace.planning import make_plan
from bot.workplace.texts import locked_files, pin_data
from bot.workplace.workplace import Workplace


def prepare_order(workplace: Workplace, order: JobOrder) -> tuple[Folder, Prepared | None]:
    """Make all that every tier needs; None when this order is published already.

    Raises CapacityError for want of disk or of a device before anything is fetched.
    """
    settings = workplace.settings
    if settings.hub.namespace is None:  # said now, not after hours: `describe` has no token to ask
        raise SettingsError("hub.namespace is not set; name the owner of what will be published")
    devices = require_device(settings)
    workplace.narrator.say(f"devices: {devices}")
    needs.require_all(workplace, order.tiers)
    pin_data(workplace, EVERY_USE)
    settings = workplace.settings
    release = workplace.hub.release(order.model, order.revision)
    gating.require_licence(release, settings.gate)
    folder = Folder(workplace.folders.order(order.model, release.commit))
    pinned = Pinned(
        name=name_of(release.repo_id.split("/")[1]), commit=release.commit, release=release
    )
    inputs = asked.order_of(settings, pinned, order.tiers)
    if _is_published(workplace, folder, inputs):
        return folder, None
    carrier = carrier_of(workplace, folder)
    if carrier.apart:
        sweep(workplace, folder)
        carrier.open()
        carrier.records()
        prepared_before = folder.known  # what others left there is not adopted: it is made anew
        if prepared_before is not None and _is_as_before(
            prepared_before, _inputs_hash(inputs), release.commit, settings
        ):
            return folder, prepared_before
    if not folder.path.exists():
        _require_room(workplace, order)
    return folder, _make_all(
        workplace, carrier, folder, order, _inputs_hash(inputs), release.commit
    )


def _make_all(
    workplace: Workplace,
    carrier: Carrier,
    folder: Folder,
    order: JobOrder,
    inputs_hash: str,
    commit: str,
) -> Prepared:
    """What every tier needs, made and handed on."""
    preparing = workplace.beside(workplace.settings, folder.open_ledger("prepare"))
    request = Request(workplace=preparing, model=order.model, revision=commit, tiers=order.tiers)
    with Road(request) as road:
        local, job = road.value("local"), road.value("job")
        plan = job.plan
        if carrier.apart:
            size = plan.model.source.bytes + sum(plan.predicted(recipe) for recipe in plan.distinct)
            workplace.narrator.say(f"{size / 1e9:.1f} GB and more will lie between the jobs")
        road.value("matrix")
        road.value("fitted")
        road.value("reference")
        _baselines(job, apart=carrier.apart)
    prepared = _record(job, local, order, inputs_hash, commit, apart=carrier.apart)
    prepared = replace(prepared, work=tuple(claims.ours(preparing.ledger.work(), prepared)))
    record = folder.write(prepared)
    folder.know()
    placed = (file.built(folder.root / file.path.text) for file in prepared.needs.all)
    carrier.leave((*placed, describe.hashed(record)), f"what {order.model} is made of")
    return prepared


def _record(
    job: Job, local: Local, order: JobOrder, inputs_hash: str, commit: str, *, apart: bool
) -> Prepared:
    """prepared.json of a job whose matrix and reference are made, without its finished work."""
    plan, root = job.plan, job.workplace.folders.root
    tier_groups = groups(plan.recipes, job.workplace.settings.jobs.tiers)
    logits = measure.logits_of(job)
    return Prepared(
        order=order,
        asked=inputs_hash,
        commit=commit,
        local=Handed.of(local, root),
        key=job.key,
        tools=job.tools,
        evaluation=digest(job.evaluation),
        recipes={recipe.tier: recipe.hash for recipe in plan.recipes},
        groups=tier_groups,
        room=tuple(
            sum(plan.predicted(r) for r in plan.distinct if r.tier in p) for p in tier_groups
        ),
        logits=RecordPath.of(logits, root) if logits else None,
        needs=_needs(job, local, logits) if apart else Needs(),
        locked=locked_files(job.workplace.settings),
    )


def _is_as_before(prepared: Prepared, inputs_hash: str, commit: str, settings: Settings) -> bool:
    """Whether what was prepared before is what this machine would prepare."""
    tools = replace(tools_of(settings), threads=prepared.tools.threads)
    return (prepared.asked, prepared.commit, prepared.tools) == (inputs_hash, commit, tools)


def _baselines(job: Job, *, apart: bool) -> None:
    """llama.cpp's own types, made and measured; nobody needs more of them than their numbers."""
    plain = tuple(recipe for recipe in job.plan.recipes if recipe.plain)
    baseline_job = Job(job.workplace, replace(job.plan, recipes=plain), key=job.key)
    built = tier_files.make_tiers(baseline_job)
    measure.measure_files(baseline_job, built)
    for tier, file in built.items() if apart else ():
        tier_files.free_tier(baseline_job, tier, file)


def _needs(job: Job, local: Local, logits: Path | None) -> Needs:
    """What jobs on other machines cannot make, or should not make again."""
    root, matrix = job.workplace.folders.root, calibrating.known_matrix(job)
    domains = find_domains(job.workplace, conversations=True).values()
    named = (find_text(job.workplace), *find_tasks(job.workplace), *domains)
    texts = [data.path for data in named]
    fetched = [
        describe.hashed(path) for path in texts if not Path(inside(root, path)).is_absolute()
    ]
    shared = [*([matrix] if matrix else []), *fetched]
    sensed = job.paths.release / SENSITIVITY
    beside = [describe.hashed(sensed)] if sensed.is_file() else []
    logits_files = [describe.hashed(logits)] if logits else []
    extras = [describe.hashed(path) for path in (local.extras or {}).values()]
    return Needs(
        model=carried(root, hash_model(job.workplace, local)),
        quantize=carried(root, [*shared, *logits_files]),
        describe=carried(root, [*shared, *extras, *beside]),
    )


def groups(recipes: Sequence[Recipe], size: int) -> tuple[tuple[str, ...], ...]:
    """Tiers of each job, `size` files to be made in one; a coinciding tier goes with its file."""
    tiers = [recipe for recipe in recipes if not recipe.plain]
    distinct = [recipe.tier for recipe in tiers if recipe.same_as is None]
    built_together = [distinct[start : start + size] for start in range(0, len(distinct), size)]
    return tuple(
        tuple(recipe.tier for recipe in tiers if (recipe.same_as or recipe.tier) in built_tiers)
        for built_tiers in built_together
    )


def require_device(settings: Settings) -> str:
    """The devices that llama.cpp will use. Raises CapacityError where a GPU is due and missing."""
    used = used_devices_of(settings)
    names = ", ".join(f"{device.name} ({device.description})" for device in used)
    if settings.jobs.require_gpu and not any(device.kind == "gpu" for device in used):
        raise CapacityError(
            f"llama.cpp finds no GPU here, only {names}; look at `nvidia-smi` and at how "
            "llama-cpp-python was built, or set jobs.require_gpu: false"
        )
    return names


def _inputs_hash(inputs: asked.Order) -> str:
    """A hash of all that an order comes to on whatever machine."""
    return digest([inputs.key, dump(inputs.asked)])


def _is_published(workplace: Workplace, folder: Folder, inputs: asked.Order) -> bool:
    """Whether a Hub holds all that this very order leads to, as `bot publish` knows it.

    Where a publication of it was noted here, it went there, shown or not as was said then.
    """
    sent = folder.read(Sent)
    noted = sent if sent and sent.key == inputs.key and sent.whole and not sent.waiting else None
    repo_id = noted.repo_id if noted else target_of(workplace, inputs.pinned, None)
    private = noted is not None or workplace.settings.publish.private
    return held_already(workplace, repo_id, inputs, private=private) is not None


def _require_room(workplace: Workplace, order: JobOrder) -> None:
    """Raise CapacityError, by headers alone, unless all of it fits."""
    sight = inspection.look_at(
        workplace, order.model, order.revision, inspection.machine(workplace)
    )
    if sight.sketch is not None:  # else fetching says why not
        require_room_ahead(workplace, make_plan(workplace, sight.sketch, order.tiers))


def workflow_matrix(prepared: Prepared, seals: Seals) -> dict[str, Any]:
    """The jobs of the group step, as a workflow's matrix; each is given its own seal."""
    rows = [
        {
            "group": number,
            "tiers": ",".join(tiers),
            "seal": claims.show_seals({number: seals[number]}),
        }
        for number, tiers in enumerate(prepared.groups, 1)
    ]
    return {"include": rows}
