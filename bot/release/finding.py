"""From a name to a model whose 16-bit file is here: looked into, fetched, converted, described."""

from __future__ import annotations

from bot.detect import inspection
from bot.plan.models import Local, Model
from bot.records.releases import Release
from bot.source import obtain
from bot.workplace.pinning import as_file, as_repo
from bot.workplace.workplace import Workplace


def model_of(workplace: Workplace, name: str, revision: str = "main") -> Model:
    """A model by its path or by its id on the Hub, fetched and described.

    Raises SourceError when there is no such thing, or it is not a 16-bit mixture of experts.
    """
    path = as_file(name)
    if path is not None:
        return obtain.described(workplace, Local(path=path))
    release = workplace.hub.release(as_repo(name), revision)
    return obtain.described(workplace, local_of(workplace, release))


def local_of(workplace: Workplace, release: Release) -> Local:
    """The 16-bit file of a release; nobody looks into one that was converted before.

    Raises SourceError or AccessError with the reason where it cannot be built, CapacityError
    before a download that would not fit, SettingsError for want of the converter.
    """
    found = obtain.known_local(workplace, release)
    return found or obtain.bring(workplace, inspection.candidate(workplace, release))
