"""A repository's page in a headless Chromium: wide and narrow, light and dark, by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.card.tables.cells import CardFile
from bot.disk.hashes import sha256
from bot.localhub.server import RunningHub
from bot.records.built import Built
from bot.settings.showing import CardSettings
from bot.verbs.card_preview import fill
from tests.browser import Browser, browser
from tests.unit.card import samples

pytestmark = pytest.mark.road
REPO = "someone/Sample-30B-A3B-APEX-GGUF"
AA = 4.5  # WCAG 2.2, 1.4.3
# every visible text whose contrast with the ground below it falls short of AA
PALE = """(() => {
  const shade = c => { const v = c.match(/[\\d.]+/g).map(Number);
    return v.length > 3 && v[3] === 0 ? null : v.slice(0, 3); };
  const light = rgb => { const [r, g, b] = rgb.map(v => { v /= 255;
    return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) {
    const c = shade(getComputedStyle(e).backgroundColor); if (c) return c; }
    return [255, 255, 255]; };
  const pale = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.offsetParent) continue;
    const a = light(shade(getComputedStyle(e).color)), b = light(ground(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < LEAST) pale.push([ratio.toFixed(2), e.tagName, walk.currentNode.data.slice(0, 40)]);
  }
  return pale; })()""".replace("LEAST", str(AA))
WANTED = "a[href], summary, [tabindex='0']"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a repository with a card, all plots, and two versions of the card."""
    folder = tmp_path_factory.mktemp("rehearsal")
    results = samples.with_baselines()
    plots, drawn = samples.drawn(results, folder / "plots")
    listed = [
        *samples.files(results),
        *(
            CardFile(path=f"plots/{path.name}", tier=None, bytes=1, sha256="00", note="")
            for path in drawn
        ),
    ]
    card = samples.rendered(
        results, repo_id=REPO, files=listed, about=samples.ABOUT, plots=plots,
        quantized_by="someone",
        look=CardSettings(columns=("bits", "p999", "same_top", "speed")),
    )  # fmt: skip
    files = {}
    for path in (folder / "README.md", *drawn):
        if path.name == "README.md":
            path.write_text(card, encoding="utf-8")
        name = path.relative_to(folder).as_posix()
        files[name] = Built(path=str(path), bytes=path.stat().st_size, sha256=sha256(path))
    with RunningHub(folder / "hub") as hub:
        fill(hub.store, REPO, files)
        yield f"{hub.url}/{REPO}"


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Browser]:
    with browser(tmp_path / "profile") as running:
        running.listen()
        yield running


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_is_legible_and_says_no_error(
    chromium: Browser, page: str, width: int, scheme: str, tmp_path: Path
) -> None:
    chromium.size(width, 900)
    chromium.scheme(scheme)
    chromium.open(page)
    chromium.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    chromium.wait("[...document.images].every(i => i.complete && i.naturalWidth)")
    script = chromium.run("document.querySelector('article img').currentSrc")
    assert script.endswith("size-vs-kld-dark.png" if scheme == "dark" else "size-vs-kld.png")
    assert chromium.run("document.documentElement.scrollWidth") <= width
    assert chromium.run(PALE) == []
    assert chromium.run("[...document.images].every(i => i.alt.length > 40)")
    assert chromium.run("document.documentElement.lang") == "en"
    assert chromium.errors == []
    chromium.picture(tmp_path / f"{width}-{scheme}.png")


CUT = """[...document.querySelectorAll('article table')].filter(t => t.scrollWidth > t.clientWidth)
  .map(t => [t.scrollWidth, t.clientWidth, t.innerText.slice(0, 60)])"""
NARROW = (
    """[...document.querySelectorAll('td.name')].map(t => t.clientWidth).filter(w => w < 160)"""
)


def test_tables_are_whole_on_a_desk_and_titles_have_words_on_a_phone(
    chromium: Browser, page: str, tmp_path: Path
) -> None:
    chromium.size(1280, 900)
    chromium.open(page)
    assert "HellaSwag" in chromium.run("document.querySelector('article table').innerText")
    assert chromium.run(CUT.replace("article table", "article h2 ~ table")) == []
    chromium.picture(tmp_path / "desk.png")
    chromium.size(390, 900)
    chromium.open(page)
    assert chromium.run("document.querySelectorAll('td.name').length") > 0
    assert chromium.run(NARROW) == []
    assert chromium.run("document.documentElement.scrollWidth") <= 390
    chromium.picture(tmp_path / "phone.png")


def test_everything_is_reached_with_the_keyboard(chromium: Browser, page: str) -> None:
    chromium.size(1280, 900)
    chromium.open(page)
    script = f'[...document.querySelectorAll("{WANTED}")].filter(e => e.checkVisibility())'
    chromium.run(f"window.left = new Set({script})")
    count = chromium.run("window.left.size")
    assert count > 40
    for _ in range(count + 20):
        chromium.press("Tab")
        if chromium.run("window.left.delete(document.activeElement), window.left.size") == 0:
            break
    assert chromium.run("[...window.left].map(e => e.outerHTML.slice(0, 80))") == []
    outline = chromium.run("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"


def test_changes_of_the_card_by_hand(chromium: Browser, page: str) -> None:
    chromium.size(360, 900)
    chromium.open(page)
    head = chromium.run("document.querySelector('a[href*=\"/commit/\"]').href.split('/').pop()")
    chromium.open(f"{page}/changes/{head}/{head}")
    assert "the same" in chromium.run("document.body.innerText")
    assert chromium.run(PALE) == []
    assert chromium.errors == []
