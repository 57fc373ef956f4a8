"""`bot refresh FILE`: new metadata for a file of anybody's, without a Hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bot.cli.main import cli
from bot.clients.files.gguf import read_gguf, read_split
from bot.errors import BotError
from bot.settings.sections import DEMO
from tests.split_gguf import shrink, split

KEY = "tokenizer.chat_template"
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, list(map(str, words)))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BOT_WORKDIR", str(tmp_path / "work"))
    path = tmp_path / "mine.gguf"
    shrink(DEMO / "tiny-moe-Q8_0.gguf", path, layers=1, experts=2)
    (tmp_path / "chat.jinja").write_text(TEMPLATE)
    return path


def test_a_template_is_shown_written_and_then_there(file: Path) -> None:
    template, before = file.with_name("chat.jinja"), file.read_bytes()
    shown = json.loads(run("refresh", file, "--template", template, "--dry-run", "--json").stdout)
    assert file.read_bytes() == before
    assert shown["sha256"] is None
    assert [change["key"] for change in shown["changes"]] == [KEY]
    assert "renders several turns" in shown["template"]
    done = run("refresh", file, "--template", template)
    assert done.exit_code == 0, done.output
    assert "tensors are bit for bit what they were" in done.stdout
    assert read_gguf(file).metadata[KEY] == TEMPLATE
    again = run("refresh", file, "--template", template)
    assert again.stdout == f"{file} has this metadata already\n"
    assert "work" not in [path.name for path in file.parent.iterdir()]


def test_another_output_leaves_the_file(file: Path) -> None:
    before, output = file.read_bytes(), file.with_name("new.gguf")
    done = run(
        "refresh", file, "--template", file.with_name("chat.jinja"), "--output", output, "--json"
    )
    told = json.loads(done.stdout)
    assert (told["path"], told["bytes"]) == (str(output), output.stat().st_size)
    assert file.read_bytes() == before
    assert read_gguf(output).metadata[KEY] == TEMPLATE


def test_of_shards_the_first_changes_and_all_stay_one_model(file: Path) -> None:
    shards = split(file, file.with_name("parts.gguf"), 8)
    before = [shard.read_bytes() for shard in shards[1:]]
    model = read_split(shards[0])
    done = run("refresh", shards[0], "--template", file.with_name("chat.jinja"))
    assert done.exit_code == 0, done.output
    assert [shard.read_bytes() for shard in shards[1:]] == before
    after = read_split(shards[0])
    assert after.tensors == model.tensors
    assert after.metadata[KEY] == TEMPLATE
    elsewhere = ("--output", file.with_name("new.gguf"))
    refused = run("refresh", shards[0], "--template", file.with_name("chat.jinja"), *elsewhere)
    assert isinstance(refused.exception, BotError)
    assert "leave --output out" in str(refused.exception)


def test_a_template_that_cannot_be_rendered_is_told(file: Path) -> None:
    template = file.with_name("bad.jinja")
    template.write_text("{% for %}")
    told = json.loads(run("refresh", file, "--template", template, "--dry-run", "--json").stdout)
    assert told["template"].startswith("cannot be rendered: TemplateSyntaxError")


def test_something_has_to_be_asked_for(file: Path) -> None:
    assert run("refresh", file).exit_code == 2
    template = file.with_name("utf16.jinja")
    template.write_bytes(TEMPLATE.encode("utf-16"))
    refused = run("refresh", file, "--template", template)
    assert "is not UTF-8" in str(refused.exception)
