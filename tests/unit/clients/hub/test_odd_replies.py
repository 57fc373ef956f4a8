"""Replies that no Hub gives, to every request of a client: an error of ours, whatever they hold."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.clients.hub.changes import Writer
from bot.clients.hub.community import Community
from bot.clients.hub.hub import Hub as Client
from bot.errors import BotError, UnreachableError
from tests.local_hub.server import Hub, regular
from tests.unit.clients.hub.between import Between, Fault, between

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "alice/model"
JSON = {"Content-Type": "application/json"}
ODD = (
    b'{"objects":[[]],"files":[{"path":5}],"discussions":[4],"url":5,"commitUrl":3,"sha":7,'
    b'"siblings":[5],"branches":[3],"tags":7,"name":[],"errors":7,"warnings":[1]}'
)
QUICK = {"list": (200, b"[]"), "null": (200, b"null"), "refused with a list": (422, b"[]")}
REPLIES = QUICK | {
    "text": (200, b'"x"'),
    "number": (200, b"5"),
    "empty object": (200, b"{}"),
    "other types": (200, ODD),
    "list of lists": (200, b"[[1]]"),
    "list of texts": (200, b'["x"]'),
    "nothing": (200, b""),
    "a page": (200, b"<html>"),
    "bytes": (200, b"\xff\xfe"),
    "404": (404, b"{}"),
    "404 page": (404, b"<html>"),
    "413": (413, b"too large"),
    "400 null": (400, b"null"),
    "422 object": (422, b'{"error": {"a": []}}'),
    "redirect to nowhere": (302, b""),
    "451": (451, b""),
}


def calls(folder: Path, commit: str) -> dict[str, Callable[[Client], Any]]:
    """Every method that asks a Hub."""
    large = folder / "x.gguf"

    def written() -> Path:
        large.write_bytes(random.randbytes(20_000))  # noqa: S311 - contents, not secrets
        return large

    return {
        "ping": lambda c: c.ping(),
        "whoami": lambda c: c.whoami(),
        "release": lambda c: c.release(REPO),
        "exists": lambda c: c.exists(REPO),
        "json": lambda c: c.read_json(REPO, "main", "results.json"),
        "card": lambda c: c.card_data(REPO, "main"),
        "create": lambda c: c.create_private("alice/new"),
        "show": lambda c: c.make_public(REPO),
        "tag": lambda c: c.tag(REPO, "t1", commit),
        "commit": lambda c: c.commit(REPO, {"x.gguf": written()}, "m", commit),
        "stored": lambda c: Writer(c).stored(REPO),
        "discard": lambda c: Writer(c).discard(REPO, ["0" * 64]),
        "history": lambda c: Writer(c).history(REPO, 9),
        "refs": lambda c: Writer(c).refs(REPO),
        "collect": lambda c: Community(c).collect(REPO, "T"),
        "pull": lambda c: Community(c).pull(REPO, "[x]"),
        "propose": lambda c: Community(c).propose(
            REPO, {"x.gguf": written()}, "t", "", commit, "[y]"
        ),
        "download": lambda c: c.download(REPO, commit, "results.json", folder / "got"),
        "delete": lambda c: Writer(c).delete("alice/none"),
    }


def answered(
    proxy: Between, token: str, call: Callable[[Client], Any], number: int, reply: tuple[int, bytes]
) -> None:
    """Make a call whose request of that number is answered so, as often as it is repeated."""
    at, (status, body) = len(proxy.requests) + number, reply

    def choose(seen: int, _method: str, path: str) -> Fault | None:
        if seen < at or path.split("?")[0] != proxy.requests[at].split(" ")[1].split("?")[0]:
            return None
        return Fault(method="", part="", status=status, headers=JSON, body=body, arrives=False)

    proxy.choose = choose
    refusal: BotError | None = None
    try:
        call(Client(proxy.url, SecretStr(token), pause=0.0))
    except BotError as error:
        refusal = error
    proxy.choose = None
    assert refusal is None or refusal.exit_code in (4, 5, 6, 7, 9, 12), str(refusal)
    assert "\n" not in str(refusal)


def tried(hub: Hub, folder: Path, which: str, replies: dict[str, tuple[int, bytes]]) -> int:
    """The call with each reply to each of its requests; how many there were."""
    hub.create("model")
    done = hub.commit(REPO, regular("results.json", b"{}"))
    call = calls(folder, done.json["commitOid"])[which]
    with between(hub.url) as proxy:
        call(Client(proxy.url, SecretStr(hub.token), pause=0.0))
        requests = len(proxy.requests)
        for number in range(requests):
            for reply in replies.values():
                (folder / "got" / "results.json").unlink(missing_ok=True)
                answered(proxy, hub.token, call, number, reply)
        return requests


NAMES = list(calls(Path(), ""))


@pytest.mark.parametrize("which", ["whoami", "exists", "create", "tag", "stored", "refs", "pull"])
def test_a_reply_that_is_no_object(hub: Hub, tmp_path: Path, which: str) -> None:
    assert tried(hub, tmp_path, which, QUICK)


@pytest.mark.long
@pytest.mark.parametrize("which", NAMES)
def test_any_reply_to_any_request(hub: Hub, tmp_path: Path, which: str) -> None:
    assert tried(hub, tmp_path, which, REPLIES)


@pytest.mark.parametrize("error", [KeyError, ValueError, TypeError, AttributeError, IndexError])
def test_an_error_of_our_own_is_no_fault_of_a_hub(hub: Hub, error: type[Exception]) -> None:
    def wrong(_api: object) -> None:
        raise error("ours")

    with pytest.raises(error, match="ours"):
        Client(hub.url, SecretStr(hub.token), pause=0.0).ask("x", wrong)


def test_a_refusal_keeps_its_status(hub: Hub) -> None:
    with between(hub.url) as proxy:
        proxy.choose = lambda *_: Fault(
            method="", part="", status=503, headers=JSON, body=b"[]", arrives=False
        )
        with pytest.raises(UnreachableError, match=r"failed on .*503"):
            Client(proxy.url, SecretStr(hub.token), pause=0.0).release(REPO)
