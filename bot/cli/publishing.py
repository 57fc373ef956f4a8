"""Publishing: a release on its whole road, rehearsed, sent again, taken back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bot.cli import runs
from bot.cli.context import TO, Context, emit, paths_of, require_own, staged
from bot.cli.inspecting import plan_text, sketched, times_of
from bot.cli.options import JSON, RepositoryName
from bot.errors import AccessError

if TYPE_CHECKING:
    from bot.workplace.workplace import Workplace

PRIVATE = click.option("--private", is_flag=True, help="Leave a new repository private.")


def _prune(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.obj.override("publish", prune=True)


PRUNE = click.option(
    "--prune",
    is_flag=True,
    callback=_prune,
    expose_value=False,
    help="Give back the Hub's storage of files that updates replaced (publish.keep_builds).",
)


def _publish(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    as_json: bool,
    to: str | None,
    private: bool,
    *,
    built_only: bool,
    unless_published: bool = False,
    show_timeline: bool = False,
    refresh: bool = False,
) -> None:
    from bot.cli.text import ending_text
    from bot.release.road import Request, Road

    if private:
        context.override("publish", private=True)
    require_own(context, model)
    if refresh and _refreshed(context, model, revision, to, as_json=as_json):
        return
    request = Request(
        workplace=context.workplace,
        model=model,
        revision=revision,
        tiers=tiers,
        to=to,
        publishing=True,
        built_only=built_only,
        superset=unless_published,
    )
    with Road(request) as road:
        published = road.value("followed")
        paths = road.value("order").paths(context.workplace.folders)
    if show_timeline:
        click.echo(_timeline_text(paths.timeline), err=True)
    if as_json:
        emit(published)
    else:
        click.echo(ending_text.ended_text(published, paths.results))


def _refreshed(
    context: Context, model: str, revision: str, to: str | None, *, as_json: bool
) -> bool:
    """Whether new headers were all that a published release needed."""
    from bot.cli.text.refreshed import release_text
    from bot.release.refreshing import refreshed_if_possible

    refreshed = refreshed_if_possible(context.workplace, model, revision, to)
    if refreshed is not None:
        emit(refreshed) if as_json else click.echo(release_text(refreshed))
    return refreshed is not None


@click.command()
@TO
@PRIVATE
@PRUNE
@staged
def push(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    as_json: bool,
    to: str | None,
    private: bool,
) -> None:
    """Publish what was built: one commit, verified, then public.

    \b
    bot push ./model-BF16.gguf --to my-name/model-APEX-GGUF
    """
    _publish(context, model, revision, tiers, as_json, to, private, built_only=True)


@click.command()
@TO
@PRIVATE
@PRUNE
@click.option("--dry-run", is_flag=True, help="Plan and print; build and send nothing.")
@click.option(
    "--unless-published",
    is_flag=True,
    help="Do nothing where the Hub holds these tiers of this commit already.",
)
@click.option(
    "--refresh",
    is_flag=True,
    help="Rewrite headers alone where no weights changed since it was published.",
)
@click.option(
    "--on",
    "where",
    type=click.Choice(["here", "github"]),
    default="here",
    show_default=True,
    help="Build on this machine, or by a workflow of github.repo, followed to its end.",
)
@click.option("--timeline", "show_timeline", is_flag=True, help="Say on stderr what took how long.")
@staged
def publish(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    as_json: bool,
    to: str | None,
    private: bool,
    dry_run: bool,
    unless_published: bool,
    refresh: bool,
    where: str,
    show_timeline: bool,
) -> None:
    """Quantize, measure, describe and publish a model. Run again, it goes on where it stopped.

    MODEL is ORG/NAME on the Hub, or the path of a 16-bit GGUF file. HF_TOKEN must be a token that
    may write.

    \b
    bot publish Qwen/Qwen3.6-35B-A3B --tiers I-Balanced,I-Quality,I-Compact
    bot publish ./model-BF16.gguf --to my-name/model-APEX-GGUF --private
    bot publish ./model-BF16.gguf --dry-run
    bot publish ./model-BF16.gguf --prune --dry-run
    bot publish Qwen/Qwen3.6-35B-A3B --on github
    """
    if where == "github":
        of_here = unless_published or refresh
        _require_own_options(context, to, private=private, unless_published=of_here)
        runs.publish_by_run(context, model, revision, tiers, as_json=as_json, dry_run=dry_run)
        return
    if not dry_run:
        _publish(
            context, model, revision, tiers, as_json, to, private,
            built_only=False, unless_published=unless_published, show_timeline=show_timeline,
            refresh=refresh,
        )  # fmt: skip
        return
    if private:
        context.override("publish", private=True)
    _rehearse(
        context, model, revision, tiers, to, as_json=as_json, unless_published=unless_published
    )


def _require_own_options(
    context: Context, to: str | None, *, private: bool, unless_published: bool
) -> None:
    """Raise for options of a publication here, which a workflow decides for itself."""
    if to or private or unless_published or "publish" in context.overrides:
        raise click.UsageError(
            "--to, --private, --prune, --refresh and --unless-published are the workflow's own "
            "with --on github"
        )


def _rehearse(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    to: str | None,
    *,
    as_json: bool,
    unless_published: bool,
) -> None:
    """All that a publication would find before it makes anything, and what it would do."""
    from bot.cli.text import ending_text, model_text, times_text
    from bot.plan.models import Model
    from bot.publish.replacing import replaced_by_update
    from bot.release import ahead
    from bot.release.room import freed_passes, require_room_ahead
    from bot.workplace import asked
    from bot.workplace.names import can_name, target_of
    from bot.workplace.pinning import pin

    require_own(context, model)
    workplace = context.workplace
    lines = _require_possible(workplace, model, revision, tiers, to)
    plan = sketched(context, model, revision, tiers)
    require_room_ahead(workplace, plan, freed_passes(context.settings, plan))
    repo_id = target_of(workplace, plan.model, to) if can_name(workplace, to) else None
    lines += ahead.outlook(workplace, plan, repo_id) if repo_id else ()
    times = times_of(context, plan) if isinstance(plan.model, Model) else None
    replaced = None
    if repo_id and context.settings.publish.prune:
        order = asked.order_of(context.settings, pin(workplace, model, revision), tiers)
        replaced = replaced_by_update(workplace, plan, order, repo_id, superset=unless_published)
    if as_json:
        measuring = {} if times is None else {"measuring": times_text.times_values(times)}
        planned = {"plan": model_text.plan_values(plan), **measuring}
        values = {**planned, "target": repo_id, "notes": lines}
        emit(values if replaced is None else {**values, "prune": replaced})
        return
    said = [] if times is None else [times_text.times_text(times), ""]
    paragraphs = [plan_text(context, plan), "", *said, *lines]
    if repo_id and replaced is not None:
        paragraphs.append(ending_text.prune_text(replaced, repo_id))
    click.echo("\n".join(paragraphs))


def _require_possible(
    workplace: Workplace, model: str, revision: str, tiers: tuple[str, ...], to: str | None
) -> list[str]:
    """Raise what a publication would raise before it makes anything; notes for people.

    Without a token a rehearsal goes on, and says where a publication would end.
    """
    from bot.gate import gating
    from bot.release import ahead, needs

    notes = [*ahead.renamed(model)]
    needs.require_all(workplace, tiers)
    gating.require_allowed(workplace, model, revision)
    try:
        ahead.require_names(workplace, model, tiers, to)
    except AccessError as error:
        if workplace.has_token:
            raise
        notes.append(f"a publication would end here: {error}")
    return notes


def _timeline_text(path: Path) -> str:
    import shutil

    from bot.release import timeline

    if not path.is_file():
        return "nothing was done"
    return timeline.timeline_text(timeline.read_timeline(path), shutil.get_terminal_size().columns)


@click.command()
@staged
def timeline(
    context: Context, model: str, revision: str, tiers: tuple[str, ...], as_json: bool
) -> None:
    """Say where the time of the last `bot publish` went, by CPU, GPU and network.

    --json prints all runs in Chrome's trace format, for chrome://tracing or ui.perfetto.dev.

    \b
    bot timeline ./model-BF16.gguf
    bot timeline ./model-BF16.gguf --json > trace.json
    """
    from bot.release import timeline as timelines

    path = paths_of(context, model, revision, tiers).timeline
    timelines.read_timeline(path)
    if as_json:
        click.echo(path.read_text(encoding="utf-8"), nl=False)
    else:
        click.echo(_timeline_text(path))


@click.command()
@click.argument("repository", type=RepositoryName(), metavar="OWNER/NAME")
@click.argument("revision", required=False)
@JSON
@click.pass_obj
def rollback(context: Context, repository: str, revision: str | None, as_json: bool) -> None:
    """Return a published repository to an earlier REVISION, in one commit.

    Only the bot's files go back; what people added stays. The Hub copies the files itself. A commit
    may be named by its first digits; without REVISION the builds there are listed.

    \b
    bot rollback my-name/model-APEX-GGUF
    bot rollback my-name/model-APEX-GGUF 1f2e3d4c5b6a
    """
    from bot.cli.text import ending_text
    from bot.publish.publication import back, published_builds
    from bot.workplace.pinning import as_repo

    if revision is None:
        versions = published_builds(context.workplace, as_repo(repository))
        emit(versions) if as_json else click.echo(ending_text.builds_table(versions))
        return
    context.workplace.require_publisher()
    rolled_back = back(context.workplace, as_repo(repository), revision)
    if as_json:
        emit(rolled_back)
    else:
        click.echo(ending_text.rolled_back_text(rolled_back))


VERBS = (push, publish, timeline, rollback)
