"""The client against a local Hub over real HTTP, through a proxy that counts and fails."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.clients.hub.changes import Writer
from bot.clients.hub.hub import Hub
from bot.errors import (
    AbsentError,
    AccessError,
    BotError,
    PublishError,
    SourceError,
    UnreachableError,
)
from tests.local_hub.server import Hub as LocalHub
from tests.local_hub.server import running_hub
from tests.unit.clients.hub.between import Between, Fault, between

WRONG = "hf_ThisTokenIsNobodys"
MODEL = "maker/Model"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def token(server: LocalHub) -> str:
    return server.store.add_user("maker")


@pytest.fixture
def proxy(server: LocalHub) -> Iterator[Between]:
    with between(server.url) as running:
        yield running


@pytest.fixture
def hub(proxy: Between, token: str) -> Hub:
    return Hub(proxy.url, SecretStr(token), pause=0.01)


@pytest.fixture
def anonymous(proxy: Between) -> Hub:
    return Hub(proxy.url, None, pause=0.01)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A small set as it is published: a large file, a card, JSON."""
    contents = {
        "Model-BF16.gguf": b"GGUF" + bytes(range(256)) * 64,
        "README.md": b"---\nlicense: mit\nlanguage: [en, de]\n---\n# Model\n",
        "config.json": json.dumps({"model_type": "mixtral", "num_local_experts": 8}).encode(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in contents}


@pytest.fixture
def repo_id(hub: Hub, request: pytest.FixtureRequest) -> str:
    """A private repository of this test's own."""
    name = f"maker/{hashlib.sha1(request.node.name.encode()).hexdigest()[:12]}"  # noqa: S324 - a name
    hub.create_private(name)
    return name


@pytest.fixture
def closed() -> str:
    """An endpoint at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return f"http://127.0.0.1:{port}"


# ── who and whether ─────────────────────────────────────────────────────────────────────────


def test_the_token_tells_its_user_and_is_asked_once(hub: Hub, proxy: Between) -> None:
    assert [hub.whoami(), hub.whoami()] == ["maker", "maker"]
    assert proxy.requests == ["GET /api/whoami-v2"]


def test_without_a_token_nobody_is_asked(anonymous: Hub, proxy: Between) -> None:
    with pytest.raises(AccessError, match="HF_TOKEN is not set"):
        anonymous.whoami()
    assert proxy.requests == []


def test_ping(hub: Hub, closed: str) -> None:
    assert hub.ping() is None
    trouble = Hub(closed.replace("//", "//me:secret@"), None).ping()
    assert trouble is not None
    assert "did not answer" in trouble
    assert "secret" not in trouble


# ── reading ─────────────────────────────────────────────────────────────────────────────────


def test_a_release_is_what_was_committed(
    hub: Hub, proxy: Between, repo_id: str, files: dict[str, Path], tmp_path: Path
) -> None:
    commit = hub.commit(repo_id, files, "first", hub.head(repo_id))
    proxy.requests.clear()
    release = hub.release(repo_id)
    assert len(proxy.requests) == 1
    assert (release.repo_id, release.commit, release.private) == (repo_id, commit, True)
    assert (release.license, release.languages) == ("mit", ("en", "de"))
    there = {file.path: file for file in release.files}
    gguf = files["Model-BF16.gguf"].read_bytes()
    assert there["Model-BF16.gguf"].size == len(gguf)
    assert there["Model-BF16.gguf"].sha256 == hashlib.sha256(gguf).hexdigest()
    assert there["config.json"].size == files["config.json"].stat().st_size
    fetched = hub.download(repo_id, commit, "Model-BF16.gguf", tmp_path / "fetched")
    assert fetched.read_bytes() == gguf
    assert fetched.is_relative_to(tmp_path / "fetched")


def test_json_is_read_at_the_pinned_commit(
    hub: Hub, proxy: Between, repo_id: str, files: dict[str, Path]
) -> None:
    first = hub.commit(repo_id, files, "first", hub.head(repo_id))
    files["config.json"].write_text('{"model_type": "llama"}')
    second = hub.commit(repo_id, files, "second", first)
    proxy.requests.clear()
    old, new = (hub.read_json(repo_id, commit, "config.json") for commit in (first, second))
    assert len(proxy.requests) == 2
    assert old == {"model_type": "mixtral", "num_local_experts": 8}
    assert new == {"model_type": "llama"}
    assert hub.read_json(repo_id, second, "nothing.json") is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe{}", "is not UTF-8"),
        (b"[1, 2]", "is not a JSON object"),
        (b"[" * 200_000, "nested deeper than the 64"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested deeper than the 64"),
        (b'{"a":' + b"9" * 5000 + b"}", "is not JSON"),
        (
            b'{"a": "' + b"x" * 5_000_000 + b'"}',
            "larger than the 4,194,304 bytes that apex-bot reads",
        ),
    ],
)
def test_broken_json_is_one_clear_line(
    hub: Hub, repo_id: str, tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "config.json").write_bytes(content)
    files = {"config.json": tmp_path / "config.json"}
    commit = hub.commit(repo_id, files, "broken", hub.head(repo_id))
    with pytest.raises(SourceError, match=reason) as caught:
        hub.read_json(repo_id, commit, "config.json")
    assert "\n" not in str(caught.value)


def test_a_listing_costs_one_request_a_page(hub: Hub, proxy: Between) -> None:
    for number in range(5):
        hub.create_private(f"maker/Paged-{number}")
        hub.make_public(f"maker/Paged-{number}")
    proxy.requests.clear()
    listed = list(hub.newest(5, 2))
    assert proxy.count("GET", "/api/models?") == len(proxy.requests) == 3
    assert [model.repo_id for model in listed] == [f"maker/Paged-{n}" for n in (4, 3, 2, 1, 0)]
    assert all(model.commit and model.created_at and not model.private for model in listed)
    proxy.requests.clear()
    assert next(hub.newest(5, 2)).repo_id == "maker/Paged-4"
    assert len(proxy.requests) == 1
    assert list(hub.newest(100, 50, author="nobody-here")) == []


def test_a_model_listed_twice_is_given_once(hub: Hub, proxy: Between) -> None:
    rows = [{"id": name} for name in ("maker/A", "maker/B", "maker/A", "maker/C", "maker/D")]
    proxy.faults = [
        Fault(
            method="GET",
            part="/api/models",
            status=200,
            body=json.dumps([*rows[:2], {"id": "not a name"}, *rows[2:]]).encode(),
            arrives=False,
        )
    ]
    assert [row.repo_id for row in hub.newest(3, 10)] == ["maker/A", "maker/B", "maker/C"]


def test_a_listing_names_the_model_type(hub: Hub, repo_id: str, files: dict[str, Path]) -> None:
    commit = hub.commit(repo_id, files, "first", hub.head(repo_id))
    model = next(row for row in hub.newest(100, 100) if row.repo_id == repo_id)
    assert (model.commit, model.model_type, model.private) == (commit, "mixtral", True)


# ── errors ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "ask",
    [
        lambda hub, _repo_id: hub.release("maker/NoSuchModel"),
        lambda hub, repo_id: hub.release(repo_id, "no-such-revision"),
        lambda hub, _repo_id: hub.read_json("maker/NoSuchModel", "main", "config.json"),
        lambda hub, _repo_id: hub.download("maker/NoSuchModel", "main", "x", Path("unused")),
        lambda hub, repo_id: hub.download(repo_id, "main", "no-such-file", Path("unused")),
        lambda hub, _repo_id: hub.make_public("maker/NoSuchModel"),
    ],
)
def test_what_does_not_exist_is_a_source_error(
    hub: Hub,
    repo_id: str,
    ask: Callable[[Hub, str], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"does not exist on http.*check the name"):
        ask(hub, repo_id)
    assert hub.exists(repo_id)
    assert not hub.exists("maker/NoSuchModel")


def test_a_private_repository_does_not_exist_for_others(
    hub: Hub, anonymous: Hub, server: LocalHub, proxy: Between, repo_id: str
) -> None:
    other = Hub(proxy.url, SecretStr(server.store.add_user("other")), pause=0.01)
    for stranger in (anonymous, other):
        with pytest.raises(SourceError, match="the token may not see it"):
            stranger.release(repo_id)
        assert not stranger.exists(repo_id)
        assert repo_id not in {model.repo_id for model in stranger.newest(100, 100)}
    hub.make_public(repo_id)
    assert hub.visibility(repo_id)
    assert anonymous.release(repo_id).commit == hub.head(repo_id)


def test_strangers_may_not_write(
    hub: Hub, server: LocalHub, proxy: Between, repo_id: str, files: dict[str, Path]
) -> None:
    hub.make_public(repo_id)
    other = Hub(proxy.url, SecretStr(server.store.add_user("other")), pause=0.01)
    with pytest.raises(AccessError, match="HF_TOKEN may not do this"):
        other.commit(repo_id, files, "not mine", hub.head(repo_id))
    with pytest.raises(AccessError, match="HF_TOKEN may not do this"):
        other.create_private("maker/Stolen")


@pytest.mark.parametrize(
    "ask",
    [
        lambda hub, _folder: hub.whoami(),
        lambda hub, _folder: hub.release(MODEL),
        lambda hub, _folder: list(hub.newest(10, 10)),
        lambda hub, _folder: hub.create_private(MODEL),
        lambda hub, folder: hub.download(MODEL, "main", "config.json", folder),
        lambda hub, _folder: hub.exists(MODEL),
    ],
)
def test_a_wrong_token_is_refused_and_never_shown(
    proxy: Between, ask: Callable[[Hub, Path], Any], tmp_path: Path
) -> None:
    with pytest.raises(AccessError, match=r"HF_TOKEN is not accepted; see http") as caught:
        ask(Hub(proxy.url, SecretStr(WRONG), pause=0.01), tmp_path)
    assert WRONG not in _whole_chain(caught.value)


def test_a_server_that_echoes_the_token_does_not_bring_it_into_messages(
    hub: Hub, proxy: Between, token: str
) -> None:
    echo = {"X-Error-Message": f"Bearer {token} is not enough"}
    proxy.faults = [Fault(method="GET", part="/revision/", status=403, headers=echo, arrives=False)]
    with pytest.raises(AccessError) as caught:
        hub.release(MODEL)
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
        lambda hub: hub.release(MODEL),
        lambda hub: list(hub.newest(10, 10)),
        lambda hub: hub.read_json(MODEL, "main", "config.json"),
        lambda hub: hub.create_private(MODEL),
        lambda hub: hub.exists(MODEL),
        lambda hub: hub.whoami(),
    ],
)
def test_a_closed_port_is_unreachable(closed: str, ask: Callable[[Hub], Any]) -> None:
    with pytest.raises(UnreachableError, match=r"did not answer .* later$"):
        ask(Hub(closed, SecretStr(WRONG), pause=0.001))


def test_a_gated_repository_says_where_to_ask(hub: Hub, proxy: Between) -> None:
    gate = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
    proxy.faults = [Fault(method="GET", part="/resolve/", status=403, headers=gate, arrives=False)]
    with pytest.raises(AccessError, match="is gated; ask for access"):
        hub.read_json(MODEL, "main", "config.json")


@pytest.mark.parametrize(
    ("method", "part", "kind"),
    [("GET", "/revision/", SourceError), ("POST", "/commit/main", PublishError)],
)
def test_any_other_refusal_is_passed_on_in_the_hubs_words(
    hub: Hub,
    proxy: Between,
    repo_id: str,
    files: dict[str, Path],
    method: str,
    part: str,
    kind: type[BotError],
) -> None:
    parent = hub.head(repo_id)
    said = b'{"error": "The\\nmoon is\\u0007 full"}'
    proxy.faults = [Fault(method=method, part=part, status=400, body=said, arrives=False, times=9)]
    with pytest.raises(kind, match=r"\(400 The moon is full\); run `bot doctor`"):
        hub.commit(repo_id, files, "x", parent) if method == "POST" else hub.release(repo_id)


def test_an_answer_of_something_else_is_no_hub(hub: Hub, proxy: Between) -> None:
    proxy.faults = [Fault(method="GET", part="/api/", status=200, arrives=False, times=9)]
    with pytest.raises(UnreachableError, match=r"not as a Hub does; check hub\.endpoint"):
        hub.release(MODEL)


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"7", b"null", b"{}", b'{"id": 5}', b"[7]", b"{"])
@pytest.mark.parametrize("what", ["release", "whoami", "listed", "refs"])
def test_json_of_another_shape_is_no_hubs(hub: Hub, proxy: Between, body: bytes, what: str) -> None:
    proxy.faults = [
        Fault(method="GET", part="/api/", status=200, body=body, arrives=False, times=9)
    ]
    asked: dict[str, Callable[[], object]] = {
        "release": lambda: hub.release(MODEL),
        "whoami": hub.whoami,
        "listed": lambda: hub.listed(MODEL),
        "refs": lambda: Writer(hub).refs(MODEL),
    }
    with pytest.raises(UnreachableError, match=r"not as a Hub does; check hub\.endpoint"):
        asked[what]()


@pytest.mark.parametrize("mistake", [KeyError("x"), ValueError("x"), TypeError("x"), IndexError()])
def test_a_mistake_of_our_own_is_not_the_hubs_and_is_not_repeated(
    hub: Hub, proxy: Between, repo_id: str, files: dict[str, Path], tmp_path: Path,
    mistake: Exception,
) -> None:  # fmt: skip
    """In what the library calls while a file arrives, in what we do with an answer, before one."""
    head = hub.commit(repo_id, files, "x", hub.head(repo_id))

    def fail(*_given: object) -> None:
        raise mistake

    before = proxy.count("GET", "")
    for once in (
        lambda: hub.download(repo_id, head, "Model-BF16.gguf", tmp_path / "there", fail),
        lambda: hub.ask("something", fail),
        lambda: hub.ask("something", lambda api: fail(api.model_info(repo_id))),
        lambda: hub.ask("something", lambda api: int(str(api.repo_info(repo_id, repo_type="no")))),
    ):
        with pytest.raises((type(mistake), ValueError)):
            once()
    assert proxy.count("GET", "") - before <= 3


def test_what_is_not_there_is_asked_for_twice(hub: Hub, proxy: Between) -> None:
    gone = {"X-Error-Code": "RepoNotFound"}
    once = Fault(method="GET", part="/whoami", status=404, arrives=False)
    proxy.faults = [once]
    assert hub.whoami() == "maker"
    proxy.faults = [
        Fault(method="GET", part="/revision/", status=404, headers=gone, arrives=False, times=9)
    ]
    with pytest.raises(AbsentError, match="does not exist"):
        hub.release(MODEL)
    assert proxy.count("GET", "/revision/") == 2


def test_the_next_page_of_a_listing_is_never_of_another_server(
    hub: Hub, proxy: Between, server: LocalHub
) -> None:
    with between(server.url) as elsewhere:
        link = {"Link": f'<{elsewhere.url}/api/models?cursor=2>; rel="next"'}
        proxy.faults = [
            Fault(
                method="GET",
                part="/api/models",
                status=200,
                headers=link,
                body=b"[]",
                arrives=False,
                times=9,
            )
        ]
        with pytest.raises(UnreachableError, match="not as a Hub does"):
            list(hub.newest(10, 5))
        assert elsewhere.requests == []


# ── stumbling ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, None])
def test_reading_is_repeated(hub: Hub, proxy: Between, repo_id: str, status: int | None) -> None:
    proxy.faults = [
        Fault(method="GET", part="/revision/main", status=status, arrives=False, times=2)
    ]
    proxy.requests.clear()
    assert hub.release(repo_id).repo_id == repo_id
    assert proxy.count("GET", "/revision/main") == 3


def test_repeating_has_an_end(hub: Hub, proxy: Between, repo_id: str) -> None:
    proxy.faults = [Fault(method="GET", part="/revision/", status=503, arrives=False, times=99)]
    proxy.requests.clear()
    with pytest.raises(UnreachableError, match=r"\(503 .*later$"):
        hub.release(repo_id)
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
    hub: Hub,
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
    hub.release(repo_id)
    assert len(waits) == 1
    assert seconds <= waits[0] <= min(seconds * 1.3, 330)


# ── committing ──────────────────────────────────────────────────────────────────────────────


def test_a_set_is_one_commit_and_the_second_time_none(
    hub: Hub, proxy: Between, repo_id: str, files: dict[str, Path]
) -> None:
    parent = hub.head(repo_id)
    proxy.requests.clear()
    first = hub.commit(repo_id, files, "first", parent)
    assert proxy.count("POST", "/commit/main") == 1
    assert first == hub.head(repo_id) != parent
    assert hub.commit(repo_id, files, "again", first) == first
    assert proxy.count("POST", "/commit/main") == 1


def test_files_are_deleted_in_the_same_commit(
    hub: Hub, proxy: Between, repo_id: str, files: dict[str, Path]
) -> None:
    first = hub.commit(repo_id, files, "first", hub.head(repo_id))
    files["README.md"].write_text("---\nlicense: mit\n---\n# Changed\n")
    proxy.requests.clear()
    second = hub.commit(
        repo_id, {"README.md": files["README.md"]}, "second", first, ["config.json"]
    )
    assert proxy.count("POST", "/commit/main") == 1
    release = hub.release(repo_id)
    assert release.commit == second
    assert {"README.md", "Model-BF16.gguf"} <= {file.path for file in release.files}
    assert "config.json" not in {file.path for file in release.files}


def test_a_repository_that_moved_on_is_not_overwritten(
    hub: Hub, repo_id: str, files: dict[str, Path]
) -> None:
    parent = hub.head(repo_id)
    hub.commit(repo_id, {"config.json": files["config.json"]}, "somebody else's", parent)
    with pytest.raises(PublishError, match="changed by somebody else"):
        hub.commit(repo_id, files, "ours", parent)
    assert "README.md" not in {file.path for file in hub.release(repo_id).files}


@pytest.mark.parametrize("status", [500, 504, None])
def test_a_commit_that_landed_unheard_is_found(
    hub: Hub, proxy: Between, repo_id: str, files: dict[str, Path], status: int | None
) -> None:
    parent = hub.head(repo_id)
    proxy.faults = [Fault(method="POST", part="/commit/main", status=status, arrives=True)]
    proxy.requests.clear()
    made = hub.commit(repo_id, files, "first", parent)
    assert proxy.count("POST", "/commit/main") == 1
    assert made == hub.head(repo_id) != parent


@pytest.mark.parametrize("status", [500, 429, None])
def test_a_commit_that_did_not_land_is_made_again(
    hub: Hub, proxy: Between, repo_id: str, files: dict[str, Path], status: int | None
) -> None:
    parent = hub.head(repo_id)
    proxy.faults = [Fault(method="POST", part="/commit/main", status=status, arrives=False)]
    proxy.requests.clear()
    assert hub.commit(repo_id, files, "first", parent) == hub.head(repo_id) != parent
    assert proxy.count("POST", "/commit/main") == 2


@pytest.mark.parametrize("status", [500, None])
def test_a_commit_that_never_lands_is_said_so(
    hub: Hub, proxy: Between, repo_id: str, files: dict[str, Path], status: int | None
) -> None:
    parent = hub.head(repo_id)
    never = Fault(method="POST", part="/commit/main", status=status, arrives=False, times=9)
    proxy.faults = [never]
    with pytest.raises(UnreachableError, match="run the same command again"):
        hub.commit(repo_id, files, "first", parent)
    assert hub.head(repo_id) == parent
    proxy.faults = []
    assert hub.commit(repo_id, files, "first", parent) == hub.head(repo_id) != parent


@pytest.mark.parametrize("changed", ["README.md", "Model-BF16.gguf", None])
def test_somebody_elses_commit_is_not_taken_for_ours(
    hub: Hub, proxy: Between, repo_id: str, files: dict[str, Path], changed: str | None
) -> None:
    parent = hub.head(repo_id)
    theirs = dict(files)
    if changed:
        content = bytearray(files[changed].read_bytes())
        content[-1] ^= 1  # the same size, another byte
        theirs[changed] = files[changed].with_name("theirs")
        theirs[changed].write_bytes(content)
    else:
        del theirs["config.json"]
    proxy.faults = [
        Fault(
            method="POST",
            part="/commit/main",
            status=500,
            arrives=False,
            meanwhile=lambda: hub.commit(repo_id, theirs, "theirs", parent),
        )
    ]
    with pytest.raises(PublishError, match="changed by somebody else"):
        hub.commit(repo_id, files, "ours", parent)


def test_every_error_ends_in_what_to_do(hub: Hub, closed: str) -> None:
    asked: list[Callable[[], Any]] = [
        lambda: hub.release("maker/NoSuchModel"),
        lambda: Hub(closed, None, pause=0.001).release(MODEL),
        lambda: Hub(hub.endpoint, SecretStr(WRONG), pause=0.001).release(MODEL),
    ]
    for ask in asked:
        with pytest.raises(BotError) as caught:
            ask()
        message = str(caught.value)
        assert "\n" not in message
        assert ";" in message
