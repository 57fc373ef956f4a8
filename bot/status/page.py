"""The watcher's page: what it does, for everybody who may reach it; acting, for who has the token.

GET / page, /status.json, /healthz, /metrics; POST /sign-in, /sign-out, /act, /webhook.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route

from bot import secrecy
from bot.clients.hub.addresses import is_plain_link
from bot.clock import SystemClock, iso, moment, span
from bot.errors import BotError, SettingsError
from bot.legible import legible_flat, legible_json
from bot.serving.bodies import bounded
from bot.serving.refusal import Refusal
from bot.serving.serving import Server, hosts, is_loopback, listen, signals_return, url_of
from bot.settings.settings import Settings
from bot.status import metrics, sessions, webhook
from bot.store.board import Board, board, log_of, tail
from bot.store.ledger import Ledger
from bot.store.queue import Queue
from bot.store.queue_tables import OPEN
from bot.store.sightings import Sightings

VARIABLE = "BOT_STATUS_TOKEN"
TEMPLATES = Path(__file__).resolve().parent / "templates"
PAGE = "status.html.j2"
LONGEST = 16 << 10  # bytes of a form
SLOW = 1.0  # seconds that a wrong token costs
LOG_BYTES = 64 << 10  # of a log's end
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
REFRESH = 15  # seconds
CLOCK = SystemClock()
WAITS_FOR = {  # what releases of an outcome wait for
    "no_weights_yet": "for weights",
    "gated_no_access": "for access",
    "unsupported_converter": "for a llama.cpp that knows them",
    "unpopular": "for likes or downloads",
    "settling": "until their weights have rested",
    "unreadable": "to be read",
    "gone": "to be seen again",
    "hinted": "for a first look",
    "awaiting_approval": "for approval",
}
DONE = {
    "approve": "Approved: it is queued.",
    "retry": "It is queued or looked at again at the next turn.",
    "ignore": "It is ignored from now on.",
    "pause": "Paused: nothing is started.",
    "resume": "Resumed.",
}


def page_application(ledger: Ledger, settings: Settings, names: list[str]) -> Starlette:
    """The page over one ledger. `names` are the hosts that it may be asked by."""
    app = Starlette(
        routes=[
            Route("/", page),
            Route("/status.json", board_json),
            Route("/healthz", healthz),
            Route("/metrics", prometheus),
            Route("/log/{task}", log),
            Route("/sign-in", sign_in, methods=["POST"]),
            Route("/sign-out", sign_out, methods=["POST"]),
            Route("/act", act, methods=["POST"]),
            *webhook.ROUTES,
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=names)],
        exception_handlers={Refusal: _refused},
    )
    _environment().get_template(PAGE)  # compiled before anybody waits for it
    app.state.ledger, app.state.settings = ledger, settings
    app.state.queue, app.state.sightings = Queue(ledger), Sightings(ledger)
    app.state.token = webhook.secret_of(VARIABLE)
    app.state.webhook_secret = webhook.secret_of(webhook.VARIABLE)
    return app


def serve_page(
    ledger: Ledger,
    settings: Settings,
    port: int,
    host: str = "127.0.0.1",
    ready: Callable[[str], None] | None = None,
    names: Sequence[str] = (),
) -> None:
    """Serve until SIGINT or SIGTERM; `ready` gets the URL once it can be asked.

    `names` are what a web server in front of it is asked by. Raises SettingsError for an address
    that cannot be had, and for one that others can reach while there is no token.
    """
    app = page_application(ledger, settings, hosts(host, names))
    for name in (host, *names):
        if not is_loopback(name) and app.state.token is None:
            raise SettingsError(f"{name} can be reached from other machines; set {VARIABLE} first")
    with closing(listen(host, port)) as bound, signals_return():
        url = url_of(bound)
        Server(app, lambda: ready(url) if ready else None).run(sockets=[bound])


# ── what everybody may see ──────────────────────────────────────────────────────────────────


def page(request: Request) -> Response:
    """GET /."""
    notice = DONE.get(request.query_params.get("done", ""))
    return _page(request, notice=notice)


def board_json(request: Request) -> Response:
    """GET /status.json: the same as `bot status --json`."""
    return Response(legible_json(asdict(_board(request))), media_type="application/json")


def healthz(request: Request) -> Response:
    """GET /healthz: 200 while a watcher runs and reads its Hub, 503 otherwise."""
    board = _board(request)
    body = {
        "healthy": board.trouble is None,
        "trouble": board.trouble,
        "heartbeat": iso(board.heartbeat),
        "looked": iso(board.looked),
    }
    return JSONResponse(body, status_code=503 if board.trouble else 200)


def prometheus(request: Request) -> Response:
    """GET /metrics."""
    return Response(metrics.metrics_text(_board(request)), media_type=metrics.TYPE)


def log(request: Request) -> Response:
    """GET /log/TASK: the end of a build's log, for who may act, or on this machine alone."""
    if not _may_read(request):
        raise Refusal(403, "Sign in first")
    tasks = {task.id: task for task in request.app.state.queue.tasks((*OPEN, "failed"))}
    task = tasks.get(request.path_params["task"])
    path = log_of(task) if task else None
    if path is None:
        raise Refusal(404, "There is no such log")
    return PlainTextResponse(secrecy.redacted(tail(path, LOG_BYTES)), headers=HEADERS)


