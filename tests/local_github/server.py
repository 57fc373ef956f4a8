"""A GitHub over real HTTP on 127.0.0.1, as far as the bot uses one; it can be made to fail.

    with running_github(folder, execute) as github:
        github.repository.push({".github/workflows/release.yml": ...})
        github.fail("POST", "dispatches$", "timeout")        # it acts, and never answers

Every answer is checked against GitHub's OpenAPI description before it is sent.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from tests.local_github import answers
from tests.local_github.repository import (
    FOLDER,
    Execute,
    Issue,
    Pull,
    Repository,
    Run,
    blob_sha,
    now,
)
from tests.local_github.shapes import check

TOKEN = "ghp_" + "localGitHubToken".ljust(36, "0")
BOT = "owner"  # whose token it is
Kind = Literal[
    "400", "401", "403", "403-secondary", "403-used-up", "404", "429", "500", "502-html",
    "403-html",  # instead
    "html",  # instead, and as if it were well
    "after-500", "timeout", "cut", "duplicate", "unlisted",  # after, or besides, having acted
    "after-400",  # a proxy's word, after GitHub acted
    "cut-before", "422-details",
]  # fmt: skip
ACTING = ("after-500", "after-400", "timeout", "cut", "duplicate", "unlisted")
MESSAGES = {
    "400": "Problems parsing JSON",
    "401": "Bad credentials",
    "403": "Resource not accessible by personal access token",
    "403-secondary": "You have exceeded a secondary rate limit. Please wait a few minutes.",
    "403-used-up": "API rate limit exceeded for user ID 1.",
    "404": "Not Found",
    "429": "Too many requests",
    "500": "Server Error",
    # of an Enterprise server 3.19 (benc-uk/workflow-dispatch#86); a key that is not in the
    # schema of the API is answered with 422 (its OpenAPI description: `validation_failed`)
    "422-details": 'Invalid request.\n\n"return_run_details" is not a permitted key.',
}


@dataclass(kw_only=True)
class Failure:
    """Something that goes wrong at the next requests that match."""

    method: str
    path: re.Pattern[str]
    kind: Kind
    times: int


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A request with what was answered."""

    method: str
    path: str
    asked: bytes
    status: int
    body: bytes


@dataclass(frozen=True)
class Answer:
    """Status, schema and body of an answer; a schema in brackets is of each of a list."""

    status: int
    schema: str | None = None
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """An answer that says no."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


Handle = Callable[["Request"], Answer]
ROUTES: list[tuple[str, re.Pattern[str], Handle]] = []


def route(method: str, path: str) -> Callable[[Handle], Handle]:
    """Register what answers a method and a path."""

    def register(handle: Handle) -> Handle:
        ROUTES.append((method, re.compile(path), handle))
        return handle

    return register


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request, parsed."""

    github: GitHub
    match: re.Match[str]
    query: dict[str, str]
    json: Any

    @property
    def repository(self) -> Repository:
        if self.match["repo"] != self.github.repository.name:
            raise Refusal(404, "Not Found")
        return self.github.repository

    @property
    def url(self) -> str:
        return self.github.url

    def run(self) -> Run:
        for run in self.repository.runs:
            if run.id == int(self.match["id"]):
                return run
        raise Refusal(404, "Not Found")

    def page(self, schema: str, key: str | None, rows: list[Any]) -> Answer:
        """One page of rows, with the address of the next."""
        size = int(self.query.get("per_page", "30"))
        number = int(self.query.get("page", "1"))
        part = rows[(number - 1) * size : number * size]
        headers = {}
        if number * size < len(rows):
            path = self.match.string
            following = f"{self.url}{path}?per_page={size}&page={number + 1}"
            headers["Link"] = f'<{following}>; rel="next"'
        if key is None:
            return Answer(200, f"[{schema}]", part, headers)
        for row in part:
            check(schema, row)
        return Answer(200, None, {"total_count": len(rows), key: part}, headers)


