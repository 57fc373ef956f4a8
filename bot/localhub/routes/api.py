"""Routes of the Hub's API that read and change names: models, trees, commits, refs, settings."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.localhub.files import commits
from bot.localhub.files.card_data import front_matter
from bot.localhub.files.commit_body import body_contents, checked_path
from bot.localhub.files.repositories import Store
from bot.localhub.files.repository import Commit, Ref, Repo
from bot.localhub.routes import listing
from bot.localhub.routes.request import (
    readable,
    repo_id,
    store_of,
    user_of,
    viewer_of,
    with_body,
    writable,
)
from bot.localhub.routes.revisions import divided
from bot.serving.bodies import json_object, json_objects
from bot.serving.refusal import Refusal

COMMITS_PAGE = 100
CARD = "README.md"


def whoami(request: Request) -> Response:
    """GET /api/whoami-v2."""
    user = user_of(request)
    orgs = [{"type": "org", "name": org, "roleInOrg": "write"} for org in user.orgs]
    token = {"type": "access_token", "accessToken": {"displayName": "local", "role": "write"}}
    return JSONResponse(
        {"type": "user", "name": user.name, "fullname": user.name, "orgs": orgs, "auth": token}
    )


def list_models(request: Request) -> Response:
    """GET /api/models: newest first, in pages joined by Link headers."""
    page = listing.models_json(store_of(request), viewer_of(request), _query(request.query_params))
    return paged(request, page.rows, page.cursor)


def _query(params: QueryParams) -> listing.Query:
    for name in listing.NOT_HERE:
        if name in params:
            raise Refusal(400, f"The local Hub cannot filter by {name}")
    limit = params.get("limit", str(listing.PAGE))
    if not limit.isdecimal() or int(limit[:9]) < 1:
        raise Refusal(400, "limit is a number from 1")
    return listing.Query(
        sort=params.get("sort", "trendingScore"),
        filters=tuple(tag for tag in params.getlist("filter") if tag),
        author=params.get("author"),
        search=params.get("search"),
        pipeline_tag=params.get("pipeline_tag"),
        gated=_flag(params, "gated") if "gated" in params else None,
        limit=min(int(limit[:9]), listing.PAGE),
        cursor=params.get("cursor"),
        names=_names(params),
    )


def _names(params: QueryParams) -> tuple[str, ...]:
    """The properties of a row: those of `expand`, or the usual ones and what flags add."""
    expand = tuple(dict.fromkeys([*params.getlist("expand"), *params.getlist("expand[]")]))
    if expand:
        return expand
    names = [*listing.LISTED]
    if _flag(params, "full"):
        names += listing.FULL
    if _flag(params, "cardData"):
        names.append("cardData")
    if _flag(params, "config"):
        names.append("config")
    return tuple(names)


def _flag(params: QueryParams, name: str) -> bool:
    return params.get(name, "").lower() in ("1", "true")


def paged(request: Request, rows: list[dict[str, Any]], cursor: str | None) -> Response:
    """Rows of a listing; with a cursor, the address of the next ones."""
    headers = {}
    if cursor is not None:
        headers["Link"] = f'<{request.url.include_query_params(cursor=cursor)}>; rel="next"'
    return JSONResponse(rows, headers=headers)


def model_info(request: Request) -> Response:
    """GET /api/models/{id}[/revision/{rev}]."""
    store, repo = store_of(request), readable(request)
    params = request.query_params
    expand = (*params.getlist("expand"), *params.getlist("expand[]"))
    commit = store.commit(repo, request.path_params.get("rev", "main"))
    names = expand or listing.INFO
    return JSONResponse(
        listing.model_json(store, repo, commit, names, blobs=_flag(params, "blobs"))
    )


def auth_check(request: Request) -> Response:
    """GET /api/models/{id}/auth-check: may the viewer read the files?"""
    check_gate(request, readable(request))
    return JSONResponse({})


def check_gate(request: Request, repo: Repo) -> None:
    """Files of a gated repository are for its owners; nobody else can be let in here."""
    if repo.gated is None:
        return
    viewer = viewer_of(request)
    if viewer is None:
        raise Refusal(401, f"Access to {repo.id} is restricted; send a token", "GatedRepo")
    if not viewer.may_change(repo):
        raise Refusal(403, f"Access to {repo.id} is restricted to its owners", "GatedRepo")


def post_repo(request: Request, body: bytes) -> Response:
    """POST /api/repos/create."""
    data, user, store = json_object(body), user_of(request), store_of(request)
    owner = _owned(data, user_name=user.name)
    if not user.may_write(owner):
        raise Refusal(403, f"{user.name} may not make repositories for {owner}")
    name = data.get("name")
    existing = store.find(f"{owner}/{name}")
    if existing is not None:
        url = f"{request.base_url}{existing.id}"
        error = {"error": "You already created this model repo", "url": url}
        return JSONResponse(error, status_code=409)
    private = _private(data, default=False)
    repo = commits.create_repo(
        store, owner, str(name), author=user.name, private=private, files=_first_files(data)
    )
    return JSONResponse({"url": f"{request.base_url}{repo.id}", "name": repo.id, "id": repo.id})


def _first_files(data: dict[str, Any]) -> dict[str, bytes]:
    """The files that a new repository begins with: those given, and a card for its license."""
    files = {}
    for file in json_objects(data, "files") if data.get("files") is not None else ():
        files[checked_path(file.get("path"))] = body_contents(file)
    name = data.get("license")
    if name is not None and CARD not in files:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9.+-]{1,64}", name):
            raise Refusal(400, "license is the identifier of one")
        files[CARD] = f"---\nlicense: {name}\n---\n".encode()
    return files


def delete_repo(request: Request, body: bytes) -> Response:
    """DELETE /api/repos/delete."""
    data, user, store = json_object(body), user_of(request), store_of(request)
    owner = _owned(data, user_name=user.name)
    store.delete(store.owned(f"{owner}/{data.get('name')}", user))
    return Response("OK")


def _owned(data: dict[str, Any], *, user_name: str) -> str:
    if data.get("type", "model") not in ("model", None):
        raise Refusal(400, "The local Hub keeps model repositories only")
    return str(data.get("organization") or user_name)


def _private(data: dict[str, Any], *, default: bool) -> bool:
    match data.get("visibility"), data.get("private"):
        case None, None:
            return default
        case ("public" | "private") as visibility, None:
            return bool(visibility == "private")
        case None, bool() as private:
            return bool(private)
        case _:
            raise Refusal(400, "visibility is public or private")


def update_settings(request: Request, body: bytes) -> Response:
    """PUT /api/models/{id}/settings."""
    data, store = json_object(body), store_of(request)
    repo = store.owned(repo_id(request), viewer_of(request))
    gated = data.get("gated", repo.gated or False)
    if gated not in (False, "auto", "manual"):
        raise Refusal(400, "gated is false, auto or manual")
    private = _private(data, default=repo.private)
    store.update(repo, private=private, gated=gated or None)
    return JSONResponse({"private": private, "gated": gated})


def _revision(request: Request) -> tuple[Store, Repo, Commit]:
    store, repo = store_of(request), readable(request)
    revision, _ = divided(
        store, repo, request.path_params["rev"], request.path_params.get("path", "")
    )
    return store, repo, store.commit(repo, revision)


def _folder(request: Request, store: Store, repo: Repo) -> str:
    path = request.path_params.get("path", "")
    return divided(store, repo, request.path_params["rev"], path)[1].strip("/")


def list_tree(request: Request) -> Response:
    """GET /api/models/{id}/tree/{rev}[/path]; later pages stay at the first page's commit."""
    store, repo, commit = _revision(request)
    sha, _, start = request.query_params.get("cursor", "").partition(".")
    if sha:
        commit = store.commit(repo, sha)
    rows, following = listing.tree(
        store,
        repo,
        commit,
        _folder(request, store, repo),
        recursive=_flag(request.query_params, "recursive"),
        expand=_flag(request.query_params, "expand"),
        start=int(start) if start.isdecimal() and len(start) < 10 else 0,
    )
    return paged(request, rows, f"{commit.sha}.{following}" if following else None)


