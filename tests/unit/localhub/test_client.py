"""The Hub's unmodified client against the local Hub over HTTP, with Xet and without."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi  # noqa: TID251 - the client under test
from huggingface_hub.errors import (  # noqa: TID251 - what it makes of our refusals
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.local_hub import round_trip
from tests.local_hub.server import Hub, running_hub

CARD = "---\nlicense: mit\nbase_model: org/Tiny-MoE\ntags: [moe]\n---\n# Tiny\n"
LARGE = 12_500_000  # bytes


def folder_to_upload(folder: Path) -> dict[str, str]:
    """Write the files that round_trip.py uploads; their hashes by path in the repository."""
    contents = {
        "large.bin": os.urandom(LARGE),
        "README.md": CARD.encode(),
        "folder/results.json": b'{"ppl": 6.5}\n',
        "folder/raw/empty.txt": b"",
        "folder/raw/logits.bin": os.urandom(300_000),
    }
    names = {"large.bin": "tiny-Q6_K.gguf", "README.md": "README.md"}
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return {
        names.get(name, name.replace("folder/", "eval/")): hashlib.sha256(data).hexdigest()
        for name, data in contents.items()
    }


def visit(hub: Hub, folder: Path, *, xet: bool) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, round_trip.__file__, hub.url, hub.token, folder],
        env={**os.environ, "HF_HUB_DISABLE_XET": "0" if xet else "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


@pytest.mark.road
@pytest.mark.parametrize("xet", [True, False], ids=["xet", "lfs"])
def test_what_the_client_uploads_comes_back(tmp_path: Path, xet: bool) -> None:
    expected = folder_to_upload(tmp_path / "work")
    # parts of 5 MB: without Xet the large file goes up in three parts
    with running_hub(tmp_path / "hub", part_bytes=5_000_000) as hub:
        answers = visit(hub, tmp_path / "work", xet=xet)
        sha = answers["sha"]
        with urllib.request.urlopen(
            urllib.request.Request(
                f"{hub.url}/lab/Tiny-MoE-GGUF/resolve/{sha}/tiny-Q6_K.gguf",
                headers={"Range": "bytes=1000000-1000009"},
            )
        ) as part:
            piece, status, headers = part.read(), part.status, part.headers
        areas = list(hub.store.xet_folder(hub.store.readable("lab/Tiny-MoE-GGUF", None)).glob("*"))
    assert answers["xet"] is xet
    assert answers["user"] == "alice"
    assert answers["history"][:4] == answers["commits"][::-1]
    assert answers["titles"][-1] == "initial commit"
    assert answers["sha"] == answers["commits"][3]
    assert answers["private"] == [True, False]
    assert answers["files"]["tiny-Q6_K.gguf"] == [LARGE, expected["tiny-Q6_K.gguf"]]
    assert answers["files"]["README.md"] == [len(CARD), None]
    assert not any(name.startswith("plots/") for name in answers["files"])
    assert answers["tree"]["eval/raw"] == "RepoFolder"
    assert answers["last"]["tiny-Q6_K.gguf"] == answers["commits"][0]
    assert answers["last"]["eval/results.json"] == answers["commits"][2]
    assert sorted(answers["infos"]) == ["README.md", "eval"]
    assert answers["refs"] == [answers["commits"][2]]
    assert answers["downloads"]["single"] == expected["tiny-Q6_K.gguf"]
    assert {path: answers["downloads"][path] for path in expected} == expected
    assert "plots/tiers with spaces.png" in answers["downloads"]
    assert {"gguf", "moe", "license:mit", "base_model:quantized:org/Tiny-MoE"} <= {*answers["tags"]}
    assert answers["license"] == "mit"
    assert piece == (tmp_path / "work" / "large.bin").read_bytes()[1_000_000:1_000_010]
    assert (status, headers["Content-Range"]) == (206, f"bytes 1000000-1000009/{LARGE}")
    assert headers["X-Linked-Etag"] == f'"{expected["tiny-Q6_K.gguf"]}"'
    assert areas == []  # upload areas go when their files are stored


@pytest.mark.road
def test_a_restart_keeps_everything(tmp_path: Path) -> None:
    expected = folder_to_upload(tmp_path / "work")
    with running_hub(tmp_path / "hub") as hub:
        before = visit(hub, tmp_path / "work", xet=False)
    with running_hub(tmp_path / "hub") as hub:
        repo = hub.store.readable("lab/Tiny-MoE-GGUF", None)
        history = hub.store.history(repo, hub.store.commit(repo, "main"), 100)
        url = f"{hub.url}/{repo.id}/resolve/{before['commits'][0]}/tiny-Q6_K.gguf"
        with urllib.request.urlopen(url) as reply:
            data = reply.read()
        viewer = hub.store.viewer(hub.token)
    assert [commit.sha for commit in history] == before["history"]
    assert hashlib.sha256(data).hexdigest() == expected["tiny-Q6_K.gguf"]
    assert viewer is not None
    assert viewer.orgs == ("lab",)


def test_client_and_hub_can_share_a_process(hub: Hub, tmp_path: Path) -> None:
    data = os.urandom(LARGE)
    source = tmp_path / "tiny.gguf"
    source.write_bytes(data)
    api = HfApi(endpoint=hub.url, token=hub.token)
    api.create_repo("alice/tiny")
    for number in range(2):  # the client keeps one Xet session, the second upload reuses it
        api.upload_file(path_or_fileobj=source, path_in_repo=f"{number}.gguf", repo_id="alice/tiny")
    copy = api.hf_hub_download("alice/tiny", "1.gguf", local_dir=tmp_path / "copy")
    assert Path(copy).read_bytes() == data
    with pytest.raises(HfHubHTTPError, match="has happened since"):
        api.upload_file(
            path_or_fileobj=b"late",
            path_in_repo="late.txt",
            repo_id="alice/tiny",
            parent_commit="0" * 40,
        )
    with pytest.raises(ValueError, match="front matter"):
        api.upload_file(
            path_or_fileobj=b"---\n- list\n---\n", path_in_repo="README.md", repo_id="alice/tiny"
        )
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download("alice/tiny", "no.gguf", local_dir=tmp_path / "copy")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("alice/none")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("alice/tiny", revision="none")
    api.delete_repo("alice/tiny")
    assert not api.repo_exists("alice/tiny")
