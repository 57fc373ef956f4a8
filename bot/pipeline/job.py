"""One job: a plan, its key, its folder, and steps that are skipped once done."""

from __future__ import annotations

import glob
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot import weights
from bot.errors import SettingsError
from bot.ledger import Finished
from bot.memory import free_memory
from bot.pipeline import asked
from bot.pipeline.models import Model, Pipeline, Plan
from bot.pipeline.names import file_name
from bot.pipeline.sources import Sketch
from bot.pipeline.texts import calibration_texts
from bot.progress import Report
from bot.records import Recipe, Tools, dump
from bot.settings import Settings
from bot.workspace import partial_of, require_free, sha256, taken

if TYPE_CHECKING:
    from bot.evaluate.reference import Free

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
            return {"file": sha256(wanted.file)}
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
    ) -> Finished:
        """Do a step of this job unless it is done; see Pipeline.step."""
        return self.pipeline.step(self.key, step, inputs, paths, title, work)

    def file_of(self, recipe: Recipe) -> Path:
        """Where a tier's file lies; a coinciding tier's file is the one that was built.

        In shards it has their numbers before its ending. Baselines lie apart: they stay here.
        """
        if recipe.plain:
            return self.paths.baselines / f"{self.plan.model.name}-{recipe.tier}.gguf"
        tier = recipe.same_as or recipe.tier
        base = next((r.base for r in self.plan.recipes if r.tier == tier), recipe.base)
        wanted = self.settings.publish
        return self.paths.release / file_name(wanted, self.plan.model.name, tier, base)

    def require_room(self, at_a_time: Sequence[Collection[str]] = ()) -> None:
        """Raise CapacityError unless everything still to be made fits on the disk.

        What a stopped run left counts: it is gone on with, or gives its room back. `at_a_time`
        are tiers that lie there together, where others are removed before.
        """
        missing = [r for r in self.plan.distinct if not _is_made(self.file_of(r))]
        groups = at_a_time or [[recipe.tier for recipe in missing]]
        left = {r.tier: max(self.plan.predicted(r) - self._begun(r), 0) for r in missing}
        needed = max(sum(left.get(tier, 0) for tier in group) for group in groups)
        if missing:
            needed += max(_reference_room(self.settings, self.plan) - self._logits(), 0)
        require_free(self.paths.folder, needed, self.settings.reserve)

    def _begun(self, recipe: Recipe) -> int:
        """Bytes that unfinished files of a recipe take on the disk."""
        file = self.file_of(recipe)
        shards = file.parent.glob(f"{glob.escape(file.stem)}-*-of-*.gguf.partial")
        return sum(map(taken, (partial_of(file), *shards)))

    def _logits(self) -> int:
        """Bytes that the reference's log-probabilities take already, whole or not."""
        from bot.pipeline.measure import logits_of, logits_path

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
    """Raise CapacityError unless all of a plan fits, the source too where it is not here yet."""
    model, settings = plan.model, pipeline.settings
    needed = sum(plan.predicted(recipe) for recipe in plan.distinct)
    needed += _reference_room(settings, plan)
    if not isinstance(model, Model) and model.release is not None:
        sixteen = model.header_bytes + sum(tensor.bytes for tensor in model.tensors)
        stored = weights.total(weights.checkpoint(model.release).files)
        needed += sixteen + (0 if weights.gguf(model.release) else stored)
    require_free(pipeline.workspace.root, needed, settings.reserve)


def _reference_room(settings: Settings, plan: Plan[Any]) -> int:
    """Disk for the reference's log-probabilities: none where it can run beside each tier."""
    from bot.evaluate.reference import need
    from bot.evaluate.windows import TOGETHER

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
    from bot.evaluate.reference import Free

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
    from bot.evaluate.logits import base_bytes

    wanted = settings.evaluation
    size = wanted.text.stat().st_size if wanted.text.is_file() else NOT_HERE
    chunks = size // (3 * wanted.context) + 1
    return base_bytes(vocabulary, wanted.context, min(chunks, wanted.chunks or chunks))


def _is_made(file: Path) -> bool:
    shards = f"{glob.escape(file.stem)}-00001-of-*.gguf"
    return file.is_file() or any(file.parent.glob(shards))
