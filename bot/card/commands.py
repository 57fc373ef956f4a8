"""Commands that fetch and run a file, each checked against the files that are really there."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bot.legible import legible
from bot.resolvers.llamacpp import PRESET, llama_tag
from bot.resolvers.localai import localai_address
from bot.resolvers.ollama import ollama_tag

LONGEST = 1000  # characters of a name in a command


@dataclass(frozen=True, kw_only=True)
class CardCommand:
    """A fenced block below the name of a program."""

    program: str
    language: str
    lines: tuple[str, ...]
    note: str = ""


def card_commands(
    repo_id: str,
    paths: Sequence[str],
    file: str,
    tiers: Sequence[str],
    *,
    shards: Sequence[str] = (),
    context: int = 4096,
    gallery: bool = False,
) -> list[CardCommand]:
    """Each program's command for `file`, or for a model in `shards` of which it is the first.

    One that by the program's own rules would fetch another of `paths` is left out. `gallery`: for
    LocalAI also the form that only an entry of its gallery answers.
    """
    target = _Target(repo_id, tuple(paths), file, tuple(tiers), tuple(shards), context, gallery)
    commands = (make(target) for make in _PROGRAMS)
    return [command for command in commands if command is not None]


@dataclass(frozen=True)
class _Target:
    repo_id: str
    paths: tuple[str, ...]
    file: str
    tiers: tuple[str, ...]
    shards: tuple[str, ...]
    context: int
    gallery: bool

    @property
    def listed(self) -> bool:
        """Whether the file is in the repository under the very name that a command would say."""
        return self.file in self.paths and _word(self.file) == self.file


def _word(value: str) -> str:
    return legible(value, LONGEST)


def _quoted(value: str) -> str:
    return shlex.quote(_word(value))


def _localai(target: _Target) -> CardCommand | None:
    address = localai_address(target.repo_id, target.file)
    if not target.listed or target.shards or address is None:
        return None
    lines: tuple[str, ...] = (f"local-ai run {_quoted(address)}",)
    if target.gallery:
        entry = _quoted(f"{target.repo_id}@{target.file}")
        lines = (*lines, "# or, once LocalAI's gallery has it:", f"local-ai run {entry}")
    return CardCommand(program="LocalAI", language="bash", lines=lines)


def _llama(target: _Target) -> CardCommand | None:
    if not target.listed:
        return None
    tag = llama_tag(target.paths, target.file, target.tiers)
    if tag is not None:
        line = f"llama-server -hf {_quoted(f'{target.repo_id}:{tag}')}"
    elif PRESET in target.paths:
        return None  # it takes over whatever the command says
    else:
        line = f"llama-server -hf {_quoted(target.repo_id)} --hf-file {_quoted(target.file)}"
    other = len(target.shards) - 1
    note = (
        f"It finds the other {other} part{'s' if other > 1 else ''} by itself." if other > 0 else ""
    )
    return CardCommand(program="llama.cpp", language="bash", lines=(line,), note=note)


def _ollama(target: _Target) -> CardCommand | None:
    tag = ollama_tag(target.repo_id, target.paths, target.file)
    if target.shards or not target.listed or tag is None:
        return None
    name = _quoted(f"hf.co/{target.repo_id}:{tag}")
    return CardCommand(program="Ollama", language="bash", lines=(f"ollama run {name}",))


def _download(target: _Target) -> str:
    names = " ".join(_quoted(name) for name in target.shards or (target.file,))
    return f"hf download {_quoted(target.repo_id)} {names} --local-dir ."


def _lm_studio(target: _Target) -> CardCommand | None:
    if not target.listed or not set(target.shards) <= set(target.paths):
        return None
    if target.shards:
        note = "LM Studio and others open the first part, with all parts side by side."
        return CardCommand(
            program="Other programs", language="bash", lines=(_download(target),), note=note
        )
    place = f"--user-repo {_quoted(target.repo_id)} -y"  # without it questions are asked
    lines = (_download(target), f"lms import {_quoted('./' + target.file)} {place}")
    return CardCommand(program="LM Studio", language="bash", lines=lines)


def _python(target: _Target) -> CardCommand | None:
    if target.shards or not target.listed:
        return None
    repo, file = (json.dumps(_word(v), ensure_ascii=False) for v in (target.repo_id, target.file))
    return CardCommand(
        program="llama-cpp-python",
        language="python",
        lines=(
            "from huggingface_hub import hf_hub_download",
            "from llama_cpp import Llama",
            "",
            "path = hf_hub_download(",
            f"    repo_id={repo},",
            f"    filename={file},",
            ")",
            f"model = Llama(path, n_ctx={target.context})",
            'print(model("The quick brown fox", max_tokens=16)["choices"][0]["text"])',
        ),
    )


_PROGRAMS: tuple[Callable[[_Target], CardCommand | None], ...] = (
    _localai,
    _llama,
    _ollama,
    _lm_studio,
    _python,
)
