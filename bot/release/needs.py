"""All that settings name and a release will need, looked for before anything is made.

What lies on a Hub is asked for, not fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

from bot.card.card import require_templates
from bot.disk.hashes import sha256
from bot.disk.writing import decoded
from bot.errors import AccessError, BotError, SettingsError, SourceError
from bot.evaluate import data
from bot.measures.imported import read_imported
from bot.measures.tasks import read_tasks
from bot.plan.plain import baselines
from bot.plan.profiles import load_profiles
from bot.quantize import imatrix
from bot.settings.making import CalibrationSource, DataSettings
from bot.settings.settings import Settings
from bot.workplace import demo_texts, names, texts
from bot.workplace.children import devices_of
from bot.workplace.demo_texts import EVERY_USE
from bot.workplace.workplace import Workplace

Place = tuple[str | int, ...]  # a key of bot.yaml: evaluation, tasks, 0
Lack = tuple[Place, str]
Look = tuple[Place, Callable[[], object]]
# how compressed files and tables begin (their formats' magic numbers)
PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"PAR1": "Parquet",
}


def require_all(workplace: Workplace, tiers: Sequence[str] = ()) -> None:
    """Raise SettingsError naming all that is not there, or is not what it should be.

    `tiers` are those to be made, all where none is named. What a Hub does not answer raises as
    its requests do.
    """
    _refuse([*lacking_here(workplace, tiers), *lacking_there(workplace)])


def require_here(
    workplace: Workplace, tiers: Sequence[str] = (), uses: Collection[str] = EVERY_USE
) -> None:
    """As `require_all`, of this machine alone; `uses`: which texts and tasks will be read."""
    _refuse([*lacking_here(workplace, tiers, uses)])


def _refuse(lacks: list[Lack]) -> None:
    if lacks:
        error_text = "; ".join(f"{'.'.join(map(str, place))}: {text}" for place, text in lacks)
        raise SettingsError(f"a release cannot be made with these settings: {error_text}")


def lacking_here(
    workplace: Workplace, tiers: Sequence[str] = (), uses: Collection[str] = EVERY_USE
) -> Iterator[Lack]:
    """What lacks on this machine; no request is made."""
    lacks = [*_lacking(workplace)]
    yield from lacks
    if not {place[0] for place, _ in lacks} & {"profiles", "quantize"}:  # else tiers are unknown
        for key, text in demo_texts.not_named(workplace.settings, uses, tiers):
            yield tuple(key.split(".")), text


def _lacking(workplace: Workplace) -> Iterator[Lack]:
    for place, look in _looks(workplace):
        try:
            look()
        except BotError as error:
            yield place, str(error)
        except OSError as error:
            yield place, f"{error.filename} cannot be read ({error.strerror}); mend it"


def lacking_there(workplace: Workplace) -> Iterator[Lack]:
    """What a Hub does not have. Raises UnreachableError where it does not answer."""
    for place, look in _asked(workplace):
        try:
            look()
        except (SettingsError, SourceError, AccessError) as error:
            yield place, str(error)


def _asked(workplace: Workplace) -> Iterator[Look]:
    settings, hub = workplace.settings, workplace.hub
    for number, other in enumerate(settings.evaluation.others):
        yield ("evaluation", "others", number), partial(data.find_other, workplace, other)
    for name, entry in settings.data.items():
        if entry.repository is not None and settings.data_from is None:
            commit = entry.commit or "main"
            at = (entry.repository, commit, str(entry.path), entry.repository_type)
            yield ("data", name), partial(hub.require_file, *at)
    for number, text in enumerate(settings.calibration.texts):
        if any(text.hub) and settings.calibration.file is None:
            yield ("calibration", "texts", number), partial(hub.require_file, *text.hub, "dataset")


def _looks(workplace: Workplace) -> Iterator[Look]:
    settings = workplace.settings
    yield ("profiles",), lambda: _profiles(settings)
    yield ("quantize", "baselines"), lambda: baselines(settings.quantize.baselines)
    yield ("llama", "devices"), lambda: _devices(settings)
    if (templates := settings.templates) is not None:
        yield ("templates",), lambda: _templates(templates)
    yield from _calibration(workplace)
    yield from _evaluation(workplace)


def _profiles(settings: Settings) -> None:
    tiers = load_profiles(settings.profiles)
    names.require_files(settings.publish, settings.source.name or "Model-30B-A3B", tiers)


def _devices(settings: Settings) -> None:
    named = set(settings.llama.devices)
    available = [device.name for device in devices_of(settings)] if named else []
    if missing := sorted(named - {*available}):
        raise SettingsError(
            f"llama.cpp finds no device {missing[0]!r} here, only {', '.join(available)}"
        )


def _templates(folder: Path) -> None:
    require_templates(folder)


def _calibration(workplace: Workplace) -> Iterator[Look]:
    calibration = workplace.settings.calibration
    if (file := calibration.file) is not None:
        yield ("calibration", "file"), lambda: _matrix(file)
        return
    for number, text in enumerate(calibration.texts):
        if (path := text.path) is not None:
            place = ("calibration", "texts", number)
            yield place, partial(_mixed, workplace, text, path)
        elif (name := text.data) is not None:
            yield ("calibration", "texts", number), partial(_running, workplace, name)


def _running(workplace: Workplace, name: str) -> None:
    """Raise SettingsError for a name that is none, or that of tasks."""
    if texts.entry_of(workplace.settings, name).kind not in ("text", "conversations"):
        raise SettingsError(f"data.{name} holds tasks; name a text or conversations")


def _mixed(workplace: Workplace, text: CalibrationSource, path: Path) -> None:
    _plain(path)
    texts.read_text(workplace, text)


def _matrix(path: Path) -> None:
    if not path.is_file():
        raise SettingsError(f"{path} does not exist; mend calibration.file")
    imatrix.read_matrix(path)


def _evaluation(workplace: Workplace) -> Iterator[Look]:
    evaluation = workplace.settings.evaluation
    yield ("evaluation", "text"), lambda: _text(workplace, evaluation.text)
    for domain, of in evaluation.domains.items():
        yield ("evaluation", "domains", domain), partial(_text, workplace, of.data)
    for number, path in enumerate(evaluation.tasks):
        place = ("evaluation", "tasks", number)
        yield place, partial(_tasks, workplace, path)
    for number, path in enumerate(evaluation.imported):
        place = ("evaluation", "imported", number)
        yield place, partial(read_imported, path)
    for name, entry in workplace.settings.data.items():
        if entry.repository is None:
            yield ("data", name), partial(_entry, entry)
        elif (folder := workplace.settings.data_from) is not None:
            yield ("data", name), partial(_there, folder / entry.repository / entry.path)


def _entry(entry: DataSettings) -> None:
    if not entry.path.is_file():
        raise SettingsError(f"{entry.path} does not exist; mend its path")
    if (file_sha256 := sha256(entry.path)) != entry.sha256:
        raise SettingsError(
            f"{entry.path} has the sha256 {file_sha256}; name the right file or hash"
        )


def _there(path: Path) -> None:
    if not path.is_file():
        raise SettingsError(f"{path} does not exist; put it there, or leave data_from out")


def _local(workplace: Workplace, path: Path) -> Path | None:
    """The file that a value of `evaluation` means; None for one of a Hub."""
    entry = workplace.settings.data.get(str(path))
    if entry is None:
        return path
    return entry.path if entry.repository is None and entry.is_plain else None


def _text(workplace: Workplace, name_or_path: Path) -> None:
    path = _local(workplace, name_or_path)
    if path is None:
        return
    if path.is_file():
        _plain(path)
    text = data.find_text(workplace)
    decoded(text.path.read_bytes(), str(text.path))


def _tasks(workplace: Workplace, name_or_path: Path) -> None:
    path = _local(workplace, name_or_path)
    if path is None:
        return
    if path.is_file():
        _plain(path)
    task_set = data.find_task_set(workplace, name_or_path)
    read_tasks(task_set.path, task_set.kind or "hellaswag", 1)


def _plain(path: Path) -> None:
    """Raise SettingsError for a compressed file."""
    if not path.is_file():
        return  # said by whoever reads it
    with path.open("rb") as file:
        start = file.read(8)
    if kind := next((name for magic, name in PACKED.items() if start.startswith(magic)), None):
        raise SettingsError(f"{path} is packed ({kind}); unpack it and name what was in it")
