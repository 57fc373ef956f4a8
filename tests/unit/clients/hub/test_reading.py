"""What is read of a Hub: repositories, small texts, listings."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub
from bot.errors import (
    SourceError,
    UnreachableError,
)
from tests.local_hub.server import Hub as LocalHub
from tests.unit.clients.hub.between import Between, Fault, between


def test_a_release_is_what_was_committed(
    client: Hub, proxy: Between, repo_id: str, files: dict[str, Path], tmp_path: Path
) -> None:
    commit = client.commit(repo_id, files, "first", client.head(repo_id))
    proxy.requests.clear()
    release = client.release(repo_id)
    assert len(proxy.requests) == 1
    assert (release.repo_id, release.commit, release.private) == (repo_id, commit, True)
    assert (release.license, release.languages) == ("mit", ("en", "de"))
    by_path = {file.path: file for file in release.files}
    gguf = files["Model-BF16.gguf"].read_bytes()
    assert by_path["Model-BF16.gguf"].size == len(gguf)
    assert by_path["Model-BF16.gguf"].sha256 == hashlib.sha256(gguf).hexdigest()
    assert by_path["config.json"].size == files["config.json"].stat().st_size
    fetched = client.download(repo_id, commit, "Model-BF16.gguf", tmp_path / "fetched")
    assert fetched.read_bytes() == gguf
    assert fetched.is_relative_to(tmp_path / "fetched")


def test_json_is_read_at_the_pinned_commit(
    client: Hub, proxy: Between, repo_id: str, files: dict[str, Path]
) -> None:
    first = client.commit(repo_id, files, "first", client.head(repo_id))
    files["config.json"].write_text('{"model_type": "llama"}')
    second = client.commit(repo_id, files, "second", first)
    proxy.requests.clear()
    old, new = (client.read_json(repo_id, commit, "config.json") for commit in (first, second))
    assert len(proxy.requests) == 2
    assert old == {"model_type": "mixtral", "num_local_experts": 8}
    assert new == {"model_type": "llama"}
    assert client.read_json(repo_id, second, "nothing.json") is None


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
    client: Hub, repo_id: str, tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "config.json").write_bytes(content)
    files = {"config.json": tmp_path / "config.json"}
    commit = client.commit(repo_id, files, "broken", client.head(repo_id))
    with pytest.raises(SourceError, match=reason) as caught:
        client.read_json(repo_id, commit, "config.json")
    assert "\n" not in str(caught.value)


def test_a_listing_costs_one_request_a_page(client: Hub, proxy: Between) -> None:
    for number in range(5):
        client.create_private(f"maker/Paged-{number}")
        client.make_public(f"maker/Paged-{number}")
    proxy.requests.clear()
    listed = list(client.newest(5, 2))
    assert proxy.count("GET", "/api/models?") == len(proxy.requests) == 3
    assert [model.repo_id for model in listed] == [f"maker/Paged-{n}" for n in (4, 3, 2, 1, 0)]
    assert all(model.commit and model.created_at and not model.private for model in listed)
    proxy.requests.clear()
    assert next(client.newest(5, 2)).repo_id == "maker/Paged-4"
    assert len(proxy.requests) == 1
    assert list(client.newest(100, 50, author="nobody-here")) == []


def test_a_model_listed_twice_is_given_once(client: Hub, proxy: Between) -> None:
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
    assert [row.repo_id for row in client.newest(3, 10)] == ["maker/A", "maker/B", "maker/C"]


def test_a_listing_names_the_model_type(client: Hub, repo_id: str, files: dict[str, Path]) -> None:
    commit = client.commit(repo_id, files, "first", client.head(repo_id))
    model = next(row for row in client.newest(100, 100) if row.repo_id == repo_id)
    assert (model.commit, model.model_type, model.private) == (commit, "mixtral", True)


def test_a_private_repository_does_not_exist_for_others(
    client: Hub, anonymous: Hub, server: LocalHub, proxy: Between, repo_id: str
) -> None:
    other = Hub(proxy.url, SecretStr(server.store.add_user("other")), pause=0.01)
    for stranger in (anonymous, other):
        with pytest.raises(SourceError, match="the token may not see it"):
            stranger.release(repo_id)
        assert not stranger.exists(repo_id)
        assert repo_id not in {model.repo_id for model in stranger.newest(100, 100)}
    client.make_public(repo_id)
    assert client.visibility(repo_id)
    assert anonymous.release(repo_id).commit == client.head(repo_id)


def test_the_next_page_of_a_listing_is_never_of_another_server(
    client: Hub, proxy: Between, server: LocalHub
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
            list(client.newest(10, 5))
        assert elsewhere.requests == []
