"""Recipes of others: what `llama-quantize --tensor-type-file` reads, a type by a pattern of names.

Words `PATTERN=TYPE` between white space; the first pattern that is found in a tensor's name decides
(parse_tensor_type_file in tools/quantize/quantize.cpp, llama_tensor_get_type in llama-quant.cpp).
Patterns are a stranger's regular expressions: RE2 takes linear time for any of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import re2
from pydantic import BaseModel, ConfigDict

from bot.errors import SettingsError
from bot.tensors.sizes import BLOCKS

LARGEST = 4_000_000  # bytes of a file: a thousand tensors take 50,000
MOST = 20_000  # patterns
LONGEST = 400  # characters of one


class TypePattern(BaseModel):
    """A type for all tensors in whose name a pattern is found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str
    type: str

    def fits(self, name: str) -> bool:
        """Whether it decides on a tensor of this name."""
        return _compiled(self.pattern).search(name) is not None


def read_patterns(path: Path) -> tuple[TypePattern, ...]:
    """The patterns of a file, in order. Raises SettingsError naming the word that is none."""
    try:
        data = path.read_bytes()[: LARGEST + 1]
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}); mend `recipe`") from error
    words = data.decode("utf-8", "replace").split()
    if len(data) > LARGEST or not 0 < len(words) <= MOST:
        raise SettingsError(f"{path} is no list of 1 to {MOST:,} patterns; name another")
    return tuple(_parse(path, word) for word in words)


def listed_types(patterns: Sequence[TypePattern], others: Mapping[str, str]) -> dict[str, str]:
    """The type of each tensor of `others`: by the first pattern that fits, else as it stands."""
    return {
        name: next((each.type for each in patterns if each.fits(name)), kind)
        for name, kind in others.items()
    }


def _parse(path: Path, word: str) -> TypePattern:
    pattern, _, kind = word.partition("=")  # the first one, as the tool
    # the tool looks in names of tensors, which are lower case, with patterns made lower case
    pattern, kind = pattern.lower(), kind.upper()
    if not pattern or len(pattern) > LONGEST or kind not in BLOCKS:
        raise SettingsError(
            f"{path}: {word[:80]!r} is not PATTERN=TYPE with a type of {', '.join(BLOCKS)}; mend it"
        )
    try:
        _compiled(pattern)
    except re2.error as error:
        raise SettingsError(
            f"{path}: {pattern[:80]!r} is no pattern that RE2 knows (no references to groups, no "
            "looking ahead); write it plainer"
        ) from error
    return TypePattern(pattern=pattern, type=kind)


@cache
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)
