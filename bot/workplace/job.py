"""One job: a plan, its key, its folder, and steps that are skipped once done."""

from __future__ import annotations

import glob
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.detect.inspection import Sketch, source_room
from bot.errors import SettingsError
from bot.progress import Report
from bot.records.coding import digest, dump
from bot.records.recipes import Recipe
from bot.records.results import Tools
from bot.settings.settings import Settings
from bot.store.ledger import Finished
from bot.workplace import asked
from bot.workplace.memory import free_memory
from bot.workplace.models import Model, Pipeline, Plan
from bot.workplace.names import file_name
from bot.workplace.texts import calibration_texts
from bot.workspace import partial_of, require_free, taken

if TYPE_CHECKING:
    from bot.measures.reference import Free
    from bot.workspace import Job as Paths

FREE = "free "  # before a tier: the step that notes that its files were given back
NOT_HERE = 1_300_000  # bytes that a text still to be fetched is taken to have: WikiText-2's test


class Job:
    """The job of a plan. Hold `paths.locked()` while working on it.

    With `key` it is a part of the job that has this key; with `tools` its numbers are of another
    machine.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        plan: Plan[Model],
        *,
        key: str | None = None,
        tools: Tools | None = None,
    ) -> None:
        self.pipeline, self.plan = pipeline, plan
        self.settings, self._tools = pipeline.settings, tools
        self.lacks: tuple[str, ...] = ()  # what could not be made and is not needed, and why
        self.key = key or self.order.key
        self.paths = pipeline.workspace.job(plan.model.name, self.key)

    @cached_property
    def order(self) -> asked.Order:
        """What was asked for: it can be told before the model is here."""
        plan, model = self.plan, self.plan.model
        repo_id, commit = model.source.repo_id, model.source.commit
        return asked.ordered(self.settings, plan.profiles, model.name, repo_id, commit)

    @cached_property
    def tools(self) -> Tools:
        """Versions and device that the numbers depend on."""
        return self._tools or tools_of(self.settings)

    @cached_property
    def calibration(self) -> dict[str, Any] | None:
        """All that decides the importance matrix but the model."""
        if not self.plan.needs_imatrix:
            return None
        wanted = self.settings.calibration
        if wanted.file is not None:
            if not wanted.file.is_file():
                raise SettingsError(f"{wanted.file} does not exist; mend calibration.file")
            return {"file": asked.hash_of(self.settings, wanted.file)}
        texts = [dump(text) for text in calibration_texts(self.pipeline)]
        sizes = {"context": wanted.context, "chunks": wanted.chunks, "batch": wanted.batch}
        return {"texts": texts, **sizes}

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """All that decides the numbers but the files and the machine."""
        return asked.evaluation(self.settings)

    def step(
        self,
        step: str,
        inputs: Mapping[str, Any],
        paths: Sequence[Path],
        title: str,
        work: Callable[[Report], Any],
        shape: Any = None,
    ) -> Finished:
        """Do a step of this job unless it is done; see Pipeline.step."""
        return self.pipeline.step(self.key, step, inputs, paths, title, work, shape)

    def file_of(self, recipe: Recipe) -> Path:
        """Where a tier's file lies; a coinciding tier's file is the one that was built.

        In shards it has their numbers before its ending. Baselines lie apart: they stay here.
        """
        return _file_of(self.settings, self.plan, self.paths, recipe)

    def require_room(self, at_a_time: Sequence[Collection[str]] = ()) -> None:
        """Raise CapacityError unless everything still to be made fits on the disk.

        What a stopped run left counts: it is gone on with, or gives its room back. `at_a_time`
        are tiers that lie there together, where others are removed before.
        """
        left = tiers_left(self.pipeline, self.plan, self.paths, self.key)
        groups = at_a_time or [[*left]]
        needed = max(sum(left.get(tier, 0) for tier in group) for group in groups)
        if left:
            needed += max(_reference_room(self.settings, self.plan) - self._logits(), 0)
        require_free(self.paths.folder, needed, self.settings.reserve)

    def _logits(self) -> int:
        """Bytes that the reference's log-probabilities take already, whole or not."""
        from bot.evaluate.measure import logits_of, logits_path

        path = logits_of(self) or partial_of(logits_path(self))
        return taken(path)


def tools_of(settings: Settings) -> Tools:
    """Versions and device that numbers made with these settings depend on."""
    from bot.clients.llama import library

    llama = settings.llama
    used = library.used_devices(llama.devices, gpu=llama.gpu_layers != 0)
    return Tools(
        bot=version("apex-bot"),
        llama_cpp_python=library.package_version(),
        llama_cpp=library.library_version(),
        device=", ".join(f"{d.name} ({d.description})" for d in used),
        threads=llama.threads,
        build=library.build_flags(),
    )


