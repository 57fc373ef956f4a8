"""Which licences a release names, and whether what was made of it may be handed on.

A card may name one, a list, a name of its own beside `other`, or something nobody can read; where
it names several, all bind, so the strictest decides. Identifiers are the Hub's (hub-docs,
docs/hub/repositories-licenses.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from bot.records.releases import Release

UNREADABLE = "an entry that cannot be read"
# what forbids to hand on a changed work, in words between dashes, however it is spelt
_CLOSED = re.compile(
    r"(^|-)nd(-|$)|no[nt]?-?deriv|without-deriv|all-rights-reserved|proprietary"
    r"|no[nt]?-(?:for-)?redistribut|^apple-amlr|^fair-noncommercial-research"
)
_CLOSED_LINK = re.compile(r"creativecommons\.org/licenses/[a-z-]*nd\b", re.IGNORECASE)
# words that name no licence at all; `unlicense` is one
_NO_NAME = frozenset({"unknown", "none", "null", "unlicensed", "no-license", "no-licence", "n-a"})
IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")


class Rules(Protocol):
    """What the settings say of licences (gate.unlicensed, gate.licences)."""

    @property
    def unlicensed(self) -> str:
        """`publish`, or `stop`."""
        ...

    @property
    def licences(self) -> tuple[str, ...]:
        """Those allowed; all where none is named."""
        ...


def licences_of(release: Release) -> tuple[str, ...]:
    """Every licence that a release's card names, as it stands there."""
    return release.licenses or ((release.license,) if release.license else ())


def expression(release: Release) -> str | None:
    """All of them as one text, as SPDX writes what binds together."""
    return " AND ".join(licences_of(release)) or None


def permitted(release: Release, rules: Rules) -> tuple[bool, str]:
    """Whether what was made of a release may be handed on, and why: known before any work."""
    named = licences_of(release)
    closed = [name for name in (*named, release.license_name or "") if _is_closed(name)]
    if closed or _CLOSED_LINK.search(release.license_link or ""):
        licence = _shown(closed[0] if closed else release.license_link or "")
        return False, f"the licence {licence} forbids to hand on a changed model"
    if UNREADABLE in named:
        return False, f"the card's licence has {UNREADABLE}: nobody knows what it forbids"
    if not named or any(_plain(name) in _NO_NAME for name in named):
        good = rules.unlicensed == "publish"
        return good, "the source names no licence" + ("" if good else ": gate.unlicensed is stop")
    missing = _outside(named, release, rules.licences)
    if missing is not None:
        return False, f"gate.licences does not hold {_shown(missing)}"
    return True, f"{', '.join(map(_shown, named))} lets us hand on a changed model"


def _outside(named: Iterable[str], release: Release, allowed: tuple[str, ...]) -> str | None:
    """The first licence that a list of allowed ones does not hold; a name stands for `other`."""
    held = {_plain(name) for name in allowed}
    own = _plain(release.license_name or "") in held
    fine = {*held, "other"} if own else held
    return next((name for name in named if allowed and _plain(name) not in fine), None)


def _is_closed(name: str) -> bool:
    return bool(_CLOSED.search(_plain(name)))


def _plain(name: str) -> str:
    """Lower case, one dash between words."""
    return re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")


def _shown(name: str) -> str:
    return name[:60] if name.isprintable() else "?"


def identifier(name: str) -> str | None:
    """A licence as the Hub's metadata write one; None for what is none of its identifiers."""
    plain = name.strip().lower()
    return plain if IDENTIFIER.fullmatch(plain) else None
