"""Names of repositories as people paste them: addresses of the Hub's pages, files and downloads.

ORG/MODEL                                     what every other module takes
https://huggingface.co/ORG/MODEL              any page below it, hf.co, the configured endpoint
hf.co/ORG/MODEL:Q4_K_M                        as Ollama and llama.cpp name a file of it
hf://ORG/MODEL@REVISION/FILE, git@hf.co:ORG/MODEL.git
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from bot.errors import SourceError

HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co", "www.hf.co")
OTHER_KINDS = {"datasets": "a dataset", "spaces": "a space", "collections": "a collection"}
# pages of a repository whose address holds a revision next
_AT = ("tree", "blob", "resolve", "raw", "commit", "commits", "blame", "edit")
_SCHEME = re.compile(r"(https?|hf|git|ssh)://|git@", re.IGNORECASE)

_LINK = re.compile(r"https?://[\w.:/-]{1,300}", re.ASCII)


def is_plain_link(text: str | None) -> bool:
    """Whether a text is a web address and nothing that Markdown, a chat or a page reads as more."""
    return text is not None and _LINK.fullmatch(text) is not None


class Address(NamedTuple):
    """A repository, and the revision that an address named."""

    repo: str
    revision: str | None = None


def parse_address(text: str, endpoint: str) -> Address | None:
    """The repository that `text` is an address of; None where it is no address of a Hub's.

    Raises SourceError for an address that leads elsewhere.
    """
    text = text.strip().strip("<>")
    site = urlsplit(endpoint)
    host = text.partition("/")[0].lower()
    if not _SCHEME.match(text) and host not in (*HOSTS, site.netloc.lower()):
        return None
    if text.lower().startswith("hf://"):
        return _in_path(text, _segments(text[5:]))
    ours = urlsplit(_as_url(text))
    place = ours.netloc.rpartition("@")[2].lower()
    if place not in (*HOSTS, site.netloc.lower()):
        raise SourceError(f"{text!r} is not on {endpoint}; name the model as ORG/MODEL")
    below = site.path.strip("/") if place == site.netloc.lower() else ""
    return _in_path(text, _segments(ours.path.lstrip("/").removeprefix(below)))


def _as_url(text: str) -> str:
    """An address with its scheme; git's `git@host:path` as one."""
    if text.lower().startswith("git@"):
        return "ssh://" + text.replace(":", "/", 1)
    return text if "://" in text else f"https://{text}"


def _segments(path: str) -> list[str]:
    return [unquote(part) for part in path.split("/") if part]


def _in_path(text: str, parts: list[str]) -> Address:
    while parts and parts[0] in ("api", "models"):
        parts = parts[1:]
    if parts and parts[0] in OTHER_KINDS:
        raise SourceError(f"{text!r} is {OTHER_KINDS[parts[0]]}, not a model; name one")
    if len(parts) < 2:
        raise SourceError(f"{text!r} names no model; name one as ORG/MODEL")
    owner, name, *rest = parts
    name, _, revision = name.partition("@")
    name = name.partition(":")[0].removesuffix(".git")
    if not revision and len(rest) > 1 and rest[0] in _AT:
        pull = rest[1:4] if rest[1:3] == ["refs", "pr"] else rest[1:2]
        revision = "/".join(pull)
    return Address(f"{owner}/{name}", revision or None)
