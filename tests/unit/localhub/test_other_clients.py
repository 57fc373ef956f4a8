"""What clients beside the Python one of the Hub send and expect (huggingface.js, packages/hub)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bot.localhub.files import xet_contents
from tests.local_hub.server import Hub, large, regular

JSON = {"Content-Type": "application/json"}


def test_a_large_file_is_announced_as_javascript_does(hub: Hub) -> None:
    repo_id = hub.create("model")
    batch = {
        "operation": "upload",
        "transfers": ["basic", "multipart", "xet"],
        "hash_algo": "sha_256",
        "objects": [{"oid": "0" * 64, "size": 3}],
    }
    reply = hub.ask("POST", f"/{repo_id}.git/info/lfs/objects/batch", batch, token=hub.token)
    assert reply.status == 200
    assert "upload" in reply.json["objects"][0]["actions"]


def test_paths_are_asked_for_in_json(hub: Hub) -> None:
    repo_id = hub.create("model")
    hub.commit(repo_id, regular("a/b.txt", b"x"))
    target = f"/api/models/{repo_id}/paths-info/main"
    asked = {"paths": ["a/b.txt", "a", "no"], "expand": True}
    rows = hub.ask("POST", target, asked, headers=JSON).json
    assert [row["path"] for row in rows] == ["a/b.txt", "a"]
    assert "lastCommit" in rows[0]


def test_head_is_main_and_a_new_repository_has_its_id(hub: Hub) -> None:
    made = hub.ask("POST", "/api/repos/create", {"name": "new"}, token=hub.token)
    assert made.json["id"] == "alice/new"
    found = hub.ask("GET", "/api/models/alice/new/revision/HEAD?expand=xetEnabled&expand=sha")
    assert found.status == 200
    assert found.json["xetEnabled"] is xet_contents.xet_available()
    assert found.json["sha"] == hub.ask("GET", "/api/models/alice/new").json["sha"]


def test_git_s_own_content_is_raw(hub: Hub) -> None:
    repo_id = hub.create("model")
    oid = hub.send(repo_id, b"gguf")
    hub.commit(repo_id, large("a.gguf", oid, 4), regular("a.txt", b"text"))
    assert hub.ask("GET", f"/{repo_id}/raw/main/a.txt").body == b"text"
    assert f"oid sha256:{oid}".encode() in hub.ask("GET", f"/{repo_id}/raw/main/a.gguf").body
    assert hub.ask("GET", f"/{repo_id}/resolve/main/a.gguf").body == b"gguf"


def test_an_empty_file_is_whole_whatever_range_is_asked_for(hub: Hub) -> None:
    repo_id = hub.create("model")
    hub.commit(repo_id, regular("a.txt", b""))
    for target in ("resolve", "raw"):
        address = f"/{repo_id}/{target}/main/a.txt"
        found = hub.ask("GET", address, headers={"Range": "bytes=0-0"})
        assert (found.status, found.body) == (200, b"")
        assert found.headers["Content-Range"] == "bytes */0"


def test_a_page_of_commits_says_how_many_there_are(hub: Hub) -> None:
    repo_id = hub.create("model")
    for text in (b"1", b"2"):
        hub.commit(repo_id, regular("a.txt", text))
    found = hub.ask("GET", f"/api/models/{repo_id}/commits/main?limit=1")
    assert (len(found.json), found.headers["X-Total-Count"]) == (1, "3")
    assert 'rel="next"' in found.headers["Link"]


def test_a_repository_begins_with_the_files_and_license_asked_for(hub: Hub) -> None:
    files = [{"path": "a/b.txt", "content": "eA==", "encoding": "base64"}]
    asked = {"name": "new", "files": files, "license": "mit"}
    assert hub.ask("POST", "/api/repos/create", asked, token=hub.token).status == 200
    assert hub.ask("GET", "/alice/new/resolve/main/a/b.txt").body == b"x"
    assert "license:mit" in hub.ask("GET", "/api/models/alice/new").json["tags"]
    for bad in ({"files": [{"path": "../x", "content": ""}]}, {"license": "a\nb: c"}):
        refused = hub.ask("POST", "/api/repos/create", {"name": "bad"} | bad, token=hub.token)
        assert refused.status == 400
    assert hub.ask("GET", "/api/models/alice/bad").status != 200


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


def test_a_branch_is_made_anew_only_where_that_is_asked_for(hub: Hub) -> None:
    repo_id = hub.create("model")
    branch = f"/api/models/{repo_id}/branch/b"
    first = hub.ask("GET", f"/api/models/{repo_id}").json["sha"]
    assert hub.ask("POST", branch, {}, token=hub.token).status == 200
    hub.commit(repo_id, regular("a.txt", b"x"))
    assert hub.ask("POST", branch, {}, token=hub.token).status == 409
    assert hub.ask("POST", branch, {"overwrite": True}, token=hub.token).status == 200
    assert hub.ask("GET", f"/api/models/{repo_id}/revision/b").json["sha"] == first
    moved = {"overwrite": True, "startingPoint": "main"}
    assert hub.ask("POST", branch, moved, token=hub.token).status == 200
    assert hub.ask("GET", f"/api/models/{repo_id}/revision/b").json["sha"] != first


OLDER = """
import json, sys
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
url, token, folder = sys.argv[1:]
api = HfApi(endpoint=url, token=token)
api.create_repo("alice/model", private=True)
api.upload_folder(repo_id="alice/model", folder_path=folder)
info = api.model_info("alice/model", files_metadata=True)
one = hf_hub_download("alice/model", "a.gguf", endpoint=url, token=token)
whole = snapshot_download("alice/model", endpoint=url, token=token)
print(json.dumps({
    "files": sorted(api.list_repo_files("alice/model")),
    "sizes": {f.rfilename: f.size for f in info.siblings},
    "listed": [m.id for m in api.list_models(author="alice", expand=["xetEnabled", "gguf"])],
    "bytes": len(open(one, "rb").read()),
    "text": open(whole + "/b/c.txt").read(),
}))
"""


@pytest.mark.long
def test_an_older_python_client_uploads_lists_and_downloads(hub: Hub, tmp_path: Path) -> None:
    """huggingface_hub 0.36, the last of its line, which programs that need `requests` stay with."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", python.parent.parent], check=True, timeout=120)
    install = [str(python), "-m", "pip", "install", "--quiet", "huggingface_hub==0.36.2"]
    got = subprocess.run(install, capture_output=True, text=True, timeout=300, check=False)
    if got.returncode:
        pytest.skip(f"pip does not get huggingface_hub 0.36: {got.stderr.strip()[-200:]}")
    folder = tmp_path / "files"
    (folder / "b").mkdir(parents=True)
    (folder / "a.gguf").write_bytes(os.urandom(300_000))
    (folder / "b" / "c.txt").write_text("text")
    done = subprocess.run(
        [str(python), "-c", OLDER, hub.url, hub.token, str(folder)],
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "HF_HOME": str(tmp_path / "hf"),
            "HF_ENDPOINT": hub.url,  # by which this line takes a commit's address apart
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["files"] == [".gitattributes", "a.gguf", "b/c.txt"]
    assert seen["sizes"]["a.gguf"] == seen["bytes"] == 300_000
    assert (seen["text"], seen["listed"]) == ("text", ["alice/model"])
