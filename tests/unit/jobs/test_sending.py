"""What a publishing job refuses to send; what it sends: tests/e2e/test_workflows.py."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bot.errors import CapacityError, SourceError
from bot.jobs.orders import Described, Folder
from bot.jobs.sending import publish_described
from bot.progress import Narrator
from bot.records.built import Built
from bot.settings.settings import load
from bot.workplace.workplace import Workplace
from tests.unit.jobs.test_orders import COMMIT, prepared


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(load(None, workdir=tmp_path / "work"), Narrator(quiet=True), None)


@pytest.fixture
def folder(workplace: Workplace) -> Folder:
    here = Folder(workplace.folders.order("lab/Model", COMMIT))
    here.write(prepared())
    return here


def described(path: str, name: str = "README.md", key: str = "c") -> Described:
    file = Built(path=path, bytes=1, sha256=hashlib.sha256(b"x").hexdigest())
    return Described(key=key * 64, repo_id="me/M-GGUF", tiers=("I-Mini",), files={name: file})


def test_nothing_is_sent_before_it_is_described(workplace: Workplace, folder: Folder) -> None:
    with pytest.raises(SourceError, match="run `bot step describe` before"):
        publish_described(workplace, folder, folder.sentinel, private=False)
    folder.write(described("x", key="d"))  # of another plan
    with pytest.raises(SourceError, match="run `bot step describe` before"):
        publish_described(workplace, folder, folder.sentinel, private=False)


def test_another_description_than_the_runs_is_refused(workplace: Workplace, folder: Folder) -> None:
    folder.write(described("x"))
    with pytest.raises(CapacityError, match="not what the job `describe` wrote"):
        publish_described(workplace, folder, folder.sentinel, "0" * 64, private=False)


@pytest.mark.parametrize("place", ["../home/key", "release/other.md", "sources/README.md"])
def test_a_file_that_lies_elsewhere_is_not_sent(
    workplace: Workplace, folder: Folder, place: str
) -> None:
    folder.write(described(f"{prepared().job}/{place}"))
    with pytest.raises(SourceError, match="not where this release was described"):
        publish_described(workplace, folder, folder.sentinel, private=False)


def test_a_link_in_the_release_leads_nowhere_else(
    workplace: Workplace, folder: Folder, tmp_path: Path
) -> None:
    release = folder.root / prepared().job / "release"
    release.mkdir(parents=True)
    (tmp_path / "key").write_text("x")
    (release / "README.md").symlink_to(tmp_path / "key")
    folder.write(described(f"{prepared().job}/release/README.md"))
    with pytest.raises(SourceError, match="not where this release was described"):
        publish_described(workplace, folder, folder.sentinel, private=False)
