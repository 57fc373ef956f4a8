"""The answers of a local GitHub, each of its schema, with addresses that lead back to it."""

from __future__ import annotations

import base64
from typing import Any

from tests.local_github.repository import Issue, Pull, Repository, Run, Runner, blob_sha
from tests.local_github.shapes import shaped


def user(login: str) -> dict[str, Any]:
    """Somebody."""
    return shaped("simple-user", login=login, id=abs(hash(login)) % 10**6, type="User")


def repository(url: str, found: Repository) -> dict[str, Any]:
    """A repository."""
    owner, _, name = found.name.partition("/")
    return shaped(
        "full-repository",
        name=name,
        full_name=found.name,
        owner=user(owner),
        private=True,
        url=f"{url}/repos/{found.name}",
        html_url=f"{url}/{found.name}",
        default_branch="main",
        has_downloads=True,
        archived=False,
    )


def run(url: str, found: Repository, one: Run) -> dict[str, Any]:
    """A run."""
    home = f"{url}/repos/{found.name}/actions/runs/{one.id}"
    return shaped(
        "workflow-run",
        id=one.id,
        name=one.workflow,
        display_title=one.title,
        event=one.event_name,
        status=one.status,
        conclusion=one.conclusion,
        run_attempt=one.attempt,
        head_branch=one.ref,
        head_sha=one.sha,
        path=f".github/workflows/{one.workflow}",
        url=home,
        jobs_url=f"{home}/jobs",
        logs_url=f"{home}/logs",
        html_url=f"{url}/{found.name}/actions/runs/{one.id}",
        created_at=one.created,
        updated_at=one.updated,
    )


def jobs(url: str, found: Repository, one: Run) -> list[dict[str, Any]]:
    """The jobs of a run: those of its workflow until it is over, then those that it had."""
    names = list(one.results) or list(one.labels)
    return [_job(url, found, one, name, number) for number, name in enumerate(names)]


def _job(url: str, found: Repository, one: Run, name: str, number: int) -> dict[str, Any]:
    result = one.results.get(name) if one.status == "completed" else None
    result = "cancelled" if one.conclusion == "cancelled" else result
    status = one.status if one.status in ("queued", "completed") else "in_progress"
    took = one.started is not None and result != "skipped"
    step = {
        "name": f"Run {name}", "number": 1, "status": status, "conclusion": result,
        "started_at": one.started, "completed_at": one.updated if result else None,
    }  # fmt: skip
    return shaped(
        "job",
        id=one.id * 100 + number,
        run_id=one.id,
        name=name,
        status=status,
        conclusion=result,
        labels=one.labels.get(name.partition(" ")[0], ["self-hosted"]),
        runner_name=found.runners[0].name if took and found.runners else None,
        steps=[step] if took else [],
        created_at=one.created,
        started_at=one.started or one.created,
        completed_at=one.updated if result else None,
        html_url=f"{url}/{found.name}/actions/runs/{one.id}/job/{one.id * 100 + number}",
    )


def runner(found: Repository, one: Runner, number: int) -> dict[str, Any]:
    """A runner; busy while a run is in progress."""
    return shaped(
        "runner",
        id=number,
        name=one.name,
        os="linux",
        status="online" if one.online else "offline",
        busy=any(run.status == "in_progress" for run in found.runs),
        labels=[{"id": i, "name": name, "type": "custom"} for i, name in enumerate(one.labels)],
    )


def issue(url: str, found: Repository, one: Issue) -> dict[str, Any]:
    """An issue."""
    return shaped(
        "issue",
        id=1_000 + one.number,
        number=one.number,
        title=one.title,
        body=one.body,
        body_html=one.body,  # these two are told to who accepts "full"
        body_text=one.body,
        closed_by=None,
        user=user(one.author),
        state=one.state,
        assignees=[],
        labels=[
            {
                "id": 1,
                "name": name,
                "url": f"{url}/repos/{found.name}/labels/{name}",
                "color": "ffffff",
                "default": False,
                "description": None,
            }
            for name in one.labels
        ],
        url=f"{url}/repos/{found.name}/issues/{one.number}",
        html_url=f"{url}/{found.name}/issues/{one.number}",
        created_at=one.created,
        updated_at=one.updated,
    )


def pull(url: str, found: Repository, one: Pull) -> dict[str, Any]:
    """A pull request."""
    whole = repository(url, found)

    def branch(name: str) -> dict[str, Any]:
        owner = found.name.partition("/")[0]
        sha = found.sha(name)
        return {
            "label": f"{owner}:{name}", "ref": name, "sha": sha, "user": user(owner), "repo": whole,
        }  # fmt: skip

    return shaped(
        "pull-request",
        id=5_000 + one.number,
        number=one.number,
        title=one.title,
        body=one.body,
        body_html=one.body,
        body_text=one.body,
        user=user(one.author),
        state=one.state,
        merged=one.merged is not None,
        merged_at=one.merged,
        assignees=[],
        active_lock_reason=None,
        head=branch(one.head),
        base=branch(one.base),
        url=f"{url}/repos/{found.name}/pulls/{one.number}",
        html_url=f"{url}/{found.name}/pull/{one.number}",
        created_at=one.created,
        updated_at=one.created,
    )


def ref(url: str, found: Repository, branch: str) -> dict[str, Any]:
    """A reference."""
    sha, home = found.sha(branch), f"{url}/repos/{found.name}/git"
    return shaped(
        "git-ref",
        ref=f"refs/heads/{branch}",
        url=f"{home}/refs/heads/{branch}",
        object={"type": "commit", "sha": sha, "url": f"{home}/commits/{sha}"},
    )


def content(url: str, found: Repository, path: str, branch: str) -> dict[str, Any]:
    """A file."""
    data = found.branches[branch][path]
    home, is_large = f"{url}/repos/{found.name}/contents/{path}", len(data) > 1 << 20
    return shaped(
        "content-file",
        type="file",
        encoding="none" if is_large else "base64",  # rest/repos/contents: from 1 to 100 MB
        size=len(data),
        name=path.rpartition("/")[2],
        path=path,
        content="" if is_large else base64.encodebytes(data).decode(),
        sha=blob_sha(data),
        url=f"{home}?ref={branch}",
        _links={"self": home, "git": None, "html": None},
    )


def blob(url: str, found: Repository, data: bytes) -> dict[str, Any]:
    """A file's content by its hash."""
    sha = blob_sha(data)
    return {
        "content": base64.encodebytes(data).decode(), "encoding": "base64", "sha": sha,
        "url": f"{url}/repos/{found.name}/git/blobs/{sha}", "size": len(data), "node_id": sha,
    }  # fmt: skip


def file_commit(url: str, found: Repository, path: str, branch: str) -> dict[str, Any]:
    """A file and the commit that it came with."""
    sha = found.sha(branch)
    who = {"name": "bot", "email": "bot@example.com", "date": "2026-11-01T00:00:00Z"}
    return {
        "content": content(url, found, path, branch),
        "commit": {
            "sha": sha, "url": f"{url}/repos/{found.name}/git/commits/{sha}", "author": who,
            "committer": who, "message": "", "tree": {"sha": sha, "url": ""}, "parents": [],
            "verification": {"verified": False, "reason": "unsigned", "signature": None,
                             "payload": None},
        },
    }  # fmt: skip
