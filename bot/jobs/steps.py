"""A release in several jobs, on one machine or many; see travel.py for how files get around.

prepare → quantize, once for each group of tiers → describe → publish. Each can be stopped and run
again, and does only what is not done. Every job has a ledger of its own, and knows the finished
work of the jobs before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from bot.card import describe
from bot.clients.llama import library
from bot.detect import inspection
from bot.disk.folders import GATE
from bot.disk.hashes import sha256
from bot.disk.paths import inside, remove, require_safe
from bot.disk.writing import write_text
from bot.errors import (
    BotError,
    BuildError,
    CapacityError,
    PublishError,
    SettingsError,
    SourceError,
)
from bot.evaluate import measure
from bot.evaluate.bench import JOB as MEASURES
from bot.evaluate.data import find_tasks, find_text
from bot.gate import gating
from bot.jobs import claims
from bot.jobs.claims import Seals
from bot.jobs.orders import Described, Folder, Group, Handed, JobOrder, Needs, Prepared, Sent
from bot.jobs.recordpath import RecordPath
from bot.jobs.travel import Carrier, carried, carrier, sweep, works_here
from bot.plan.models import Local, Model, Plan
from bot.publish.afterwards import follow
from bot.publish.publication import Published, held_already, send_release
from bot.quantize import calibrating, tier_files, verify
from bot.records.built import Built
from bot.records.coding import digest, dump
from bot.records.measured import Tools
from bot.records.recipes import Recipe
from bot.release import needs
from bot.release.road import Request, Road
from bot.release.room import require_room, require_room_ahead
from bot.settings.settings import Settings
from bot.source.obtain import described
from bot.store.ledger import Ledger, Work
from bot.workplace import asked
from bot.workplace.asked import Pinned
from bot.workplace.job import Job, tools_of
from bot.workplace.names import name_of, target_of
from bot.workplace.pinning import hash_model
from bot.workplace.planning import make_plan
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
    release = workplace.hub.release(order.model, order.revision)
    gating.require_licence(release, settings.gate)
    folder = Folder(workplace.folders.order(order.model, release.commit))
    pinned = Pinned(
        name=name_of(release.repo_id.split("/")[1]), commit=release.commit, release=release
    )
    inputs = asked.order_of(settings, pinned, order.tiers)
    if _is_published(workplace, folder, inputs):
        return folder, None
    way = carrier(workplace, folder)
    if way.apart:
        sweep(workplace, folder)
        way.open()
        way.records()
        before = folder.known  # what others left there is not adopted: it is made anew
        if before is not None and _still(before, _known(inputs), release.commit, settings):
            return folder, before
    if not folder.path.exists():
        _require_room(workplace, order)
    return folder, _made(workplace, way, folder, order, _known(inputs), release.commit)


def _made(
    workplace: Workplace, way: Carrier, folder: Folder, order: JobOrder, known: str, commit: str
) -> Prepared:
    """What every tier needs, made and handed on."""
    mine = workplace.beside(workplace.settings, folder.open_ledger("prepare"))
    request = Request(workplace=mine, model=order.model, revision=commit, tiers=order.tiers)
    with Road(request) as road:
        local, job = road.value("local"), road.value("job")
        plan = job.plan
        if way.apart:
            size = plan.model.source.bytes + sum(plan.predicted(one) for one in plan.distinct)
            workplace.narrator.say(f"{size / 1e9:.1f} GB and more will lie between the jobs")
        road.value("matrix")
        road.value("reference")
        _baselines(job, apart=way.apart)
    parts, logits = groups(plan.recipes, workplace.settings.jobs.tiers), measure.logits_of(job)
    prepared = Prepared(
        order=order,
        asked=known,
        commit=commit,
        local=Handed.of(local, folder.root),
        key=job.key,
        tools=job.tools,
        evaluation=digest(job.evaluation),
        recipes={recipe.tier: recipe.hash for recipe in plan.recipes},
        groups=parts,
        room=tuple(sum(plan.predicted(r) for r in plan.distinct if r.tier in p) for p in parts),
        logits=RecordPath.of(logits, folder.root) if logits else None,
        needs=_needs(job, local, logits) if way.apart else Needs(),
    )
    prepared = replace(prepared, work=tuple(claims.ours(mine.ledger.work(), prepared)))
    record = folder.write(prepared)
    folder.know()
    placed = (one.built(folder.root / one.path.text) for one in prepared.needs.all)
    way.leave((*placed, describe.hashed(record)), f"what {order.model} is made of")
    return prepared


def _still(before: Prepared, known: str, commit: str, settings: Settings) -> bool:
    """Whether what was prepared before is what this machine would prepare."""
    here = replace(tools_of(settings), threads=before.tools.threads)
    return (before.asked, before.commit, before.tools) == (known, commit, here)


def _baselines(job: Job, *, apart: bool) -> None:
    """llama.cpp's own types, made and measured; nobody needs more of them than their numbers."""
    plain = tuple(recipe for recipe in job.plan.recipes if recipe.plain)
    part = Job(job.workplace, replace(job.plan, recipes=plain), key=job.key)
    made = tier_files.make_tiers(part)
    measure.measure_files(part, made)
    for tier, file in made.items() if apart else ():
        tier_files.free_tier(part, tier, file)


