"""Which URLs may carry a secret."""

from __future__ import annotations

import pytest

from bot.clients.wire import is_this_machine, require_private
from bot.errors import AccessError


@pytest.mark.parametrize(
    "url",
    ["https://huggingface.co", "https://10.0.0.1:8443/api", "http://localhost:8080/x",
     "http://127.0.0.1", "http://127.8.9.1:1", "http://[::1]:9000"],
)  # fmt: skip
def test_tls_and_this_machine_may(url: str) -> None:
    require_private(url, "HF_TOKEN")


@pytest.mark.parametrize(
    "url",
    ["http://huggingface.co", "http://10.0.0.1", "http://0.0.0.0", "http://localhost.example",
     "http://127.0.0.1.example", "ftp://localhost", "//huggingface.co", "", "http://"],
)  # fmt: skip
def test_nothing_else_may(url: str) -> None:
    with pytest.raises(AccessError, match=r"^HF_TOKEN is not sent to .*; use https$"):
        require_private(url, "HF_TOKEN")


def test_names_are_not_looked_up() -> None:
    assert [is_this_machine(host) for host in ("localhost", "127.0.0.1", "::1")] == [True] * 3
    assert not any(map(is_this_machine, ("LOCALHOST.", "example", "", "2130706433")))
