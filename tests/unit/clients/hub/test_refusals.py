"""Refusals of a Hub, and replies that no Hub gives, as errors of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.clients.hub.changes import Writer
from bot.clients.hub.hub import Hub
from bot.clients.hub.refusals import require_repo_id
from bot.errors import (
    AccessError,
    BotError,
    PublishError,
    SourceError,
    UnreachableError,
)
from tests.unit.clients.hub.between import Between, Fault

WRONG = "hf_ThisTokenIsNobodys"


MODEL = "maker/Model"


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, _repo_id: client.release("maker/NoSuchModel"),
        lambda client, repo_id: client.release(repo_id, "no-such-revision"),
        lambda client, _repo_id: client.read_json("maker/NoSuchModel", "main", "config.json"),
        lambda client, _repo_id: client.download("maker/NoSuchModel", "main", "x", Path("unused")),
        lambda client, repo_id: client.download(repo_id, "main", "no-such-file", Path("unused")),
        lambda client, _repo_id: client.make_public("maker/NoSuchModel"),
    ],
)
def test_what_does_not_exist_is_a_source_error(
    client: Hub,
    repo_id: str,
    ask: Callable[[Hub, str], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"does not exist on http.*check the name"):
        ask(client, repo_id)
    assert client.exists(repo_id)
    assert not client.exists("maker/NoSuchModel")


def test_a_gated_repository_says_where_to_ask(client: Hub, proxy: Between) -> None:
    gate = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
    proxy.faults = [Fault(method="GET", part="/resolve/", status=403, headers=gate, arrives=False)]
    with pytest.raises(AccessError, match="is gated; ask for access"):
        client.read_json(MODEL, "main", "config.json")


@pytest.mark.parametrize(
    ("method", "part", "kind"),
    [("GET", "/revision/", SourceError), ("POST", "/commit/main", PublishError)],
)
def test_any_other_refusal_is_passed_on_in_the_hubs_words(
    client: Hub,
    proxy: Between,
    repo_id: str,
    files: dict[str, Path],
    method: str,
    part: str,
    kind: type[BotError],
) -> None:
    parent = client.head(repo_id)
    body = b'{"error": "The\\nmoon is\\u0007 full"}'
    proxy.faults = [Fault(method=method, part=part, status=400, body=body, arrives=False, times=9)]
    with pytest.raises(kind, match=r"\(400 The moon is full\); run `bot doctor`"):
        client.commit(repo_id, files, "x", parent) if method == "POST" else client.release(repo_id)


def test_an_answer_of_something_else_is_no_hub(client: Hub, proxy: Between) -> None:
    proxy.faults = [Fault(method="GET", part="/api/", status=200, arrives=False, times=9)]
    with pytest.raises(UnreachableError, match=r"not as a Hub does; check hub\.endpoint"):
        client.release(MODEL)


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"7", b"null", b"{}", b'{"id": 5}', b"[7]", b"{"])
@pytest.mark.parametrize("what", ["release", "whoami", "listed", "refs"])
def test_json_of_another_shape_is_no_hubs(
    client: Hub, proxy: Between, body: bytes, what: str
) -> None:
    proxy.faults = [
        Fault(method="GET", part="/api/", status=200, body=body, arrives=False, times=9)
    ]
    calls: dict[str, Callable[[], object]] = {
        "release": lambda: client.release(MODEL),
        "whoami": client.whoami,
        "listed": lambda: client.listed(MODEL),
        "refs": lambda: Writer(client).refs(MODEL),
    }
    with pytest.raises(UnreachableError, match=r"not as a Hub does; check hub\.endpoint"):
        calls[what]()


def test_every_error_ends_in_what_to_do(client: Hub, closed: str) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: client.release("maker/NoSuchModel"),
        lambda: Hub(closed, None, pause=0.001).release(MODEL),
        lambda: Hub(client.endpoint, SecretStr(WRONG), pause=0.001).release(MODEL),
    ]
    for ask in calls:
        with pytest.raises(BotError) as caught:
            ask()
        message = str(caught.value)
        assert "\n" not in message
        assert ";" in message


@pytest.mark.parametrize("name", ["", "maker", "maker/a/b", "maker/a--b", "maker/.a", "maker/é"])
def test_what_no_hub_takes_as_a_name_is_not_sent_to_one(name: str) -> None:
    with pytest.raises(SourceError, match=r"; check --to$"):
        require_repo_id(name, "check --to")


def test_names_that_every_hub_takes() -> None:
    for name in ("maker/Model", "maker/Model-1.5_x"):
        require_repo_id(name, "check --to")