def _needs(job: Job, local: Local, logits: Path | None) -> Needs:
    """What jobs on other machines cannot make, or should not make again."""
    root, matrix = job.workplace.folders.root, calibrating.known_matrix(job)
    texts = [data.path for data in (find_text(job.workplace), *find_tasks(job.workplace))]
    fetched = [
        describe.hashed(path) for path in texts if not Path(inside(root, path)).is_absolute()
    ]
    shared = [*([matrix] if matrix else []), *fetched]
    kept = [describe.hashed(logits)] if logits else []
    extras = [describe.hashed(path) for path in (local.extras or {}).values()]
    return Needs(
        model=carried(root, hash_model(job.workplace, local)),
        quantize=carried(root, [*shared, *kept]),
        describe=carried(root, [*shared, *extras]),
    )


def groups(recipes: Sequence[Recipe], size: int) -> tuple[tuple[str, ...], ...]:
    """Tiers of each job, `size` files to be made in one; a coinciding tier goes with its file."""
    tiers = [recipe for recipe in recipes if not recipe.plain]
    made = [recipe.tier for recipe in tiers if recipe.same_as is None]
    parts = [made[start : start + size] for start in range(0, len(made), size)]
    return tuple(
        tuple(recipe.tier for recipe in tiers if (recipe.same_as or recipe.tier) in part)
        for part in parts
    )


def require_device(settings: Settings) -> str:
    """The devices that llama.cpp will use. Raises CapacityError where a GPU is due and missing."""
    llama = settings.llama
    used = library.used_devices(llama.devices, gpu=llama.gpu_layers != 0)
    names = ", ".join(f"{device.name} ({device.description})" for device in used)
    if settings.jobs.require_gpu and not any(device.kind == "gpu" for device in used):
        raise CapacityError(
            f"llama.cpp finds no GPU here, only {names}; look at `nvidia-smi` and at how "
            "llama-cpp-python was built, or set jobs.require_gpu: false"
        )
    return names


def _known(inputs: asked.Order) -> str:
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


# ── one group of tiers ──────────────────────────────────────────────────────────────────────


def quantize_group(
    workplace: Workplace, folder: Folder, sentinel: str, number: int, seals: str = ""
) -> tuple[str, ...]:
    """Make and measure the tiers of a group; what is done is noted tier by tier.

    `seals` has that of the group; where this machine prepared the release it need not be told.
    """
    way = carrier(workplace, folder)
    way.records()
    prepared = folder.prepared(sentinel)
    if not 1 <= number <= len(prepared.groups):
        raise SourceError(f"there is no group {number}; take one of 1 to {len(prepared.groups)}")
    seal = claims.known_seals(folder, prepared, seals)
    require_device(workplace.settings)
    before, name = _group(workplace, folder, prepared, number, seal), f"group-{number}"
    if way.apart:
        if _is_done(way, prepared, number, before, folder.root):
            return before.tiers
        sweep(workplace, folder)
    room = sum(prepared.room[number - 1 : number])
    needed = (*prepared.needs.model, *prepared.needs.quantize)
    brought = way.bring(needed, _places(workplace, prepared), room)
    given = _given(way, prepared, brought, folder)
    ledger = _knowing(folder, name, (*given, *before.work))
    mine = workplace.beside(_of_group(workplace.settings, prepared.tools), ledger)
    plan = make_plan(
        mine, described(mine, prepared.model(folder.root)), prepared.groups[number - 1]
    )
    job = Job(mine, plan, key=prepared.key)
    _require_same(job, prepared)
    with job.paths.locked(name):
        require_room(job)
        _lose_what_is_gone(job, way)
        done: tuple[str, ...] = ()
        for tier, file in tier_files.make_tiers(job).items():
            measure.measure_files(job, {tier: file})
            verify.sound(job, tier, Path(file.path), file.sha256)
            done += tuple(r.tier for r in plan.recipes if tier in (r.tier, r.same_as))
            if way.apart:
                tier_files.let_go(job, tier, file)
            group = Group(key=job.key, tiers=done, work=claims.own(ledger.work(), prepared, done))
            if number not in seal:
                _unsealed(number)
            record = folder.write(claims.sealed(group, number, seal[number]), number)
            _leave(job, way, tier, file, record)
    return done


