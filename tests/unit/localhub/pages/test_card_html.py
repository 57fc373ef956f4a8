"""Cards of strangers as HTML: what stays of them, and what they cannot do."""

from __future__ import annotations

import pytest

from bot.localhub.pages.card_html import rendered
from tests.local_hub.server import Hub, regular

HOSTILE = b"""---
license: mit
---
# Title <script>alert(1)</script>

<img src=x onerror="alert(2)"> [click](javascript:alert(3)) [data](data:text/html,x)
<iframe src="https://evil.example"></iframe> <a href="JaVaScRiPt:alert(4)">x</a>
<style>body { display: none }</style> <svg onload=alert(5)></svg>

| tier | size |
|:-----|-----:|
| Q6   | 1 GB |

![plot](plots/a%20b.svg) [results](./results.json) [card](https://example.org)
"""


def test_a_hostile_card_is_harmless(hub: Hub) -> None:
    repo = hub.create("evil")
    name = "<b>&'.txt"
    assert hub.commit(repo, regular("README.md", HOSTILE), regular(name, b"x")).status == 200
    reply = hub.ask("GET", f"/{repo}")
    html = reply.body.decode()
    article = html.split("<article>")[1].split("</article>")[0]
    for word in ("<script", "onerror", "onload", '="javascript:', "<iframe", "<style", "<svg",
                 '="data:text', "license: mit"):  # fmt: skip
        assert word not in article.lower()
    assert "<script" not in html.lower()
    assert "<b>" not in html
    assert "script-src" not in reply.headers["Content-Security-Policy"]
    assert reply.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert '<td align="right">1 GB</td>' in article
    assert f'src="/{repo}/resolve/main/plots/a%20b.svg"' in article
    assert f'href="/{repo}/resolve/main/results.json"' in article
    assert 'href="https://example.org"' in article


@pytest.mark.parametrize("address", ["//evil.example/x", "http://[", "#part", "/alice/tiny"])
def test_other_addresses_stay_or_vanish(address: str) -> None:
    html = rendered(f"[x]({address})", "a/b", "main")
    assert "/a/b/resolve/" not in html


CARD = b"""---
license: apache-2.0
base_model: lab/M
language: [en, de]
tags: [gguf, "<b>"]
---
# M

<picture><source media="(prefers-color-scheme: dark)" srcset="plots/a-dark.png">
<img src="plots/a.png" alt="A"></picture>

<details><summary>More</summary>

text

</details>
"""


def test_front_matter_is_shown_as_chips(hub: Hub) -> None:
    repo = hub.create("chips")
    hub.commit(repo, regular("README.md", CARD))
    html = hub.ask("GET", f"/{repo}").body.decode()
    for name, value in (("license", "apache-2.0"), ("base_model", "lab/M"), ("language", "en, de")):
        assert f"<strong>{name}</strong> {value}</span>" in html
    assert '<span class="tag">&lt;b&gt;</span>' in html


def test_pictures_for_dark_pages_and_folded_parts_stay(hub: Hub) -> None:
    repo = hub.create("dark")
    hub.commit(repo, regular("README.md", CARD))
    html = hub.ask("GET", f"/{repo}").body.decode()
    assert f'srcset="/{repo}/resolve/main/plots/a-dark.png"' in html
    assert 'media="(prefers-color-scheme: dark)"' in html
    assert "<details><summary>More</summary>" in html


def test_the_difference_of_two_cards(hub: Hub) -> None:
    repo = hub.create("twice")
    hub.commit(repo, regular("README.md", CARD))
    hub.commit(repo, regular("README.md", CARD.replace(b"# M", b"# <i>N</i>")))
    hub.commit(repo, regular("other.txt", b"x"))
    html = hub.ask("GET", f"/{repo}").body.decode()
    shas = [row["id"] for row in hub.ask("GET", f"/api/models/{repo}/commits/main").json]
    assert html.count("/changes/") == 1, "of four commits one changed a card that was there"
    page = f"/{repo}/changes/{shas[2]}/{shas[1]}"
    assert f'href="{page}"' in html
    difference = hub.ask("GET", page).body.decode()
    assert '<tr class="add"><td>+</td>' in difference
    assert "# &lt;i&gt;N&lt;/i&gt;</td>" in difference
    assert "removed: </span># M</td>" in difference
    assert "the same" in hub.ask("GET", f"/{repo}/changes/{shas[0]}/{shas[1]}").body.decode()
    assert hub.ask("GET", f"/{repo}/changes/{shas[0]}/nothing").status == 404
