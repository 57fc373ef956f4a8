"""A whole visit of the Hub's unmodified client, as a program: its switch for Xet is read at import.

    python round_trip.py URL TOKEN FOLDER

prints one JSON object of what the client saw; the caller decides whether that is right.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from huggingface_hub import (  # noqa: TID251 - the client under test
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
)

REPO = "lab/Tiny-MoE-GGUF"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def upload(api: HfApi, folder: Path) -> list[str]:
    """Every way to upload; returns the commits, oldest first."""
    api.create_repo(REPO, private=True)
    api.create_repo(REPO, exist_ok=True)
    large = CommitOperationAdd("tiny-Q6_K.gguf", folder / "large.bin")
    api.preupload_lfs_files(REPO, additions=[large])
    card = CommitOperationAdd("README.md", folder / "README.md")
    first = api.create_commit(REPO, [large, card], commit_message="Add Q6_K")
    second = api.upload_file(
        path_or_fileobj=b"\0tiny" * 1000,
        path_in_repo="plots/tiers with spaces.png",
        repo_id=REPO,
        parent_commit=first.oid,
    )
    third = api.upload_folder(repo_id=REPO, folder_path=folder / "folder", path_in_repo="eval")
    fourth = api.create_commit(
        REPO, [CommitOperationDelete("plots/", is_folder=True)], commit_message="Remove plots"
    )
    api.create_tag(REPO, tag="v1", revision=third.oid)
    return [first.oid, second.oid, third.oid, fourth.oid]


def download(api: HfApi, commits: list[str], folder: Path) -> dict[str, str]:
    """Hashes of what comes back, by path."""
    snapshot = Path(
        api.snapshot_download(REPO, revision=commits[2], cache_dir=folder / "cache", max_workers=2)
    )
    single = api.hf_hub_download(REPO, "tiny-Q6_K.gguf", local_dir=folder / "single")
    files = {
        str(path.relative_to(snapshot)): sha256(path)
        for path in snapshot.rglob("*")
        if path.is_file()
    }
    return files | {"single": sha256(Path(single))}


def visit(url: str, token: str, folder: Path) -> dict[str, Any]:
    api = HfApi(endpoint=url, token=token)
    commits = upload(api, folder)
    info = api.model_info(REPO, files_metadata=True)
    tree = list(api.list_repo_tree(REPO, recursive=True, expand=True, revision=commits[2]))
    api.auth_check(REPO)
    api.update_repo_settings(REPO, visibility="public")
    return {
        "xet": not constants.HF_HUB_DISABLE_XET,
        "user": api.whoami()["name"],
        "commits": commits,
        "history": [commit.commit_id for commit in api.list_repo_commits(REPO)],
        "titles": [commit.title for commit in api.list_repo_commits(REPO)],
        "sha": info.sha,
        "private": [info.private, api.model_info(REPO, token=False).private],
        "files": {
            file.rfilename: [file.size, file.lfs.sha256 if file.lfs else None]
            for file in info.siblings or []
        },
        "tree": {item.path: type(item).__name__ for item in tree},
        "last": {item.path: item.last_commit.oid for item in tree if item.last_commit},
        "infos": [item.path for item in api.get_paths_info(REPO, ["eval", "README.md", "no"])],
        "refs": [ref.target_commit for ref in api.list_repo_refs(REPO).tags],
        "downloads": download(api, commits, folder),
        "tags": info.tags,
        "license": info.card_data.get("license") if info.card_data else None,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(visit(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
