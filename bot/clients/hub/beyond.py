"""What of huggingface_hub is used beyond its public interface, in one place, each with its reason.

pyproject.toml holds the library, and hf_xet, at the minor version that this was read against.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from huggingface_hub import CommitOperationAdd
from huggingface_hub.utils import _xet

# the headers that the library sends itself, for requests of ours
from huggingface_hub.utils._headers import build_hf_headers

# the client that the library would make, to be held at its bounds; how long a Hub wants silence
from huggingface_hub.utils._http import default_client_factory, parse_ratelimit_headers

# whether contents can go by Xet, as the library itself decides it
from huggingface_hub.utils._runtime import is_xet_available

# its rule for a repository's name: what it refuses no Hub is asked
from huggingface_hub.utils._validators import validate_repo_id

# Xet: where a reply says that a content lies, tokens for it, a session for the download of parts
from huggingface_hub.utils._xet import (
    XetConnectionInfo,
    XetFileData,
    get_xet_session,
    parse_xet_connection_info_from_headers,
    refresh_xet_connection_info,
    xet_headers_without_auth,
)

__all__ = [
    "XetConnectionInfo",
    "XetFileData",
    "build_hf_headers",
    "default_client_factory",
    "get_xet_session",
    "is_xet_available",
    "parse_ratelimit_headers",
    "parse_xet_connection_info_from_headers",
    "refresh_xet_connection_info",
    "validate_repo_id",
    "xet_headers_without_auth",
]

COMMIT_LOGGER = "huggingface_hub._commit_api"  # says what is done on purpose here as a warning


def is_sent(addition: CommitOperationAdd) -> bool:
    """Whether the library counts a content as there: it sends it with no commit."""
    return addition._is_uploaded


def mark_sent(addition: CommitOperationAdd, *, sent: bool) -> None:
    """Let a content count as there, or not."""
    addition._is_uploaded = sent


def is_committed(addition: CommitOperationAdd) -> bool:
    """Whether an addition was used by a commit: it may not be used again."""
    return addition._is_committed


def mark_large(addition: CommitOperationAdd) -> None:
    """Let a content go as a large file without the Hub being asked how."""
    addition._upload_mode = "lfs"


def use_xet_session(session: Callable[[], Any]) -> None:
    """Have the library's uploads take this session: it looks the name up at each."""
    _xet.get_xet_session = session
