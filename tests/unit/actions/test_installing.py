"""Workflows written into a checkout; through a pull request: tests/e2e/test_init.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.actions.install import PLACES, RECORD, RELEASE, SINGLE
from bot.actions.installing import into_folder, into_repository
from bot.errors import AccessError, SettingsError
from bot.settings.settings import load


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "builds"
    (folder / ".git").mkdir(parents=True)
    return folder


def install(folder: Path, *, dry_run: bool = False, upgrade: bool = False, **more: str) -> set[str]:
    """The paths of what was written, or would be."""
    done = into_folder(folder, single=False, upgrade=upgrade, dry_run=dry_run, **more)
    assert (done.where is None) is (dry_run or not done.files)
    return set(done.files)


def test_a_checkout_gets_the_files_once(checkout: Path) -> None:
    every = {*PLACES, RECORD} - {SINGLE}
    assert install(checkout, dry_run=True) == every
    assert sorted(path.name for path in checkout.iterdir()) == [".git"]
    assert install(checkout, namespace="lab") == every
    assert all((checkout / path).is_file() for path in every)
    assert install(checkout) == set()


def test_an_upgrade_keeps_the_form_and_the_namespace_that_were_chosen(checkout: Path) -> None:
    into_folder(checkout, single=True, upgrade=False, dry_run=False, namespace="lab")
    assert install(checkout, upgrade=True) == set()
    record = json.loads((checkout / RECORD).read_text())
    text = record["files"][SINGLE]
    older = text.replace("timeout-minutes: 5760", "timeout-minutes: 99")
    assert older != text
    (checkout / SINGLE).write_text(older)
    record["files"][SINGLE] = older
    (checkout / RECORD).write_text(json.dumps(record))
    assert install(checkout, upgrade=True) == {SINGLE, RECORD}
    assert (checkout / SINGLE).read_text() == text
    assert not (checkout / RELEASE).exists()
    assert "namespace: lab" in (checkout / "bot.yaml").read_text()


def test_what_is_no_checkout_or_no_name_is_refused(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is no checkout"):
        install(tmp_path)
    with pytest.raises(SettingsError, match="no name of an owner"):
        install(checkout, namespace="../me")
    with pytest.raises(SettingsError, match="neither OWNER/REPO nor a folder"):
        into_repository(load(None), "builds", single=False, upgrade=False, dry_run=True)
    with pytest.raises(AccessError, match="GITHUB_TOKEN is not set"):
        into_repository(load(None), "me/builds", single=False, upgrade=False, dry_run=True)
