"""What became of an order, for people; and the disk given back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.disk.hashes import sha256
from bot.jobs.orders import Folder, Prepared, Sent
from bot.jobs.step_report import Account, account, clean_order, report_order
from bot.progress import Narrator
from bot.records.coding import to_json
from bot.settings.settings import load
from bot.workplace.workplace import Workplace
from tests.local_hub.server import Hub
from tests.unit.jobs.test_orders import COMMIT, prepared


def test_the_report_says_what_became_of_each_tier() -> None:
    assert not account(None, None).good
    complete = frozenset({"I-Mini", "Mini"})
    unpublished = account(prepared(), None, complete)
    assert not unpublished.good
    assert "| Mini | 1 | complete, not published |" in unpublished.text
    assert "| Quality | 2 | **failed or not reached** |" in unpublished.text
    sent = Sent(
        key="c" * 64, repo_id="me/Model", url="http://hub/me/Model", commit=COMMIT,
        tiers=("I-Mini", "Mini", "Quality"), whole=True, files={"M.gguf": "f" * 64},
    )  # fmt: skip
    waiting = account(prepared(), replace(sent, waiting="http://hub/me/Model/discussions/1"))
    assert (waiting.good, waiting.waiting) == (False, True)
    assert "Merge http://hub/me/Model/discussions/1 to publish it" in waiting.text
    assert "| Mini | 1 | waits for a person |" in waiting.text
    good = account(prepared(), sent)
    assert (good.good, good.waiting) == (True, False)
    assert "[me/Model](http://hub/me/Model)" in good.text
    lost = account(prepared(), sent, complete, frozenset({"M.gguf"}))
    assert not lost.good
    assert "The Hub does not hold `M.gguf` as it was published." in lost.text


@pytest.fixture
def workplace(tmp_path: Path, hub: Hub) -> Workplace:
    settings = load(None, workdir=tmp_path / "work", hub={"endpoint": hub.url})
    return Workplace(settings, Narrator(quiet=True), None)


@pytest.fixture
def folder(workplace: Workplace) -> Folder:
    here = Folder(workplace.folders.order("lab/Model", COMMIT))
    here.write(prepared())
    here.open_ledger("prepare")
    return here


def published(hub: Hub, folder: Path) -> Sent:
    """A file on the Hub, and what the publishing job says of it."""
    file = folder / "M.gguf"
    file.write_bytes(b"GGUF" + bytes(9_000))
    client = Client(hub.url, SecretStr(hub.token))
    client.create_private("alice/Model")
    client.commit("alice/Model", {"M.gguf": file}, "M", client.head("alice/Model"))
    client.make_public("alice/Model")
    commit = client.release("alice/Model").commit
    return Sent(
        key="c" * 64, repo_id="alice/Model", url=f"{hub.url}/alice/Model", commit=commit,
        tiers=("I-Mini", "Mini", "Quality"), whole=True, files={"M.gguf": sha256(file)},
    )  # fmt: skip


def test_what_the_run_was_told_counts_as_far_as_the_hub_holds_it(
    workplace: Workplace, folder: Folder, hub: Hub, tmp_path: Path
) -> None:
    sent = published(hub, tmp_path)

    def report(handed: Sent | None) -> Account:
        text = to_json(handed) if handed else ""
        return report_order(workplace, folder, folder.sentinel, text)

    assert not report(None).good
    assert report(sent).good
    folder.write(sent)  # as the publishing job left it on this machine
    assert report(None).good
    for lie in (
        replace(sent, url="http://elsewhere/alice/Model"),
        replace(sent, waiting="http://elsewhere/discussions/1"),
        replace(sent, key="d" * 64),
        replace(sent, repo_id="not a name"),
    ):
        assert "not published" in report(lie).text
    lost = report(replace(sent, files={"M.gguf": "0" * 64}))
    assert not lost.good
    assert "The Hub does not hold `M.gguf`" in lost.text


def test_an_order_that_was_published_before_or_never_begun(workplace: Workplace) -> None:
    assert report_order(workplace, None, "", "", count=0).good
    assert "Nothing was prepared" in report_order(workplace, None, "", "").text


def test_the_disk_is_given_back_when_all_of_it_is_published(
    workplace: Workplace, folder: Folder, hub: Hub, tmp_path: Path
) -> None:
    empty = Folder(workplace.folders.order("lab/Other", COMMIT))
    assert clean_order(workplace, empty, "0" * 64, "") is None
    job = folder.root / prepared().job
    source = folder.root / prepared().sources[0] / "model.gguf"
    for file in (job / "release" / "M.gguf", job / "release" / "N.gguf.partial", source):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    assert clean_order(workplace, folder, folder.sentinel, "") is False
    assert (job / "release" / "M.gguf").is_file()
    assert not (job / "release" / "N.gguf.partial").exists()
    sent = to_json(published(hub, tmp_path))
    assert clean_order(workplace, folder, folder.sentinel, sent) is True
    assert not job.exists()
    assert not source.exists()
    assert folder.read(Prepared) == prepared()  # the record stays
