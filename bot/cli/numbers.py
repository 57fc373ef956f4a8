"""Numbers: measured here, compared, or read from others."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bot.cli.context import Context, emit, road_of
from bot.cli.inspecting import sketched, times_of
from bot.cli.options import JSON, REVISION, TIERS, Place, RepositoryName, listed

if TYPE_CHECKING:
    from bot.evaluate.costing.budgeting import MeasureTimes

AGAINST = click.option(
    "--against",
    metavar="REF",
    help="The reference: a GGUF file, or llama.cpp's file of its log-probabilities.",
)


MEASURES = click.option(
    "--measures",
    callback=listed,
    metavar="NAME,NAME",
    help="ppl, kld, noise, speed, behaviour, tasks, benchmarks, or sets of tasks by name "
    "[default: as in bot.yaml]",
)


BENCHMARKS = click.option(
    "--benchmarks",
    callback=listed,
    metavar="NAME,NAME",
    help="Tasks of lm-evaluation-harness; without --measures these alone.",
)


def texts(verb: Callable[..., None]) -> Callable[..., None]:
    """Options that say on what is measured; they stand above bot.yaml."""

    def run(ctx: click.Context, **options: Any) -> None:
        measured_on = {name: options.pop(name) for name in ("text", "chunks", "context")}
        overrides = {name: str(value) for name, value in measured_on.items() if value is not None}
        if overrides:
            ctx.obj.overrides["evaluation"] = overrides
        ctx.invoke(verb, ctx.obj, **options)

    update_wrapper(run, verb)
    wrapped: Callable[..., None] = click.pass_context(run)
    for option in (
        click.option("--context", type=click.IntRange(min=32), help="Tokens of a chunk."),
        click.option("--chunks", type=click.IntRange(min=1), help="At most so many chunks."),
        click.option("--text", help="A file, or a name in `data` of bot.yaml."),
    ):
        wrapped = option(wrapped)
    return update_wrapper(wrapped, verb)


@click.command()
@click.argument("files", nargs=-1, required=True, type=RepositoryName(), metavar="MODEL | FILE...")
@AGAINST
@MEASURES
@BENCHMARKS
@click.option(
    "--dry-run", is_flag=True, help="Say how long it takes; with --benchmarks what they ask."
)
@texts
@click.option("--out", type=Place(), help="Results, after each measure anew.")
@click.option(
    "--keep-logits",
    type=Place(),
    help="Write the reference's log-probabilities as llama-perplexity does.",
)
@TIERS
@REVISION
@JSON
def evaluate(
    context: Context,
    files: tuple[str, ...],
    against: str | None,
    measures: tuple[str, ...],
    benchmarks: tuple[str, ...],
    dry_run: bool,
    out: Path | None,
    keep_logits: Path | None,
    tiers: tuple[str, ...],
    revision: str,
    as_json: bool,
) -> None:
    """Measure a model's tiers against it; or any GGUF files, by --against or --measures.

    A FILE is a path, or ORG/REPOSITORY:PATTERN of a file on the Hub, shards too. What was measured
    once with the same text on the same machine is not measured again.

    \b
    bot evaluate ./model-BF16.gguf --tiers I-Quality --json
    bot evaluate a.gguf b.gguf --against model-BF16.gguf --measures ppl,kld,hellaswag
    bot evaluate unsloth/Qwen3.6-35B-A3B-GGUF:UD-Q4_K_XL --against ./model-BF16.gguf
    bot evaluate ./model-BF16.gguf --dry-run
    bot evaluate a.gguf b.gguf --benchmarks gsm8k,ifeval --dry-run
    """
    from bot.cli.text import scores_text, times_text

    if benchmarks:
        asked = {"benchmarks": {"tasks": [{"name": name} for name in benchmarks]}}
        context.overrides["evaluation"] = {**context.overrides.get("evaluation", {}), **asked}
        measures = measures or ("benchmarks",)
    if dry_run and benchmarks:
        from bot.evaluate.files import foreseen_benchmarks

        foreseen = foreseen_benchmarks(context.workplace, files)
        emit(foreseen) if as_json else click.echo(scores_text.asked_table(foreseen))
        return
    if dry_run:
        times = _times(context, files, against, measures, revision, tiers)
        emit(times_text.times_values(times)) if as_json else click.echo(
            times_text.times_text(times)
        )
        return
    if against is not None or measures:
        from bot.evaluate.files import evaluate_files as measure_files

        evaluation = measure_files(
            context.workplace, files, against, measures, out=out, logits=keep_logits
        )
        emit(evaluation) if as_json else click.echo(scores_text.evaluation_text(evaluation))
        return
    if len(files) > 1 or out or keep_logits:
        raise click.UsageError(
            "several files, --out and --keep-logits need --against or --measures"
        )
    with road_of(context, files[0], revision, tiers) as road:
        results = road.value("results")
    emit(results) if as_json else click.echo(scores_text.results_table(results))


def _times(
    context: Context,
    files: tuple[str, ...],
    against: str | None,
    measures: tuple[str, ...],
    revision: str,
    tiers: tuple[str, ...],
) -> MeasureTimes:
    """What measuring would take; see `foreseen_measures` and `plan_times`."""
    from bot.evaluate.costing.budgeting import times_within
    from bot.evaluate.files import foreseen_measures

    if against is None and not measures and len(files) == 1:
        return times_of(context, sketched(context, files[0], revision, tiers))
    costs = foreseen_measures(context.workplace, files, against, measures)
    return times_within(costs, context.settings.evaluation.budget_minutes)


@click.command()
@click.argument("one")
@click.argument("other")
@AGAINST
@MEASURES
@texts
@click.option(
    "--results",
    "path",
    type=Place(exists=True, folder=False),
    help="A results.json; ONE and OTHER are then names of its rows.",
)
@JSON
def compare(
    context: Context,
    one: str,
    other: str,
    against: str | None,
    measures: tuple[str, ...],
    path: Path | None,
    as_json: bool,
) -> None:
    """Say whether two files differ, by tests that pair what both answered.

    \b
    bot compare a.gguf b.gguf --against model-BF16.gguf --measures kld,hellaswag
    bot compare I-Mini I-Nano --results results.json
    """
    from bot.cli.text import scores_text
    from bot.evaluate import files

    if path is not None:
        comparisons = files.stored_comparisons(path, one, other)
    else:
        comparisons = files.evaluate_files(
            context.workplace, (one, other), against, measures
        ).comparisons
    emit(comparisons) if as_json else click.echo(
        "\n".join(scores_text.comparison_lines(comparisons))
    )


@click.command("import")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=Place(exists=True, folder=False),
)
@JSON
@click.pass_obj
def import_(context: Context, files: tuple[Path, ...], as_json: bool) -> None:
    """Read what others measured: results of the APEX project, logs of llama-perplexity.

    Named in evaluation.imported of bot.yaml, they stand in results.json, marked as imported.

    \b
    bot import coder30b/*.json qwen36_35b/kl_results.txt
    """
    del context
    from bot.cli.text import scores_text
    from bot.measures.imported import read_imported

    imported_rows = tuple(row for path in files for row in read_imported(path))
    emit(imported_rows) if as_json else click.echo(scores_text.imported_table(imported_rows))


VERBS = (evaluate, compare, import_)
