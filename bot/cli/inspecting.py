"""What a model is, what would be made of it, and which machine holds it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bot.cli.context import MODEL, Context, emit, road_of, staged
from bot.cli.options import JSON, REVISION, RepositoryName
from bot.errors import SettingsError, SourceError

if TYPE_CHECKING:
    from bot.detect.inspection import Sight
    from bot.evaluate.costing.budgeting import MeasureTimes
    from bot.placement.machines import Machine
    from bot.plan.models import Plan, Sketch


@click.command()
@MODEL
@REVISION
@JSON
@click.pass_obj
def inspect(context: Context, model: str, revision: str, as_json: bool) -> None:
    """Say what a model is: layers, experts, parameters, attention; and whether it can be built.

    MODEL is ORG/NAME on the Hub, of which only headers are read, or a path: of a 16-bit GGUF
    file, of a checkpoint's folder, or of a config.json.

    \b
    bot inspect Qwen/Qwen3.6-35B-A3B
    bot inspect ./model-BF16.gguf --json
    """
    from bot.cli.text import model_text

    sight = sight_of(context, model, revision)
    if sight is not None:
        emit(model_text.sight_values(sight)) if as_json else click.echo(
            model_text.sight_text(sight)
        )
        return
    with road_of(context, model, revision, ()) as road:
        model_info = road.value("model")
    counted = model_info.architecture
    if as_json:
        emit(model_text.architecture_values(counted))
    else:
        click.echo(
            model_text.architecture_text(
                counted, f"{model_info.source.path}, {model_info.source.sha256[:12]}"
            )
        )


def sight_of(context: Context, model: str, revision: str) -> Sight | None:
    """What a repository, a checkpoint or a config is; None for a GGUF file, which tells itself."""
    from bot.detect import inspection
    from bot.plan.profiles import load_profiles
    from bot.workplace.pinning import as_file, as_repo

    path = Path(model).expanduser()
    if path.is_dir() or path.suffix == ".json":
        return inspection.look_at_folder(
            path,
            inspection.dropped(context.settings),
            load_profiles(context.settings.profiles),
            context.settings.quantize.least_saving,
        )
    if as_file(model):
        return None
    machine = inspection.machine(context.workplace)
    return inspection.look_at(context.workplace, as_repo(model), revision, machine)


def sketched(context: Context, model: str, revision: str, tiers: tuple[str, ...]) -> Plan[Sketch]:
    """The plan of a model, made without its weights where they are not here."""
    from bot.workplace.planning import make_plan

    sight = sight_of(context, model, revision)
    if sight is None:
        with road_of(context, model, revision, tiers) as road:
            return make_plan(context.workplace, road.value("model"), tiers)
    if sight.sketch is None:
        raise SourceError(
            f"{model} has no plan ({sight.decision.outcome}): {sight.decision.reason}; "
            "choose another model"
        )
    return make_plan(context.workplace, sight.sketch, tiers)


@click.command()
@click.option("--recipe", metavar="TIER", help="Print one tier's recipe, a line for each tensor.")
@click.option(
    "--time",
    "timed",
    is_flag=True,
    help="Say what all of it takes: time, disk, memory; after short trials where it is not known.",
)
@click.option(
    "--runner",
    metavar="NAME",
    help="With --time: on a machine that `runners` of bot.yaml describes; no model is needed.",
)
@click.option(
    "--machines",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="With --runner: on so many such machines, as jobs of a workflow.",
)
@staged
def plan(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    as_json: bool,
    recipe: str | None,
    timed: bool,
    runner: str | None,
    machines: int,
) -> None:
    """Show each tier's recipe: sizes, bits per weight, types by band, disk needed.

    Nothing is downloaded: for ORG/NAME on the Hub, headers are enough. With --time the 16-bit
    model has to be here, unless --runner names another machine.

    \b
    bot plan Qwen/Qwen3.6-35B-A3B
    bot plan ./model-BF16.gguf --time
    bot plan Qwen/Qwen3.6-35B-A3B --time --runner box
    bot plan ./model-BF16.gguf --recipe I-Mini > i-mini.txt
    """
    from bot.cli.text import model_text

    if runner is not None and not timed:
        raise SettingsError("--runner says where --time reckons for; give both")
    if machines > 1 and runner is None:
        raise SettingsError("--machines says how many of a --runner there are; give both")
    if timed and recipe:
        raise SettingsError("--recipe shows a tier's tensors, --time what all takes; give one")
    release_plan = sketched(context, model, revision, (recipe,) if recipe else tiers)
    if timed:
        _timed(context, release_plan, runner, machines, as_json=as_json)
    elif as_json:
        emit(model_text.plan_values(release_plan))
    elif recipe:
        click.echo(model_text.recipe_lines(release_plan.recipes[0]))
    else:
        click.echo(plan_text(context, release_plan))


def _timed(
    context: Context,
    release_plan: Plan[Sketch],
    runner: str | None,
    machines: int,
    *,
    as_json: bool,
) -> None:
    """A plan and what all of it takes, here or on a runner; measures one by one where they are."""
    from bot.cli.text import forecast_text, model_text, times_text
    from bot.release.forecast.foreseeing import forecast_by, forecast_on

    values: dict[str, Any] = {"recipes": model_text.plan_values(release_plan)}
    words = [plan_text(context, release_plan), ""]
    if runner is not None:
        forecast = forecast_on(context.workplace, release_plan, runner, machines=machines)
        price = context.settings.runners[runner].price_hour
    else:
        times, price = times_of(context, release_plan), None
        forecast = forecast_by(context.workplace, release_plan, times.costs)
        values["measuring"] = times_text.times_values(times)
        words += [times_text.times_text(times), ""]
    values["release"] = forecast_text.forecast_values(forecast, price)
    words.append(forecast_text.forecast_text(forecast, price))
    emit(values) if as_json else click.echo("\n".join(words))


def times_of(context: Context, release_plan: Plan[Sketch]) -> MeasureTimes:
    """What measuring a plan's files takes, and what a budget makes of it; see `plan_times`."""
    from bot.evaluate.costing.budgeting import plan_times
    from bot.workplace.demo_texts import EVERY_USE
    from bot.workplace.texts import pin_data

    pin_data(context.workplace, EVERY_USE)
    return plan_times(context.workplace, release_plan)


