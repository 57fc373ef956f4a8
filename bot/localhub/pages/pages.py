"""The local Hub for people: the list of repositories, and a repository's card, files, history.

Cards are strangers' Markdown: rendered without raw scripts, cleaned, and under a policy that
runs nothing.
"""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from bot.legible import html_text
from bot.localhub.files import pulls
from bot.localhub.files.card_data import CARD_LIMIT, split_card
from bot.localhub.files.pulls import Pull, PullEvent
from bot.localhub.files.repositories import Store
from bot.localhub.files.repository import Commit, Entry, Repo
from bot.localhub.pages.card_html import chips, difference, rendered
from bot.localhub.routes import listing
from bot.localhub.routes.request import readable, store_of, viewer_of
from bot.localhub.routes.revisions import LAST
from bot.serving.refusal import Refusal

POLICY = (
    "default-src 'none'; img-src 'self' https: data:; style-src 'unsafe-inline';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
CARD = "README.md"
COMMITS = 30
STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6470; --paper: #fff;
  --line: #d9dee4; --shade: #f5f7f9; --link: #0b5cad;
  --added: #e2f5e6; --gone: #fde8e6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #9aa4b0; --paper: #14171b;
  --line: #30363e; --shade: #1d2126; --link: #7cb8f5;
  --added: #14331f; --gone: #40201d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.6 system-ui, sans-serif; }
header { border-bottom: 1px solid var(--line); background: var(--shade); }
header > div, main { max-width: 78rem; margin: 0 auto; padding: 1rem 1.25rem; }
header p { margin: .25rem 0 0; color: var(--soft); font-size: .9rem; }
header h1 { margin: 0; font-size: 1.4rem; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.25; margin: 1.6em 0 .6em; }
h2 { font-size: 1.25rem; padding-bottom: .3em; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; }
main > h2:first-child, article > :first-child { margin-top: .5rem; }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
img { max-width: 100%; height: auto; }
code, pre { font: .875em/1.5 ui-monospace, monospace; }
code { background: var(--shade); padding: .1em .3em; border-radius: 4px; }
pre { background: var(--shade); border: 1px solid var(--line); border-radius: 6px;
  padding: .8rem 1rem; overflow-x: auto; } pre code { background: none; padding: 0; }
.wide { overflow-x: auto; }
article { margin-top: 1.2rem; overflow-wrap: break-word; }
article > :is(p, ul, ol, blockquote) { max-width: 56rem; }
article table { display: block; max-width: 100%; overflow-x: auto; font-size: .85rem; }
article :is(th, td) { padding: .4rem .5rem; }
td code { white-space: nowrap; }
table { border-collapse: collapse; font-size: .9rem; margin: 1em 0;
  font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .4rem .8rem; text-align: left; }
th { background: var(--shade); white-space: nowrap; } .list { width: 100%; }
.number, td[align=right], th[align=right] { text-align: right; white-space: nowrap; }
td[align=center], th[align=center] { text-align: center; }
blockquote { margin: 1em 0; padding: 0 1em; border-left: 4px solid var(--line);
  color: var(--soft); }
nav a { margin-right: 1rem; } .chips { margin-bottom: .4rem; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
details { margin: 1em 0; } summary { cursor: pointer; color: var(--link); }
.diff { width: 100%; font: .8rem/1.5 ui-monospace, monospace; border-collapse: collapse; }
.diff td { border: 0; padding: 0 .5rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.diff td:first-child { width: 1.5rem; } .diff .at td { color: var(--soft); padding-top: .6rem; }
.diff .add td { background: var(--added); } .diff .del td { background: var(--gone); }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.tag { display: inline-block; margin: .4rem .4rem 0 0; padding: 0 .6em; font-size: .8rem;
  border: 1px solid var(--line); border-radius: 1em; color: var(--soft); }
.soft { color: var(--soft); } .name { overflow-wrap: anywhere;
  min-width: 12rem; }
"""


def index(request: Request) -> Response:
    """GET /: the repositories that everybody may see, newest first."""
    query = listing.Query(sort="createdAt", names=("createdAt", "tags", "lastModified"))
    page = listing.models_json(store_of(request), viewer_of(request), query)
    rows = "".join(
        f'<tr><td class="name"><a href="/{html_text(row["id"])}">{html_text(row["id"])}</a></td>'
        f'<td class="number soft">{_when(row["lastModified"])}</td></tr>'
        for row in page.rows
    )
    table = _table(("Repository", "Changed"), rows) if rows else "<p>Nothing is published yet.</p>"
    return _page("Local Hub", "Repositories on this machine", table)


def repository_page(request: Request) -> Response:
    """GET /{id}, /{id}/tree/{rev} and /{id}/commit/{sha}: card, files and history."""
    store, repo = store_of(request), readable(request)
    revision = request.path_params.get("rev", "main")
    commit = store.commit(repo, revision)
    files = store.tree(commit)
    body = (
        f'<nav aria-label="On this page"><a href="#files">Files</a><a href="#history">History</a>'
        f"</nav>{chips(commit.facts)}{_card(store, repo, files, revision)}"
        f'<h2 id="files">Files in this repository</h2>{_files(repo, files, revision)}'
        f'<h2 id="history">History</h2>{_history(store, repo, commit)}{_pulls(store, repo)}'
    )
    state = " · private" if repo.private else ""
    access = " · gated" if repo.gated else ""
    subtitle = (
        f"{html_text(revision[:40])} at {commit.sha[:8]} · {_when(commit.time)}{state}{access}"
    )
    return _page(repo.id, subtitle, body)


def changes(request: Request) -> Response:
    """GET /{id}/changes/{old}/{new}: the difference between a card's two versions."""
    store, repo = store_of(request), readable(request)
    if repo.gated:
        raise Refusal(403, f"the files of {repo.id} are gated")
    old, new = (store.commit(repo, request.path_params[name]) for name in ("old", "new"))
    texts = [_text(store, store.tree(commit)) for commit in (old, new)]
    subtitle = (
        f'<a href="/{html_text(repo.id)}">{html_text(repo.id)}</a> · {_short(repo, old)} → '
        f"{_short(repo, new)}"
    )
    return _page("Changes of the card", subtitle, difference(*texts))


def _short(repo: Repo, commit: Commit) -> str:
    address = f"/{html_text(repo.id)}/commit/{commit.sha}"
    return f'<a href="{address}"><code>{commit.sha[:8]}</code></a> {_when(commit.time)}'


def _text(store: Store, files: dict[str, Entry]) -> str:
    entry = files.get(CARD)
    if entry is None:
        return ""
    return store.objects.read(entry.sha256, CARD_LIMIT).decode("utf-8", "replace")


def _card(store: Store, repo: Repo, files: dict[str, Entry], revision: str) -> str:
    if CARD not in files or repo.gated:
        return ""
    body = split_card(_text(store, files))[1]
    return f"<article>{rendered(body, repo.id, revision)}</article>"


def _files(repo: Repo, files: dict[str, Entry], revision: str) -> str:
    rows = "".join(
        f'<tr><td class="name"><a href="/{html_text(repo.id)}/resolve/{quote(revision, "")}/'
        f'{quote(path)}">{html_text(path)}</a></td>'
        f"<td><code>{entry.sha256[:12]}</code>{' LFS' if entry.lfs else ''}</td>"
        f'<td class="number">{shown_size(entry.size)}</td></tr>'
        for path, entry in files.items()
    )
    return _table(("File", "SHA-256", "Size"), rows)


def _history(store: Store, repo: Repo, head: Commit) -> str:
    """Commits, newest first; where one changed the card, a link to how."""
    commits = store.history(repo, head, COMMITS)
    cards = [entry.sha256 if (entry := store.tree(c).get(CARD)) else None for c in commits]
    rows = ""
    for i, commit in enumerate(commits):
        before = cards[i + 1] if i + 1 < len(commits) else None
        changed = before is not None and cards[i] not in (None, before)
        link = (
            f'<a href="/{html_text(repo.id)}/changes/{commits[i + 1].sha}/{commit.sha}" '
            f'aria-label="Changes of the card in {commit.sha[:8]}">changes</a>'
            if changed
            else ""
        )
        rows += (
            f'<tr><td><a href="/{html_text(repo.id)}/commit/{commit.sha}"><code>{commit.sha[:8]}'
            f'</code></a></td><td class="name">{html_text(commit.title)}</td>'
            f"<td>{html_text(commit.author)}</td><td>{link}</td>"
            f'<td class="number soft">{_when(commit.time)}</td></tr>'
        )
    return _table(("Commit", "Title", "By", "Card", "When"), rows)


def _pulls(store: Store, repo: Repo) -> str:
    rows = "".join(
        f'<tr><td><a href="/{html_text(repo.id)}/discussions/{pull.number}">#{pull.number}</a></td>'
        f'<td class="name">{html_text(pull.title)}</td><td>{pull.status}</td>'
        f"<td>{html_text(pull.author)}</td>"
        f'<td class="number soft">{_when(pull.created_at)}</td></tr>'
        for pull in store.pulls(repo)
    )
    heads = ("Pull request", "Title", "Status", "By", "When")
    return f"<h2>Pull requests</h2>{_table(heads, rows)}" if rows else ""


def discussion(request: Request) -> Response:
    """GET /{id}/discussions/{n}: a pull request, its files and what was said of it."""
    store, repo = store_of(request), readable(request)
    with store.database.reading() as db:
        pull = pulls.find_pull(db, repo, request.path_params["number"])
        events = pulls.events(db, repo, pull)
    timeline = "".join(_event(repo, pull, event) for event in events)
    subtitle = (
        f'<a href="/{html_text(repo.id)}">{html_text(repo.id)}</a> · pull request #{pull.number} · '
        f'{pull.status} · <a href="/{html_text(repo.id)}/tree/{pull.ref}">its files</a>'
    )
    return _page(pull.title, subtitle, timeline)


def _event(repo: Repo, pull: Pull, event: PullEvent) -> str:
    verb = {"comment": "says", "commit": "commits", "status-change": "makes it"}[event.kind]
    subject = "" if event.kind == "comment" else f" {html_text(event.text)}"
    who = f"<b>{html_text(event.author)}</b> {verb}{subject} · {_when(event.time)}"
    text = rendered(event.text, repo.id, pull.ref) if event.kind == "comment" else ""
    return f'<p class="soft">{who}</p><article>{text}</article>'


def tokens(request: Request) -> Response:
    """GET /settings/tokens: how to get what the commands ask for; this Hub shows no token."""
    del request
    return _page(
        "Tokens",
        "Who may write here",
        "<p>This Hub makes tokens at the command line of its machine, beside the folder that it "
        "serves:</p><pre><code>bot hub add-user FOLDER NAME</code></pre><p>The token is printed "
        "once. Keep it in the variable that the settings name; the Hub keeps its hash only. Run "
        "the command again for another one.</p>",
    )


def _table(heads: tuple[str, ...], rows: str) -> str:
    last = len(heads) - 1
    cells = "".join(
        f'<th class="number">{head}</th>' if number == last else f"<th>{head}</th>"
        for number, head in enumerate(heads)
    )
    table = f'<table class="list"><tr>{cells}</tr>{rows}</table>'
    return f'<div class="wide" tabindex="0" role="region" aria-label="{heads[0]}s">{table}</div>'


def shown_size(count: int) -> str:
    """Bytes for people, in powers of ten like the Hub's own pages: 1.25 GB."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{count} B" if unit == "B" else f"{value:.3g} {unit}"


def _when(time: str) -> str:
    return f"{time[:10]} {time[11:16]} UTC"


def refused_page(refusal: Refusal) -> Response:
    """A refusal for somebody with a browser."""
    text = f"<p>{html_text(refusal.message)}.</p>"
    page = _page("Not here", f"{refusal.status}", text, status=refusal.status)
    page.headers.update(refusal.headers)
    return page


def _page(title: str, subtitle: str, body: str, status: int = 200) -> Response:
    """`subtitle` and `body` are HTML, `title` is text."""
    home = '<a href="/">Local Hub</a> · ' if title != "Local Hub" else ""
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{html_text(title)}</title><style>{STYLE}</style></head><body>"
        f"<header><div><h1>{html_text(title)}</h1><p>{home}{subtitle}</p></div></header>"
        f"<main>{body}</main></body></html>"
    )
    headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
    headers["Referrer-Policy"] = "no-referrer"
    return HTMLResponse(html, status_code=status, headers=headers)


ROUTES = [
    Route("/", index),
    Route("/settings/tokens", tokens),
    Route("/{owner}/{name}", repository_page),
    Route(f"/{{owner}}/{{name}}/tree/{{rev:{LAST}}}", repository_page),
    Route("/{owner}/{name}/commit/{rev:revision}", repository_page),
    Route("/{owner}/{name}/changes/{old}/{new}", changes),
    Route("/{owner}/{name}/discussions/{number:int}", discussion),
]
