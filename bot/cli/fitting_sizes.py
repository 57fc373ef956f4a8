"""A file of a size: which types its tensors get, what that costs to find out, and what it gave."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bot.cli.context import MODEL, Context, emit, road_of, stands_above
from bot.cli.options import JSON, REVISION, listed

Decorator = Callable[[Callable[..., None]], Callable[..., None]]
UNITS = {"gb": 1e9, "gib": float(1 << 30), "mb": 1e6, "mib": float(1 << 20), "": 1e9}


class FileSize(click.ParamType[float]):
    """A size of a file, `15.5GB` or `14.4GiB`, in GB; a bare number is GB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """GB, of 1e9 bytes."""
        match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,9})?)\s*([A-Za-z]{0,3})", str(value))
        unit = UNITS.get(match[2].lower()) if match else None
        if match is None or unit is None:
            self.fail(f"{value!r} is no size such as 15.5GB or 14.4GiB", param, ctx)
        return float(match[1]) * unit / 1e9


def _fit_option(name: str, key: str, help_text: str, **more: Any) -> Decorator:
    return click.option(
        name, callback=stands_above("fit", key), expose_value=False, help=help_text, **more
    )


def _types(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value:
        ctx.obj.override("fit", types=listed(ctx, param, value))


@click.command()
@MODEL
@click.option("--size", "sizes", multiple=True, type=FileSize(), help="Of the file, at most.")
@click.option(
    "--bits", multiple=True, type=click.FloatRange(1, 16), help="A weight, of the whole file."
)
@click.option("--like", multiple=True, metavar="TIER", help="The size of another tier.")
@click.option(
    "--vram",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GIB",
    help="What a graphics card holds, --context too.",
)
@click.option(
    "--context",
    "tokens",
    type=click.IntRange(min=32),
    default=32768,
    show_default=True,
    metavar="TOKENS",
    help="Context that shall fit beside, with --vram.",
)
@click.option(
    "--types",
    callback=_types,
    expose_value=False,
    metavar="TYPE,TYPE",
    help="Types allowed [default: all]; K stands for the K-quants.",
)
@_fit_option("--chunks", "chunks", "Chunks of text for each probe.", type=click.IntRange(2, 1000))
@_fit_option("--probes", "probes", "Probes at most; groups are made for it.", type=int)
@_fit_option("--rounds", "rounds", "Corrections at most.", type=click.IntRange(0, 8))
@click.option("--dry-run", is_flag=True, help="Say what it will cost, and stop.")
@REVISION
@JSON
@click.pass_obj
def fit(
    context: Context,
    model: str,
    sizes: tuple[float, ...],
    bits: tuple[float, ...],
    like: tuple[str, ...],
    vram: float | None,
    tokens: int,
    dry_run: bool,
    revision: str,
    as_json: bool,
) -> None:
    """Make the best file of a size: types by how much each tensor matters, as it is measured.

    Each tensor of the 16-bit model is rounded where it lies in memory, a few chunks of the
    calibration texts are read, and it is put back. A solver then finds the types that cost least
    and fit; what they give is measured, and corrects it. Sizes can be named several at once, and
    another size later costs no probe. `--profiles I-Quality,Fit-16GB` does the same in a release.

    \b
    bot fit ./model-BF16.gguf --size 15.5GB --dry-run
    bot fit ./model-BF16.gguf --size 15.5GB --size 12GB --like I-Mini
    bot fit ./model-BF16.gguf --bits 3.2 --types K
    bot fit Qwen/Qwen3.6-35B-A3B --vram 16 --context 32768
    """
    from bot.cli.text import fitted_text

    tiers = (*(f"Fit-{gb:.9g}GB" for gb in sizes), *(f"Fit-{b:.9g}bits" for b in bits))
    tiers += tuple(f"Fit-{name}" for name in like)
    if vram is not None:
        tiers += (f"Fit-{_held_by(context, model, revision, vram, tokens):.9g}GB",)
    if not tiers:
        raise click.UsageError("name a size: --size 15.5GB, --bits, --like or --vram")
    with road_of(context, model, revision, tiers) as road:
        if dry_run:
            from bot.quantize.fitting_cost import costs_ahead

            cost = costs_ahead(road.value("job"))
            emit(cost) if as_json else click.echo(fitted_text.cost_text(cost))
            return
        made = road.value("tiers")
    if as_json:
        emit(made)
    else:
        click.echo(fitted_text.fitted_table(made))


def _held_by(context: Context, model: str, revision: str, vram: float, tokens: int) -> float:
    """GB of the largest file that a card holds, with its context."""
    from bot.placement.machines import GIB, Machine
    from bot.placement.one_card import largest_file
    from bot.plan.fitted import Freedom, draft
    from bot.plan.profiles import LAST, FitSize, FittedProfile

    with road_of(context, model, revision, ()) as road:
        known = road.value("model")
    free = Freedom.of(context.settings.fit)

    def types(size: int) -> dict[str, str]:
        fit = FitSize(gb=size / 1e9)
        profile = FittedProfile(tier="Fit", order=LAST, about="What a card holds", fit=fit)
        facts = known.architecture, known.tensors
        return dict(draft(profile, free, *facts, known.header_bytes))

    machine = Machine(cards=(int(vram * GIB),), memory=0)
    source = Path(known.source.path)
    with context.narrator.work(f"asking what {vram:g} GiB hold"):
        return largest_file(context.settings, source, types, machine, tokens) / 1e9


VERBS = (fit,)
