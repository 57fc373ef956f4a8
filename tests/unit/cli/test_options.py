"""What verbs share: paths, addresses that were pasted, tiers."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bot.cli.main import cli
from bot.cli.options import REVISION, RepositoryName, leaves

SITE = "http://127.0.0.1:8910"


class _Settings:
    """A command's settings as far as addresses need them."""

    settings = type("Settings", (), {"hub": type("Hub", (), {"endpoint": SITE})})


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["org/M"], "org/M main"),
        (["hf.co/org/M/tree/v2"], "org/M v2"),
        (["hf.co/org/M/tree/v2", "--revision", "main"], "org/M main"),
        (["--revision", "v3", "hf.co/org/M/tree/v2"], "org/M v3"),
        (["./a.gguf"], "./a.gguf main"),
    ],
)
def test_a_pasted_revision_gives_way_to_one_that_was_given(words: list[str], printed: str) -> None:
    @click.command()
    @click.argument("model", type=RepositoryName())
    @REVISION
    def verb(model: str, revision: str) -> None:
        click.echo(f"{model} {revision}")

    done = CliRunner().invoke(verb, words, obj=_Settings())
    assert done.output.strip() == printed


def test_every_path_of_the_command_line_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "target.gguf").write_bytes(b"")
    (tmp_path / "link.gguf").symlink_to("target.gguf")
    parameters = [
        parameter
        for command in leaves(cli)
        for parameter in command.params
        if isinstance(parameter.type, click.Path)
    ]
    assert len(parameters) > 10
    for parameter in parameters:
        kind = parameter.type
        assert isinstance(kind, click.Path)
        words = "~/x" if not kind.exists else "link.gguf" if kind.file_okay else "."
        (tmp_path / "home" / "x").parent.mkdir(exist_ok=True)
        path = Path(kind.convert(words, parameter, None))
        assert path.is_absolute(), parameter.name
        assert path.name in ("x", "link.gguf", tmp_path.name), "the name that was given"
        assert "~" not in path.parts


@pytest.mark.parametrize("verb", ["plan", "publish", "evaluate", "dispatch", "card"])
def test_tiers_are_called_tiers_and_profiles_still(verb: str) -> None:
    command = cli.commands[verb]
    (option,) = (param for param in command.params if param.name == "tiers")
    assert isinstance(option, click.Option)
    assert option.opts == ["--tiers", "--profiles"]