def paths_info(request: Request, body: bytes) -> Response:
    """POST /api/models/{id}/paths-info/{rev}: a form, or JSON, as the Hub's clients send it."""
    store, repo, commit = _revision(request)
    if request.headers.get("content-type", "").startswith("application/json"):
        options = json_object(body)
        named = [str(path).strip("/") for path in options.get("paths") or ()]
        return JSONResponse(
            listing.paths_json(store, repo, commit, named, expand=options.get("expand") is True)
        )
    try:
        form = parse_qs(body.decode(), max_num_fields=10_000)
    except ValueError as error:
        raise Refusal(400, "The body is not a form") from error
    expand = form.get("expand", ["false"])[0].lower() == "true"
    paths = [path.strip("/") for path in form.get("paths", [])]
    return JSONResponse(listing.paths_json(store, repo, commit, paths, expand=expand))


def list_commits(request: Request) -> Response:
    """GET /api/models/{id}/commits/{rev}, newest first."""
    store, repo, commit = _revision(request)
    if "cursor" in request.query_params:
        commit = store.commit(repo, request.query_params["cursor"])
    limit = request.query_params.get("limit", "")
    page = min(int(limit), COMMITS_PAGE) if re.fullmatch("[1-9][0-9]{0,8}", limit) else COMMITS_PAGE
    commits = store.history(repo, commit, page + 1)
    cursor = commits[page].sha if len(commits) > page else None
    answer = paged(request, [*map(listing.commit_row, commits[:page])], cursor)
    answer.headers["X-Total-Count"] = str(store.length(repo, commit))
    return answer


