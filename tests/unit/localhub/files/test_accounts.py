"""Who may see and change what: tokens, private and gated repositories, organizations."""

from __future__ import annotations

import pytest

from bot.errors import SettingsError
from bot.localhub.files.repositories import Store
from tests.local_hub.server import Hub, regular


def test_tokens_are_kept_as_hashes_only(hub: Hub) -> None:
    files = [path.read_bytes() for path in hub.store.folder.glob("hub.sqlite*")]
    assert files
    assert not any(hub.token.encode() in data for data in files)
    assert hub.ask("GET", "/api/whoami-v2").status == 401
    assert hub.ask("GET", "/api/whoami-v2", token="hf_wrong").status == 401
    user = hub.ask("GET", "/api/whoami-v2", token=hub.token).json
    assert (user["name"], [org["name"] for org in user["orgs"]]) == ("alice", ["lab"])


def test_private_repositories_are_hidden_from_others(hub: Hub) -> None:
    repo = hub.create("secret", private=True)
    hub.commit(repo, regular("a.txt", b"secret"))
    bob = hub.store.add_user("bob")
    for target in (f"/api/models/{repo}", f"/{repo}/resolve/main/a.txt", f"/{repo}",
                   f"/api/models/{repo}/tree/main"):  # fmt: skip
        anonymous, other = hub.ask("GET", target), hub.ask("GET", target, token=bob)
        assert (anonymous.status, anonymous.code) == (401, "RepoNotFound")
        assert (other.status, other.code) == (404, "RepoNotFound")
        assert hub.ask("GET", target, token=hub.token).status == 200
    assert hub.ask("GET", "/api/models", token=bob).json == []
    assert [row["id"] for row in hub.ask("GET", "/api/models", token=hub.token).json] == [repo]
    settings = {"visibility": "public"}
    hub.ask("PUT", f"/api/models/{repo}/settings", settings, token=hub.token)
    assert hub.ask("GET", f"/{repo}/resolve/main/a.txt").body == b"secret"


def test_only_owners_write(hub: Hub) -> None:
    repo = hub.create("tiny")
    bob = hub.store.add_user("bob")
    settings = f"/api/models/{repo}/settings"
    assert hub.ask("PUT", settings, {"private": True}, token=bob).status == 403
    assert hub.ask("PUT", settings, {"private": True}).status == 401
    assert hub.ask("DELETE", "/api/repos/delete", {"name": "tiny", "organization": "alice"},
                   token=bob).status == 403  # fmt: skip
    assert hub.ask("POST", f"/api/models/{repo}/commit/main", b"", token=bob).status == 403
    assert hub.ask("GET", f"/api/models/{repo}/xet-write-token/main", token=bob).status == 403
    body = {"name": "mine", "organization": "lab"}
    assert hub.ask("POST", "/api/repos/create", body, token=bob).status == 403
    assert hub.ask("POST", "/api/repos/create", body, token=hub.token).status == 200
    assert hub.ask("POST", "/api/repos/create", body, token=hub.token).status == 409


def test_gated_files_are_for_owners(hub: Hub) -> None:
    repo = hub.create("gated")
    hub.commit(repo, regular("a.txt", b"x"))
    hub.ask("PUT", f"/api/models/{repo}/settings", {"gated": "auto"}, token=hub.token)
    bob = hub.store.add_user("bob")
    assert hub.ask("GET", f"/api/models/{repo}", token=bob).json["gated"] == "auto"
    for target in (f"/{repo}/resolve/main/a.txt", f"/api/models/{repo}/auth-check"):
        reply = hub.ask("GET", target, token=bob)
        assert (reply.status, reply.code) == (403, "GatedRepo")
        assert hub.ask("GET", target, token=hub.token).status == 200


@pytest.mark.parametrize("name", ["", "a b", "../x", "a--b", "a..b", "x" * 97, "a.git", "é"])
def test_bad_names_are_refused(hub: Hub, name: str) -> None:
    reply = hub.ask("POST", "/api/repos/create", {"name": name}, token=hub.token)
    assert reply.status == 400
    with pytest.raises(SettingsError):
        hub.store.add_user(name)


def test_a_name_means_one_thing(hub: Hub) -> None:
    with pytest.raises(SettingsError, match="already"):
        hub.store.add_user("lab")
    assert Store(hub.store.folder).viewer(hub.token) == hub.store.viewer(hub.token)
    hub.create("Tiny")
    reply = hub.ask("POST", "/api/repos/create", {"name": "tiny"}, token=hub.token)
    assert reply.status == 409
