"""What a reply that says no has in its head, as the Hub's client reads it."""

from __future__ import annotations

import pytest

from bot.serving.refusal import (
    Refusal,
    entry_not_found,
    repository_not_found,
    revision_not_found,
)


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (repository_not_found("a/b", anonymous=True), 401, "RepoNotFound"),
        (repository_not_found("a/b", anonymous=False), 404, "RepoNotFound"),
        (revision_not_found("v1"), 404, "RevisionNotFound"),
        (entry_not_found("a.txt"), 404, "EntryNotFound"),
        (Refusal(400, "no"), 400, None),
    ],
)
def test_each_refusal_has_the_clients_code(refusal: Refusal, status: int, code: str | None) -> None:
    assert refusal.status == status
    assert refusal.headers.get("X-Error-Code") == code


def test_what_a_stranger_sent_adds_no_line_to_the_head() -> None:
    message = Refusal(400, "é\r\nSet-Cookie: x\n" + "y" * 9_000).headers["X-Error-Message"]
    assert message.isascii()
    assert message.isprintable()
    assert len(message) == 1_000
    assert message.startswith("? Set-Cookie: x y")
