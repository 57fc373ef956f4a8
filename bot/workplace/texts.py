"""Texts that numbers rest on: where they lie, what they are, fetched from the Hub when named so."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bot.apart import data_set
from bot.disk.hashes import sha256
from bot.disk.locks import alone
from bot.disk.paths import require_safe
from bot.disk.writing import decoded
from bot.errors import SettingsError
from bot.foreign import require_file_itself
from bot.kit.lock import LockedFile, add_to_lock, lock_key, read_lock
from bot.records.coding import digest
from bot.records.measured import Text
from bot.records.results import CalibrationText
from bot.settings.making import CalibrationSource, DataSettings
from bot.settings.sections import DEMO, PACKAGE
from bot.settings.settings import Settings

if TYPE_CHECKING:
    from bot.workplace.workplace import Workplace

LARGEST = 1 << 30  # bytes of a text from a Hub


def text_of(path: Path) -> Text:
    """What a text file is, for results and keys. Raises SourceError for a pointer or a page."""
    require_file_itself(path)
    return Text(name=path.name, sha256=sha256(path), origin=_origin(path))


def prompts_text(path: Path) -> Text:
    """What a file of prompts is. Raises SettingsError where it is not there, else as `text_of`."""
    if not path.is_file():
        raise SettingsError(f"{path} does not exist; mend evaluation.behaviour.prompts")
    text = text_of(path)
    own = path.resolve().is_relative_to(PACKAGE)
    return replace(text, origin="comes with apex-bot") if own else text


def is_demo(path: Path) -> bool:
    """Whether a file is one that comes with the bot, for its demo."""
    return DEMO.resolve() in path.expanduser().resolve().parents


def _origin(path: Path) -> str:
    own = is_demo(path)
    return "comes with apex-bot, see bot/demo/ORIGIN.md" if own else "given by the publisher"


def text_origin(source: CalibrationSource, settings: Settings) -> str:
    """Where a text of the mix comes from: pinned on a Hub, or whose it is."""
    if source.data is not None:
        return entry_origin(entry_of(settings, source.data))
    return (
        f"{source.dataset} at {source.commit}, {source.file}"
        if source.path is None
        else _origin(source.path)
    )


def calibration_texts(workplace: Workplace) -> tuple[CalibrationText, ...]:
    """The calibration mix; a text whose hash the settings tell is not fetched for this."""
    settings = workplace.settings
    return tuple(
        CalibrationText(
            name=source.label,
            sha256=source.sha256 or sha256(locate(workplace, source)),
            origin=text_origin(source, settings),
            weight=source.weight,
            licence=licence_of(source, settings),
        )
        for source in settings.calibration.texts
    )


def licence_of(source: CalibrationSource, settings: Settings) -> str | None:
    """The licence of a text of the mix."""
    return entry_of(settings, source.data).licence if source.data else source.licence


def read_text(workplace: Workplace, source: CalibrationSource) -> str:
    """A text of the mix, as -f of llama-imatrix takes it: see bot/measures/windows.py.

    Raises SettingsError when it is not the one that was named, or not UTF-8.
    """
    path = locate(workplace, source)
    require_file_itself(path)
    content_hash = sha256(path) if source.sha256 else None
    if content_hash != source.sha256:
        raise SettingsError(
            f"calibration text {source.label} has sha256 {content_hash}, not {source.sha256}; "
            "name the right file or hash"
        )
    return decoded(path.read_bytes(), f"calibration text {source.label}").removesuffix("\n")


def locate(workplace: Workplace, source: CalibrationSource) -> Path:
    """Where a text lies on this machine, fetched first if it is the Hub's.

    Raises SettingsError when there is no such file, and what `Hub.download` raises.
    """
    if source.data is not None:
        entry = entry_of(workplace.settings, source.data)
        return data_file(workplace, source.data, entry, form="text")
    if source.path is not None:
        path = source.path.expanduser()
        if not path.is_file():
            raise SettingsError(f"calibration text {path} does not exist; mend calibration.texts")
        return path
    return fetched(workplace, *source.hub)


def fetched(
    workplace: Workplace,
    repository: str,
    commit: str,
    file: str,
    kind: Literal["model", "dataset"] = "dataset",
) -> Path:
    """A text or task file of the Hub on this machine, fetched once for all jobs.

    Raises SettingsError when it is larger than any text, and what `Hub.download` raises.
    """
    folder = workplace.folders.texts(repository, commit)
    came = 0

    def count(size: int) -> None:
        nonlocal came
        came += size
        if came > LARGEST:
            raise SettingsError(
                f"{file} of {repository} is larger than {LARGEST >> 30} GB; name a smaller text"
            )

    with alone(folder):
        if not (folder / file).is_file():
            with workplace.narrator.work(f"fetching {repository}/{file}"):
                workplace.hub.download(repository, commit, file, folder, count, kind=kind)
    return folder / file


# ── data sets by name ───────────────────────────────────────────────────────────────────────


def entry_of(settings: Settings, name: str) -> DataSettings:
    """What a name in `data` means. Raises SettingsError for one that is not there."""
    entry = settings.data.get(name)
    if entry is None:
        names = ", ".join(settings.data) or "nothing"
        raise SettingsError(f"{name} is no name in `data`, which has {names}; mend it")
    return entry


def entry_origin(entry: DataSettings) -> str:
    """Where a data set comes from and its licence, one line."""
    file = f", {entry.path}" if entry.repository else ""
    where = f"{entry.repository}@{entry.commit or 'a folder'}{file}, " if entry.repository else ""
    inside = f"{entry.member}, " if entry.member else ""
    half = f"records of {entry.half} number, " if entry.half else ""
    return f"{where}{inside}{half}{entry.licence}"


def content_of(name: str, entry: DataSettings) -> str:
    """What a data set's content is known by, without its file: its hash, and how it is read.

    Where it was never used its hash is not known; nothing was made of it then, either.
    """
    if entry.sha256 is None:
        return f"{name}, never used"
    reading = entry.reading
    return digest([entry.sha256, reading, data_set.VERSION]) if reading else entry.sha256


def data_file(
    workplace: Workplace,
    name: str,
    entry: DataSettings,
    form: Literal["text", "conversations"] = "conversations",
) -> Path:
    """A data set on this machine, fetched, held to its hash, and unpacked once for all jobs.

    Conversations come as such, a JSON object a line, or as one running text. Raises SettingsError
    for another file than settings or the lock name, and what `Hub.download` raises.
    """
    hashed = entry.sha256
    form = form if entry.kind == "conversations" else "text"
    folder = workplace.folders.texts(entry.repository or "here", hashed or "")
    made = f"{digest([content_of(name, entry), form])[:32]}"
    target = folder / f"{made}.{'jsonl' if form == 'conversations' else 'txt'}"
    if not entry.is_plain and target.is_file():
        return target
    file = _file_of(workplace, name, entry)
    require_file_itself(file)
    if (content_hash := sha256(file)) != hashed:
        raise SettingsError(
            f"{file} of data.{name} has the sha256 {content_hash}, not {hashed}; "
            "it is another file than the settings name"
            + (f", or {workplace.settings.lock_file} recorded" if entry.repository else "")
        )
    if entry.is_plain:
        return file
    with alone(folder):
        if not target.is_file():
            with workplace.narrator.work(f"reading {entry.label or name}"):
                wanted = _wanted(file, entry, form)
                data_set.extract(wanted, target, workplace.settings.kept_apart)
    return target


def _wanted(
    file: Path, entry: DataSettings, form: Literal["text", "conversations"]
) -> data_set.Wanted:
    return data_set.Wanted(
        path=str(file.absolute()),
        form=form,
        conversations=entry.kind == "conversations",
        member=entry.member,
        text=entry.field,
        half=entry.half,
        where=entry.where,
    )


def _file_of(workplace: Workplace, name: str, entry: DataSettings) -> Path:
    """The file itself, from a Hub, the folder `data_from`, or where settings say."""
    if entry.repository is None:
        if not entry.path.is_file():
            raise SettingsError(f"{entry.path} of data.{name} does not exist; mend its path")
        return entry.path
    file = str(entry.path)
    require_safe(file, entry.repository)
    if (folder := workplace.settings.data_from) is not None:
        path = folder / entry.repository / file
        if not path.is_file():
            raise SettingsError(f"{path} of data.{name} does not exist; put it there")
        return path
    if entry.commit is None:
        raise SettingsError(f"data.{name} has no commit; name it, or leave sha256 out, too")
    return fetched(workplace, entry.repository, entry.commit, file, entry.repository_type)


# ── their first use ─────────────────────────────────────────────────────────────────────────


def named_data(settings: Settings, uses: Collection[str]) -> Iterator[str]:
    """Names in `data` that the texts and tasks of some `uses` have: keys of bot.yaml."""
    evaluation, calibration = settings.evaluation, settings.calibration
    places: list[str | None] = []
    if "evaluation.text" in uses:
        places += [str(evaluation.text), *(str(d.data) for d in evaluation.domains.values())]
    if "evaluation.tasks" in uses:
        places += map(str, evaluation.tasks)
    if "calibration.texts" in uses and calibration.file is None:
        places += [text.data for text in calibration.texts]
    yield from dict.fromkeys(name for name in places if name is not None and name in settings.data)


def pin_data(workplace: Workplace, uses: Collection[str]) -> None:
    """Record what data sets of some uses are, where this is their first; settings then say it.

    The newest commit of a repository is taken, or the file of `data_from`. Raises what
    `Hub.download` raises, and SettingsError where the lock cannot be written.
    """
    settings = workplace.settings
    rows: dict[str, LockedFile] = {}
    for name in named_data(settings, uses):
        entry = settings.data[name]
        if entry.repository is not None and entry.sha256 is None:
            key = lock_key(entry.repository_type, entry.repository, str(entry.path))
            rows[key] = rows.get(key) or _first_seen(workplace, name, entry)
    if rows:
        with alone(workplace.folders.root / "texts"):
            known = add_to_lock(settings.lock_file, rows)
        workplace.settings = settings.pinned(known)
        workplace.narrator.say(
            f"recorded in {settings.lock_file}, to be held to it from now on: {', '.join(rows)}"
        )


def locked_files(settings: Settings) -> dict[str, LockedFile]:
    """The lock's rows of the data sets that settings name, and of those that benchmarks took."""
    rows = read_lock(settings.lock_file)
    keys = {
        lock_key(entry.repository_type, entry.repository, str(entry.path))
        for entry in settings.data.values()
        if entry.repository is not None
    }
    return {key: row for key, row in rows.items() if key in keys or key.endswith("/")}


def _first_seen(workplace: Workplace, name: str, entry: DataSettings) -> LockedFile:
    commit = entry.commit
    if workplace.settings.data_from is not None:
        commit = None
    elif commit is None:
        commit = workplace.hub.commit_of_file(
            entry.repository or "", "main", str(entry.path), entry.repository_type
        )
    path = _file_of(workplace, name, entry.model_copy(update={"commit": commit}))
    require_file_itself(path)
    return LockedFile(commit=commit, sha256=sha256(path), bytes=path.stat().st_size)
