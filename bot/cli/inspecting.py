"""What a model is, and what would be made of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bot.cli.context import MODEL, Context, emit, road_of, staged
from bot.cli.options import JSON, REVISION
from bot.errors import SourceError

if TYPE_CHECKING:
    from bot.detect.inspection import Sight
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
    from bot.cli.text import text_tables

    sight = sight_of(context, model, revision)
    if sight is not None:
        emit(text_tables.sight_values(sight)) if as_json else click.echo(
            text_tables.sight_text(sight)
        )
        return
    with road_of(context, model, revision, ()) as road:
        model_info = road.value("model")
    counted = model_info.architecture
    if as_json:
        emit(text_tables.architecture_values(counted))
    else:
        click.echo(
            text_tables.architecture_text(
                counted, f"{model_info.source.path}, {model_info.source.sha256[:12]}"
            )
        )


def sight_of(context: Context, model: str, revision: str) -> Sight | None:
    """What a repository, a checkpoint or a config is; None for a GGUF file, which tells itself."""
    from bot.detect import inspection
    from bot.workplace.pinning import as_file, as_repo

    path = Path(model).expanduser()
    if path.is_dir() or path.suffix == ".json":
        return inspection.look_at_folder(path, inspection.dropped(context.settings))
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
@staged
def plan(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    as_json: bool,
    recipe: str | None,
) -> None:
    """Show each tier's recipe: sizes, bits per weight, types by band, disk needed.

    Nothing is downloaded: for ORG/NAME on the Hub, headers are enough.

    \b
    bot plan Qwen/Qwen3.6-35B-A3B
    bot plan ./model-BF16.gguf
    bot plan ./model-BF16.gguf --recipe I-Mini > i-mini.txt
    """
    release_plan = sketched(context, model, revision, (recipe,) if recipe else tiers)
    from bot.cli.text import text_tables

    if as_json:
        emit(text_tables.plan_values(release_plan))
    elif recipe:
        click.echo(text_tables.recipe_lines(release_plan.recipes[0]))
    else:
        click.echo(plan_text(context, release_plan))


def plan_text(context: Context, release_plan: Plan[Sketch]) -> str:
    from bot.cli.text import text_tables
    from bot.release.room import reference_guess

    vocabulary = release_plan.model.architecture.vocabulary
    return text_tables.plan_table(release_plan, reference_guess(context.settings, vocabulary))


VERBS = (inspect, plan)
