"""`bot init`: a repository of the user's gets the workflows."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bot.cli.context import Context
from bot.cli.options import JSON

if TYPE_CHECKING:
    pass


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


VERBS = (init,)
