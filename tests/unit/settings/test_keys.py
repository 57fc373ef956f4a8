"""The table of keys: one row a key, with what it takes and its default."""

from __future__ import annotations

from bot.settings.keys import keys_table
from bot.settings.settings import Settings


def test_every_section_has_its_rows_and_no_default_is_of_this_machine() -> None:
    lines = keys_table().splitlines()
    assert lines[:2] == ["| key | takes | default |", "|---|---|---|"]
    keys = [line.split("`")[1] for line in lines[2:]]
    assert len(set(keys)) == len(keys)
    assert {key.partition(".")[0] for key in keys} == set(Settings.model_fields)
    assert not [line for line in lines if "/home/" in line or "/demo/" in line]


def test_what_a_key_takes_follows_from_its_type() -> None:
    rows = {line.split("`")[1]: line.split(" | ", 1)[1] for line in keys_table().splitlines()[2:]}
    assert rows["reserve_gb"] == "a number | `1.0` |"
    assert rows["publish.hidden"] == 'private, pull-request | `"private"` |'
    assert rows["evaluation.others"] == "a list: text | none |"
    assert rows["gate.max_kld"] == 'names with each a number | `{"*": 30.0}` |'
    assert rows["workdir"] == "a path | `~/.local/share/apex-bot` |"
    assert rows["policy.rules"].startswith("a list: a map of `build`, ")