def _is_done(way: Carrier, prepared: Prepared, number: int, group: Group, root: Path) -> bool:
    """Whether all of a group is made, and lies where later jobs take it from."""
    made = claims.tier_files(group.work, prepared, group.tiers).values()
    there = (replace(file, path=str(root / file.path)) for one in made for file in one.files)
    return set(group.tiers) == set(prepared.groups[number - 1]) and way.holds(there)


def _lose_what_is_gone(job: Job, way: Carrier) -> None:
    """Tiers that were handed on and did not stay there are made again."""
    for recipe in job.plan.distinct:
        built = tier_files.known_tier(job, recipe.tier)
        if (
            built is not None
            and tier_files.is_free(job, recipe.tier)
            and not way.holds(built.files)
        ):
            tier_files.lose(job, recipe.tier)


def _unsealed(number: int) -> NoReturn:
    raise SettingsError(f"--seals has none of group {number}; take it from what `prepare` printed")


def _places(workplace: Workplace, prepared: Prepared) -> tuple[str, ...]:
    """Where files of this release may be brought to: its own folders, and texts of the settings."""
    space, root = workplace.folders, workplace.folders.root
    texts = (
        inside(root, space.texts(entry.repository, entry.commit))
        for entry in workplace.settings.data.values()
        if entry.repository is not None and entry.commit is not None
    )
    return (*prepared.sources, f"{prepared.job}/release", "measures", *texts)


def _given(
    way: Carrier, prepared: Prepared, brought: frozenset[str], folder: Folder
) -> tuple[Work, ...]:
    """What `prepare` finished, as of this machine."""
    works = prepared.work
    if way.apart:
        works = claims.of_release(works, prepared, folder.root)
    return works_here(works, brought, folder.root)


def _group(
    workplace: Workplace, folder: Folder, prepared: Prepared, number: int, seals: Seals
) -> Group:
    """What is done of a group; what others wrote in its name is named, and made anew."""
    found = claims.claimed(folder, prepared, number, seals, None)
    if isinstance(found, str):
        workplace.narrator.say(f"{found}: its tiers are made anew")
    return found if isinstance(found, Group) else Group(key=prepared.key, tiers=())


def _leave(job: Job, way: Carrier, tier: str, file: Built, record: Path) -> None:
    """Hand a tier and its numbers on; what other machines have need not lie here."""
    if not way.apart:
        return
    try:
        way.leave((*file.files, describe.hashed(record)), tier)
    except PublishError:
        if tier_files.is_free(job, tier):
            tier_files.lose(job, tier)
        raise
    tier_files.free_tier(job, tier, file)


def quantize_groups(
    workplace: Workplace, folder: Folder, sentinel: str, seals: str = ""
) -> tuple[str, ...]:
    """The groups one after another; one that fails stops no other.

    Raises the first failure when all have been tried.
    """
    failures: list[BotError] = []
    done: tuple[str, ...] = ()
    for number in range(1, len(folder.prepared(sentinel).groups) + 1):
        try:
            done += quantize_group(workplace, folder, sentinel, number, seals)
        except BotError as error:
            workplace.narrator.say(f"group {number}: {error}")
            failures.append(error)
    if failures:
        raise failures[0]
    return done


def _knowing(folder: Folder, name: str, works: Iterable[Work]) -> Ledger:
    """A job's ledger, with the finished work of other jobs."""
    ledger = folder.open_ledger(name)
    ledger.take(works)
    return ledger


def _of_group(settings: Settings, tools: Tools) -> Settings:
    """Without what `prepare` made, and with its threads: they are part of a number's origin."""
    return settings.model_copy(
        update={
            "llama": settings.llama.model_copy(update={"threads": tools.threads}),
            "quantize": settings.quantize.model_copy(update={"baselines": ()}),
            "evaluation": settings.evaluation.model_copy(update={"others": ()}),
        }
    )


