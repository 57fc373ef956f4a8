"""The repository to publish to, and who owns it."""

from __future__ import annotations

from bot.clients.hub.repo_names import require_repo_id
from bot.errors import SettingsError
from bot.plan.models import HasName
from bot.workplace import names
from bot.workplace.workplace import Workplace


def target_of(workplace: Workplace, model: HasName, to: str | None) -> str:
    """The repository to publish to: as given, or by the naming template.

    Raises SourceError for a name that no Hub takes.
    """
    if to:
        require_repo_id(to, "check --to")
        return to
    return names.target(workplace.settings.publish, model.name, owner_of(workplace))


def can_name(workplace: Workplace, to: str | None) -> bool:
    """Whether the repository to publish to can be told without a token, or there is one."""
    return bool(to or workplace.settings.hub.namespace) or workplace.has_token


def owner_of(workplace: Workplace) -> str:
    """Who owns what is published: by the settings, or the token's user."""
    namespace = workplace.settings.hub.namespace
    if namespace is None and workplace.settings.publish.trusted_publisher:
        raise SettingsError("hub.namespace is not set; a trusted publisher is no user: name it")
    return namespace or workplace.hub.whoami()
