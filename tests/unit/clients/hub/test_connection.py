"""Who asks a Hub, with which token, and how often: over real HTTP, through a proxy that fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub
from bot.errors import (
    AbsentError,
    AccessError,
    UnreachableError,
)
from tests.unit.clients.hub.between import Between, Fault

WRONG = "hf_ThisTokenIsNobodys"


MODEL = "maker/Model"


def test_the_token_tells_its_user_and_is_asked_once(client: Hub, proxy: Between) -> None:
    assert [client.whoami(), client.whoami()] == ["maker", "maker"]
    assert proxy.requests == ["GET /api/whoami-v2"]


def test_without_a_token_nobody_is_asked(anonymous: Hub, proxy: Between) -> None:
    with pytest.raises(AccessError, match="HF_TOKEN is not set"):
        anonymous.whoami()
    assert proxy.requests == []


def test_ping(client: Hub, closed: str) -> None:
    assert client.ping() is None
    trouble = Hub(closed.replace("//", "//me:secret@"), None).ping()
    assert trouble is not None
    assert "did not answer" in trouble
    assert "secret" not in trouble


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, _folder: client.whoami(),
        lambda client, _folder: client.release(MODEL),
        lambda client, _folder: list(client.newest(10, 10)),
        lambda client, _folder: client.create_private(MODEL),
        lambda client, folder: client.download(MODEL, "main", "config.json", folder),
        lambda client, _folder: client.exists(MODEL),
    ],
)
def test_a_wrong_token_is_refused_and_never_shown(
    proxy: Between, ask: Callable[[Hub, Path], Any], tmp_path: Path
) -> None:
    with pytest.raises(AccessError, match=r"HF_TOKEN is not accepted; see http") as caught:
        ask(Hub(proxy.url, SecretStr(WRONG), pause=0.01), tmp_path)
    assert WRONG not in _whole_chain(caught.value)


def test_a_server_that_echoes_the_token_does_not_bring_it_into_messages(
    client: Hub, proxy: Between, token: str
) -> None:
    echo = {"X-Error-Message": f"Bearer {token} is not enough"}
    proxy.faults = [Fault(method="GET", part="/revision/", status=403, headers=echo, arrives=False)]
    with pytest.raises(AccessError) as caught:
        client.release(MODEL)
    assert token not in str(caught.value)


def test_a_token_with_a_line_break_is_refused_unsent(proxy: Between) -> None:
    with pytest.raises(AccessError, match="copy it again") as caught:
        Hub(proxy.url, SecretStr(WRONG + "\nX-Evil: 1"))
    assert WRONG not in _whole_chain(caught.value)
    assert proxy.requests == []


def _whole_chain(error: BaseException | None) -> str:
    words = []
    while error is not None:
        words.append(f"{error} {error.args}")
        error = error.__cause__ or error.__context__
    return "\n".join(words)


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.release(MODEL),
        lambda client: list(client.newest(10, 10)),
        lambda client: client.read_json(MODEL, "main", "config.json"),
        lambda client: client.create_private(MODEL),
        lambda client: client.exists(MODEL),
        lambda client: client.whoami(),
    ],
)
def test_a_closed_port_is_unreachable(closed: str, ask: Callable[[Hub], Any]) -> None:
    with pytest.raises(UnreachableError, match=r"did not answer .* later$"):
        ask(Hub(closed, SecretStr(WRONG), pause=0.001))


@pytest.mark.parametrize("mistake", [KeyError("x"), ValueError("x"), TypeError("x"), IndexError()])
def test_a_mistake_of_our_own_is_not_the_hubs_and_is_not_repeated(
    client: Hub, proxy: Between, repo_id: str, files: dict[str, Path], tmp_path: Path,
    mistake: Exception,
) -> None:  # fmt: skip
    """In what the library calls while a file arrives, in what we do with an answer, before one."""
    head = client.commit(repo_id, files, "x", client.head(repo_id))

    def fail(*_given: object) -> None:
        raise mistake

    before = proxy.count("GET", "")
    for once in (
        lambda: client.download(repo_id, head, "Model-BF16.gguf", tmp_path / "there", fail),
        lambda: client.ask("something", fail),
        lambda: client.ask("something", lambda api: fail(api.model_info(repo_id))),
        lambda: client.ask(
            "something", lambda api: int(str(api.repo_info(repo_id, repo_type="no")))
        ),
    ):
        with pytest.raises((type(mistake), ValueError)):
            once()
    assert proxy.count("GET", "") - before <= 3


def test_what_is_not_there_is_asked_for_twice(client: Hub, proxy: Between) -> None:
    headers = {"X-Error-Code": "RepoNotFound"}
    once = Fault(method="GET", part="/whoami", status=404, arrives=False)
    proxy.faults = [once]
    assert client.whoami() == "maker"
    proxy.faults = [
        Fault(method="GET", part="/revision/", status=404, headers=headers, arrives=False, times=9)
    ]
    with pytest.raises(AbsentError, match="does not exist"):
        client.release(MODEL)
    assert proxy.count("GET", "/revision/") == 2


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, None])
def test_reading_is_repeated(client: Hub, proxy: Between, repo_id: str, status: int | None) -> None:
    proxy.faults = [
        Fault(method="GET", part="/revision/main", status=status, arrives=False, times=2)
    ]
    proxy.requests.clear()
    assert client.release(repo_id).repo_id == repo_id
    assert proxy.count("GET", "/revision/main") == 3


def test_repeating_has_an_end(client: Hub, proxy: Between, repo_id: str) -> None:
    proxy.faults = [Fault(method="GET", part="/revision/", status=503, arrives=False, times=99)]
    proxy.requests.clear()
    with pytest.raises(UnreachableError, match=r"\(503 .*later$"):
        client.release(repo_id)
    assert len(proxy.requests) == 4


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"RateLimit": '"api";r=0;t=55', "Retry-After": "7"}, 56),
        ({"RateLimit": '"api";r=3;t=55', "Retry-After": "7"}, 7),
        ({"Retry-After": "99999"}, 330),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.01),
    ],
)
def test_waits_as_long_as_told_and_no_longer_than_a_window(
    client: Hub,
    proxy: Between,
    repo_id: str,
    monkeypatch: pytest.MonkeyPatch,
    headers: dict[str, str],
    seconds: float,
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("bot.clock.time.sleep", waits.append)
    proxy.faults = [
        Fault(method="GET", part="/revision/", status=429, headers=headers, arrives=False)
    ]
    client.release(repo_id)
    assert len(waits) == 1
    assert seconds <= waits[0] <= min(seconds * 1.3, 330)
