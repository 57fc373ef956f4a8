"""Models as tests need them: fetched, converted and described, without a job."""

from __future__ import annotations

from pathlib import Path

from bot.plan.models import Local, Model
from bot.progress import Narrator
from bot.records.releases import Release
from bot.release.road import Request, Road
from bot.settings.settings import load
from bot.workplace.workplace import Workplace


def model_of(workplace: Workplace, name: str, revision: str = "main") -> Model:
    """A model by its path or by its id on the Hub."""
    with Road(Request(workplace=workplace, model=name, revision=revision)) as road:
        found: Model = road.value("model")
    return found


def local_of(workplace: Workplace, release: Release) -> Local:
    """The 16-bit file of a release."""
    request = Request(workplace=workplace, model=release.repo_id, revision=release.commit)
    with Road(request) as road:
        found: Local = road.value("local")
    return found


def workplace_in(folder: Path, **given: object) -> Workplace:
    """A workplace with settings of its own, below a folder; no token."""
    return Workplace(load(None, workdir=folder / "work", **given), Narrator(quiet=True), None)
