"""Commands name the file that is meant, or are not printed."""

from __future__ import annotations

import ast
import shlex

import pytest

from bot.card.commands import CardCommand, card_commands
from bot.resolvers.llamacpp import llama_file
from tests.unit.resolvers.test_names_of_others import SEED

REPO = "mudler/Qwen3.6-35B-A3B-APEX-GGUF"


def _by_program(commands: list[CardCommand]) -> dict[str, CardCommand]:
    return {command.program: command for command in commands}


@pytest.mark.parametrize("tier", ["Quality", "I-Quality", "Balanced", "I-Mini"])
def test_every_program_fetches_the_file(tier: str) -> None:
    file = f"Qwen3.6-35B-A3B-APEX-{tier}.gguf"
    commands = _by_program(card_commands(REPO, SEED, file, [tier]))
    assert list(commands) == ["LocalAI", "llama.cpp", "Ollama", "LM Studio", "llama-cpp-python"]
    assert commands["LocalAI"].lines == (f"local-ai run huggingface://{REPO}/{file}",)
    repo, _, tag = shlex.split(commands["llama.cpp"].lines[0])[-1].partition(":")
    assert (repo, llama_file(SEED, tag)) == (REPO, file)
    assert commands["Ollama"].lines == (f"ollama run hf.co/{REPO}:{file}",)
    assert shlex.split(commands["LM Studio"].lines[0])[2:4] == [REPO, file]
    python = "\n".join(commands["llama-cpp-python"].lines)
    assert {REPO, file} <= {
        n.value for n in ast.walk(ast.parse(python)) if isinstance(n, ast.Constant)
    }


def test_without_a_safe_tag_the_whole_name_is_said() -> None:
    paths = ["A-I-Mini-b.gguf", "B-I-Mini.gguf"]
    (line,) = _by_program(card_commands(REPO, paths, "B-I-Mini.gguf", ["I-Mini"]))[
        "llama.cpp"
    ].lines
    assert line == f"llama-server -hf {REPO} --hf-file B-I-Mini.gguf"


def test_what_would_fetch_something_else_is_not_printed() -> None:
    assert card_commands(REPO, SEED, "gone.gguf", ["x"]) == []
    preset = _by_program(card_commands(REPO, [*SEED, "preset.ini"], SEED[0], ["Balanced"]))
    assert "llama.cpp" not in preset
    assert card_commands(REPO, ["a\nb.gguf"], "a\nb.gguf", ["b"]) == []


def test_shards_are_for_programs_that_read_them() -> None:
    shards = [f"M-I-Mini-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    commands = _by_program(card_commands(REPO, shards, shards[0], ["I-Mini"], shards=shards))
    assert list(commands) == ["llama.cpp", "Other programs"]
    assert commands["llama.cpp"].note == "It finds the other 2 parts by itself."
    assert set(shards) <= set(shlex.split(commands["Other programs"].lines[0]))


def test_the_gallerys_form_is_printed_where_it_is_asked_for() -> None:
    made = _by_program(card_commands(REPO, SEED, SEED[0], ["Balanced"], gallery=True))
    assert made["LocalAI"].lines == (
        f"local-ai run huggingface://{REPO}/{SEED[0]}",
        "# or, once LocalAI's gallery has it:",
        f"local-ai run {REPO}@{SEED[0]}",
    )