def _require_same(job: Job, prepared: Prepared) -> None:
    """Raise unless this machine makes what the preparing one planned, and measures alike."""
    here, there = job.tools, prepared.tools
    if here != there:
        names = ("bot", "llama_cpp_python", "llama_cpp", "device", "build")
        name = next(name for name in names if getattr(here, name) != getattr(there, name))
        raise CapacityError(
            f"this machine differs from the preparing one in {name}: {getattr(here, name)!r}, not "
            f"{getattr(there, name)!r}; numbers of one card come from machines of one kind: give "
            "these a label of their own"
        )
    planned = {recipe.tier: recipe.hash for recipe in job.plan.recipes}
    known = {tier: prepared.recipes.get(tier) for tier in planned}
    if planned != known or digest(job.evaluation) != prepared.evaluation:
        raise SettingsError(
            "settings or profiles changed since the release was prepared; rerun all jobs"
        )


# ── the last stretch ────────────────────────────────────────────────────────────────────────


def describe_release(
    workplace: Workplace, folder: Folder, sentinel: str, to: str | None, seals: str = ""
) -> Described:
    """Write card, plot and results of the complete tiers; no token is needed, nothing is sent.

    A group whose record its job did not write, or that claims more than its own, counts as not
    complete and is named. Raises BuildError when the policy wants more tiers than are complete.
    """
    way = carrier(workplace, folder)
    way.records()
    prepared = folder.prepared(sentinel)
    told = claims.known_seals(folder, prepared, seals)
    brought = way.bring(prepared.needs.describe, _places(workplace, prepared))
    texts = [data.text for data in (find_text(workplace), *find_tasks(workplace))]
    parts, wrong = claims.complete_groups(folder, prepared, told, texts)
    for why in wrong.values():
        workplace.narrator.say(f"{why}: its tiers are left out; rerun that job")
    done = {tier for part in parts.values() for tier in part.tiers}
    complete = tuple(tier for tier in prepared.tiers if tier in done)
    _require_enough(workplace.settings.jobs.policy, complete, prepared.tiers)
    given = _given(way, prepared, brought, folder)
    theirs = (work for part in parts.values() for work in part.work)
    ledger = _knowing(folder, "publish", (*given, *theirs))
    job = _whole(workplace, ledger, prepared, complete, way)
    repo_id = target_of(workplace, job.plan.model, to)
    with job.paths.locked(), _making_nothing(job, apart=way.apart):
        files = _described(job, repo_id)
    described = Described(
        key=job.key,
        repo_id=repo_id,
        tiers=complete,
        files=_moved(files, lambda path: inside(folder.root, path)),
        verdict=next(iter(carried(folder.root, _verdict(job))), None),
    )
    record = describe.hashed(folder.write(described))
    way.leave((*_small(files).values(), *_verdict(job), record), "what is said of it")
    return replace(described, files=files)


def _described(job: Job, repo_id: str) -> dict[str, Built]:
    """The card and all beside it, of tiers that were made and measured."""
    request = Request(workplace=job.workplace, model=job.plan.model.name)
    given = {"job": job, "repo_id": repo_id, "begun": None}
    files: dict[str, Built] = Road(request, given).value("files")
    return files


def _moved(files: Mapping[str, Built], to: Callable[[Path], str]) -> dict[str, Built]:
    """The same files by other paths."""
    return {name: replace(file, path=to(Path(file.path))) for name, file in files.items()}


def _small(files: Mapping[str, Built]) -> dict[str, Built]:
    """What was written for this publication; models are where they were left."""
    return {name: file for name, file in files.items() if Path(name).suffix != ".gguf"}


def _verdict(job: Job) -> list[Built]:
    path = job.paths.release.with_name(GATE)
    return [describe.hashed(path)] if path.is_file() else []


def _whole(
    workplace: Workplace, ledger: Ledger, prepared: Prepared, tiers: Sequence[str], way: Carrier
) -> Job:
    """The job of the complete tiers; its numbers are of the machine that made them."""
    llama = workplace.settings.llama.model_copy(update={"threads": prepared.tools.threads})
    mine = workplace.beside(workplace.settings.model_copy(update={"llama": llama}), ledger)
    plan: Plan[Model] = make_plan(mine, way.model(mine, prepared), tiers)
    job = Job(mine, plan, key=prepared.key, tools=prepared.tools)
    _require_same(job, prepared)
    return job


