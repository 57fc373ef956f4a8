"""A client of the line before: huggingface_hub 0.36 against the local Hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.local_hub.server import Hub

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
    pip = subprocess.run(install, capture_output=True, text=True, timeout=300, check=False)
    if pip.returncode:
        pytest.skip(f"pip does not get huggingface_hub 0.36: {pip.stderr.strip()[-200:]}")
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
    answers = json.loads(done.stdout.splitlines()[-1])
    assert answers["files"] == [".gitattributes", "a.gguf", "b/c.txt"]
    assert answers["sizes"]["a.gguf"] == answers["bytes"] == 300_000
    assert (answers["text"], answers["listed"]) == ("text", ["alice/model"])
