"""The calibration mix in bot.yaml: both forms, and what is refused."""

from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.settings import load

PINNED = {"dataset": "org/mix", "commit": "ab" * 20, "file": "chat.txt"}


def test_a_list_of_paths_and_a_mix_with_weights(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text(
        "calibration:\n  texts: [chat.txt, texts/code.txt]\n",
        encoding="utf-8",
    )
    first, second = load(file).calibration.texts
    assert (first.label, second.label) == ("chat.txt", "code.txt")
    assert (first.path, second.path) == (Path("chat.txt"), Path("texts/code.txt"))
    assert first.weight is None
    file.write_text(
        "calibration:\n"
        "  texts:\n"
        "  - {name: chat, path: a.txt, weight: 3, licence: MIT}\n"
        f"  - {{name: code, dataset: org/mix, commit: {'ab' * 20}, file: b/c.txt, weight: 1}}\n",
        encoding="utf-8",
    )
    first, second = load(file).calibration.texts
    assert (first.label, first.weight, first.licence) == ("chat", 3, "MIT")
    assert second.hub == ("org/mix", "ab" * 20, "b/c.txt")


WRONG: dict[str, tuple[list[object], str]] = {
    "nothing": ([], "at least 1"),
    "no place": ([{"name": "x"}], "either a path"),
    "two places": ([{**PINNED, "path": "a.txt"}], "either a path"),
    "no commit": ([{"dataset": "org/mix", "file": "a.txt"}], "either a path"),
    "a branch": ([{**PINNED, "commit": "main"}], "pattern"),
    "a weight for one only": ([{"path": "a", "weight": 1}, {"path": "b"}], "give all one"),
    "no weight": ([{"path": "a", "weight": 0}], "greater than 0"),
    "twice the same name": (["a/x.txt", "b/x.txt"], "same name"),
    "a path as a name": ([{"path": "a", "name": "/home/me/a"}], "pattern"),
    "half a hash": ([{"path": "a", "sha256": "abc"}], "pattern"),
    "an unknown key": ([{"path": "a", "share": 1}], "Extra inputs"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_mix_is_refused(name: str) -> None:
    texts, reason = WRONG[name]
    with pytest.raises(SettingsError, match=reason):
        load(calibration={"texts": texts})


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


def test_a_trusted_publisher_asks_nobody_for_approval(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text("publish: {trusted_publisher: true, approval: pull-request}\n")
    with pytest.raises(SettingsError, match="known again by its author"):
        load(file)


def test_a_lent_token_does_not_read_what_travels_through_the_hub(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    jobs = "jobs: {travel: hub, staging: me-builds}"
    file.write_text(f"publish: {{trusted_publisher: true}}\n{jobs}\n")
    with pytest.raises(SettingsError, match=r"needs jobs\.travel: folder"):
        load(file)
    file.write_text(f"{jobs}\n")
    assert load(file).jobs.travel == "hub"
