"""From a name to a model whose 16-bit file is here: looked into, fetched, converted, described."""

from __future__ import annotations

from bot.detect import inspection
from bot.plan.models import Local, Model
from bot.records.releases import Release
from bot.source import obtain
from bot.workplace.models import Pipeline, as_file, as_repo


def model_of(pipeline: Pipeline, name: str, revision: str = "main") -> Model:
    """A model by its path or by its id on the Hub, fetched and described.

    Raises SourceError when there is no such thing, or it is not a 16-bit mixture of experts.
    """
    path = as_file(name)
    if path is not None:
        return obtain.described(pipeline, Local(path=path))
    release = pipeline.hub.release(as_repo(name), revision)
    return obtain.described(pipeline, local_of(pipeline, release))


def local_of(pipeline: Pipeline, release: Release) -> Local:
    """The 16-bit file of a release; nobody looks into one that was converted before.

    Raises SourceError or AccessError with the reason where it cannot be built, CapacityError
    before a download that would not fit, SettingsError for want of the converter.
    """
    found = obtain.known(pipeline, release)
    return found or obtain.bring(pipeline, inspection.candidate(pipeline, release))
