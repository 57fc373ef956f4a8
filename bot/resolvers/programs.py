"""What each program takes, given a repository alone, with a tag, or with a file's name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bot.resolvers.hub_labels import hub_snippet
from bot.resolvers.llamacpp import PRESET, llama_file
from bot.resolvers.localai import listed, localai_address, localai_file
from bot.resolvers.ollama import ollama_file, ollama_tag

Paths = Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The file that a program takes, of a model in shards the first; None with the reason."""

    path: str | None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program and its rules: each is given the repository's name and paths.

    `tagged` and `named` are given a tag, and a file's path, besides.
    """

    name: str
    source: str  # where the rules stand, and from when
    alone: Callable[[str, Paths], Taken]
    tagged: Callable[[str, Paths, str], Taken]
    named: Callable[[str, Paths, str], Taken]


def _llama_alone(_repo_id: str, paths: Paths) -> Taken:
    return _llama(llama_file(paths, None))


def _llama_tagged(_repo_id: str, paths: Paths, tag: str) -> Taken:
    return _llama(llama_file(paths, tag))


def _llama_named(_repo_id: str, paths: Paths, path: str) -> Taken:
    return _llama(PRESET if PRESET in paths else path if path in paths else None)


def _llama(path: str | None) -> Taken:
    return Taken(path=path, why="" if path else "no model of that name")


def _ollama_alone(repo_id: str, paths: Paths) -> Taken:
    if ollama_file(paths, "Q4_K_M") is not None:
        return _ollama_tagged(repo_id, paths, "Q4_K_M")
    return Taken(path=None, why="the Hub chooses, and does not say how")


def _ollama_tagged(repo_id: str, paths: Paths, tag: str) -> Taken:
    path = ollama_file(paths, tag)
    if path is None:
        return Taken(path=None, why="no whole file of that name or label, or more than one")
    if ollama_tag(repo_id, paths, path) is None:
        return Taken(path=None, why="a part of the name is none to Ollama")
    return Taken(path=path)


def _ollama_named(repo_id: str, paths: Paths, path: str) -> Taken:
    if ollama_tag(repo_id, paths, path) is None:
        return Taken(path=None, why="neither its name nor its label is one to Ollama")
    return Taken(path=path)


def _localai_alone(_repo_id: str, paths: Paths) -> Taken:
    path = localai_file(paths)
    nested = bool(paths) and not listed(paths)
    why = "a folder inside a folder ends its listing" if nested else "no model"
    return Taken(path=path, why="" if path else why)


def _localai_tagged(_repo_id: str, _paths: Paths, _tag: str) -> Taken:
    return Taken(path=None, why="it has no tags")


def _localai_named(repo_id: str, paths: Paths, path: str) -> Taken:
    if path not in paths:
        return Taken(path=None, why="no file of that name")
    if localai_address(repo_id, path) is None:
        return Taken(path=None, why="a character of the name means something else in an address")
    return Taken(path=path)


def _snippet_alone(_repo_id: str, paths: Paths) -> Taken:
    path = hub_snippet(paths)
    return Taken(path=path, why="" if path else "its commands leave the tag open")


def _snippet_tagged(repo_id: str, paths: Paths, tag: str) -> Taken:
    return _llama_tagged(repo_id, paths, tag)


def _any_named(_repo_id: str, paths: Paths, path: str) -> Taken:
    known = path in paths
    return Taken(path=path if known else None, why="" if known else "no file of that name")


def _asks(_repo_id: str, _paths: Paths) -> Taken:
    return Taken(path=None, why="it asks which")


def _asks_too(_repo_id: str, _paths: Paths, _tag: str) -> Taken:
    return Taken(path=None, why="it asks which")


PROGRAMS: tuple[Program, ...] = (
    Program(
        name="LocalAI",
        source="core/gallery/importers/llama-cpp.go, August 2026",
        alone=_localai_alone,
        tagged=_localai_tagged,
        named=_localai_named,
    ),
    Program(
        name="llama.cpp",
        source="common/download.cpp of the installed version",
        alone=_llama_alone,
        tagged=_llama_tagged,
        named=_llama_named,
    ),
    Program(
        name="Ollama",
        source="docs/hub/ollama.md and types/model/name.go, August 2026",
        alone=_ollama_alone,
        tagged=_ollama_tagged,
        named=_ollama_named,
    ),
    Program(
        name="the Hub's commands",
        source="packages/tasks/src/local-apps.ts, November 2026",
        alone=_snippet_alone,
        tagged=_snippet_tagged,
        named=_any_named,
    ),
    Program(
        name="LM Studio",
        source="lms import, November 2026",
        alone=_asks,
        tagged=_asks_too,
        named=_any_named,
    ),
)


def takes_alone(repo_id: str, paths: Paths, path: str) -> str | None:
    """The first program that takes `path` where it is given the repository alone."""
    return next((p.name for p in PROGRAMS if p.alone(repo_id, paths).path == path), None)
