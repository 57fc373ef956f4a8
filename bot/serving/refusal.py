"""What the local Hub answers when it will not do what was asked: a status, a code, a sentence."""

from __future__ import annotations

from typing import Literal

Code = Literal["RepoNotFound", "EntryNotFound", "RevisionNotFound", "GatedRepo"]


class Refusal(Exception):
    """A 4xx reply. `code` becomes X-Error-Code, which is what the Hub's client reads over HTTP."""

    def __init__(self, status: int, message: str, code: Code | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code

    @property
    def headers(self) -> dict[str, str]:
        """X-Error-Message is one ASCII line: it may quote what a stranger sent."""
        line = " ".join(self.message.encode("ascii", "replace").decode().split())
        headers = {"X-Error-Message": line[:1000]}
        if self.code is not None:
            headers["X-Error-Code"] = self.code
        return headers


def repository_not_found(repo_id: str, *, anonymous: bool) -> Refusal:
    """Absent and hidden repositories look the same; who brought no token is asked for one."""
    status = 401 if anonymous else 404
    return Refusal(status, f"Repository {repo_id} not found", "RepoNotFound")


def revision_not_found(revision: str) -> Refusal:
    """No branch, tag or commit of that name."""
    return Refusal(404, f"Revision {revision} not found", "RevisionNotFound")


def entry_not_found(path: str) -> Refusal:
    """No file or folder of that name at the revision."""
    return Refusal(404, f"Entry {path} not found", "EntryNotFound")