def plan_text(context: Context, release_plan: Plan[Sketch]) -> str:
    from bot.cli.text import model_text
    from bot.release.room import reference_guess

    vocabulary = release_plan.model.architecture.vocabulary
    return model_text.plan_table(release_plan, reference_guess(context.settings, vocabulary))


CACHES = ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL")


@click.command()
@click.argument("model", type=RepositoryName(), metavar="FILE | MODEL")
@click.option(
    "--vram",
    multiple=True,
    type=click.FloatRange(min=0, min_open=True),
    metavar="GIB",
    help="Memory of a graphics card; once for each card.",
)
@click.option(
    "--ram", type=click.FloatRange(min=0, min_open=True), metavar="GIB", help="Main memory."
)
@click.option(
    "--context",
    "tokens",
    type=click.IntRange(min=32),
    metavar="TOKENS",
    help="Context [default: 32,768 and what fits beyond; less where that is too much]",
)
@click.option(
    "--cache",
    "cache_type",
    type=click.Choice(CACHES, case_sensitive=False),
    default="F16",
    show_default=True,
    help="Type of the KV cache.",
)
@click.option(
    "--spare",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="GIB",
    help="What each card keeps free: its driver, a screen.",
)
@click.option(
    "--spare-ram",
    type=click.FloatRange(min=0),
    default=4.0,
    show_default=True,
    metavar="GIB",
    help="What main memory keeps free: the system, other programs.",
)
@REVISION
@JSON
@click.pass_obj
def fits(
    context: Context,
    model: str,
    vram: tuple[float, ...],
    ram: float | None,
    tokens: int | None,
    cache_type: str,
    spare: float,
    spare_ram: float,
    revision: str,
    as_json: bool,
) -> None:
    """Say which file a machine holds best, and llama-server's arguments for it.

    For any GGUF: FILE is a path, of a folder too, MODEL is ORG/NAME or ORG/NAME:PATTERN on the
    Hub, of which only headers are read. llama.cpp itself tells what would lie where, to the byte,
    on cards that need not be here; experts that find no room stay in main memory, as few bytes of
    them as can be. Without --vram and --ram: a table of usual machines.

    \b
    bot fits mudler/Qwen3.6-35B-A3B-APEX-GGUF --vram 24 --ram 64
    bot fits ./model-I-Quality.gguf --vram 24 --vram 24 --ram 128 --context 131072 --cache q8_0
    bot fits unsloth/Qwen3.6-35B-A3B-GGUF:UD-Q4_K_XL
    """
    from bot.cli.text import fits_text
    from bot.placement.asking import fitter_of, models_of
    from bot.placement.fitting import Wish
    from bot.placement.machines import GIB, Machine, usual_machines

    if (vram and ram is None) or (ram is not None and ram <= spare_ram):
        raise click.UsageError("--ram has to be said, and to be more than --spare-ram")
    wish = Wish(context=tokens, cache_type=cache_type.upper())

    def machine_of(cards: tuple[float, ...], memory: float) -> Machine:
        return Machine(
            cards=tuple(int(card * GIB) for card in cards),
            memory=int(memory * GIB),
            spare=int(spare * GIB),
            spare_memory=int(spare_ram * GIB),
        )

    machines = [machine_of(vram, ram)] if ram is not None else usual_machines()
    with (
        models_of(context.workplace, model, revision) as (files, projector),
        fitter_of(context.settings, files, wish, projector=projector) as fitter,
        context.narrator.work("placing") as report,
    ):
        placed = []
        for number, machine in enumerate(machines):
            placed.append(fitter.place(machine))
            report(number + 1, len(machines))
    if as_json:
        emit(placed[0] if ram is not None else placed)
    elif ram is not None:
        click.echo(fits_text.placement_text(placed[0], machines[0]))
    else:
        click.echo(fits_text.machines_table(placed))


VERBS = (inspect, plan, fits)
