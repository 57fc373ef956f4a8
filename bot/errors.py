"""The errors a user can meet, each with the exit code that scripts may rely on.

A message is one line and ends in what to do. Anything that is not a BotError is a defect of
the bot and is shown with its traceback.
"""

import errno
from pathlib import Path

from bot.legible import legible


class BotError(Exception):
    """Base of every expected failure; exit code 1. Said on one line, whoever's words are in it."""

    exit_code = 1

    def __str__(self) -> str:
        return legible(super().__str__())


class SettingsError(BotError):
    """bot.yaml, the environment or a profile is wrong."""

    exit_code = 3


class SourceError(BotError):
    """The model cannot be used: unknown, not a mixture of experts, damaged, not supported."""

    exit_code = 4


class AbsentError(SourceError):
    """A Hub does not have a repository or file, or does not show it with this token.

    It may be tried again: a repository may be private for a while, and a server wrong once.
    """

    exit_code = 12


class CapacityError(BotError):
    """The machine lacks what the job needs: disk, memory, a device."""

    exit_code = 5


class AccessError(BotError):
    """A token is missing, wrong, or may not do what was asked."""

    exit_code = 6


class UnreachableError(BotError):
    """A Hub or GitHub did not answer; the same command may be run again later."""

    exit_code = 7


class BuildError(BotError):
    """llama.cpp refused to quantize, load or evaluate a file."""

    exit_code = 8


class RefusedError(SourceError, BuildError):
    """llama.cpp refuses this model or makes wrong bytes of it, and would so with these settings."""


class UnsoundError(BuildError):
    """A file's own content is wrong, on every machine."""


class PublishError(BotError):
    """What the Hub holds is not what was measured; nothing was made public."""

    exit_code = 9


class BusyError(BotError):
    """Another process of ours works on the same job."""

    exit_code = 10


class GateError(BotError):
    """The release is not good enough, or not allowed, to be published."""

    exit_code = 11


# what the same commit and settings would meet again: not tried again unless something changes
FOR_GOOD = frozenset({SourceError.exit_code, GateError.exit_code})
# what is of the machine, the settings, a token or a server, and says nothing of the release
OF_THE_DAY = frozenset(
    {
        SettingsError.exit_code,
        CapacityError.exit_code,
        AccessError.exit_code,
        UnreachableError.exit_code,
        AbsentError.exit_code,
        *(129, 130, 143),  # ended by SIGHUP, SIGINT, SIGTERM: somebody wanted the machine
    }
)

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)  # what an OSError says of a full disk or a used-up quota

# what it says of a folder that is read-only, gone, or somebody else's
_BARRED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ESTALE)


def of_machine(error: OSError) -> BotError | None:
    """A file system's refusal as an error for the user; None where it is a defect of the bot."""
    name = error.filename or "the disk"
    if error.errno in NO_SPACE:
        return CapacityError(f"no space left for {name}; free some and run it again")
    if error.errno == errno.EIO:
        return CapacityError(f"the disk fails at {name}; mend it and run it again")
    folder_missing = error.errno == errno.ENOENT and not Path(str(name)).parent.is_dir()
    if error.filename and (folder_missing or error.errno in _BARRED):
        return SettingsError(
            f"{name} cannot be used ({error.strerror}); mend workdir or its rights"
        )
    return None
