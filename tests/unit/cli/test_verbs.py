"""What holds for every verb, over click's own tree of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bot.cli.main import cli


def verbs(group: click.Group, name: str = "") -> Iterator[tuple[str, click.Command]]:
    for word, verb in group.commands.items():
        if isinstance(verb, click.Group):
            yield from verbs(verb, f"{name}{word} ")
        else:
            yield f"{name}{word}", verb


ALL = dict(verbs(cli))


@pytest.mark.parametrize("name", ALL)
def test_every_verb_speaks_json(name: str) -> None:
    assert any("--json" in param.opts for param in ALL[name].params)


SAID = {
    "pause": (("pause", "--because", "x"), {"paused": True, "because": "x"}),
    "resume": (("resume",), {"paused": False}),
    "ignore": (
        ("ignore", "a/b", "--because", "x"),
        {"repo": "a/b", "state": "ignored", "because": "x"},
    ),
    "step clean": (("step", "clean"), {"release": "", "model_removed": None}),
}


@pytest.mark.parametrize("verb", SAID)
def test_what_a_short_answer_is_in_json(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOT_WORKDIR", str(tmp_path / "work"))
    monkeypatch.chdir(tmp_path)
    words, values = SAID[verb]
    done = CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False)
    assert (done.exit_code, json.loads(done.stdout)) == (0, values)
