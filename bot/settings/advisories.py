"""Advisories: what is wrong with files that some versions of llama.cpp made of some families.

Those that come with the bot stand in advisories.yaml beside this module; `watch.advisories` names
files of the user's own, of the same form.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bot.errors import SettingsError

OURS = Path(__file__).with_suffix(".yaml")
VERSION = r"^[0-9]{1,6}(\.[0-9]{1,6}){0,5}$"

Version = Annotated[str, Field(pattern=VERSION)]
Pattern = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.*?-]{1,64}$")]


class Advisory(BaseModel):
    """A fault of files made by versions from `since` on, and not any more by `before`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")]
    before: Version
    since: Version = "0"
    families: tuple[Pattern, ...] = ()  # general.architecture; none: all
    wrong: Annotated[str, Field(min_length=1, max_length=300)]

    def concerns(self, version: str, family: str) -> bool:
        """Whether it is about files of a family that this llama-cpp-python made."""
        made = _numbers(version)
        of_family = not self.families or any(fnmatchcase(family, p) for p in self.families)
        return of_family and _numbers(self.since) <= made < _numbers(self.before)


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    advisories: tuple[Advisory, ...]


def load_advisories(files: Sequence[Path] = ()) -> tuple[Advisory, ...]:
    """Those that come with the bot, and those of files. Raises SettingsError for a wrong one."""
    return tuple(advisory for path in (OURS, *files) for advisory in _read(path))


def concerning(advisories: Iterable[Advisory], version: str, family: str) -> tuple[Advisory, ...]:
    """The advisories about files of a family that this llama-cpp-python made."""
    return tuple(one for one in advisories if one.concerns(version, family))


def _read(path: Path) -> tuple[Advisory, ...]:
    try:
        return _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).advisories
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SettingsError(f"{path} cannot be read ({reason}); mend watch.advisories") from error
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(map(str, wrong["loc"]))
        raise SettingsError(f"{path}: {place}: {wrong['msg']}; mend watch.advisories") from error


def _numbers(version: str) -> tuple[int, ...]:
    """A version as numbers, as far as it has them; nothing for one that has none."""
    numbers = []
    for part in version.partition("+")[0].split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part[:9]))
    return tuple(numbers)