def list_refs(request: Request) -> Response:
    """GET /api/models/{id}/refs."""
    refs: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": []}
    if "include_prs" in request.query_params:
        refs["pullRequests"] = []
    kinds = {"branch": ("branches", "refs/heads/"), "tag": ("tags", "refs/tags/")}
    store, repo = store_of(request), readable(request)
    for ref in store.refs(repo):
        key, prefix = kinds[ref.kind]
        refs[key].append({"name": ref.name, "ref": prefix + ref.name, "targetCommit": ref.sha})
    for pull in store.pulls(repo) if "pullRequests" in refs else ():
        row = {"name": str(pull.number), "ref": pull.ref, "targetCommit": pull.sha}
        refs["pullRequests"].append(row)
    return JSONResponse(refs)


def create_branch(request: Request, body: bytes) -> Response:
    """POST /api/models/{id}/branch/{name}."""
    store, repo = store_of(request), writable(request)
    options = json_object(body) if body else {}
    if options.get("emptyBranch"):
        raise Refusal(400, "The local Hub keeps no empty branches; name a startingPoint")
    name, start = request.path_params["rev"], options.get("startingPoint")
    overwrite = options.get("overwrite") is True
    exists = any((ref.kind, ref.name) == ("branch", name) for ref in store.refs(repo))
    if not (exists and overwrite and start is None):  # without a new start nothing would move
        sha = store.commit(repo, "main" if start is None else str(start)).sha
        store.add_ref(repo, Ref(kind="branch", name=name, sha=sha), overwrite=overwrite)
    return JSONResponse({})


def create_tag(request: Request, body: bytes) -> Response:
    """POST /api/models/{id}/tag/{rev}."""
    store, repo = store_of(request), writable(request)
    sha = store.commit(repo, request.path_params["rev"]).sha
    store.add_ref(repo, Ref(kind="tag", name=str(json_object(body).get("tag")), sha=sha))
    return JSONResponse({})


def delete_branch(request: Request) -> Response:
    """DELETE /api/models/{id}/branch/{name}."""
    store_of(request).remove_ref(writable(request), "branch", request.path_params["rev"])
    return JSONResponse({})


def delete_tag(request: Request) -> Response:
    """DELETE /api/models/{id}/tag/{name}."""
    store_of(request).remove_ref(writable(request), "tag", request.path_params["rev"])
    return JSONResponse({})


def validate_yaml(request: Request, body: bytes) -> Response:
    """POST /api/validate-yaml: the front matter of a card, before it is committed."""
    del request
    content = json_object(body).get("content")
    if not isinstance(content, str):
        raise Refusal(400, "content is not text")
    try:
        front_matter(content)
    except ValueError as error:
        return JSONResponse({"errors": [{"message": str(error)}], "warnings": []}, status_code=400)
    return JSONResponse({"errors": [], "warnings": []})


MODEL = "/api/models/{owner}/{name}"
ROUTES = [
    Route("/api/whoami-v2", whoami),
    Route("/api/models", list_models),
    Route("/api/repos/create", with_body(post_repo), methods=["POST"]),
    Route("/api/repos/delete", with_body(delete_repo), methods=["DELETE"]),
    Route("/api/validate-yaml", with_body(validate_yaml), methods=["POST"]),
    Route(MODEL, model_info),
    Route(f"{MODEL}/revision/{{rev:last_revision}}", model_info),
    Route(f"{MODEL}/auth-check", auth_check),
    Route(f"{MODEL}/settings", with_body(update_settings), methods=["PUT"]),
    Route(f"{MODEL}/tree/{{rev:revision}}", list_tree),
    Route(f"{MODEL}/tree/{{rev:revision}}/{{path:path}}", list_tree),
    Route(f"{MODEL}/paths-info/{{rev:last_revision}}", with_body(paths_info), methods=["POST"]),
    Route(f"{MODEL}/commits/{{rev:last_revision}}", list_commits),
    Route(f"{MODEL}/refs", list_refs),
    Route(f"{MODEL}/branch/{{rev:last_revision}}", with_body(create_branch), methods=["POST"]),
    Route(f"{MODEL}/branch/{{rev:last_revision}}", delete_branch, methods=["DELETE"]),
    Route(f"{MODEL}/tag/{{rev:last_revision}}", with_body(create_tag), methods=["POST"]),
    Route(f"{MODEL}/tag/{{rev:last_revision}}", delete_tag, methods=["DELETE"]),
]
