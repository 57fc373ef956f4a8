"""The pages for people: what is shown, and what a hostile card cannot do."""

from __future__ import annotations

from bot.localhub.pages.pages import shown_size
from tests.local_hub.server import Hub, regular


def test_a_page_lists_files_and_history(hub: Hub) -> None:
    repo = hub.create("tiny")
    hub.commit(repo, regular("a b.txt", b"x" * 2500))
    html = hub.ask("GET", f"/{repo}").body.decode()
    assert f'href="/{repo}/resolve/main/a%20b.txt"' in html
    assert "2.5 kB" in html
    assert "initial commit" in html
    old = hub.ask("GET", f"/api/models/{repo}/commits/main").json[-1]["id"]
    assert "a b.txt" not in hub.ask("GET", f"/{repo}/commit/{old}").body.decode()


def test_the_index_shows_public_repositories(hub: Hub) -> None:
    public, hidden = hub.create("shown"), hub.create("hidden", private=True)
    html = hub.ask("GET", "/").body.decode()
    assert f'href="/{public}"' in html
    assert hidden not in html


def test_a_browser_gets_a_page_for_what_is_not_there(hub: Hub) -> None:
    reply = hub.ask("GET", "/no/<script>", headers={"Accept": "text/html"})
    assert reply.status == 401
    assert b"<script" not in reply.body


def test_sizes_for_people() -> None:
    assert [shown_size(n) for n in (0, 999, 1000, 12_345_678, 34_560_000_000)] == [
        "0 B", "999 B", "1 kB", "12.3 MB", "34.6 GB"]  # fmt: skip


def test_changes_of_a_gated_or_hidden_card_are_not_shown(hub: Hub) -> None:
    hidden = hub.create("hidden", private=True)
    head = hub.ask("GET", f"/api/models/{hidden}", token=hub.token).json["sha"]
    assert hub.ask("GET", f"/{hidden}/changes/{head}/{head}").status in (401, 404)


def test_the_page_of_tokens_says_how_one_is_made(hub: Hub) -> None:
    page = hub.ask("GET", "/settings/tokens", headers={"Accept": "text/html"})
    assert page.status == 200
    assert b"bot hub add-user FOLDER NAME" in page.body
