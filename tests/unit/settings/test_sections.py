"""What every section is made of: patterns that are quick to read, folders of data, homes."""

from __future__ import annotations

import re

import pytest

from bot.errors import SettingsError
from bot.settings.configcheck import settings_schema
from bot.settings.sections import data_folder
from bot.settings.settings import load


def test_no_pattern_repeats_a_class_of_all_scripts() -> None:
    """Reading `\\w{1,96}` takes pydantic's engine 20 ms, at every start of the command."""
    patterns = re.findall(r'"pattern": "(.*)"', settings_schema())
    assert patterns
    assert not [one for one in patterns if re.search(r"\\w[^\]]*\]?\{", one)]


def test_data_of_the_project_is_found() -> None:
    assert list(data_folder("profiles").glob("*.yaml"))
    assert list(data_folder("card_templates").iterdir())


def test_a_home_that_nobody_has_is_refused() -> None:
    with pytest.raises(SettingsError, match="is nobody's home folder here"):
        load(workdir="~no-such-user-here/x")
