"""Names that a Hub takes, by the rules of its own client."""

from __future__ import annotations

from huggingface_hub.errors import HFValidationError

from bot.clients.hub.beyond import validate_repo_id
from bot.errors import SourceError


def require_repo_id(repo_id: str, advice: str) -> None:
    """Raise SourceError, ending in `advice`, for what is no OWNER/NAME of a Hub."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        reason = str(error).replace(f": '{repo_id}'", "").rstrip(".")
        raise SourceError(f"{repo_id!r} is no name on a Hub ({reason}); {advice}") from error
    if repo_id.count("/") != 1:
        raise SourceError(f"{repo_id!r} is no OWNER/NAME of a Hub; {advice}")
