"""Advisories: which files they are about, and what they may hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.settings.advisories import Advisory, concerning, load_advisories

ROPE = Advisory(
    id="rope", since="0.3.9", before="0.3.36", families=("qwen3*", "granitemoe"), wrong="no factors"
)


@pytest.mark.parametrize(
    ("version", "family", "concerned"),
    [
        ("0.3.9", "qwen3moe", True),
        ("0.3.35", "granitemoe", True),
        ("0.3.35+0123456789abcdef", "granitemoe", True),  # a library of the user's own
        ("0.3.36", "qwen3moe", False),
        ("0.3.8", "qwen3moe", False),
        ("0.4", "qwen3moe", False),
        ("0.3.10", "llama", False),
        ("", "qwen3moe", False),
        ("unknown", "qwen3moe", False),
    ],
)
def test_versions_and_families(version: str, family: str, concerned: bool) -> None:
    assert concerning([ROPE], version, family) == ((ROPE,) if concerned else ())


def test_without_a_family_all_are_meant() -> None:
    everything = Advisory(id="all", before="2", wrong="x")
    assert concerning([everything], "1.9.9", "any") == (everything,)


def test_files_of_the_users_stand_beside_the_bots(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("advisories: [{id: mine, before: '1', wrong: it rambles}]\n")
    ours = load_advisories()
    assert load_advisories([path]) == (*ours, Advisory(id="mine", before="1", wrong="it rambles"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "cannot be read"),
        ("{}", "advisories: Field required"),
        ("advisories: [{id: a, before: new, wrong: x}]", r"advisories.0.before: String should"),
        ("advisories: [{id: a, before: '1', wrong: x, more: 1}]", "advisories.0.more: Extra"),
    ],
)
def test_what_is_none_is_named(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=rf"mine.yaml.*{reason}.*mend watch.advisories"):
        load_advisories([path])
    with pytest.raises(SettingsError, match="cannot be read"):
        load_advisories([tmp_path / "none.yaml"])
