"""What options before a verb say, and options that stand above the settings file."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bot.cli.context import Context, paths_of, require_own, staged
from bot.workplace.names import name_of


@click.command()
@staged
def verb(
    context: Context, model: str, revision: str, tiers: tuple[str, ...], as_json: bool
) -> None:
    """A verb on a model's job."""
    require_own(context, model)
    source, quantize = context.settings.source, context.settings.quantize
    click.echo(f"{model} {revision} {tiers} {as_json}")
    click.echo(f"{source.license} {source.name} {quantize.baselines}")


def run(tmp_path: Path, *words: str) -> tuple[int, list[str]]:
    """The verb with a settings file; its exit code and what it prints."""
    (tmp_path / "bot.yaml").write_text(
        "workdir: here\nsource: {license: mit, name: Theirs}\nquantize: {baselines: [Q8_0]}\n"
    )
    context = Context(tmp_path / "bot.yaml", quiet=True)
    done = CliRunner().invoke(verb, words, obj=context)
    return done.exit_code, done.output.splitlines()


def test_options_stand_above_the_settings_file_one_by_one(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    assert run(tmp_path, str(file)) == (
        0, [f"{file} main () False", "mit Theirs ('Q8_0',)"],
    )  # fmt: skip
    words = ("--license", "apache-2.0", "--baselines", "Q4_K_M, Q6_K,", "--tiers", "A,B", "--json")
    assert run(tmp_path, str(file), *words) == (
        0, [f"{file} main ('A', 'B') True", "apache-2.0 Theirs ('Q4_K_M', 'Q6_K')"],
    )  # fmt: skip


def test_what_is_said_of_a_file_is_refused_for_a_repository(tmp_path: Path) -> None:
    assert run(tmp_path, "lab/Model")[0] == 0
    code, lines = run(tmp_path, "lab/Model", "--license", "mit")
    assert code == 2
    assert "are for a file of this machine" in lines[-1]


def test_the_folder_of_a_files_job_is_told_by_its_inputs(tmp_path: Path, demo_model: Path) -> None:
    def folder(*tiers: str, **evaluation: object) -> Path:
        context = Context(None, quiet=True)
        context.override("evaluation", **evaluation)
        context.overrides.update(workdir=tmp_path / "work", demo_texts=True)
        return paths_of(context, str(demo_model), "main", tiers).folder

    assert folder("Compact") == folder("Compact")
    assert len({folder("Compact"), folder("Quality"), folder("Compact", chunks=7)}) == 3
    assert folder("Compact").parent == tmp_path / "work" / "jobs"
    assert folder("Compact").name.startswith(name_of(demo_model.stem))


def test_sections_are_overridden_key_by_key() -> None:
    context = Context(None, quiet=True)
    context.override("publish", private=True)
    context.override("publish", prune=True)
    assert context.settings.publish.private
    assert context.settings.publish.prune


@pytest.mark.parametrize("kind", ["text", "json"])
def test_the_narrator_is_one(kind: str) -> None:
    context = Context(None, quiet=True)
    context.log = kind
    assert context.narrator is context.narrator
