"""What a name means: a repository at one commit, or a file of this machine by its hash."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from bot.clients.files import gguf
from bot.disk.paths import inside
from bot.errors import SourceError
from bot.plan.models import Local
from bot.records.built import Built, together
from bot.records.coding import digest
from bot.records.releases import REPO_ID, Release
from bot.settings.making import SourceSettings
from bot.settings.places import absolute
from bot.store.paces import HASH, PastWork, keep_pace
from bot.workplace import names
from bot.workplace.asked import Pinned
from bot.workplace.workplace import Workplace

PATHS = ("/", "./", "../", "~")  # how what can only be a path begins


def pin(workplace: Workplace, name: str, revision: str = "main") -> Pinned:
    """The model that a name means: at the commit that `revision` is now, or by its hash.

    One request, or the reading of a file of this machine. Raises SourceError where it is not
    there.
    """
    if (path := as_file(name)) is None:
        release = workplace.hub.release(as_repo(name), revision)
        return Pinned(
            name=names.name_of(release.repo_id.split("/")[1]),
            commit=release.commit,
            release=release,
        )
    content = together(hash_model(workplace, Local(path=path)))
    return Pinned(name=name_of_file(workplace, path), commit=content.sha256)


def name_of_file(workplace: Workplace, path: Path) -> str:
    """The name of a model whose file is here: as settings give it, or the file's."""
    return workplace.settings.source.name or names.name_of(names.stem_of(path))


def hash_model(workplace: Workplace, local: Local) -> tuple[Built, ...]:
    """The file of a 16-bit GGUF of this machine, or its shards in their order."""
    path = local.path.absolute()
    paths = gguf.shards(path, gguf.read_gguf(path))
    inputs = {"path": inside(workplace.folders.root, path)}
    title = f"hashing {path.name}"
    began, key = monotonic(), digest(inputs)
    known = workplace.ledger.finished(key, "hash", inputs) is not None
    done = workplace.step(key, "hash", inputs, paths, title, lambda _report: None)
    if not known:
        size = max(sum(file.bytes for file in done.files), 1)
        work = PastWork(kind=HASH, units=size, seconds=monotonic() - began)
        keep_pace(workplace.ledger, key[:12], work)
    return done.files


def as_file(name: str) -> Path | None:
    """The path that a model's name is, where it is one.

    Raises SourceError for a path at which there is no file.
    """
    path = Path(absolute(name, Path()))
    if path.is_file():
        return path.absolute()
    if path.is_dir() and (name.startswith(PATHS) or not REPO_ID.fullmatch(name)):
        raise SourceError(
            f"{name} is a folder; name a GGUF file, which `bot convert {name} FILE` makes of a "
            "checkpoint"
        )
    if path.is_symlink():
        raise SourceError(f"{name} leads to {path.readlink()}, which is not there; mend the link")
    if name.startswith(PATHS) or name.lower().endswith(".gguf"):
        raise SourceError(f"{name} is not there; check the path")
    return None


def as_repo(name: str) -> str:
    """The id of a repository. Raises SourceError for what is none."""
    if not REPO_ID.fullmatch(name):
        raise SourceError(f"{name!r} is neither a file here nor an ORG/MODEL of a Hub; check it")
    return name


def origin_of(metadata: Mapping[str, Any], source: SourceSettings) -> Release:
    """Licence and base model of a file of the user's: by settings, else by its own metadata.

    Keys: general.license, general.license.name, general.license.link, general.source.repo_url
    (gguf-py's constants.py).
    """

    def own(key: str) -> str | None:
        value = metadata.get(f"general.{key}")
        return value.strip()[:400] or None if isinstance(value, str) else None

    base = source.base_model or _repo_of(own("source.repo_url") or "")
    has_licence = source.license is not None
    return Release(
        repo_id=base,
        commit="",
        license=source.license or own("license"),
        license_name=source.license_name if has_licence else own("license.name"),
        license_link=source.license_link if has_licence else own("license.link"),
    )


def _repo_of(url: str) -> str:
    """OWNER/NAME of a model's page on the Hub; empty for anything else."""
    path = url.removeprefix("https://huggingface.co/").rstrip("/")
    return path if path != url and REPO_ID.fullmatch(path) else ""
