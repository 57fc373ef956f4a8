"""What verbs of all modules share: paths of the command line, options, and how verbs are listed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import update_wrapper
from pathlib import Path
from typing import Any, ClassVar

import click
from click.core import ParameterSource

from bot.clients.hub import addresses
from bot.legible import legible_json

_PASTED = "bot.revision"  # in click's notes of a call: what a pasted address named

JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


def tell_result(text: str, *, as_json: bool, **values: Any) -> None:
    """A result on stdout: `text` for people, or the values, which are plain, in a line of JSON."""
    click.echo(legible_json(values) if as_json else text)


class Place(click.Path):
    """A path of the command line, absolute from here on; `~` is home, and a link keeps its name."""

    def __init__(self, *, exists: bool = False, file: bool = True, folder: bool = True) -> None:
        super().__init__(exists=exists, file_okay=file, dir_okay=folder, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, expanded and absolute, checked as click does."""
        try:
            path = Path(value).expanduser().absolute()
        except RuntimeError:
            self.fail(f"{value} begins with nobody's home folder", param, ctx)
        return super().convert(path, param, ctx)


class RepositoryName(click.ParamType[str]):
    """A repository's name, or an address of it that was pasted; anything else stays as it is.

    A revision in the address is that of the verb's `--revision`, where none was given.
    """

    name = "repository"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """ORG/MODEL. Settings, which know the Hub's own address, are read for addresses only."""
        del param
        text = str(value)
        if ctx is None or ctx.obj is None or not _may_be_address(text):
            return text
        address = addresses.parse_address(text, ctx.obj.settings.hub.endpoint)
        if address is None:
            return text
        if address.revision:
            ctx.meta[_PASTED] = address.revision
        return address.repo


def _may_be_address(text: str) -> bool:
    """Whether something looks as if a host came first; what lies here is a path."""
    host = text.strip().strip("<>").partition("/")[0]
    return (":" in text or "." in host.strip(".")) and "/" in text and not Path(text).exists()


def pasted_revision(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """A revision as given, else that of a pasted address."""
    explicit = ctx.get_parameter_source(param.name or "") is not ParameterSource.DEFAULT
    return value if explicit else ctx.meta.get(_PASTED, value)


REVISION = click.option(
    "--revision",
    default="main",
    show_default=True,
    callback=pasted_revision,
    help="Branch, tag or commit of the model.",
)


def listed(ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """A click callback: words between commas, without empty ones."""
    del ctx
    return tuple(name.strip() for name in (value or "").split(",") if name.strip())


TIERS = click.option(
    "--tiers",
    "--profiles",
    "tiers",
    callback=listed,
    metavar="TIER,TIER",
    help="Tiers to make, such as I-Quality,I-Mini [default: all]",
)


class Verbs(click.Group):
    """A group that lists its verbs in the order of the road, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names as they were added."""
        del ctx
        return list(self.commands)


class Sections(Verbs):
    """A group whose verbs are listed below headings."""

    sections: ClassVar[Mapping[str, Sequence[str]]] = {}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A list of verbs for each heading; one without a heading stands last."""
        listed_names = {name for names in self.sections.values() for name in names}
        other_names = [name for name in self.list_commands(ctx) if name not in listed_names]
        for title, names in (*self.sections.items(), ("Others", other_names)):
            room = formatter.width - 6 - max(map(len, names), default=0)  # as click reckons
            rows = [(name, self._short(ctx, name, room)) for name in names if name in self.commands]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def _short(self, ctx: click.Context, name: str, room: int) -> str:
        command = self.get_command(ctx, name)
        return command.get_short_help_str(room) if command else ""


def leaves(group: click.Group) -> Iterator[click.Command]:
    """Every verb of a group and of the groups in it."""
    for command in group.commands.values():
        if isinstance(command, click.Group):
            yield from leaves(command)
        else:
            yield command


def anywhere(group: click.Group, options: Sequence[tuple[str, Callable[[Any, Any], None]]]) -> None:
    """Let options of a group stand after its verbs, too, where no verb has one of that name.

    Each is named as the group's parameter, with what takes its value up in the context's object.
    """
    own = {param.name: param for param in group.params}
    for command in leaves(group):
        taken_words = {word for param in command.params for word in param.opts}
        for name, take in options:
            param = own[name]
            if isinstance(param, click.Option) and not taken_words & set(param.opts):
                command.params.append(_after(param, take))


def before_each(group: click.Group, prepare: Callable[[Any], None]) -> None:
    """Have `prepare` called with the context's object before the work of every verb."""
    for command in leaves(group):
        command.callback = _prepared(command.callback, prepare)


def _prepared(work: Callable[..., Any] | None, prepare: Callable[[Any], None]) -> Any:
    def prepared(*args: Any, **kwargs: Any) -> Any:
        prepare(click.get_current_context().obj)
        return work(*args, **kwargs) if work else None

    return prepared if work is None else update_wrapper(prepared, work)


def _after(param: click.Option, take: Callable[[Any, Any], None]) -> click.Option:
    def heard(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        if value:
            take(ctx.obj, value)

    return click.Option(
        param.opts,
        type=None if param.is_flag else param.type,
        is_flag=param.is_flag,
        hidden=True,
        is_eager=True,  # settings are read with them
        expose_value=False,
        callback=heard,
    )
