"""A verb run in this process, as tests of the command line need it."""

from __future__ import annotations

from click.testing import CliRunner

from bot.cli.main import cli
from bot.errors import BotError


def bot(*words: str, code: int = 0) -> str:
    """What a verb prints; where it ends with `code`, on stderr too. Raises its BotError."""
    done = CliRunner().invoke(cli, words)
    if isinstance(done.exception, BotError):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output if code else done.stdout
