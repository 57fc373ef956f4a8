"""Revisions in addresses, with slashes as they are and encoded."""

from __future__ import annotations

from tests.local_hub.server import Hub, regular


def test_branches_have_slashes(hub: Hub) -> None:
    repo_id = hub.create("model")
    hub.commit(repo_id, regular("d/a.txt", b"x"))
    api = f"/api/models/{repo_id}"
    for bad in ("refs%2Fx", "a%2F", "a%2F..%2Fb"):
        assert hub.ask("POST", f"{api}/branch/{bad}", {}, token=hub.token).status == 400
    assert hub.ask("POST", f"{api}/branch/new%2Fone", {}, token=hub.token).status == 200
    for name in ("new%2Fone", "new/one"):
        assert hub.ask("GET", f"/{repo_id}/resolve/{name}/d/a.txt").body == b"x"
        assert hub.ask("GET", f"/{repo_id}/tree/{name}").status == 200
        assert hub.ask("GET", f"{api}/commits/{name}").headers["X-Total-Count"] == "2"
        assert hub.ask("GET", f"{api}/revision/{name}").status == 200
        for folder, paths in (("", [".gitattributes", "d"]), ("/d", ["d/a.txt"])):
            rows = hub.ask("GET", f"{api}/tree/{name}{folder}").json
            assert [row["path"] for row in rows] == paths
    assert hub.ask("DELETE", f"{api}/branch/new%2Fone", token=hub.token).status == 200
    assert hub.ask("GET", f"{api}/tree/new%2Fone").status == 404
