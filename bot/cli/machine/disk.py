"""The verb that gives the disk of a working folder back."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import click

from bot.cli.context import Context
from bot.cli.options import JSON, RepositoryName

if TYPE_CHECKING:
    pass

AGE = re.compile(r"(\d{1,5})([hdw])")
SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}


def _before(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """The instant that an age from now is."""
    if value is None:
        return None
    match = AGE.fullmatch(value.strip())
    if match is None:
        raise click.BadParameter("give hours, days or weeks, such as 12h, 30d or 4w")
    return time.time() - int(match[1]) * SECONDS[match[2]]


@click.command()
@click.argument("model", type=RepositoryName(), required=False)
@click.option("--all", "everything", is_flag=True, help="What is not published yet, too.")
@click.option(
    "--older",
    "before",
    callback=_before,
    metavar="AGE",
    help="Only what did not change for so long: 12h, 30d, 4w.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go and why, and remove nothing.")
@JSON
@click.pass_obj
def clean(
    context: Context,
    model: str | None,
    everything: bool,
    before: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Give back the disk of what is over: published, given up, or left by a run that was killed.

    What is not published yet stays, unless MODEL names it or --all is given; it is fetched and
    built again when it is wanted. What a running bot works with always stays.

    \b
    bot clean --dry-run
    bot clean --older 30d
    bot clean Qwen/Qwen3.6-35B-A3B
    """
    from bot.cli.text import ending_text
    from bot.records.coding import to_json
    from bot.verbs.cleaning import WantedCleaning, clean_folders

    request = WantedCleaning(model=model, everything=everything, before=before, dry_run=dry_run)
    cleaned = clean_folders(context.workplace, request)
    click.echo(to_json(cleaned) if as_json else ending_text.cleaned_text(cleaned), nl=not as_json)


VERBS = (clean,)
