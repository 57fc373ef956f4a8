"""What a Hub's webhook tells: a hint that a repository changed, never more.

    POST /webhook   X-Webhook-Secret: …
    {"event": {"action": "update", "scope": "repo.content"},
     "repo": {"type": "model", "name": "org/model", "headSha": "…"}, …}

(hub-docs, docs/hub/webhooks.md.) A hint makes the watcher look soon at what it would find anyway;
so a lost, repeated, forged or endless one changes no decision.
"""

from __future__ import annotations

import hmac
import re
from typing import Any

from pydantic import SecretStr
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot import secrecy
from bot.clock import SystemClock
from bot.errors import SettingsError
from bot.records.releases import REPO_ID
from bot.serving.bodies import bounded, json_object
from bot.serving.refusal import Refusal
from bot.settings.policies import matches
from bot.settings.settings import Settings
from bot.store.sightings import Sightings

VARIABLE = "BOT_WEBHOOK_SECRET"
SHORTEST = 16  # letters of a secret
LONGEST = 64 << 10  # bytes of a payload
_COMMIT = re.compile(r"[0-9a-f]{40}")


def secret_of(variable: str) -> SecretStr | None:
    """A secret of the environment. Raises SettingsError for one that can be guessed."""
    value = secrecy.value(variable)
    if 0 < len(value) < SHORTEST:
        raise SettingsError(f"{variable} is shorter than {SHORTEST} letters; make a longer one")
    return SecretStr(value) if value else None


def equal(text: str, secret: SecretStr) -> bool:
    """Whether a text is the secret, compared in constant time."""
    return hmac.compare_digest(text.encode(), secret.get_secret_value().encode())


async def receive(request: Request) -> Response:
    """POST /webhook: 202 for a hint that was kept, 200 for one that says nothing new."""
    secret: SecretStr | None = request.app.state.webhook_secret
    if secret is None:
        raise Refusal(404, f"This needs {VARIABLE} in the environment of bot serve")
    if not equal(request.headers.get("x-webhook-secret", ""), secret):
        raise Refusal(403, "The secret is wrong")
    payload = json_object(await bounded(request, LONGEST))
    hint = _named(payload, request.app.state.settings)
    if hint is None:
        return JSONResponse({"looking": False})
    sightings: Sightings = request.app.state.sightings
    news = await run_in_threadpool(sightings.hint, *hint, SystemClock().now())
    return JSONResponse({"looking": news}, status_code=202 if news else 200)


def _named(payload: dict[str, Any], settings: Settings) -> tuple[str, str | None] | None:
    """The watched model that a payload speaks of, and its commit; None for anything else."""
    event, repo = payload.get("event"), payload.get("repo")
    if not isinstance(event, dict) or not isinstance(repo, dict):
        raise Refusal(400, "The payload has no event and repo")
    name, commit = repo.get("name"), repo.get("headSha")
    if not isinstance(name, str) or not REPO_ID.fullmatch(name):
        raise Refusal(400, "The payload names no repository")
    scope = event.get("scope")
    about_repo = isinstance(scope, str) and scope.partition(".")[0] == "repo"
    watched = (*settings.watch.owners, *settings.watch.follow)
    if not about_repo or repo.get("type") != "model" or event.get("action") == "delete":
        return None
    if watched and not matches(watched, name):
        return None
    has_commit = isinstance(commit, str) and _COMMIT.fullmatch(commit)
    return name, commit if has_commit else None


ROUTES = [Route("/webhook", receive, methods=["POST"])]
