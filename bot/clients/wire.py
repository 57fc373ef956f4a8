"""Whether a URL may carry a secret: over TLS, or over plain HTTP to this machine alone."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from bot.errors import AccessError


def require_private(url: str, secret: str) -> None:
    """Raise AccessError where `secret` would travel in the open: http leads to this machine alone.

    `secret` is what it is called. Names are not looked up: what `localhost` is, every system knows;
    what another name is, others decide.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" or (
        parts.scheme == "http" and is_this_machine(parts.hostname or "")
    ):
        return
    raise AccessError(
        f"{secret} is not sent to {parts.scheme}://{parts.hostname}: everybody on the way could "
        "read it; use https"
    )


def is_this_machine(host: str) -> bool:
    """Whether a host is this machine by its name; names are not looked up."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
