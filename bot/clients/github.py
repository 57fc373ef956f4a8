"""GitHub over HTTP: the only module that knows github3.

Version 2022-11-28 of the API is asked for by name: later ones leave out keys that github3.py
4.0.1 needs.
"""

from __future__ import annotations

import os

from github3 import GitHub
from github3.exceptions import GitHubError, GitHubException
from github3.session import GitHubSession

from bot import secrecy
from bot.errors import AccessError, UnreachableError

API_VERSION = "2022-11-28"


def connect(token: str | None, api_url: str) -> GitHub:
    """A client for the GitHub at `api_url`: github.com, an Enterprise server, or a local one."""
    session = GitHubSession(default_connect_timeout=5, default_read_timeout=30)
    session.base_url = api_url.rstrip("/")
    return GitHub(token=token or "", session=session, api_version=API_VERSION)


def token() -> str | None:
    """GITHUB_TOKEN of the environment."""
    return secrecy.value("GITHUB_TOKEN") or None


def api_url() -> str:
    """GITHUB_API_URL of the environment (set on every runner), else github.com's."""
    return os.environ.get("GITHUB_API_URL", "https://api.github.com")


def requests_left(client: GitHub) -> int:
    """How many requests the hour still allows.

    Raises AccessError for a refused token, UnreachableError when nothing answers.
    """
    try:
        limits = client.rate_limit()
    except GitHubError as error:
        raise AccessError(f"GitHub refused the token ({error.code}); renew GITHUB_TOKEN") from error
    except GitHubException as error:
        raise UnreachableError("GitHub did not answer; look at GITHUB_API_URL") from error
    return int(limits["resources"]["core"]["remaining"])
