"""What the options before a verb said, and what verbs on a model share."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property, update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bot import rights
from bot.cli.options import JSON, REVISION, TIERS, RepositoryName
from bot.errors import SettingsError

if TYPE_CHECKING:
    from bot.disk.folders import JobFolder
    from bot.progress import Narrator
    from bot.release.road import Road
    from bot.settings.settings import Settings
    from bot.workplace.workplace import Workplace


class Context:
    """What the options before the verb said; settings are read when first needed."""

    def __init__(self, config: Path | None, quiet: bool) -> None:
        self.config, self.quiet, self.log = config, quiet, "text"
        self.overrides: dict[str, Any] = {}  # what a verb's own options say, nested as bot.yaml

    def log_as(self, kind: str) -> None:
        """Narrate for people, or in JSON."""
        self.log = kind
        if kind == "json":
            from bot.progress import log_as_json

            log_as_json()

    def override(self, section: str, **values: Any) -> None:
        """Let options of the command line win over a section of the settings."""
        self.overrides[section] = {**self.overrides.get(section, {}), **values}

    @cached_property
    def narrator(self) -> Narrator:
        """Progress and notes on stderr, as text or as events in JSON."""
        from bot.progress import Narrator

        return Narrator(quiet=self.quiet, events=self.log == "json")

    @cached_property
    def settings(self) -> Settings:
        """The settings file and the environment."""
        from bot.settings.settings import load

        settings = load(self.config, **self.overrides)
        rights.share(settings.workdir_access)
        return settings

    def choose_library(self) -> None:
        """Have llama.cpp's libraries be those of `llama.library`, before any is loaded.

        A folder that the binding's own variable names is tried, too. Raises SettingsError for a
        build that does not fit. Settings that cannot be read are told of where a verb reads them.
        """
        from bot.clients import rpc_servers
        from bot.disk.own_build import VARIABLE, build_id, own_folder
        from bot.settings.settings import load

        try:
            settings = load(self.config, **self.overrides)
        except SettingsError:
            return
        rpc_servers.name(settings.llama.rpc, anywhere=settings.llama.rpc_anywhere)
        folder = settings.llama.library or own_folder()
        if folder is None:
            return
        from bot.apart.library_trial import require_fit

        kept = settings.workdir / "libraries"
        require_fit(folder, build_id(folder), kept, settings.kept_apart)
        os.environ[VARIABLE] = str(folder)

    @cached_property
    def workplace(self) -> Workplace:
        """Settings, ledger, Hub and narrator, with the token of the environment."""
        from bot.settings.tokens import hub_token, token_origin
        from bot.workplace.workplace import Workplace

        token = hub_token()
        return Workplace(self.settings, self.narrator, token, variable=token_origin())


MODEL = click.argument("model", type=RepositoryName())


TO = click.option(
    "--to", type=RepositoryName(), metavar="OWNER/NAME", help="Repository to publish to."
)


def emit(record: Any) -> None:
    """A record, or a plain value, as JSON."""
    from bot.records.coding import to_json

    click.echo(to_json(record), nl=False)


def stands_above(section: str, key: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """A click callback: the option's value overrides `section.key` of the settings."""

    def take(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        if value is not None:
            ctx.obj.override(section, **{key: value})

    return take


OF_A_FILE = tuple(
    click.option(
        f"--{key.replace('_', '-')}",
        callback=stands_above("source", key),
        expose_value=False,
        metavar=metavar,
        help=help_text,
    )
    for key, metavar, help_text in (
        ("base_model", "OWNER/NAME", "Of a file: the model on the Hub that it was made of."),
        ("license", "LICENCE", "Of a file: its licence, as the Hub names it."),
        ("license_name", "NAME", "Of a file: what its licence is called, where that is `other`."),
        ("license_link", "ADDRESS", "Of a file: where its licence stands."),
        ("name", "NAME", "Of a file: what the model is called [default: as the file is]"),
    )
)


def _baselines(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value:
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        ctx.obj.override("quantize", baselines=names)


BASELINES = click.option(
    "--baselines",
    callback=_baselines,
    expose_value=False,
    metavar="TYPE,TYPE",
    help="llama.cpp's own types to compare with, such as Q8_0,Q4_K_M; not published.",
)


def require_own(context: Context, model: str) -> None:
    """Raise UsageError for options that describe a file where MODEL is a repository."""
    from bot.workplace.pinning import as_file

    if as_file(model) is None and context.overrides.get("source"):
        raise click.UsageError("--name, --license and --base-model are for a file of this machine")


def road_of(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    *,
    to: str | None = None,
    matrix: Path | None = None,
) -> Road:
    """The stages of a model's release, to be taken as far as a verb goes."""
    from bot.release.road import Request, Road

    require_own(context, model)
    return Road(
        Request(
            workplace=context.workplace,
            model=model,
            revision=revision,
            tiers=tiers,
            to=to,
            matrix=matrix,
        )
    )


def paths_of(context: Context, name: str, revision: str, tiers: tuple[str, ...]) -> JobFolder:
    """The folder of a model's job; nothing of the model is fetched for it."""
    from bot.workplace import asked
    from bot.workplace.pinning import pin

    workplace = context.workplace
    pinned = pin(workplace, name, revision)
    return asked.order_of(workplace.settings, pinned, tiers).paths(workplace.folders)


def staged(verb: Callable[..., None]) -> Callable[..., None]:
    """A decorator: MODEL and the options of every verb that works on a model's job."""
    wrapped = click.pass_obj(verb)
    for option in (JSON, *OF_A_FILE, BASELINES, TIERS, REVISION, MODEL):
        wrapped = option(wrapped)
    return update_wrapper(wrapped, verb)
