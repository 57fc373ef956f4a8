"""A release's entries are proposed to a gallery, once, and kept up to date."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from bot.catalogue.localai_gallery import NAME, gallery_text, with_entries
from bot.progress import Narrator
from bot.publish.offering import offer
from bot.publish.publication import Published
from bot.settings.settings import load
from bot.workplace.workplace import Workplace
from tests.gallery_rules import violations
from tests.local_github.server import GitHub
from tests.unit.card.samples import nine_tiers

REPO = "someone/Sample-30B-A3B-APEX-GGUF"
FILE = "gallery/index.yaml"
BRANCH = "apex-bot-sample-30b-a3b-apex-gguf"
# as it is written by hand: comments, anchors, names in quotes, everything in its place
OTHERS = """---
# models of everybody
- &other
  name: "other-model"
  url: "github:mudler/LocalAI/gallery/virtual.yaml@master"
  overrides:   {parameters: {model: other.gguf}}
- <<: *other
  name: "other-model-small"   # smaller
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "job" / "release"
    made.mkdir(parents=True)
    (made / NAME).write_text(entries())
    return made


def entries(digest: str | None = None) -> str:
    results = nine_tiers()
    if digest:
        changed = replace(results.tiers[0], sha256=digest)
        results = replace(results, tiers=(changed, *results.tiers[1:]))
    text = gallery_text(results, REPO, name="Sample-30B-A3B")
    assert text is not None
    return text


@pytest.fixture
def offered(
    github: GitHub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Offered:
    monkeypatch.setenv("GITHUB_TOKEN", github.token)
    monkeypatch.setenv("GITHUB_API_URL", github.url)
    github.repository.push({FILE: OTHERS.encode()})
    return Offered(github, folder, tmp_path)


class Offered:
    """A publication that is offered, again and again."""

    def __init__(self, github: GitHub, folder: Path, tmp_path: Path) -> None:
        self.github, self.folder, self._tmp_path = github, folder, tmp_path

    def __call__(self, repository: str = "me/builds") -> str:
        out = io.StringIO()
        gallery = {"repository": repository, "file": FILE}
        settings = load(workdir=self._tmp_path / "work", publish={"gallery": gallery})
        published = Published(
            repo_id=REPO, url="http://hub", commit="c" * 40, public=True, changed=(), files=(),
            folder=str(self.folder),
        )  # fmt: skip
        offer(Workplace(settings, Narrator(out), None), published)
        return out.getvalue()

    def text(self, branch: str) -> str:
        return self.github.repository.branches[branch][FILE].decode()


def test_entries_are_proposed_and_nothing_else_is_touched(offered: Offered) -> None:
    assert "is proposed to the gallery me/builds: http" in offered()
    (pull,) = offered.github.repository.pulls
    assert (pull.head, pull.base, pull.title) == (
        BRANCH, "main", "Add Sample-30B-A3B-APEX-GGUF",
    )  # fmt: skip
    assert offered.text("main") == OTHERS
    merged = offered.text(BRANCH)
    assert merged == OTHERS + entries()
    loaded = yaml.safe_load(merged)
    assert violations(loaded[2:]) == []
    assert len(loaded) == 2 + 10


def test_a_second_time_nothing_is_changed(offered: Offered) -> None:
    first = offered()
    writes = offered.github.count("PUT|POST|PATCH", "")
    commit = offered.github.repository.sha(BRANCH)
    assert offered() == first
    assert len(offered.github.repository.pulls) == 1
    assert offered.github.repository.sha(BRANCH) == commit
    assert offered.github.count("PUT|POST|PATCH", "") == writes
    offered.github.repository.push({FILE: offered.text(BRANCH).encode()})  # merged
    assert offered() == f"{REPO} is in me/builds\n"


def test_a_new_build_brings_it_up_to_date(offered: Offered) -> None:
    offered()
    (offered.folder / NAME).write_text(entries("f" * 64))
    offered()
    assert len(offered.github.repository.pulls) == 1
    assert offered.text(BRANCH) == OTHERS + entries("f" * 64)
    offered.github.repository.push({FILE: offered.text(BRANCH).encode()})
    (offered.folder / NAME).write_text(entries())
    offered()
    assert offered.text(BRANCH) == OTHERS + entries()


def test_a_gallery_of_megabytes_is_read_too(offered: Offered) -> None:
    large = OTHERS + "# much\n" * 200_000
    offered.github.repository.push({FILE: large.encode()})
    offered()
    assert offered.text(BRANCH) == large + entries()
    commit = offered.github.repository.sha(BRANCH)
    offered()
    assert offered.github.repository.sha(BRANCH) == commit


def test_an_entry_of_somebody_elses_stays(offered: Offered) -> None:
    theirs = OTHERS + "- name: sample-30b-a3b\n  url: u\n  files: []\n"
    offered.github.repository.push({FILE: theirs.encode()})
    assert "sample-30b-a3b of somebody else's: it is left alone" in offered()
    merged = yaml.safe_load(offered.text(BRANCH))
    assert [entry["name"] for entry in merged].count("sample-30b-a3b") == 1
    assert len(merged) == 3 + 9


def test_what_fails_is_said_and_the_release_is_out(
    offered: Offered, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "is not proposed to the gallery me/other yet" in offered("me/other")
    monkeypatch.delenv("GITHUB_TOKEN")
    assert "GITHUB_TOKEN is not set" in offered()
    (offered.folder / NAME).unlink()
    assert offered() == ""


@pytest.mark.parametrize("index", ["", "---\n", "- name: a\n  url: b"])
def test_any_index_takes_entries(index: str) -> None:
    text, left = with_entries(index, entries(), REPO)
    assert left == ()
    assert violations(yaml.safe_load(text)[-10:]) == []
    assert with_entries(text, entries(), REPO) == (text, ())
