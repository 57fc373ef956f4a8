"""One job: a plan, its key, its folder, and steps that are skipped once done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bot.apart.memory import free_memory
from bot.clients.llama import library
from bot.disk.folders import JobFolder
from bot.errors import SettingsError
from bot.measures.reference import Free
from bot.plan.models import Model, Plan, Sketch
from bot.progress import Report
from bot.records.coding import dump
from bot.records.measured import Tools
from bot.records.recipes import Recipe
from bot.records.results import Budget
from bot.settings.settings import Settings
from bot.store.ledger import Finished
from bot.workplace import asked
from bot.workplace.children import used_devices_of
from bot.workplace.names import file_name
from bot.workplace.texts import calibration_texts
from bot.workplace.workplace import Workplace


class Job:
    """The job of a plan. Hold `paths.locked()` while working on it.

    With `key` it is a part of the job that has this key; with `tools` its numbers are of another
    machine.
    """

    def __init__(
        self,
        workplace: Workplace,
        plan: Plan[Model],
        *,
        key: str | None = None,
        tools: Tools | None = None,
    ) -> None:
        self.workplace, self.plan = workplace, plan
        self.settings, self._tools = workplace.settings, tools
        self.budget: Budget | None = None  # what decided how much is measured
        self.lacks: tuple[str, ...] = ()  # what could not be made and is not needed, and why
        self.key = key or self.order.key
        self.paths = workplace.folders.job(plan.model.name, self.key)

    @cached_property
    def order(self) -> asked.Order:
        """All inputs but the weights: what `asked.order_of` gave before the model was here."""
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
        calibration = self.settings.calibration
        if calibration.file is not None:
            if not calibration.file.is_file():
                raise SettingsError(f"{calibration.file} does not exist; mend calibration.file")
            return {"file": asked.hash_of_file(self.settings, calibration.file)}
        texts = [dump(text) for text in calibration_texts(self.workplace)]
        sizes = {
            "context": calibration.context,
            "chunks": calibration.chunks,
            "batch": calibration.batch,
        }
        return {"texts": texts, **sizes, **asked.micro_batch_of(self.settings)}

    def settle(self, budget: Budget, settings: Settings) -> None:
        """Measure from now on by `settings`, which name what a budget has room for.

        What the job was asked for, and so its key, stays what it was.
        """
        _ = self.order
        self.budget, self.settings = budget, settings
        self.workplace = self.workplace.with_settings(settings)

    @property
    def evaluation(self) -> dict[str, Any]:
        """All that decides the numbers but the files and the machine."""
        return asked.evaluation_inputs(self.settings)

    def step(
        self,
        step: str,
        inputs: Mapping[str, Any],
        paths: Sequence[Path],
        title: str,
        work: Callable[[Report], Any],
        shape: Any = None,
    ) -> Finished:
        """Do a step of this job unless it is done; see Workplace.step."""
        return self.workplace.step(self.key, step, inputs, paths, title, work, shape)

    def file_of(self, recipe: Recipe) -> Path:
        """Where a tier's file lies; a coinciding tier's file is the one that was built.

        In shards it has their numbers before its ending. Baselines lie apart: they stay here.
        """
        return tier_file(self.settings, self.plan, self.paths, recipe)


def tools_of(settings: Settings) -> Tools:
    """Versions and device that numbers made with these settings depend on."""
    llama = settings.llama
    used = used_devices_of(settings)
    return Tools(
        bot=version("apex-bot"),
        llama_cpp_python=library.package_version(),
        llama_cpp=library.library_version(),
        device=", ".join(_shown(device) for device in used),
        threads=llama.threads,
        build=library.build_flags(),
    )


def _shown(device: library.Device) -> str:
    """A device as everybody may read it: of a server the name, as its description is an address."""
    if device.name.startswith("RPC"):  # ggml/src/ggml-rpc/ggml-rpc.cpp
        return device.name
    return f"{device.name} ({device.description})"


def tier_file(settings: Settings, plan: Plan[Sketch], paths: JobFolder, recipe: Recipe) -> Path:
    """As `Job.file_of`, before the model is here: of a sketch's plan, in the job's folder."""
    if recipe.plain:
        return paths.baselines / f"{plan.model.name}-{recipe.tier}.gguf"
    tier = recipe.same_as or recipe.tier
    base = next((r.base for r in plan.recipes if r.tier == tier), recipe.base)
    return paths.release / file_name(settings.publish, plan.model.stem, tier, base)


def free_memory_of(settings: Settings) -> Free:
    """Memory that models may take here, or what the settings allow of it."""
    llama, limit = settings.llama, settings.evaluation.memory_gb
    used = used_devices_of(settings)
    gpus = [device.memory_free for device in used if device.kind == "gpu"]
    most = int(limit * 1e9) if limit else None
    host = free_memory() if most is None else min(most, free_memory())
    if not gpus or llama.gpu_layers != -1:  # some layers on the host: it may need to hold them all
        return Free(host=host)
    return Free(host=host, device=sum(gpus) if most is None else min(most, sum(gpus)))
