"""Files of a repository on GitHub, read and proposed: never written to its default branch."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from github3 import GitHub
from github3.exceptions import NotFoundError, UnprocessableResponseBody

from bot.clients.github.github_client import asking
from bot.errors import SettingsError


def read_files(client: GitHub, repo: str, paths: Iterable[str]) -> dict[str, str]:
    """The texts among `paths` that the default branch holds.

    Raises AccessError, UnreachableError, and SettingsError for what is no text.
    """
    with asking(f"reading {repo}"):
        repository = _repository(client, repo)
        texts = {path: _text(repository, path, repository.default_branch) for path in paths}
    return {path: text for path, text in texts.items() if text is not None}


def propose_files(
    client: GitHub, repo: str, branch: str, files: Mapping[str, str], title: str, body: str
) -> str:
    """Open a pull request with `files`, or bring the open one of `branch` up to date; its address.

    Done again it does nothing more. Raises AccessError, SettingsError or UnreachableError.
    """
    with asking(f"proposing files to {repo}"):
        repository = _repository(client, repo)
        owner = repo.partition("/")[0]
        pulls = list(repository.pull_requests(state="open", head=f"{owner}:{branch}"))
        head = repository.ref(f"heads/{repository.default_branch}").object.sha
        try:
            reference = repository.ref(f"heads/{branch}")
        except NotFoundError:
            repository.create_ref(f"refs/heads/{branch}", head)
        else:
            if not pulls:  # left behind by a request that was merged or closed
                reference.update(head, force=True)
        for path, text in files.items():
            _write(repository, path, text, branch, title)
        if pulls:
            if (pulls[0].body or "").replace("\r\n", "\n") != body:
                pulls[0].update(title=title, body=body)
            return str(pulls[0].html_url)
        return str(repository.create_pull(title, repository.default_branch, branch, body).html_url)


def _repository(client: GitHub, repo: str) -> Any:
    owner, _, name = repo.partition("/")
    return client.repository(owner, name)


def _contents(repository: Any, path: str, branch: str) -> Any:
    try:
        return repository.file_contents(path, branch)
    except NotFoundError:
        return None
    except UnprocessableResponseBody as error:
        raise SettingsError(f"{path} is a folder there; move it away") from error


def _decoded(repository: Any, contents: Any) -> bytes:
    """A file's bytes. Above 1 MiB its contents come without them (`encoding` none); its blob has
    them (docs.github.com, rest/repos/contents, rest/git/blobs).
    """
    if contents.encoding != "none":
        return bytes(contents.decoded)
    return base64.b64decode(repository.blob(contents.sha).content)


def _text(repository: Any, path: str, branch: str) -> str | None:
    contents = _contents(repository, path, branch)
    if contents is None:
        return None
    try:
        return _decoded(repository, contents).decode("utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is no text there; move it away") from error


def _write(repository: Any, path: str, text: str, branch: str, message: str) -> None:
    contents, content = _contents(repository, path, branch), text.encode()
    if contents is None:
        repository.create_file(path, message, content, branch=branch)
    elif _decoded(repository, contents) != content:
        contents.update(message, content, branch=branch)
