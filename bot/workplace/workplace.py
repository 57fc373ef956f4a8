"""From a name to a plan: the pinned source, what it is, and what shall be made of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr

from bot.apart.worker import away
from bot.clients.files import gguf
from bot.clients.hub.connection import Gate
from bot.clients.hub.hub import Hub
from bot.clients.hub.repo_names import require_repo_id
from bot.clients.hub.trusted import TrustedPublisher, require_offered
from bot.clock import Clock
from bot.disk.folders import Folders
from bot.disk.paths import inside
from bot.errors import SettingsError, SourceError
from bot.foreign import read_of
from bot.plan.models import HasName, Local, Model, Plan, Sketch
from bot.plan.plain import Baseline, baselines, plain_recipe
from bot.plan.profiles import load_profiles
from bot.plan.recipe import file_type, make_recipes
from bot.progress import Narrator, Report
from bot.records.built import Built, together
from bot.records.coding import digest
from bot.records.recipes import Recipe
from bot.records.releases import Release
from bot.settings.places import whole
from bot.settings.settings import Settings, SourceSettings
from bot.store.ledger import Finished, Ledger
from bot.workplace import names
from bot.workplace.asked import Pinned
from bot.workplace.children import room_for
from bot.workplace.loaded import types_told

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
PATHS = ("/", "./", "../", "~")  # how what can only be a path begins


S = TypeVar("S", bound=Sketch)


class Workplace:
    """Settings, a ledger, a Hub and somebody who narrates: what every stage is given."""

    def __init__(
        self,
        settings: Settings,
        narrator: Narrator,
        token: SecretStr | None,
        *,
        ledger: Ledger | None = None,
        variable: str = "HF_TOKEN",
    ) -> None:
        self.settings = settings
        self._ledger = ledger
        self.narrator = narrator
        self.folders = Folders(settings.workdir)
        self._token, self._variable = token, variable
        self._publishers: dict[str, Hub] = {}

    def beside(self, settings: Settings, ledger: Ledger) -> Workplace:
        """The same Hub and narrator, with other settings and a ledger of its own."""
        name = self._variable
        return Workplace(settings, self.narrator, self._token, ledger=ledger, variable=name)

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger given, or the working folder's, made when first needed."""
        return self._ledger or Ledger(self.folders.ledger)

    @cached_property
    def hub(self) -> Hub:
        """The Hub of the settings, seen with the token."""
        return Hub(self.settings.hub.endpoint, self._token, variable=self._variable)

    def publisher(self, repo_id: str) -> Hub:
        """The Hub as it is written to: with the token, or with those lent for one repository.

        The same object for the same repository: it knows what was sent. Raises AccessError where
        settings want lent tokens and nobody lends any.
        """
        if not self.settings.publish.trusted_publisher:
            return self.hub
        if repo_id not in self._publishers:
            endpoint = self.settings.hub.endpoint
            self._publishers[repo_id] = Hub(endpoint, TrustedPublisher(endpoint, repo_id))
        return self._publishers[repo_id]

    def require_publisher(self) -> None:
        """Raise AccessError, before hours of work, where nothing could be published after them."""
        if self.settings.publish.trusted_publisher:
            require_offered()
        else:
            self.hub.whoami()

    def gated_hub(self, gate: Gate, clock: Clock) -> Hub:
        """The same Hub with somebody who lets its requests through one by one."""
        endpoint, name = self.settings.hub.endpoint, self._variable
        return Hub(endpoint, self._token, gate=gate, clock=clock, variable=name)

    def step(
        self,
        job: str,
        step: str,
        inputs: Mapping[str, Any],
        paths: Sequence[Path],
        title: str,
        work: Callable[[Report], Any],
        shape: Any = None,
    ) -> Finished:
        """Do a step unless the ledger knows it as done; record its JSON value and its files.

        A row with another number of files, or a value that is no `shape`, is damaged: done again.
        """
        done = self.ledger.finished(job, step, inputs, shape=shape)
        if done is not None and len(done.files) == len(paths):
            return done
        with self.narrator.work(title) as report:
            value = work(report)
            return self.ledger.record(job, step, inputs, paths, value)

    def pinned(self, name: str, revision: str = "main") -> Pinned:
        """The model that a name means: at the commit that `revision` is now, or by its hash.

        One request, or the reading of a file of this machine. Raises SourceError where it is not
        there.
        """
        if (path := as_file(name)) is None:
            release = self.hub.release(as_repo(name), revision)
            return Pinned(
                name=names.name_of(release.repo_id.split("/")[1]),
                commit=release.commit,
                release=release,
            )
        content = together(self.hashed(Local(path=path)))
        return Pinned(name=self.name_of_file(path), commit=content.sha256)

    def name_of_file(self, path: Path) -> str:
        """The name of a model whose file is here: as settings give it, or the file's."""
        return self.settings.source.name or names.name_of(names.stem_of(path))

    def hashed(self, local: Local) -> tuple[Built, ...]:
        """The file of a 16-bit GGUF of this machine, or its shards in their order."""
        path = local.path.absolute()
        paths = gguf.shards(path, gguf.read(path))
        inputs = {"path": inside(self.folders.root, path)}
        title = f"hashing {path.name}"
        done = self.step(digest(inputs), "hash", inputs, paths, title, lambda _report: None)
        return done.files

    def plan(self, model: S, tiers: Sequence[str] = ()) -> Plan[S]:
        """Recipes of the wanted tiers (all when none is named) and of the settings' baselines.

        llama.cpp itself is asked what a baseline holds: there is none while the model is not here.
        """
        profiles = load_profiles(self.settings.profiles, tiers or None)
        with read_of(model.name):
            recipes = make_recipes(profiles, model.architecture, model.tensors)
        plain = self._baselines(model) if isinstance(model, Model) else ()
        return Plan(model=model, profiles=profiles, recipes=(*recipes, *plain))

    def _baselines(self, model: Model) -> tuple[Recipe, ...]:
        wanted = baselines(self.settings.quantize.baselines)
        return tuple(self._plain(model, baseline) for baseline in wanted)

    def _plain(self, model: Model, baseline: Baseline) -> Recipe:
        source = Path(model.source.path)
        asked = away(types_told, room_for(self.settings, source))
        types = asked(source, file_type=file_type(baseline.base), weighed=baseline.imatrix)
        return plain_recipe(baseline, types, model.architecture, model.tensors)

    def target(self, model: HasName, to: str | None) -> str:
        """The repository to publish to: as given, or by the naming template.

        Raises SourceError for a name that no Hub takes.
        """
        if to:
            require_repo_id(to, "check --to")
            return to
        return names.target(self.settings.publish, model.name, self.owner())

    @property
    def has_token(self) -> bool:
        """Whether there is a token of the user's."""
        return self._token is not None

    def can_name(self, to: str | None) -> bool:
        """Whether the repository to publish to can be told without a token, or there is one."""
        return bool(to or self.settings.hub.namespace) or self.has_token

    def owner(self) -> str:
        """Who owns what is published: by the settings, or the token's user."""
        owner = self.settings.hub.namespace
        if owner is None and self.settings.publish.trusted_publisher:
            raise SettingsError("hub.namespace is not set; a trusted publisher is no user: name it")
        return owner or self.hub.whoami()


def as_file(name: str) -> Path | None:
    """The path that a model's name is, where it is one.

    Raises SourceError for a path at which there is no file.
    """
    path = Path(whole(name, Path()))
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


def origin_of(metadata: Mapping[str, Any], told: SourceSettings) -> Release:
    """What a file of the user's is under and made of: by settings, else by its own metadata.

    Keys: general.license, general.license.name, general.license.link, general.source.repo_url
    (gguf-py's constants.py).
    """

    def own(key: str) -> str | None:
        value = metadata.get(f"general.{key}")
        return value.strip()[:400] or None if isinstance(value, str) else None

    base = told.base_model or _repo_of(own("source.repo_url") or "")
    given = told.license is not None
    return Release(
        repo_id=base,
        commit="",
        license=told.license or own("license"),
        license_name=told.license_name if given else own("license.name"),
        license_link=told.license_link if given else own("license.link"),
    )


def _repo_of(url: str) -> str:
    """OWNER/NAME of a model's page on the Hub; empty for anything else."""
    path = url.removeprefix("https://huggingface.co/").rstrip("/")
    return path if path != url and REPO_ID.fullmatch(path) else ""
