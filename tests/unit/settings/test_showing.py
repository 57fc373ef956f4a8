"""Sections on what is published: names by templates, and options that exclude each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.settings.settings import load


def test_a_trusted_publisher_asks_nobody_for_approval(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text("publish: {trusted_publisher: true, approval: pull-request}\n")
    with pytest.raises(SettingsError, match="known again by its author"):
        load(file)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("file", "{name}.gguf", "all tiers would be one file"),
        ("file", "{name}-{tier:.1}.gguf", "all tiers would be one file"),
        ("file", "{name}-{tier!r}-{label}.gguf", "only {name} and {tier} and {label}"),
        ("file", "{name}-{tier}", "ends in .gguf"),
        ("file", "{tier}/{name}.gguf", "holds no folder"),
        ("file", "{name}-{tier}}.gguf", "only {name}"),
        ("repository", "{name}-{tier}", "only {name}"),
        ("repository", "{}", "only {name}"),
    ],
)
def test_a_name_that_tiers_would_share_is_refused(key: str, value: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(reason)):
        load(None, publish={key: value})


def test_names_of_files_by_tier_or_label() -> None:
    for name in ("{name}-APEX-{label}.gguf", "{tier}.gguf", "{name}-APEX-{tier}.gguf"):
        assert load(None, publish={"file": name}).publish.file == name


def test_a_new_repository_is_private_unless_builds_lie_on_pull_requests() -> None:
    assert load().publish.made_private
    assert not load(publish={"hidden": "pull-request"}).publish.made_private
    assert load(publish={"hidden": "pull-request", "private": True}).publish.made_private


def test_files_go_while_others_are_made_or_not_at_all() -> None:
    assert load(publish={"overlap": False}).publish.free == "never"
    for free in ("short", "always"):
        assert load(publish={"free": free}).publish.overlap
        with pytest.raises(SettingsError, match=f"publish: free: {free} removes files that are"):
            load(publish={"free": free, "overlap": False})


def test_a_hub_has_a_web_address() -> None:
    assert load(hub={"endpoint": "http://localhost:1/"}).hub.endpoint == "http://localhost:1"
    with pytest.raises(SettingsError, match="an endpoint starts with http"):
        load(hub={"endpoint": "hub.example.com"})
