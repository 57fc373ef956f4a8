"""The verbs about builds on GitHub: its workflows, ordering, looking, cancelling, repeating."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bot.cli.context import Context
from bot.cli.options import JSON, REVISION, TIERS, RepositoryName
from bot.errors import BotError
from bot.legible import legible_json

if TYPE_CHECKING:
    from bot.actions.by_hand import Desk, ListedRun

MODEL = click.argument("model", type=RepositoryName(), metavar="ORG/MODEL")
RUN = click.argument("run", type=RepositoryName(), metavar="RUN")


def _desk(context: Context) -> Desk:
    from bot.actions.by_hand import Desk

    return Desk(context.workplace)


def _emit(value: Any) -> None:
    click.echo(legible_json(value, indent=2))


@click.command()
@MODEL
@REVISION
@TIERS
@click.option("--again", is_flag=True, help="Also when a run of the same order succeeded.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent; send nothing.")
@JSON
@click.pass_obj
def dispatch(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    again: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Have a model built by a workflow of github.repo; print the run.

    The same order is sent once: where a run of it waits, runs or succeeded, that one is named.
    GITHUB_TOKEN must be a token that may write Actions there.

    \b
    bot dispatch Qwen/Qwen3.6-35B-A3B
    bot dispatch Qwen/Qwen3.6-35B-A3B --tiers I-Quality,I-Mini --dry-run
    """
    if dry_run:
        _would_send(context, model, revision, tiers, as_json=as_json)
        return
    ordered = _desk(context).dispatch(model, revision, tiers, again=again)
    if as_json:
        _emit(asdict(ordered))
    elif ordered.run is None:
        click.echo(f"GitHub took order {ordered.order.delivery}; `bot runs` will show its run")
    else:
        click.echo(
            ordered.run.link
            if ordered.new
            else f"{ordered.run.link} is {ordered.run.state} already"
        )


def _would_send(
    context: Context, model: str, revision: str, tiers: tuple[str, ...], *, as_json: bool
) -> None:
    from bot.actions.by_hand import order_run

    settings = context.workplace.settings.github
    inputs = order_run(context.workplace, model, revision, tiers).inputs()
    if as_json:
        where = settings.model_dump(include={"repo", "event", "workflow", "ref"})
        _emit({**where, "inputs": inputs})
        return
    click.echo(f"{settings.event} to {settings.workflow} of {settings.repo} at {settings.ref}")
    for name, value in inputs.items():
        click.echo(f"  {name:<9} {value or '(all)'}")


def publish_by_run(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    *,
    as_json: bool,
    dry_run: bool,
) -> None:
    """`bot publish --on github`: order, follow to the end. Raises BotError for a run that fails."""
    if dry_run:
        _would_send(context, model, revision, tiers, as_json=as_json)
        return
    desk = _desk(context)
    ordered = desk.dispatch(model, revision, tiers)
    ended = desk.follow(ordered, context.narrator.say)
    if as_json:
        _emit(asdict(ended))
    elif ended.state == "succeeded":
        click.echo(f"{ended.link} succeeded")
    if ended.state != "succeeded":
        for line in ended.lines:
            context.narrator.say(line)
        raise BotError(
            f"{ended.link} {ended.state}: {ended.trouble}; `bot rerun {ended.id} --failed` repeats"
        )


@click.command()
@click.argument("run", type=RepositoryName(), metavar="[RUN | ORG/MODEL]", required=False)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@JSON
@click.pass_obj
def runs(context: Context, run: str | None, limit: int, as_json: bool) -> None:
    """List runs on GitHub, of all models or of one; or show a run with what its logs tell.

    \b
    bot runs
    bot runs Qwen/Qwen3.6-35B-A3B --limit 5
    bot runs 17301938211
    """
    from bot.actions.by_hand import run_text, runs_text

    desk = _desk(context)
    if run is None or "/" in run:
        listed = desk.runs(run, limit)
        if as_json:
            _emit([asdict(listed_run) for listed_run in listed])
        else:
            click.echo(runs_text(listed, time.time()))
        return
    examined_run, jobs = desk.examined(run)
    if as_json:
        _emit({**asdict(examined_run), "jobs": [job.model_dump(mode="json") for job in jobs]})
    else:
        click.echo(run_text(examined_run, jobs))


def _tell_run(run: ListedRun, text: str, *, as_json: bool) -> None:
    _emit(asdict(run)) if as_json else click.echo(f"{run.link} {text}")


@click.command()
@RUN
@click.option("--force", is_flag=True, help="Also a run that does not react to being cancelled.")
@JSON
@click.pass_obj
def cancel(context: Context, run: str, force: bool, as_json: bool) -> None:
    """Cancel a run on GitHub. It is not started again until `bot retry` or `bot rerun`.

    RUN is its number, its delivery, or ORG/MODEL for the latest of a model.

    \b
    bot cancel 17301938211
    bot cancel Qwen/Qwen3.6-35B-A3B
    """
    _tell_run(_desk(context).cancel(run, force=force), "is being cancelled", as_json=as_json)


@click.command()
@RUN
@click.option("--failed", is_flag=True, help="Only jobs that failed, and those that need them.")
@JSON
@click.pass_obj
def rerun(context: Context, run: str, failed: bool, as_json: bool) -> None:
    """Run a run's jobs again, under its number. What is built already is not built again.

    RUN is its number, its delivery, or ORG/MODEL for the latest of a model.

    \b
    bot rerun 17301938211 --failed
    """
    _tell_run(_desk(context).rerun(run, failed=failed), "runs again", as_json=as_json)


@click.command()
@click.argument("repo", metavar="OWNER/REPO | FOLDER")
@click.option("--single", is_flag=True, help="For one runner: all in one job.")
@click.option("--namespace", metavar="NAME", help="Whom releases on the Hub belong to.")
@click.option("--upgrade", is_flag=True, help="Propose what is new; your changes stay.")
@click.option("--dry-run", is_flag=True, help="Say what would be proposed; write nothing.")
@JSON
@click.pass_obj
def init(
    context: Context,
    repo: str,
    single: bool,
    namespace: str | None,
    upgrade: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Give a repository the workflows that build releases on your runners, and a bot.yaml.

    On GitHub it opens a pull request: nothing runs until it is merged. GITHUB_TOKEN must allow
    Contents, Pull requests and Workflows: write. A FOLDER is a checkout; the files are written
    there and left to you to commit.

    \b
    bot init my-name/builds --namespace my-name-on-the-hub
    bot init my-name/builds --upgrade --dry-run
    bot init ./builds --single
    """
    from bot.actions import installing
    from bot.records.coding import to_json

    folder = Path(repo).expanduser()
    into = partial(installing.into_repository, context.settings, repo)
    if folder.is_dir():
        into = partial(installing.into_folder, folder)
    installed = into(single=single, upgrade=upgrade, dry_run=dry_run, namespace=namespace)
    if as_json:
        click.echo(to_json(installed), nl=False)
        return
    for note in installed.notes:
        click.echo(note)
    if not installed.files:
        click.echo("nothing to do")
    elif dry_run:
        click.echo("nothing was written: " + ", ".join(installed.files))
    else:
        click.echo(installed.where)


VERBS = (init, dispatch, runs, cancel, rerun)
