"""What every section of bot.yaml is made of: frozen, strict, paths made whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from bot.kit.presets import data_sets
from bot.settings.places import Named, at_home

PACKAGE = Path(__file__).resolve().parents[1]


DEMO = PACKAGE / "demo"


# a letter of a name on the Hub or GitHub. Not \w: of all scripts, a hundred times over, it takes
# pydantic's regular expressions half a second to be read, at every start of the bot
NAME = "[A-Za-z0-9_.-]"


def data_folder(name: Literal["card_templates", "profiles", "workflows"]) -> Path:
    """A data folder of the project: beside the package in a checkout, inside it when installed."""
    installed = PACKAGE / "data" / name
    return installed if installed.is_dir() else PACKAGE.parent / name


def _data_names(root: Mapping[str, Any]) -> Collection[str]:
    named = root.get("data")
    return {*(named if isinstance(named, Mapping) else ()), *data_sets()}


Place = Annotated[Path, AfterValidator(at_home)]


DataPlace = Annotated[Path, Named(_data_names), AfterValidator(at_home)]  # or a name in `data`


class Part(BaseModel):
    """A section of bot.yaml: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
