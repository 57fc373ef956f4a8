"""Sections on the watcher, jobs and GitHub."""

from __future__ import annotations

import pytest

from bot.errors import SettingsError
from bot.settings.settings import load


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("repo", "no-owner"),
        ("repo", "me/../other"),
        ("workflow", "../release.yml"),
        ("workflow", "release"),
        ("ref", "main; touch PWNED"),
        ("api_url", "ftp://github.example.com"),
        ("token", "ghp_secret"),
    ],
)
def test_a_wrong_github_section_is_named(key: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"github\.{key}"):
        load(None, github={key: value})
    assert load(None, github={"repo": "me/builds", "api_url": "https://x/api/v3/"}).github.api_url


def test_files_travel_through_repositories_of_somebody() -> None:
    assert load(jobs={"travel": "hub", "staging": "me-builds"}).jobs.staging == "me-builds"
    with pytest.raises(SettingsError, match="travel: hub needs staging"):
        load(jobs={"travel": "hub"})


@pytest.mark.parametrize("policy", ["some", "min:0", "min:100", "min:"])
def test_how_many_tiers_it_takes_to_publish(policy: str) -> None:
    assert load(jobs={"policy": "min:12"}).jobs.policy == "min:12"
    with pytest.raises(SettingsError, match=r"jobs\.policy"):
        load(jobs={"policy": policy})