def require_room(pipeline: Pipeline, plan: Plan[Sketch]) -> None:
    """Raise CapacityError unless all of a plan fits, the source too where it is not here yet.

    What lies here of source, 16-bit file and tiers counts.
    """
    model, settings, space = plan.model, pipeline.settings, pipeline.workspace
    left = {recipe.tier: plan.predicted(recipe) for recipe in plan.distinct}
    needed, source = 0, model.source if isinstance(model, Model) else model.release
    if source is not None:
        order = asked.ordered(settings, plan.profiles, model.name, source.repo_id, source.commit)
        left = tiers_left(pipeline, plan, order.paths(space), order.key)
    if left:
        needed = sum(left.values()) + _reference_room(settings, plan)
    if not isinstance(model, Model) and model.release is not None:
        needed += source_room(pipeline, model, model.release)
    require_free(space.root, needed, settings.reserve)


def tiers_left(pipeline: Pipeline, plan: Plan[Sketch], paths: Paths, key: str) -> dict[str, int]:
    """Bytes that each tier still takes which is not made, or was made and freed."""
    freed = _freed(pipeline, key)
    found = {}
    for recipe in plan.distinct:
        file = _file_of(pipeline.settings, plan, paths, recipe)
        if recipe.tier not in freed and not _is_made(file):
            found[recipe.tier] = max(plan.predicted(recipe) - _begun(file), 0)
    return found


def _freed(pipeline: Pipeline, key: str) -> set[str]:
    """Tiers of a job whose files the Hub has; one that it lost since is noted without a hash."""
    lost = digest({"sha256": None})
    return {
        work.step.removeprefix(FREE)
        for work in pipeline.ledger.work()
        if work.job == key and work.step.startswith(FREE) and work.inputs != lost
    }


def _file_of(settings: Settings, plan: Plan[Sketch], paths: Paths, recipe: Recipe) -> Path:
    if recipe.plain:
        return paths.baselines / f"{plan.model.name}-{recipe.tier}.gguf"
    tier = recipe.same_as or recipe.tier
    base = next((r.base for r in plan.recipes if r.tier == tier), recipe.base)
    return paths.release / file_name(settings.publish, plan.model.name, tier, base)


def _begun(file: Path) -> int:
    """Bytes that unfinished files of a tier take on the disk."""
    shards = file.parent.glob(f"{glob.escape(file.stem)}-*-of-*.gguf.partial")
    return sum(map(taken, (partial_of(file), *shards)))


def _reference_room(settings: Settings, plan: Plan[Any]) -> int:
    """Disk for the reference's log-probabilities: none where it can run beside each tier."""
    from bot.measures.reference import need
    from bot.measures.windows import TOGETHER

    model = plan.model
    vocabulary = model.architecture.vocabulary
    guess = reference_guess(settings, vocabulary)
    if settings.evaluation.reference == "file":
        return guess
    sixteen = model.header_bytes + sum(tensor.bytes for tensor in model.tensors)
    largest = max((plan.predicted(recipe) for recipe in plan.distinct), default=0)
    both = need(sixteen, vocabulary, TOGETHER // 2) + need(largest, vocabulary, TOGETHER // 2)
    return 0 if settings.evaluation.reference == "beside" or free(settings).holds(both) else guess


def free(settings: Settings) -> Free:
    """Memory that models may take here, or what the settings allow of it."""
    from bot.clients.llama import library
    from bot.measures.reference import Free

    llama, limit = settings.llama, settings.evaluation.memory_gb
    used = library.used_devices(llama.devices, gpu=llama.gpu_layers != 0)
    gpus = [device.memory_free for device in used if device.kind == "gpu"]
    most = int(limit * 1e9) if limit else None
    host = free_memory() if most is None else min(most, free_memory())
    if not gpus or llama.gpu_layers != -1:  # some layers on the host: it may need to hold them all
        return Free(host=host)
    return Free(host=host, device=sum(gpus) if most is None else min(most, sum(gpus)))


def reference_guess(settings: Settings, vocabulary: int) -> int:
    """Bytes for the reference's log-probabilities; a token is taken to be three bytes."""
    from bot.measures.logits import base_bytes

    wanted = settings.evaluation
    size = wanted.text.stat().st_size if wanted.text.is_file() else NOT_HERE
    chunks = size // (3 * wanted.context) + 1
    return base_bytes(vocabulary, wanted.context, min(chunks, wanted.chunks or chunks))


def _is_made(file: Path) -> bool:
    shards = f"{glob.escape(file.stem)}-00001-of-*.gguf"
    return file.is_file() or any(file.parent.glob(shards))