class GitHub:
    """A running GitHub with one repository."""

    def __init__(self, repository: Repository, prefix: str) -> None:
        self.repository, self.prefix = repository, prefix
        self.token = TOKEN
        self.url = ""
        self.asked: list[Asked] = []
        self.answered: list[Answered] = []
        self.errors: list[BaseException] = []
        self.hidden: set[int] = set()  # runs that are not listed yet
        self.late = False  # whether every new run is not listed at first
        self.calm = threading.Event()  # ends the silence of a "timeout"
        self._failures: list[Failure] = []
        self._lock = threading.Lock()

    def fail(self, method: str, path: str, kind: Kind, times: int = 1) -> None:
        """Let the next requests that match fail in one way."""
        compiled = re.compile(path)
        self._failures.append(Failure(method=method, path=compiled, kind=kind, times=times))

    def failure(self, method: str, path: str) -> Kind | None:
        """How a request fails."""
        with self._lock:
            for failure in self._failures:
                if failure.times and failure.method == method and failure.path.search(path):
                    failure.times -= 1
                    return failure.kind
        return None

    def count(self, method: str, path: str) -> int:
        """How many requests there were."""
        return sum(a.method == method and bool(re.search(path, a.path)) for a in self.asked)

    def act(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        """Do what a request wants."""
        for wanted, pattern, handle in ROUTES:
            match = pattern.fullmatch(path)
            if match and wanted == method:
                return handle(Request(github=self, match=match, query=query, json=body))
        raise Refusal(404, "Not Found")

    def edit(self, login: str, change: Callable[[str], str], number: int = 1) -> None:
        """Somebody edits an issue's text on the page."""
        issue = self.repository.issues[number - 1]
        issue.body = change(issue.body).replace("\n", "\r\n")  # as a browser's form does
        issue.updated = now()
        issue.edits.append((login, issue.updated))


# ── repositories, branches, files ───────────────────────────────────────────────────────────────

REPO = r"/repos/(?P<repo>[^/]+/[^/]+)"


@route("GET", "/rate_limit")
def _limits(request: Request) -> Answer:
    del request
    core = {"limit": 5000, "remaining": 4999, "reset": int(time.time()) + 3600, "used": 1}
    limits = {"resources": {"core": core, "search": core}, "rate": core}
    return Answer(200, "rate-limit-overview", limits)


@route("GET", REPO)
def _repository(request: Request) -> Answer:
    return Answer(200, "full-repository", answers.repository(request.url, request.repository))


@route("GET", REPO + r"/git/refs?/heads/(?P<branch>.+)")
def _ref(request: Request) -> Answer:
    if request.match["branch"] not in request.repository.branches:
        raise Refusal(404, "Not Found")
    found = answers.ref(request.url, request.repository, request.match["branch"])
    return Answer(200, "git-ref", found)


@route("POST", REPO + "/git/refs")
def _make_ref(request: Request) -> Answer:
    branch = request.json["ref"].removeprefix("refs/heads/")
    repository = request.repository
    if branch in repository.branches:
        raise Refusal(422, "Reference already exists")
    source = next((b for b in repository.branches if repository.sha(b) == request.json["sha"]), "")
    if not source:
        raise Refusal(422, "Object does not exist")
    repository.branches[branch] = dict(repository.branches[source])
    return Answer(201, "git-ref", answers.ref(request.url, repository, branch))


@route("PATCH", REPO + r"/git/refs/heads/(?P<branch>.+)")
def _move_ref(request: Request) -> Answer:
    branch, repository = request.match["branch"], request.repository
    source = next((b for b in repository.branches if repository.sha(b) == request.json["sha"]), "")
    if branch not in repository.branches or not source:
        raise Refusal(422, "Reference does not exist")
    repository.branches[branch] = dict(repository.branches[source])
    return Answer(200, "git-ref", answers.ref(request.url, repository, branch))


@route("GET", REPO + r"/contents/(?P<path>.+)")
def _content(request: Request) -> Answer:
    branch, path = request.query.get("ref", "main"), request.match["path"]
    if path not in request.repository.branches.get(branch, {}):
        raise Refusal(404, "Not Found")
    found = answers.content(request.url, request.repository, path, branch)
    return Answer(200, "content-file", found)


@route("GET", REPO + r"/git/blobs/(?P<sha>[0-9a-f]{40})")
def _blob(request: Request) -> Answer:
    branches = request.repository.branches.values()
    for data in (data for files in branches for data in files.values()):
        if blob_sha(data) == request.match["sha"]:
            return Answer(200, "blob", answers.blob(request.url, request.repository, data))
    raise Refusal(404, "Not Found")


@route("PUT", REPO + r"/contents/(?P<path>.+)")
def _put_content(request: Request) -> Answer:
    branch, path = request.json.get("branch", "main"), request.match["path"]
    repository = request.repository
    if branch not in repository.branches:
        raise Refusal(404, f"Branch {branch} not found")
    there = repository.branches[branch].get(path)
    known = blob_sha(there) if there is not None else None
    if known != request.json.get("sha"):
        status = 409 if request.json.get("sha") else 422
        raise Refusal(status, f"{path} does not match {request.json.get('sha')}")
    repository.branches[branch][path] = base64.b64decode(request.json["content"])
    made = answers.file_commit(request.url, repository, path, branch)
    return Answer(201 if known is None else 200, "file-commit", made)


@route("GET", REPO + "/pulls")
def _pulls(request: Request) -> Answer:
    state, head = request.query.get("state", "open"), request.query.get("head", "")
    found = [
        answers.pull(request.url, request.repository, pull)
        for pull in reversed(request.repository.pulls)
        if state in ("all", pull.state) and (not head or head.partition(":")[2] == pull.head)
    ]
    return request.page("pull-request-simple", None, found)


@route("POST", REPO + "/pulls")
def _make_pull(request: Request) -> Answer:
    repository, wanted = request.repository, request.json
    if wanted["head"] not in repository.branches or wanted["base"] not in repository.branches:
        raise Refusal(422, "Validation Failed")
    if any(p.head == wanted["head"] and p.state == "open" for p in repository.pulls):
        raise Refusal(422, "A pull request already exists")
    pull = Pull(
        number=100 + len(repository.pulls), title=wanted["title"], body=wanted.get("body") or "",
        head=wanted["head"], base=wanted["base"], author=BOT,
    )  # fmt: skip
    repository.pulls.append(pull)
    return Answer(201, "pull-request", answers.pull(request.url, repository, pull))


@route("PATCH", REPO + r"/pulls/(?P<id>\d+)")
def _change_pull(request: Request) -> Answer:
    number = int(request.match["id"])
    pull = next((p for p in request.repository.pulls if p.number == number), None)
    if pull is None:
        raise Refusal(404, "Not Found")
    pull.title = request.json.get("title", pull.title)
    pull.body = request.json.get("body", pull.body)
    return Answer(200, "pull-request", answers.pull(request.url, request.repository, pull))


# ── runs ────────────────────────────────────────────────────────────────────────────────────────


@route("POST", REPO + "/dispatches")
def _dispatch(request: Request) -> Answer:
    event, payload = request.json["event_type"], request.json.get("client_payload", {})
    if len(payload) > 10:
        raise Refusal(422, "No more than 10 properties are allowed; client_payload has more.")
    if len(json.dumps(payload).encode()) > 65_535:
        raise Refusal(422, "client_payload is too large.")
    for path in sorted(request.repository.branches["main"]):
        folder, _, name = path.rpartition("/")
        file = request.repository.workflow(name) if folder == FOLDER else None
        if file is None or "repository_dispatch" not in file.triggers:
            continue
        if event in ((file.triggers["repository_dispatch"] or {}).get("types") or [event]):
            told = {"action": event, "client_payload": payload}
            request.repository.begin(name, "repository_dispatch", told, "main")
    return Answer(204)


@route("POST", REPO + r"/actions/workflows/(?P<workflow>[^/]+)/dispatches")
def _start(request: Request) -> Answer:
    repository, wanted, name = request.repository, request.json, request.match["workflow"]
    if repository.workflow(name) is None:
        raise Refusal(404, "Not Found")
    if wanted["ref"] not in repository.branches:
        raise Refusal(422, f"No ref found for: {wanted['ref']}")
    file = repository.workflow(name, wanted["ref"])
    if file is None or "workflow_dispatch" not in file.triggers:
        raise Refusal(422, "Workflow does not have 'workflow_dispatch' trigger")
    declared = (file.triggers["workflow_dispatch"] or {}).get("inputs") or {}
    inputs = {str(key): value for key, value in wanted.get("inputs", {}).items()}
    unexpected = sorted(set(inputs) - set(declared))
    if unexpected:
        raise Refusal(422, f"Unexpected inputs provided: {json.dumps(unexpected)}")
    for key, rule in declared.items():
        if (rule or {}).get("required") and not inputs.get(key):
            raise Refusal(422, f"Required input '{key}' not provided")
    if len(json.dumps(inputs).encode()) > 65_535:
        raise Refusal(422, "inputs are too large.")
    run = repository.begin(name, "workflow_dispatch", {"inputs": inputs}, wanted["ref"])
    if not wanted.get("return_run_details"):
        return Answer(204)
    home = f"{request.url}/repos/{repository.name}/actions/runs/{run.id}"
    page = f"{request.url}/{repository.name}/actions/runs/{run.id}"
    told = {"workflow_run_id": run.id, "run_url": home, "html_url": page}
    return Answer(200, "workflow-dispatch-response", told)


@route("GET", REPO + r"/actions/(workflows/(?P<workflow>[^/]+)/)?runs")
def _runs(request: Request) -> Answer:
    repository, name = request.repository, request.match["workflow"]
    if name is not None and repository.workflow(name) is None:
        raise Refusal(404, "Not Found")
    rows = [
        answers.run(request.url, repository, run)
        for run in reversed(repository.runs)
        if name in (None, run.workflow) and run.id not in request.github.hidden
    ]
    return request.page("workflow-run", "workflow_runs", rows)


@route("GET", REPO + r"/actions/runs/(?P<id>\d+)")
def _run(request: Request) -> Answer:
    return Answer(200, "workflow-run", answers.run(request.url, request.repository, request.run()))


@route("GET", REPO + r"/actions/runs/(?P<id>\d+)/jobs")
def _jobs(request: Request) -> Answer:
    return request.page("job", "jobs", answers.jobs(request.url, request.repository, request.run()))


@route("GET", REPO + r"/actions/jobs/(?P<id>\d+)/logs")
def _log(request: Request) -> Answer:
    other = request.url.replace("127.0.0.1", "localhost").removesuffix(request.github.prefix)
    place = f"{other}/signed/{request.match['id']}?sig=SIGNATURE%2Bof%2Bthe%2Blog"
    return Answer(302, headers={"Location": place})


@route("GET", r"/signed/(?P<id>\d+)")
def _signed(request: Request) -> Answer:
    number = int(request.match["id"]) // 100
    run = next(run for run in request.github.repository.runs if run.id == number)
    log = request.github.repository.log(run)
    return Answer(200, "text", log.read_bytes() if log.exists() else b"")


@route("POST", REPO + r"/actions/runs/(?P<id>\d+)/(force-)?cancel")
def _cancel(request: Request) -> Answer:
    run = request.run()
    if not run.open:
        raise Refusal(409, "Cannot cancel a workflow run that is completed.")
    request.repository.cancel(run)
    return Answer(202, None, {})


@route("POST", REPO + r"/actions/runs/(?P<id>\d+)/rerun(?P<failed>-failed-jobs)?")
def _rerun(request: Request) -> Answer:
    run = request.run()
    if run.open:
        raise Refusal(403, "The workflow run containing this job is already running")
    if request.match["failed"] and run.conclusion == "success":
        raise Refusal(403, "This workflow run has no failed jobs")
    request.repository.again(run)
    return Answer(201, None, {})


@route("GET", REPO + "/actions/runners")
def _runners(request: Request) -> Answer:
    found = request.repository
    rows = [answers.runner(found, one, number) for number, one in enumerate(found.runners)]
    return request.page("runner", "runners", rows)


# ── issues, people ──────────────────────────────────────────────────────────────────────────────


@route("GET", REPO + "/issues")
def _issues(request: Request) -> Answer:
    state, wanted = request.query.get("state", "open"), request.query.get("labels")
    rows = [
        answers.issue(request.url, request.repository, one)
        for one in request.repository.issues
        if state in ("all", one.state) and (not wanted or wanted in one.labels)
    ]
    return request.page("issue", None, rows)


def _one_issue(request: Request) -> Issue:
    number = int(request.match["number"])
    if not 0 < number <= len(request.repository.issues):
        raise Refusal(404, "Not Found")
    return request.repository.issues[number - 1]


@route("GET", REPO + r"/issues/(?P<number>\d+)")
def _issue(request: Request) -> Answer:
    found = answers.issue(request.url, request.repository, _one_issue(request))
    return Answer(200, "issue", found)


@route("POST", REPO + "/issues")
def _make_issue(request: Request) -> Answer:
    repository = request.repository
    issue = Issue(
        number=len(repository.issues) + 1, title=request.json["title"],
        body=request.json.get("body") or "", author=BOT, labels=request.json.get("labels") or [],
    )  # fmt: skip
    repository.issues.append(issue)
    return Answer(201, "issue", answers.issue(request.url, repository, issue))


@route("PATCH", REPO + r"/issues/(?P<number>\d+)")
def _edit_issue(request: Request) -> Answer:
    issue = _one_issue(request)
    if len(request.json.get("body", "")) > 65_536:
        raise Refusal(422, "body is too long (maximum is 65536 characters)")
    if "body" in request.json:
        issue.body = request.json["body"]
        issue.edits.append((BOT, now()))
    issue.state = request.json.get("state", issue.state)
    issue.updated = now()
    return Answer(200, "issue", answers.issue(request.url, request.repository, issue))


@route("GET", REPO + r"/collaborators/(?P<login>[^/]+)/permission")
def _permission(request: Request) -> Answer:
    login = request.match["login"]
    level = request.repository.people.get(login)
    if level is None:
        raise Refusal(404, f"{login} is not a user")
    told = {"permission": level, "role_name": level, "user": None}
    return Answer(200, "repository-collaborator-permission", told)


@route("POST", "/graphql")
def _graphql(request: Request) -> Answer:
    """The one question that is asked: who edited an issue's text."""
    assert request.json["query"].split()[1].startswith("Edits"), "another question"
    given = request.json["variables"]
    repository = request.github.repository
    assert repository.name == f"{given['owner']}/{given['name']}"
    edits = repository.issues[given["number"] - 1].edits
    nodes = [{"editedAt": at, "editor": {"login": login}} for login, at in reversed(edits)]
    issue = {"userContentEdits": {"nodes": nodes}}
    return Answer(200, None, {"data": {"viewer": {"login": BOT}, "repository": {"issue": issue}}})


# ── HTTP ────────────────────────────────────────────────────────────────────────────────────────


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    github: GitHub

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_PUT(self) -> None:
        self._handle("PUT")

    def do_PATCH(self) -> None:
        self._handle("PATCH")

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _handle(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        path = unquote(parts.path).removeprefix(self.github.prefix)
        path = "/graphql" if path == "/api/graphql" else path
        headers = dict(self.headers.items())
        self._request = method, path, body
        self.github.asked.append(Asked(method=method, path=path, headers=headers, body=body))
        kind = self.github.failure(method, path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if kind == "cut-before":
            self._cut()
            return
        if kind == "422-details" and b"return_run_details" not in body:
            kind = None
        if kind is not None and kind not in ACTING:
            self._refuse(self._refusal(kind))
            return
        self._act(method, path, query, json.loads(body) if body else None, kind)

    def _act(
        self, method: str, path: str, query: dict[str, str], body: Any, kind: Kind | None
    ) -> None:
        known = len(self.github.repository.runs)
        try:
            if not path.startswith("/signed/"):
                self._require_token()
            answer = self.github.act(method, path, query, body)
            if kind == "duplicate":
                self.github.act(method, path, query, body)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        except Exception as error:  # the test ends with it
            self.github.errors.append(error)
            raise
        if kind == "unlisted" or self.github.late:
            self.github.hidden |= {run.id for run in self.github.repository.runs[known:]}
        if kind == "unlisted":
            answer = Answer(204)
        elif kind in ("after-500", "after-400"):
            self._refuse(self._refusal("502-html" if kind == "after-500" else "400"))
            return
        elif kind in ("timeout", "cut"):
            if kind == "timeout":
                self.github.calm.wait(20)
            self._cut()
            return
        self._send(answer)

    def _require_token(self) -> None:
        given = self.headers.get("Authorization", "")
        if given not in (f"token {TOKEN}", f"Bearer {TOKEN}"):
            raise Refusal(401, "Bad credentials")

    def _refusal(self, kind: Kind) -> Refusal:
        if kind == "html":  # a proxy that wants somebody to log in
            return Refusal(200, "<html>Welcome!</html>", **{"Content-Type": "text/html"})
        status = int(kind.partition("-")[0])
        if kind == "403-secondary":
            return Refusal(status, MESSAGES[kind], **{"Retry-After": "2"})
        if kind == "403-used-up":
            reset = str(int(time.time()) + 90)
            return Refusal(
                status, MESSAGES[kind], **{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
            )
        if kind == "403-html":
            return Refusal(403, "<html>Not from here!</html>", **{"Content-Type": "text/html"})
        if kind == "502-html":
            return Refusal(502, "<html>Unicorn!</html>", **{"Content-Type": "text/html"})
        return Refusal(status, MESSAGES[kind])

    def _refuse(self, refusal: Refusal) -> None:
        if refusal.headers.get("Content-Type") == "text/html":
            self._write(refusal.status, refusal.message.encode(), refusal.headers)
            return
        body = {
            "message": refusal.message,
            "documentation_url": "https://docs.github.com/rest",
            "status": str(refusal.status),
        }
        check("basic-error", body)
        self._write(refusal.status, json.dumps(body).encode(), refusal.headers)

    def _send(self, answer: Answer) -> None:
        if answer.schema == "text":
            self._write(answer.status, answer.body, {"Content-Type": "text/plain"})
            return
        try:
            if answer.schema is not None and answer.schema.startswith("["):
                for row in answer.body:
                    check(answer.schema.strip("[]"), row)
            elif answer.schema is not None:
                check(answer.schema, answer.body)
        except Exception as error:  # the test ends with it
            self.github.errors.append(error)
            raise
        data = b"" if answer.body is None else json.dumps(answer.body).encode()
        self._write(answer.status, data, answer.headers)

    def _write(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        method, path, body = self._request
        self.github.answered.append(
            Answered(method=method, path=path, asked=body, status=status, body=data)
        )
        self.send_response(status)
        if "Content-Type" not in headers:
            self.send_header("Content-Type", "application/json; charset=utf-8")
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or an error that is kept and told at the end."""


@contextmanager
def running_github(
    folder: Path, execute: Execute, name: str = "me/builds", prefix: str = ""
) -> Iterator[GitHub]:
    """Serve a repository on a free port of 127.0.0.1 until the end of the block.

    With the prefix /api/v3 it is an Enterprise server.
    """
    github = GitHub(Repository(name, folder, execute), prefix)
    handler = type("Handler", (_Handler,), {"github": github})
    server = _Server(("127.0.0.1", 0), handler)
    github.url = f"http://127.0.0.1:{server.server_port}{prefix}"
    github.repository.url = github.url
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield github
    finally:
        github.calm.set()
        server.shutdown()
        thread.join()
        server.server_close()
    assert not github.errors, github.errors
    assert not github.repository.errors, github.repository.errors
