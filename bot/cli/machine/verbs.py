"""This machine: is it ready, the whole road on it, and its disk given back."""

from __future__ import annotations

from pathlib import Path

import click

from bot.cli.context import Context, emit
from bot.cli.options import JSON, Place


@click.command()
@click.option(
    "--dir",
    "folder",
    type=Place(file=False),
    default=Path("apex-demo"),
    show_default=True,
    help="Where everything goes.",
)
@click.option("--serve", "stay", is_flag=True, help="Serve the local Hub afterwards.")
@click.option("--port", default=8910, show_default=True, help="Port of --serve.")
@JSON
@click.pass_obj
def demo(context: Context, folder: Path, stay: bool, port: int, as_json: bool) -> None:
    """Run the whole road here: a local Hub, a tiny release on it, nine measured tiers of it.

    \b
    bot demo
    bot demo --serve            and look at the card in a browser
    """
    import os

    # read when the Hub client is imported; nothing of the demo enters the user's own caches
    os.environ["HF_HOME"] = str(folder / "hf-home")
    from bot.cli.text import ending_text
    from bot.verbs.demo import demonstrate
    from bot.watcher import explaining

    narrator = context.narrator
    made_by_demo = demonstrate(
        folder,
        narrator,
        context.settings.llama,
        lambda decision: narrator.say(explaining.as_line(decision)),
    )
    if as_json:
        emit(made_by_demo)
    else:
        click.echo(ending_text.demonstrated_text(made_by_demo, folder, port))
    if stay:
        from bot.localhub.server import serve_hub as run

        run(folder / "hub", port, "127.0.0.1", lambda url: narrator.say(f"serving at {url}"))


@click.command()
@JSON
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check this machine: versions, devices, disk, tokens, Hub, GitHub, settings.

    \b
    bot doctor
    bot --config /etc/apex-bot/bot.yaml doctor --json
    """
    from bot.cli.machine.doctor import examine
    from bot.cli.text import ending_text

    findings = []
    for finding in examine(ctx.obj.config):
        findings.append(finding)
        if not as_json:
            click.echo(ending_text.finding_line(finding))
    if as_json:
        emit(tuple(findings))
    ctx.exit(1 if any(finding.good is False for finding in findings) else 0)


VERBS = (demo, doctor)
