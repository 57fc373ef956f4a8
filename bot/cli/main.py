"""The command `bot`: its verbs by what one wants to do, and how it ends.

Results go to stdout, narration to stderr. Heavy libraries are imported by the verbs that use them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import ClassVar

import click

from bot import interrupts, rights, secrecy
from bot.cli import (
    cards,
    fitting_sizes,
    inspecting,
    numbers,
    parts,
    publishing,
    runs,
    step,
    watch,
)
from bot.cli.context import Context
from bot.cli.machine import disk, hubs, verbs
from bot.cli.options import Place, Sections, anywhere, before_each
from bot.errors import BotError, of_machine

EPILOG = """
\b
Exit codes
  0  done                           6  token missing or not allowed
  1  other failure                  7  Hub or GitHub unreachable, try again
  2  wrong usage                    8  llama.cpp refused
  3  settings or profile wrong      9  published files differ, left private
  4  model unusable                10  another bot works on the job
  5  disk, memory or device short  11  gate not passed
                                   12  not on the Hub, or not shown
129  ended by SIGHUP              130  interrupted
143  ended by SIGTERM
"""


class Bot(Sections):
    """The whole command, its verbs by what one wants to do."""

    sections: ClassVar[Mapping[str, Sequence[str]]] = {
        "A release": (
            "inspect", "plan", "fits", "publish", "push", "refresh", "card", "gate",
            "timeline", "rollback",
        ),
        "Its parts": (
            "toolchain", "convert", "calibrate", "fit", "quantize", "verify", "evaluate", "compare",
            "import", "lint",
        ),
        "Watching": (
            "watch", "why", "status", "approve", "retry", "ignore", "pause", "resume", "serve",
        ),
        "Builds on GitHub": ("init", "dispatch", "runs", "cancel", "rerun", "step"),
        "This machine": ("doctor", "clean", "config", "demo", "hub", "db"),
    }  # fmt: skip


@click.group(cls=Bot, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=Place(),
    envvar="BOT_CONFIG",
    help="Settings file [default: bot.yaml here, if there is one]",
)
@click.option("-q", "--quiet", is_flag=True, help="No narration on stderr.")
@click.option(
    "--log",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    envvar="BOT_LOG",
    help="Narration for people, or a JSON object a line.",
)
@click.version_option(package_name="apex-bot", prog_name="bot")
@click.pass_context
def cli(ctx: click.Context, config: Path | None, quiet: bool, log: str) -> None:
    """Turn Mixture-of-Experts releases into measured, verified APEX GGUF repositories.

    \b
    bot demo                              see the whole road on this machine
    bot publish Qwen/Qwen3.6-35B-A3B      build, measure, describe, publish
    bot watch --once                      what is new, and what would be built
    """
    ctx.obj = Context(config, quiet)
    ctx.obj.log_as(log)


NOUNS = (
    inspecting,
    publishing,
    cards,
    parts,
    fitting_sizes,
    numbers,
    watch,
    runs,
    step,
    verbs,
    disk,
    hubs,
)
for verb in chain.from_iterable(noun.VERBS for noun in NOUNS):
    cli.add_command(verb)

anywhere(
    cli,
    (
        ("config", lambda obj, value: setattr(obj, "config", value)),
        ("quiet", lambda obj, value: setattr(obj, "quiet", value)),
        ("log", lambda obj, value: obj.log_as(value)),
    ),
)
before_each(cli, lambda obj: obj.choose_library())


def main() -> None:
    """The command `bot`."""
    secrecy.hide_secrets()
    rights.close()
    interrupts.answer_signals()
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # read at import; the narrator has bars
    try:
        code = cli.main(prog_name="bot", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        interrupts.end_by_signal(interrupts.number_of(error))
    except BotError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        ended = interrupts.heard()  # a terminal that hung up takes no words
        if ended is not None:
            interrupts.end_by_signal(ended)
        system_error = of_machine(error)
        if system_error is None:
            raise
        click.echo(f"Error: {system_error}", err=True)
        sys.exit(system_error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
