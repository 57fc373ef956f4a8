"""What jobs of one release take over from each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from bot.disk.paths import inside
from bot.errors import CapacityError, SettingsError
from bot.jobs import claims
from bot.jobs.orders import Folder, Prepared
from bot.jobs.travel import Carrier, works_here
from bot.records.built import Built
from bot.records.coding import digest
from bot.store.ledger import Ledger, Work
from bot.workplace.job import Job
from bot.workplace.workplace import Workplace


def release_places(workplace: Workplace, prepared: Prepared) -> tuple[str, ...]:
    """Where files of this release may be brought to: its own folders, and texts of the settings."""
    folders, root = workplace.folders, workplace.folders.root
    texts = (
        inside(root, folders.texts(entry.repository, state))
        for entry in workplace.settings.data.values()
        for state in (entry.commit, None if entry.is_plain else entry.sha256)
        if entry.repository is not None and state is not None
    )
    return (*prepared.sources, f"{prepared.job}/release", "measures", *texts)


def hold_data(workplace: Workplace, prepared: Prepared) -> None:
    """Data sets are those of the preparing machine, whose lock is not here, or not as new."""
    workplace.settings = workplace.settings.pinned(prepared.locked)


def given_works(
    carrier: Carrier, prepared: Prepared, brought: frozenset[str], folder: Folder
) -> tuple[Work, ...]:
    """Finished work of `prepare`; of files that were `brought`, with their change times here."""
    works = prepared.work
    if carrier.apart:
        works = claims.of_release(works, prepared, folder.root)
    return works_here(works, brought, folder.root)


def ledger_with(folder: Folder, name: str, works: Iterable[Work]) -> Ledger:
    """A job's ledger, with the finished work of other jobs."""
    ledger = folder.open_ledger(name)
    ledger.take(works)
    return ledger


def require_same_plan(job: Job, prepared: Prepared) -> None:
    """Raise unless this machine makes what the preparing one planned, and measures alike."""
    tools, planned_tools = job.tools, prepared.tools
    if tools != planned_tools:
        names = ("bot", "llama_cpp_python", "llama_cpp", "device", "build")
        name = next(name for name in names if getattr(tools, name) != getattr(planned_tools, name))
        raise CapacityError(
            f"this machine differs from the preparing one in {name}: {getattr(tools, name)!r}, "
            f"not {getattr(planned_tools, name)!r}; numbers of one card come from machines of one "
            "kind: give these a label of their own"
        )
    planned = {recipe.tier: recipe.hash for recipe in job.plan.recipes}
    prepared_hashes = {tier: prepared.recipes.get(tier) for tier in planned}
    if planned != prepared_hashes or digest(job.evaluation) != prepared.evaluation:
        raise SettingsError(
            "settings or profiles changed since the release was prepared; rerun all jobs"
        )


def moved(files: Mapping[str, Built], to: Callable[[Path], str]) -> dict[str, Built]:
    """The same files by other paths."""
    return {name: replace(file, path=to(Path(file.path))) for name, file in files.items()}


def written_files(files: Mapping[str, Built]) -> dict[str, Built]:
    """What was written for this publication; models are where they were left."""
    return {name: file for name, file in files.items() if Path(name).suffix != ".gguf"}
