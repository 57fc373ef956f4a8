"""The verbs around the watcher: watching, the queue, and what people say to it."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bot.cli.context import Context
from bot.cli.options import JSON, Place, RepositoryName, tell_result
from bot.errors import SettingsError
from bot.legible import legible_json
from bot.secrecy import obeyed

if TYPE_CHECKING:
    from bot.store.board import Board
    from bot.store.queue import Queue
    from bot.store.queue_tables import QueuedRelease

REPO = click.argument("repo", type=RepositoryName(), metavar="ORG/MODEL")
UNITS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
EVERY = 5.0  # seconds between two tables of `bot status --watch`


def _span(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """A length of time in seconds: 90m, 12h, 7d, 2w."""
    try:
        return float(value[:-1]) * UNITS[value[-1]]
    except (ValueError, KeyError, IndexError) as error:
        raise click.BadParameter("write a length of time as 90m, 12h or 7d", ctx, param) from error


def _span_or_none(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """As `_span`, of two days at least: what is younger is still asked for."""
    seconds = None if value is None else _span(ctx, param, value)
    if seconds is not None and not seconds >= 2 * UNITS["d"]:
        raise click.BadParameter("keep two days at least, as with 2d", ctx, param)
    return seconds


def _queue(context: Context) -> Queue:
    from bot.store.queue import Queue

    return Queue(context.workplace.ledger)


@click.command()
@click.option("--once", is_flag=True, help="Look once and end.")
@click.option("--every", type=float, metavar="MINUTES", help="Instead of watch.every_minutes.")
@click.option("--build", is_flag=True, help="Also build what is queued (watch.build).")
@click.option("--explain", is_flag=True, help="List decisions that were made; look at nothing.")
@click.option("--since", callback=_span, default="1d", show_default=True, help="For --explain.")
@JSON
@click.pass_obj
def watch(
    context: Context,
    once: bool,
    every: float | None,
    build: bool,
    explain: bool,
    since: float,
    as_json: bool,
) -> None:
    """See new releases on the Hub, decide what becomes of each, and queue what shall be built.

    Goes on until interrupted. Started again, it reads the Hub from where it was. Each decision is
    one line, told once. With github.repo in bot.yaml, builds are runs of its workflow.

    \b
    bot watch --once
    bot watch --every 15 --build
    bot watch --explain --since 7d
    """
    if explain:
        _explain(context, since, as_json)
        return
    from bot.watcher import assembly, explaining

    if every is not None:
        context.overrides["watch"] = {"every_minutes": every}

    def show(decision: Any) -> None:
        told = explaining.decision_json if as_json else explaining.as_line
        click.echo(told(decision))

    begin = None
    if build or context.settings.watch.build:
        begin = partial(assembly.chosen_executor, context.workplace, context.config)
    run = assembly.once if once else assembly.forever
    run(context.workplace, show, begin)


def _explain(context: Context, since: float, as_json: bool) -> None:
    from bot.store.sightings import Sightings
    from bot.watcher import explaining

    for past in Sightings(context.workplace.ledger).since(time.time() - since):
        line = legible_json(explaining.past_json(past))
        click.echo(line if as_json else explaining.past_line(past))


@click.command()
@REPO
@JSON
@click.pass_obj
def why(context: Context, repo: str, as_json: bool) -> None:
    """Say what was decided about a release, on which facts, and what these lead to today.

    \b
    bot why Qwen/Qwen3.6-35B-A3B
    """
    from bot.watcher import explaining

    explanation = explaining.why_decided(context.workplace, repo)
    click.echo(
        explaining.explanation_json(explanation)
        if as_json
        else explaining.explanation_text(explanation)
    )


@click.command()
@click.option("--watch", "stay", is_flag=True, help="Show it anew every five seconds.")
@JSON
@click.pass_obj
def status(context: Context, stay: bool, as_json: bool) -> None:
    """Show the queue: what is asked, queued, running, failed, published, and what waits.

    \b
    bot status
    bot status --watch
    bot status --json
    """
    while True:
        board = _board(context)
        if as_json:
            click.echo(legible_json(asdict(board)))
        else:
            from bot.cli.text import boards

            if stay:
                _wipe()
            click.echo(boards.board_text(board))
        if not stay:
            return
        time.sleep(EVERY)


def _wipe() -> None:
    """An empty terminal, as `click.clear`, whose signs would not pass."""
    if sys.stdout.isatty():
        obeyed(sys.stdout).write("\033[2J\033[1;1H")


def _board(context: Context) -> Board:
    from bot.store.board import board

    return board(context.workplace.ledger, context.settings, time.time())


@click.command()
@REPO
@JSON
@click.pass_obj
def approve(context: Context, repo: str, as_json: bool) -> None:
    """Agree to a build that the policy asks about.

    \b
    bot approve Qwen/Qwen3.6-35B-A3B
    """
    _queued(_queue(context).approve(repo, time.time()), as_json)


def _queued(task: QueuedRelease, as_json: bool) -> None:
    text = f"{task.repo} at {task.commit[:12]} is queued"
    tell_result(text, as_json=as_json, repo=task.repo, commit=task.commit, state=task.state)


@click.command()
@REPO
@JSON
@click.pass_obj
def retry(context: Context, repo: str, as_json: bool) -> None:
    """Queue again what failed or was ignored; look again at anything else.

    \b
    bot retry Qwen/Qwen3.6-35B-A3B
    """
    task = _queue(context).retry(repo, time.time())
    if task is None:
        text = f"{repo} is looked at again at the watcher's next turn"
        tell_result(text, as_json=as_json, repo=repo, commit=None, state=None)
    else:
        _queued(task, as_json)


@click.command()
@REPO
@click.option("--because", required=True, help="Why; `bot why` repeats it.")
@JSON
@click.pass_obj
def ignore(context: Context, repo: str, because: str, as_json: bool) -> None:
    """Never build a repository, until `bot retry`. What runs already goes on.

    \b
    bot ignore some-org/some-model --because "the same as another"
    """
    _queue(context).ignore(repo, because, time.time())
    tell_result(f"{repo} is ignored", as_json=as_json, repo=repo, state="ignored", because=because)


@click.command()
@click.option("--because", default="by hand", show_default=True, help="Shown in the status.")
@JSON
@click.pass_obj
def pause(context: Context, because: str, as_json: bool) -> None:
    """Start no builds until `bot resume`. Looking and deciding go on.

    \b
    bot pause --because "the disk is being replaced"
    """
    _queue(context).pause(because, time.time())
    tell_result("paused", as_json=as_json, paused=True, because=because)


@click.command()
@JSON
@click.pass_obj
def resume(context: Context, as_json: bool) -> None:
    """Start builds again.

    \b
    bot resume
    """
    _queue(context).resume()
    tell_result("resumed", as_json=as_json, paused=False)


@click.command()
@click.option("--port", default=8911, show_default=True, help="0 picks a free one.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--name", "names", multiple=True, help="Of a web server in front of it, may repeat.")
@JSON
@click.pass_obj
def serve(context: Context, port: int, host: str, names: tuple[str, ...], as_json: bool) -> None:
    """Serve the status page, /healthz, /metrics and the webhook until interrupted.

    BOT_STATUS_TOKEN lets people act on the page; BOT_WEBHOOK_SECRET lets a Hub's webhook in.
    Asked by any other name than its own or --name, it answers 400.

    \b
    BOT_STATUS_TOKEN=$(openssl rand -hex 24) bot serve --port 8911
    bot serve --name status.example.org
    """
    from bot.status import page as status

    def ready(url: str) -> None:
        tell_result(f"serving the status at {url}", as_json=as_json, url=url)

    status.serve_page(context.workplace.ledger, context.settings, port, host, ready, names)


@click.group()
def config() -> None:
    """The settings file."""


@config.command()
@click.argument("file", required=False, type=Place())
@JSON
@click.pass_context
def check(ctx: click.Context, file: Path | None, as_json: bool) -> None:
    """Say all that is wrong with a settings file, each with its line, and what it names and lacks.

    \b
    bot config check
    bot config check ./other.yaml
    """
    from bot.release import needs
    from bot.settings.configcheck import at_lines
    from bot.settings.configcheck import check as examined
    from bot.workplace.demo_texts import EVERY_USE

    settings_file = file or ctx.obj.config or Path("bot.yaml")
    mistakes = examined(settings_file)
    if not mistakes:
        ctx.obj.config = settings_file
        workplace = ctx.obj.workplace
        releases = workplace.settings.hub.namespace is not None  # else none is spoken of yet
        lacks = needs.lacking_here(workplace, uses=EVERY_USE if releases else ())
        mistakes = at_lines(settings_file, lacks)
    lines = [f"{settings_file}:{mistake}" for mistake in mistakes] or [f"{settings_file} is right"]
    mistake_values = [asdict(mistake) for mistake in mistakes]
    tell_result("\n".join(lines), as_json=as_json, file=str(settings_file), mistakes=mistake_values)
    ctx.exit(3 if mistakes else 0)


@config.command()
@click.option("--results", is_flag=True, help="Of results.json instead.")
@click.option("--table", is_flag=True, help="All keys, their types and defaults, in Markdown.")
@click.option("--json", is_flag=True, expose_value=False, help="As without: a schema is JSON.")
def schema(*, results: bool, table: bool) -> None:
    """Print the JSON schema of bot.yaml, for editors.

    \b
    bot config schema > bot.schema.json
    bot config schema --results > results.schema.json
    bot config schema --table
    """
    from bot.records.coding import schema_of
    from bot.records.results import Results
    from bot.settings import configcheck
    from bot.settings.keys import keys_table

    if table:
        click.echo(keys_table())
        return
    schema_text = schema_of(Results) if results else configcheck.settings_schema()
    click.echo(schema_text, nl=False)


@click.group()
def db() -> None:
    """The ledger: what was seen, decided and built."""


@db.command()
@click.argument("file", type=Place(folder=False))
@JSON
@click.pass_obj
def backup(context: Context, file: Path, as_json: bool) -> None:
    """Copy the ledger to FILE while others go on using it.

    \b
    bot db backup /backup/ledger-$(date +%F).sqlite
    """
    context.workplace.ledger.backup(file)
    tell_result(str(file), as_json=as_json, file=str(file))


@db.command("prune")
@click.option("--older", callback=_span_or_none, metavar="AGE", help="[default: watch.keep_days]")
@click.option("--dry-run", is_flag=True, help="Say how much would go, and remove nothing.")
@JSON
@click.pass_obj
def prune_db(context: Context, older: float | None, dry_run: bool, as_json: bool) -> None:
    """Forget what is old, as a watcher does every day, and give its room back to the disk.

    Decisions, events, and steps of builds whose files are gone. What was built stays known, so
    nothing is published twice.

    \b
    bot db prune --dry-run
    bot db prune --older 90d
    """
    from bot.store.pruning import prune

    days = context.settings.watch.keep_days
    age = older if older is not None else days and days * UNITS["d"]
    if age is None:
        raise SettingsError("watch.keep_days keeps everything; say --older")
    gone = prune(context.workplace.ledger, time.time() - age, dry_run=dry_run, compact=True)
    text = (
        f"{gone.decisions} decisions, {gone.releases} vanished releases, {gone.events} events, "
        f"{gone.notes} notes and {gone.work} steps {'would go' if dry_run else 'are gone'}; the "
        f"ledger has {gone.bytes_after / 1e6:.1f} MB"
    )
    text += "" if dry_run else f", of {gone.bytes_before / 1e6:.1f} MB before"
    tell_result(text, as_json=as_json, dry_run=dry_run, **asdict(gone))


VERBS = (watch, why, status, approve, retry, ignore, pause, resume, serve, config, db)
