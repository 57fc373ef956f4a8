"""The command printed on a card is one that the bot takes, and says all that made the release."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from typing import Any

import click
import pytest

from bot.cli.context import Context
from bot.cli.main import cli
from bot.records.releases import Release
from bot.records.results import LeftOut, Results
from bot.settings.settings import load
from bot.workplace.pinning import origin_of
from tests.unit.card.samples import (
    ABOUT,
    REPO,
    coinciding,
    files,
    nine_tiers,
    rendered,
    with_baselines,
)


def taken(results: Results) -> click.Context:
    """The command of a rendered card, by the bot's own parser."""
    card = rendered(results, repo_id=REPO, files=files(results), about=ABOUT)
    (line,) = re.findall(r"^bot publish .*$", card, re.MULTILINE)
    words = shlex.split(line)[2:]
    return cli.commands["publish"].make_context("publish", words, obj=Context(None, quiet=True))


def of_a_file(**origin: Any) -> Results:
    return replace(coinciding(), release=None, origin=Release(commit="", **origin))


def test_a_release_of_a_repository_is_named_by_its_commit() -> None:
    results = nine_tiers()
    params = taken(results).params
    assert results.release is not None
    assert params["model"] == results.release.repo_id
    assert params["revision"] == results.release.commit
    assert params["tiers"] == tuple(row.name for row in results.tiers)
    assert not params["private"]


def test_baselines_and_what_the_gate_left_out_are_asked_for_again() -> None:
    out = LeftOut(tier="I-Odd", recipe=None, reason="too far off")
    results = replace(with_baselines(), left_out=(out,))
    command = taken(results)
    assert command.params["tiers"] == (*(row.name for row in results.tiers), "I-Odd")
    baselines = tuple(row.name for row in results.baselines)
    assert command.obj.overrides["quantize"]["baselines"] == baselines


@pytest.mark.parametrize(
    "origin",
    [
        {"repo_id": "", "license": "mit"},
        {"repo_id": "some-lab/Model", "license": "apache-2.0"},
        {
            "repo_id": "some-lab/Model",
            "license": "other",
            "license_name": "Model Community Licence's 2nd",
            "license_link": "https://example.org/LICENCE?a=b&c=$d",
        },
    ],
)
def test_licence_and_source_of_a_file_are_those_of_the_release(origin: dict[str, str]) -> None:
    results = replace(of_a_file(**origin), name="Other-30B")
    command = taken(results)
    settings = load(None, **command.obj.overrides)
    assert origin_of({}, settings.source) == results.origin
    assert settings.source.name == "Other-30B"
    assert command.params["model"] == results.reference.file
    assert not command.params["private"]


@pytest.mark.parametrize(
    ("license", "name", "link"),
    [("mit AND apache-2.0", None, None), ("other", "Own", "LICENSE"), ("other", None, None)],
)
def test_what_only_the_file_can_say_is_left_to_it(
    license: str, name: str | None, link: str | None
) -> None:
    keys = {"general.license": license, "general.license.name": name, "general.license.link": link}
    own = {"license": license, "license_name": name, "license_link": link}
    results = of_a_file(repo_id="", **own)
    settings = load(None, **taken(results).obj.overrides)
    assert origin_of(keys, settings.source) == results.origin


def test_a_file_without_a_licence_is_made_again_in_private() -> None:
    assert taken(of_a_file(repo_id="")).params["private"]
