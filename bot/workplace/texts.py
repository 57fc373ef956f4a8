"""Texts that numbers rest on: where they lie, what they are, fetched from the Hub when named so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bot.disk.hashes import sha256
from bot.disk.locks import alone
from bot.disk.writing import decoded
from bot.errors import SettingsError
from bot.foreign import require_file_itself
from bot.records.measured import Text
from bot.records.results import CalibrationText
from bot.settings.making import CalibrationSource
from bot.settings.sections import DEMO, PACKAGE

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


def text_origin(source: CalibrationSource) -> str:
    """Where a text of the mix comes from: pinned on a Hub, or whose it is."""
    return (
        f"{source.dataset} at {source.commit}, {source.file}"
        if source.path is None
        else _origin(source.path)
    )


def calibration_texts(workplace: Workplace) -> tuple[CalibrationText, ...]:
    """The calibration mix; a text whose hash the settings tell is not fetched for this."""
    return tuple(
        CalibrationText(
            name=source.label,
            sha256=source.sha256 or sha256(locate(workplace, source)),
            origin=text_origin(source),
            weight=source.weight,
            licence=source.licence,
        )
        for source in workplace.settings.calibration.texts
    )


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
