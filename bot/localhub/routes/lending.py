"""Trusted publishers: what a job proves about itself, exchanged for a token of one repository.

POST /oauth/token of the Hub (huggingface.co/docs/hub/trusted-publishers, RFC 8693): an id token is
accepted when a repository's settings name its issuer and every one of its claims. Whose signature
that is, this Hub learns from a file of public keys: it asks nobody else.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from jwt import PyJWKSet
from jwt.exceptions import PyJWTError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.errors import SettingsError, SourceError
from bot.localhub.files import accounts
from bot.localhub.files.repositories import Store
from bot.localhub.files.repository import Repo
from bot.localhub.routes.request import store_of, with_body
from bot.serving.bodies import json_object
from bot.serving.refusal import Refusal

LIFETIME = 3600  # seconds that a lent token holds
ALGORITHMS = ["RS256", "ES256"]  # public keys only: nobody who checks can sign
REQUIRED = ["iss", "sub", "aud", "exp", "iat"]
LEEWAY = 10  # seconds that clocks may differ
LONGEST = 16_384  # letters of an id token
KEYS_LIMIT = 256_000  # letters of a file of keys
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - a name of the protocol
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - as well


@dataclass(frozen=True, kw_only=True)
class Publisher:
    """Whose jobs may write to a repository: all claims must be in the id token, exactly so."""

    issuer: str
    keys: Mapping[str, Any]  # a JSON Web Key Set (RFC 7517)
    claims: Mapping[str, str]


def trusted_repository(
    store: Store, repo_id: str, issuer: str, keys: Path, claims: Mapping[str, str]
) -> None:
    """Have a repository's settings name a publisher.

    Raises SourceError for a repository that is not there, SettingsError for keys that are none, and
    where no claim says which of the issuer's jobs is meant.
    """
    repo = store.find(repo_id)
    if repo is None:
        raise SourceError(f"this Hub has no {repo_id}; make it before, with a token that may write")
    if not claims:
        raise SettingsError(f"every job of {issuer} would be trusted; name one with --claim")
    try:
        with keys.open(encoding="utf-8") as file:
            text = file.read(KEYS_LIMIT)
        _public(json.loads(text))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{keys} holds no public keys ({error}); give a JWKS file") from error
    with store.database.writing() as db:
        db.execute(
            "insert into publishers (repo, issuer, keys, claims) values (?, ?, ?, ?)",
            (repo.row, issuer, text, json.dumps(dict(claims))),
        )


def _public(key_set: Any) -> Any:
    """A set of keys as the JWT library has it. Raises ValueError unless all are public."""
    rows = key_set.get("keys") if isinstance(key_set, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("no JSON Web Key Set")
    if any(row.get("kty") not in ("RSA", "EC") or "d" in row for row in rows):
        raise ValueError("a key that is not public")
    try:
        return PyJWKSet.from_dict(key_set)
    except PyJWTError as error:
        raise ValueError("no usable key") from error


def _publishers(db: sqlite3.Connection, repo: Repo) -> list[Publisher]:
    rows = db.execute("select * from publishers where repo = ? order by id", (repo.row,))
    return [
        Publisher(
            issuer=row["issuer"], keys=json.loads(row["keys"]), claims=json.loads(row["claims"])
        )
        for row in rows
    ]


def claim_subject(publisher: Publisher, id_token: str, audience: str) -> str | None:
    """Who an id token says its bearer is; None unless this publisher is proven to be meant."""
    try:
        key_id = jwt.get_unverified_header(id_token).get("kid")
        keys = [key for key in _public(publisher.keys).keys if key.key_id == key_id]
        if len(keys) != 1:
            return None
        token_claims = jwt.decode(
            id_token,
            keys[0],
            algorithms=ALGORITHMS,
            audience=audience,
            issuer=publisher.issuer,
            leeway=LEEWAY,
            options={"require": REQUIRED},
        )
    except (jwt.exceptions.PyJWTError, ValueError):
        return None
    good = all(token_claims.get(name) == value for name, value in publisher.claims.items())
    return str(token_claims["sub"])[:200] if good else None


def exchange(request: Request, body: bytes) -> Response:
    """POST /oauth/token. What was wrong with an id token is not said."""
    data, store = json_object(body), store_of(request)
    types = [data.get(name) for name in ("grant_type", "subject_token_type")]
    id_token, resource = data.get("subject_token"), data.get("resource")
    if types != [EXCHANGE, ID_TOKEN] or not isinstance(resource, str):
        return _refused("invalid_request", "This Hub exchanges id tokens for tokens of a model")
    if not isinstance(id_token, str) or len(id_token) > LONGEST:
        return _refused("invalid_request", "There is no id token")
    audience = str(request.base_url).rstrip("/")
    repo = store.find(resource)
    with store.database.reading() as db:
        publishers = _publishers(db, repo) if repo else []
    subjects = (claim_subject(publisher, id_token, audience) for publisher in publishers)
    subject = next((subject for subject in subjects if subject is not None), None)
    if repo is None or subject is None:
        return _refused("invalid_grant", "No publisher of that repository fits the id token")
    lifetime: int = request.app.state.lent_seconds
    with store.database.writing() as db:
        token = accounts.lend(db, repo, f"[OIDC] {subject}", lifetime)
    answer = {"access_token": token, "token_type": "bearer", "expires_in": lifetime}
    return JSONResponse(
        answer | {"issued_token_type": ACCESS_TOKEN}, headers={"Cache-Control": "no-store"}
    )


def _refused(error: str, description: str) -> Response:
    body = {"error": error, "error_description": description}
    return JSONResponse(body, status_code=400, headers=Refusal(400, description).headers)


ROUTES = [Route("/oauth/token", with_body(exchange), methods=["POST"])]
