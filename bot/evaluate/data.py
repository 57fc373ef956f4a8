"""Texts and tasks by path or by name, fetched and hash-checked; other publishers' files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bot.disk.hashes import sha256
from bot.errors import SettingsError, SourceError
from bot.foreign import require_file_itself
from bot.measures.tasks import Kind
from bot.records.measured import Text
from bot.records.releases import HALF, Release, RepoFile
from bot.settings.making import DataSettings
from bot.tensors import weights
from bot.workplace.fetch import FETCHERS, fetch
from bot.workplace.texts import data_file, entry_origin, text_of
from bot.workplace.workplace import Workplace

OTHER = re.compile(rf"({HALF}/{HALF}):([\w.-]{{1,100}})(?:@(\w+))?")


@dataclass(frozen=True, kw_only=True)
class Data:
    """A text, or a set of tasks, on this machine."""

    path: Path
    text: Text
    kind: Kind | None  # None: a running text
    label: str
    count: int | None  # tasks to ask; None: all
    name: str | None = None  # in `data` of the settings; None: it is named by its path
    conversations: bool = False  # a JSON object a line, for the model's own template to render


def find_text(workplace: Workplace) -> Data:
    """The text of the settings. Raises SettingsError when it is not what its name promises."""
    return _find(workplace, workplace.settings.evaluation.text, None)


def find_task_set(workplace: Workplace, path: Path) -> Data:
    """A set of tasks by its path or name. Raises as `find_text`."""
    return _find(workplace, path, "hellaswag")


def find_tasks(workplace: Workplace) -> tuple[Data, ...]:
    """The sets of tasks of the settings, in their order."""
    return tuple(find_task_set(workplace, path) for path in workplace.settings.evaluation.tasks)


def find_domains(workplace: Workplace, *, conversations: bool) -> dict[str, Data]:
    """What divergences are measured on one by one, by name; `conversations`: those too."""
    domains = workplace.settings.evaluation.domains
    found = {name: _find(workplace, domain.data, None) for name, domain in domains.items()}
    return {name: data for name, data in found.items() if conversations or not data.conversations}


def _find(workplace: Workplace, path: Path, kind: Kind | None) -> Data:
    entry = workplace.settings.data.get(str(path))
    if entry is not None:
        return _registered(workplace, str(path), entry, kind)
    if not path.is_file():
        names = ", ".join(workplace.settings.data) or "nothing"
        raise SettingsError(
            f"{path} is neither a file nor a name in `data` (which has {names}); check evaluation"
        )
    require_file_itself(path)
    label = "HellaSwag" if "hellaswag" in path.name.lower() else "Endings"
    count = workplace.settings.evaluation.task_count
    return Data(path=path, text=text_of(path), kind=kind, label=label, count=count)


def _registered(workplace: Workplace, name: str, entry: DataSettings, kind: Kind | None) -> Data:
    running = entry.kind in ("text", "conversations")
    if running != (kind is None):
        raise SettingsError(f"data.{name} is of kind {entry.kind}; name it where that is wanted")
    path = data_file(workplace, name, entry)
    task_kind = None if entry.kind == "text" or entry.kind == "conversations" else entry.kind
    return Data(
        path=path,
        text=Text(
            name=entry.member or entry.path.name, sha256=sha256(path), origin=entry_origin(entry)
        ),
        kind=task_kind,
        label=entry.label or name,
        name=name,
        count=entry.count,
        conversations=entry.kind == "conversations",
    )


@dataclass(frozen=True, kw_only=True)
class Other:
    """Another publisher's file, or shards, on this machine."""

    name: str  # as in tables: unsloth UD-Q4_K_XL
    path: Path  # the first shard
    publisher: str  # REPOSITORY@COMMIT
    bytes: int
    sha256: str | None  # of a file that is whole; None for shards


def is_other(name: str) -> bool:
    """Whether a name is ORG/REPOSITORY:PATTERN."""
    return bool(OTHER.fullmatch(name)) and not Path(name).exists()


def find_other(workplace: Workplace, name: str) -> tuple[Release, tuple[RepoFile, ...], str]:
    """The release and files that ORG/REPOSITORY:PATTERN, or …@REVISION, means; and the pattern.

    Raises SourceError unless exactly one model of the repository fits the pattern.
    """
    match = OTHER.fullmatch(name)
    if match is None:
        raise SettingsError(f"{name!r} is no ORG/REPOSITORY:PATTERN; check evaluation.others")
    repo_id, pattern, revision = match[1], match[2], match[3] or "main"
    release = workplace.hub.release(repo_id, revision)
    fitting = weights.named(release, pattern)
    if len(fitting) != 1:
        has = ", ".join(files[0].path for files in fitting or weights.gguf_models(release))[:300]
        raise SourceError(
            f"{repo_id} has {len(fitting)} models that fit {pattern!r}, not one ({has or 'none'}); "
            "name it better"
        )
    return release, fitting[0], pattern


def fetch_other(workplace: Workplace, name: str) -> Other:
    """Another publisher's model, all shards of it, each verified. Raises as `find_other`."""
    release, files, pattern = find_other(workplace, name)
    repo_id = release.repo_id
    folder = workplace.folders.sources(repo_id, release.commit)
    with workplace.narrator.work(f"fetching {name}", unit="B") as report:
        fetch(
            workplace.hub,
            release,
            files,
            folder,
            workers=FETCHERS,
            report=report,
            reserve=workplace.settings.reserve,
        )
    return Other(
        name=f"{repo_id.split('/')[0]} {pattern}",
        path=folder / files[0].path,
        publisher=f"{repo_id}@{release.commit}",
        bytes=weights.total(files),
        sha256=files[0].sha256 if len(files) == 1 else None,
    )
