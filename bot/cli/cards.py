"""A release as people will meet it: its card, what is wrong with it, whether it may go."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bot.cli.context import TO, Context, emit, paths_of, road_of, staged
from bot.cli.options import JSON, REVISION, Place, RepositoryName
from bot.errors import SourceError

if TYPE_CHECKING:
    from bot.records.built import Built


@click.command()
@TO
@click.option(
    "--out",
    type=Place(file=False),
    help="Where the card of a sheet goes [default: a folder of its repository's name]",
)
@click.option(
    "--preview", is_flag=True, help="Show the repository in a browser, until interrupted."
)
@click.option("--port", default=0, help="Port of --preview [default: a free one]")
@staged
def card(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    as_json: bool,
    to: str | None,
    out: Path | None,
    preview: bool,
    port: int,
) -> None:
    """Write the card, its plots, results.json and SHA256SUMS; print where the card is.

    MODEL may be a sheet as well: a YAML file of facts beside result files of others, such as the
    APEX project's. Its card goes into --out.

    \b
    bot card ./model-BF16.gguf --to my-name/model-APEX-GGUF
    bot card ./sheet.yaml --out ./card
    bot card ./model-BF16.gguf --preview
    """
    from bot.card import sheet

    if sheet.is_sheet(model):
        folder, repo_id, card_files = _sheet_card(context, Path(model).expanduser(), to, out)
        emit(card_files) if as_json else click.echo(str(folder / "README.md"))
        if preview:
            _preview(context, folder, repo_id, card_files, port)
        return
    if out is not None:
        raise click.UsageError("--out is for sheets; the card of a model lies in its job's folder")
    with road_of(context, model, revision, tiers, to=to) as road:
        files, job, repo_id = road.value("files"), road.value("job"), road.value("repo_id")
    if as_json:
        emit(files)
    else:
        click.echo(str(job.paths.card))
    if preview:
        _preview(context, job.paths.folder, repo_id, files, port)


def _sheet_card(
    context: Context, path: Path, to: str | None, out: Path | None
) -> tuple[Path, str, Mapping[str, Built]]:
    """The card of a sheet: its folder, its repository, and the files by their path there."""
    from bot.card import sheet

    settings = context.settings
    repo_id = to or sheet.read_sheet(path).repository
    folder = out or Path(repo_id.partition("/")[2])
    card_files = sheet.write_card(
        path,
        folder,
        settings.templates,
        repo_id,
        context.narrator.say,
        settings.kept_apart,
    )
    return folder, repo_id, card_files


def _preview(
    context: Context, folder: Path, repo_id: str, files: Mapping[str, Built], port: int
) -> None:
    """Serve what was made until interrupted, and open it where there is a browser."""
    import webbrowser

    from bot.verbs.card_preview import show_card

    def ready(url: str) -> None:
        context.narrator.say(f"{url}  (Ctrl-C ends it)")
        webbrowser.open(url)

    show_card(folder, repo_id, files, port, ready)


@click.command()
@click.argument("repository", type=RepositoryName(), metavar="REPO_OR_FOLDER")
@REVISION
@click.option("--no-hashes", is_flag=True, help="Do not read a folder's files whole.")
@JSON
@click.pass_context
def lint(
    ctx: click.Context, repository: str, revision: str, no_hashes: bool, as_json: bool
) -> None:
    """Say what is wrong with a repository of GGUF files: names, links, commands, sizes, hashes.

    Of ours or of others'; on the Hub only headers and small files are read. The exit code is 1
    where there are errors; warnings alone leave it 0.

    \b
    bot lint some-org/Model-GGUF
    bot lint ./release --json
    """
    from bot.lint.defects import defects_of as look
    from bot.lint.linted import read_repository

    defects = look(read_repository(ctx.obj.workplace, repository, revision, hashes=not no_hashes))
    if as_json:
        emit(tuple(defects))
    for defect in () if as_json else defects:
        click.echo(f"{defect.level:<8} {defect.rule:<18} {defect.path}: {defect.text}")
    if not defects and not as_json:
        click.echo(f"nothing is wrong with {repository}")
    ctx.exit(1 if any(defect.level == "error" for defect in defects) else 0)


@click.command()
@TO
@staged
def gate(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    as_json: bool,
    to: str | None,
) -> None:
    """Hold the measured tiers against the rules of `gate` in bot.yaml, and say what would happen.

    Exit code 0: the release may go, perhaps without some tiers; 11: nothing would be published.

    \b
    bot gate ./model-BF16.gguf --to my-name/model-APEX-GGUF
    bot gate Qwen/Qwen3.6-35B-A3B --json
    """
    from bot.errors import GateError
    from bot.gate.verdicts import verdict_text

    if not paths_of(context, model, revision, tiers).results.is_file():
        raise SourceError(f"{model} is not measured with these settings; run `bot evaluate`")
    with road_of(context, model, revision, tiers, to=to) as road:
        verdict = road.value("verdict")
    if as_json:
        emit(verdict)
    else:
        click.echo(verdict_text(verdict))
    if verdict.stops is not None:
        sys.exit(GateError.exit_code)


VERBS = (card, lint, gate)
