"""By which names a server may be asked, and addresses that can be had."""

from __future__ import annotations

from contextlib import closing

import pytest

from bot.errors import SettingsError
from bot.serving.serving import hosts, is_loopback, listen, url_of


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("192.168.0.7", False), ("::", False), ("hub.lan", False),  # noqa: S104
    ],
)  # fmt: skip
def test_an_address_is_of_this_machine_alone_or_not(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    assert ("*" in hosts(host)) is not loopback


def test_a_web_server_in_front_is_the_only_other_name() -> None:
    assert hosts("0.0.0.0", ["status.lan"]) == [  # noqa: S104
        "127.0.0.1", "localhost", "0.0.0.0", "status.lan",  # noqa: S104
    ]  # fmt: skip
    for name in ("*", "", "a b", "Status.lan", "x" * 254, "a.lan/"):
        with pytest.raises(SettingsError, match="no name of a web server"):
            hosts("127.0.0.1", [name])


def test_a_port_that_is_taken_is_said_with_what_to_do() -> None:
    with closing(listen("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
        assert url_of(bound) == f"http://127.0.0.1:{port}"
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}.*another"):
            listen("127.0.0.1", port)
