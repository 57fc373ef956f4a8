"""Notifications over a webhook, in the words of Slack or Discord.

The address is a secret (who knows it can write there): BOT_NOTIFY_URL of the environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any
from urllib.parse import urlsplit

import httpx2
from pydantic import SecretStr

from bot import secrecy
from bot.clients import bounds
from bot.clients.hub.addresses import is_plain_link
from bot.clients.wire import require_private
from bot.clock import Clock
from bot.errors import SettingsError, UnreachableError
from bot.legible import chat_words
from bot.settings.running import WatchSettings
from bot.store.queue import Queue
from bot.store.queue_tables import Event

VARIABLE = "BOT_NOTIFY_URL"
STALE = 86_400.0  # seconds after which an event is no news
AT_ONCE = 10
LONGEST = 1_500  # letters; Discord takes 2,000
DISCORD = ("discord.com", "discordapp.com")
# Slack: invalid_payload, too long; Discord: invalid form body. Others are of the address
OF_THE_MESSAGE = (400, 413, 422)
ANSWER = bounds.Bound(bytes=1 << 20, values=None, seconds=30.0)  # nothing of it is used
WORDS = {
    "asked": "waits for approval",
    "queued": "is queued",
    "started": "is being built",
    "stalled": "stands still",
    "goes_on": "goes on",
    "published": "is published",
    "failed": "failed, and is tried again",
    "gave_up": "failed for good",
}


def address() -> SecretStr | None:
    """BOT_NOTIFY_URL. Raises SettingsError when it is no web address, AccessError for open http."""
    value = secrecy.value(VARIABLE)
    if value and urlsplit(value).scheme not in ("http", "https"):
        raise SettingsError(f"{VARIABLE} is no web address; copy it again from Slack or Discord")
    if value:
        require_private(value, VARIABLE)
    return SecretStr(value) if value else None


def post(
    queue: Queue,
    settings: WatchSettings,
    url: SecretStr,
    clock: Clock,
    say: Callable[[str], None] = lambda _text: None,
) -> int:
    """Send what was not sent yet, oldest first; how many.

    At least once: an event counts as sent when the other side took it. One that it refuses for
    what it is would be refused for ever: it is said here, and the next goes out. Raises
    UnreachableError for trouble that all would meet.
    """
    sent = 0
    for event in queue.untold(settings.tell, clock.now() - STALE, AT_ONCE):
        body = message(event, settings.link, slack=not _is_discord(url))
        refused = _send(url, body)
        queue.told(event.id)
        sent += not refused
        if refused:
            say(f"a notification was refused (status {refused}): {event.repo or ''} {event.text}")
    return sent


def message(event: Event, page: str | None, *, slack: bool) -> dict[str, Any]:
    """An event as the body that Slack's and Discord's incoming webhooks take.

    Words of strangers can neither mention anybody nor make links: they are code, and the addresses
    in them are none any more. Links are ours: to the run, to what was published, to `page`.
    """
    words = chat_words(event.text, LONGEST)
    kind = WORDS.get(event.kind, event.kind)
    text = f"{chat_words(event.repo, 200)} {kind}: {words}" if event.repo else words
    links = [link for link in (event.link,) if is_plain_link(link) and link]
    links += [page] if page and page.startswith("http") else []
    if slack:
        # https://docs.slack.dev/messaging/formatting-message-text: the three that are escaped
        return {"text": "\n".join((escape(text, quote=False), *links)), "link_names": False}
    return {"content": "\n".join((text, *links)), "allowed_mentions": {"parse": []}}


def _is_discord(url: SecretStr) -> bool:
    parts = urlsplit(url.get_secret_value())
    return parts.hostname in DISCORD and not parts.path.endswith("/slack")


def _send(url: SecretStr, body: Mapping[str, Any]) -> int | None:
    """None for a message that was taken, the status where this message was refused."""
    try:
        with bounds.within(ANSWER), bounds.hold(httpx2.Client(timeout=10.0)) as client:
            reply = client.post(url.get_secret_value(), json=body)
    except httpx2.HTTPError as error:
        raise UnreachableError(
            f"no notification went out ({type(error).__name__}); look at {VARIABLE}"
        ) from None
    if reply.status_code in OF_THE_MESSAGE:
        return reply.status_code
    if reply.status_code >= 300:
        raise UnreachableError(
            f"no notification went out (status {reply.status_code}); look at {VARIABLE}"
        )
    return None