@contextmanager
def _making_nothing(job: Job, *, apart: bool) -> Iterator[None]:
    """Nothing is made or measured inside: where machines are apart the model is a header here.

    Raises BuildError where something is missing, and then keeps nothing of what was made of it.
    """
    if not apart:
        yield
        return
    ledger = job.workplace.ledger
    before = set(_numbers(ledger))
    missing = [
        recipe.tier
        for recipe in job.plan.distinct
        if tier_files.known_tier(job, recipe.tier) is None
    ]
    if missing:
        raise BuildError(f"{missing[0]} did not come from the jobs before; rerun all jobs")
    try:
        yield
    finally:
        if set(_numbers(ledger)) != before:
            ledger.path.unlink()
            raise BuildError("the jobs before did not measure all of it; rerun all jobs")


def _numbers(ledger: Ledger) -> Iterator[tuple[str, str, str]]:
    """Measures, and files of models, that a ledger knows."""
    for work in ledger.work():
        if work.job == MEASURES or work.step.startswith("quantize "):
            yield work.job, work.step, work.inputs


def _require_enough(policy: str, complete: Sequence[str], wanted: Sequence[str]) -> None:
    least = {"all": len(wanted), "any": 1}.get(policy) or int(policy.removeprefix("min:"))
    if len(complete) < min(least, len(wanted)):
        raise BuildError(
            f"{len(complete)} of {len(wanted)} tiers are complete, jobs.policy is {policy}: "
            "nothing is published; rerun the failed jobs"
        )


def publish_described(
    workplace: Workplace, folder: Folder, sentinel: str, told: str = "", *, private: bool
) -> tuple[Published, Sent]:
    """Send what was described: one commit, verified, then public. No model is opened here.

    `told` is the hash of what was described, by which another machine's is known; without it this
    machine's own is sent. Also what later jobs of the run are told of it.
    """
    way = carrier(workplace, folder)
    prepared, described = _to_send(way, folder, sentinel, told)
    message = f"APEX quants of {prepared.order.model} at {prepared.commit[:12]}"
    way.lend(workplace.hub, described.repo_id, described.files)
    done = send_release(
        workplace, described.repo_id, described.files, message, prepared.key, private=private
    )
    sent = Sent(
        key=prepared.key,
        repo_id=done.repo_id,
        url=done.url,
        commit=done.commit,
        tiers=described.tiers,
        whole=set(prepared.tiers) <= set(described.tiers),
        files=_large(described),
        waiting=done.waiting,
    )
    folder.write(sent)
    return follow(workplace, done, whole=sent.whole), sent


def _to_send(way: Carrier, folder: Folder, sentinel: str, told: str) -> tuple[Prepared, Described]:
    """The plan and what was described of it, with its files here but for models.

    Raises CapacityError for another one than the describing job wrote.
    """
    if told:
        way.records()
    prepared, file = folder.prepared(sentinel), folder.file(Described)
    if told and folder.hash_of(Described) != told:
        text = way.text(file)
        if hashlib.sha256(text).hexdigest() != told:
            raise folder.not_of("describe")
        write_text(file, text.decode())
    described = folder.read(Described)
    if described is None or described.key != prepared.key:
        raise SourceError("there is nothing to publish yet; run `bot step describe` before")
    described = replace(
        described, files=_moved(described.files, lambda path: str(folder.root / path))
    )
    _require_in_release(folder, prepared, described)
    if told:
        _bring_described(way, folder, prepared, described)
    return prepared, described


def _bring_described(
    way: Carrier, folder: Folder, prepared: Prepared, described: Described
) -> None:
    """Have the card and what lies beside it here; what is left of an earlier one goes."""
    verdict = [described.verdict] if described.verdict is not None else []
    wanted = (*carried(folder.root, _small(described.files).values()), *verdict)
    for one in wanted if way.apart else ():
        path = one.path.below(folder.root, prepared.job)
        if path.is_file() and sha256(path) != one.sha256:
            remove(path, folder.root / prepared.job)
    way.bring(wanted, (prepared.job,))


def _require_in_release(folder: Folder, prepared: Prepared, described: Described) -> None:
    """Raise SourceError unless all that would be sent is of this release's own folder."""
    place = (folder.root / prepared.job / "release").resolve()
    for name, file in described.files.items():
        require_safe(name, described.repo_id)
        if Path(file.path).resolve() != place / name:
            raise SourceError(
                f"{name} of {described.repo_id} would come from {file.path}, which is not where "
                "this release was described; rerun all jobs"
            )


def _large(described: Described) -> dict[str, str]:
    models = (name for name in described.files if Path(name).suffix == ".gguf")
    return {name: described.files[name].sha256 for name in models}


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
