"""Paths that another machine wrote: a type of their own until it is proven where they lead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from bot.disk.paths import inside, is_safe
from bot.errors import SourceError


@dataclass(frozen=True)
class RecordPath:
    """A path in another machine's record: relative, harmless by its letters, not yet followed."""

    text: str  # from the working folder

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot stay below a folder."""
        if not is_safe(self.text):
            raise ValueError(f"{self.text[:80]!r} is no path of a working folder")

    @classmethod
    def of(cls, path: Path, root: Path) -> RecordPath:
        """How another machine will call a file of ours. Raises SourceError outside of `root`."""
        try:
            return cls(inside(root, path))
        except ValueError as error:
            raise SourceError(f"{path} is not below {root}; set workdir to hold it") from error

    def below(self, root: Path, *places: str) -> Path:
        """Where it leads, proven to lie below one of `places` of `root`, links resolved.

        A place may itself be a link: it is ours. Raises SourceError for any other.
        """
        path = root / self.text
        for place in places:
            named = self.text.startswith(f"{place}/")
            if named and path.resolve().is_relative_to((root / place).resolve()):
                return path
        raise SourceError(
            f"{self.text} is not where this release's files lie; its record was not written by us: "
            "rerun all jobs"
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, _kind: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """A string in JSON."""
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(strict=True, max_length=400),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda path: path.text),
        )