def _may_read(request: Request) -> bool:
    """Logs name files of this machine: they are for people who are signed in, where any can be."""
    token = request.app.state.token
    return token is None or sessions.session_of(request, token, CLOCK.now()) is not None


# ── acting ──────────────────────────────────────────────────────────────────────────────────


async def sign_in(request: Request) -> Response:
    """POST /sign-in: a session for who knows the token."""
    token = _token(request)
    sessions.require_same_origin(request)
    form = await _form(request)
    if not webhook.equal(form.get("token", ""), token):
        await asyncio.sleep(SLOW)
        return await run_in_threadpool(_page, request, error="That is not the token.", status=403)
    response = RedirectResponse("/", status_code=303)
    sessions.begin_session(response, token, CLOCK.now(), secure=request.url.scheme == "https")
    return response


async def sign_out(request: Request) -> Response:
    """POST /sign-out."""
    sessions.require_same_origin(request)
    response = RedirectResponse("/", status_code=303)
    sessions.end_session(response)
    return response


async def act(request: Request) -> Response:
    """POST /act: approve, retry, ignore, pause or resume, from a form of ours."""
    token = _token(request)
    session = sessions.session_of(request, token, CLOCK.now())
    if session is None:
        raise Refusal(403, "Sign in first")
    form = await _form(request)
    sessions.require_own_form(request, token, session, form.get("proof", ""))
    action = form.get("action", "")
    try:
        await run_in_threadpool(_do, request.app.state.queue, action, form)
    except BotError as error:
        return await run_in_threadpool(_page, request, error=str(error), status=409)
    return RedirectResponse(f"/?done={action}", status_code=303)


def _do(queue: Queue, action: str, form: dict[str, str]) -> None:
    repo, because, now = form.get("repo", ""), form.get("because", "").strip(), CLOCK.now()
    match action:
        case "approve":
            queue.approve(repo, now)
        case "retry":
            queue.retry(repo, now)
        case "ignore" if repo:
            queue.ignore(repo, because or "on the status page", now)
        case "pause":
            queue.pause(because or "on the status page", now)
        case "resume":
            queue.resume()
        case _:
            raise Refusal(400, "There is no such action")


# ── pages ───────────────────────────────────────────────────────────────────────────────────


def _printable(value: object) -> object:
    """A value as a template prints it: strings made legible, Markup (HTML already) unchanged."""
    return legible_flat(value) if type(value) is str else value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"span": span, "moment": moment}
    environment.tests["plain_link"] = is_plain_link
    return environment


@cache
def _policy() -> str:
    """The page may run its own script, which is known by its hash, and nothing else."""
    script = (TEMPLATES / "refresh.js").read_bytes()
    script_hash = base64.b64encode(hashlib.sha256(script).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{script_hash}'; style-src 'unsafe-inline';"
        " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'self';"
        " frame-ancestors 'none'"
    )


def _page(
    request: Request, *, notice: str | None = None, error: str | None = None, status: int = 200
) -> Response:
    token = request.app.state.token
    session = sessions.session_of(request, token, CLOCK.now())
    board = _board(request)
    html = (
        _environment()
        .get_template(PAGE)
        .render(
            board=board,
            logs={task.id for task in board.tasks if log_of(task)} if _may_read(request) else (),
            endpoint=request.app.state.settings.hub.endpoint,
            proof=sessions.proof(token, session) if session else None,
            may_sign_in=token is not None,
            waits_for=WAITS_FOR,
            notice=notice,
            error=error,
            refresh=REFRESH,
            script=(TEMPLATES / "refresh.js").read_text(encoding="utf-8"),
        )
    )
    headers = {"Content-Security-Policy": _policy(), **HEADERS}
    return HTMLResponse(html, status_code=status, headers=headers)


def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    if "text/html" in request.headers.get("accept", ""):
        return _page(request, error=error.message, status=error.status)
    return JSONResponse({"error": error.message}, status_code=error.status)


def _board(request: Request) -> Board:
    return board(request.app.state.ledger, request.app.state.settings, CLOCK.now())


def _token(request: Request) -> SecretStr:
    token: SecretStr | None = request.app.state.token
    if token is None:
        raise Refusal(403, f"Nobody can act here: {VARIABLE} is not set")
    return token


async def _form(request: Request) -> dict[str, str]:
    body = await bounded(request, LONGEST)
    try:
        fields = parse_qs(body.decode("utf-8"), max_num_fields=20)
    except ValueError as error:
        raise Refusal(400, "The form cannot be read") from error
    return {name: values[0] for name, values in fields.items()}
