"""A private repository between jobs: whose it is, what reaches other machines, what is refused."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot import secrecy
from bot.clients.hub.hub import Hub as Client
from bot.disk.hashes import sha256
from bot.errors import AccessError, CapacityError, PublishError, SettingsError, SourceError
from bot.jobs.orders import Folder, Group, Needs, Prepared
from bot.jobs.recordpath import RecordPath
from bot.jobs.travel import Staging, carried, carrier_of, sweep, works_here
from bot.progress import Narrator
from bot.records.built import Built
from bot.settings.settings import load
from bot.store.ledger import RecordedFile, Work
from bot.workplace.workplace import Workplace
from tests.local_hub.server import Hub, regular
from tests.unit.clients.hub.between import Fault, between
from tests.unit.jobs.test_orders import COMMIT, prepared

# huggingface_hub's own way to send contents
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")
TEXT = "hello\n" * 100


def machine(folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> tuple[Workplace, Staging]:
    """A machine with a working folder of its own, and its way to the others."""
    monkeypatch.setenv("HF_STAGING_TOKEN", hub.token)
    jobs = {"travel": "hub", "staging": "lab"}
    settings = load(None, workdir=folder, jobs=jobs, hub={"endpoint": hub.url})
    workplace = Workplace(settings, Narrator(io.StringIO()), None)
    way = carrier_of(workplace, Folder(workplace.folders.order("lab/Model", COMMIT)))
    assert isinstance(way, Staging)
    return workplace, way


def file(root: Path, name: str, content: bytes) -> Built:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return Built(path=str(path), bytes=len(content), sha256=sha256(path))


def test_files_reach_another_machine_once_and_are_compared(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, sender = machine(tmp_path / "one", hub, monkeypatch)
    sender.open()
    sender.open()  # it is found as ours
    sent = [
        file(tmp_path / "one", "jobs/a/imatrix.gguf", b"GGUF" + bytes(5000)),
        file(tmp_path / "one", "texts/t.txt", TEXT.encode()),
    ]
    sender.leave(sent, "files")
    sender.leave(sent, "files")  # there is nothing to do
    assert hub.commits(sender.repo_id) == 2
    repo = hub.store.find(sender.repo_id)
    assert repo is not None
    assert repo.private
    _, other = machine(tmp_path / "other", hub, monkeypatch)
    carried_files = carried(tmp_path / "one", sent)
    places = ("jobs", "texts")
    brought = other.bring(carried_files, places)
    assert brought == {"jobs/a/imatrix.gguf", "texts/t.txt"}
    for built in carried_files:
        assert sha256(tmp_path / "other" / built.path.text) == built.sha256
    works = (
        Work(
            job="j",
            step="imatrix",
            inputs="i",
            files=(
                RecordedFile(
                    path=carried_files[0].path.text,
                    bytes=5004,
                    changed=1,
                    sha256=carried_files[0].sha256,
                ),
            ),
            value="null",
        ),
    )
    (moved,) = works_here(works, brought, tmp_path / "other")
    assert (
        moved.files[0].changed
        == (tmp_path / "other" / carried_files[0].path.text).stat().st_mtime_ns
    )
    for wrong in (
        replace(carried_files[0], sha256="0" * 64),  # the Hub knows its hash
        replace(carried_files[1], sha256="0" * 64),  # here it is hashed
        replace(carried_files[0], path=RecordPath("jobs/none.gguf")),
    ):
        with pytest.raises(SourceError, match="as it was prepared"):
            machine(tmp_path / "third", hub, monkeypatch)[1].bring([wrong], places)
    with pytest.raises(SourceError, match="not where this release's files lie"):
        machine(tmp_path / "fourth", hub, monkeypatch)[1].bring(carried_files, ("jobs",))
    assert not (tmp_path / "fourth" / "texts").exists()
    other.close()
    assert other.over()
    other.close()


def test_a_record_that_is_too_long_is_none_and_others_are_read(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever makes one group's record too long loses that group, not the release."""
    workplace, sender = machine(tmp_path / "one", hub, monkeypatch)
    sender.open()
    folder = Folder(workplace.folders.order("lab/Model", COMMIT))
    sender.leave([file(tmp_path / "one", _inside(folder, 1), b" " * 32_000_001)], "too much")
    folder.write(Group(key="0" * 64, tiers=("Quality",)), 2)
    sender.leave([_built(folder.file(Group, 2))], "a record")
    other_pipeline, other = machine(tmp_path / "other", hub, monkeypatch)
    other_folder = Folder(other_pipeline.folders.order("lab/Model", COMMIT))
    other.records()
    assert other_folder.file(Group, 1).read_bytes() == b""
    assert other_folder.read(Group, 1) is None
    assert other_folder.read(Group, 2) == Group(key="0" * 64, tiers=("Quality",))


def _inside(folder: Folder, number: int) -> str:
    return str(folder.file(Group, number).relative_to(folder.root))


def _built(path: Path) -> Built:
    return Built(path=str(path), bytes=path.stat().st_size, sha256=sha256(path))


def test_what_was_handed_on_is_looked_for_by_its_content(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another content of the same size is none, nor is a small file where a large one was."""
    _, sender = machine(tmp_path, hub, monkeypatch)
    sender.open()
    sent = file(tmp_path, "jobs/a/release/tier.gguf", b"GGUF" + bytes(5000))
    sender.leave([sent], "a tier")
    Path(sent.path).unlink()
    assert sender.holds([])
    assert sender.holds([sent])
    assert not sender.holds([replace(sent, sha256="0" * 64)])
    assert not sender.holds([replace(sent, path=str(tmp_path / "jobs/a/release/other.gguf"))])
    small = file(tmp_path, "jobs/a/release/small.txt", TEXT.encode())
    sender.leave([small], "a text")
    Path(small.path).unlink()
    assert not sender.holds([small])


def test_jobs_side_by_side_lose_nothing(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another job's commit lands between the look and the commit of this one."""
    _, quick = machine(tmp_path / "one", hub, monkeypatch)
    quick.open()
    with between(hub.url) as line:
        _, slow = machine(tmp_path / "two", replace(hub, url=line.url), monkeypatch)
        meanwhile = file(tmp_path / "one", "orders/a/group-1.json", b"1")
        line.faults.append(
            Fault(
                method="POST", part="/commit/main", status=0, arrives=True,
                meanwhile=lambda: quick.leave([meanwhile], "one"),
            )
        )  # fmt: skip
        slow.leave([file(tmp_path / "two", "orders/a/group-2.json", b"2")], "two")
    held = {f.path for f in Client(hub.url, SecretStr(hub.token)).release(quick.repo_id).files}
    assert {"orders/a/group-1.json", "orders/a/group-2.json"} < held


@pytest.mark.parametrize("public", [False, True])
def test_what_is_not_ours_is_left_alone(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, public: bool
) -> None:
    _, way = machine(tmp_path / "one", hub, monkeypatch)
    maker = Client(hub.url, SecretStr(hub.token))
    if public:
        way.open()
        maker.make_public(way.repo_id)
    else:
        maker.create_private(way.repo_id)
        hub.commit(way.repo_id, regular("weights.txt", b"mine"))
    sent = file(tmp_path / "one", "texts/t.txt", b"t")
    for what in (way.open, way.records, way.close, lambda: way.leave([sent], "x")):
        with pytest.raises(SettingsError, match="is left alone"):
            what()
    assert maker.exists(way.repo_id)


def test_records_are_the_hubs_and_known_by_the_run(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplace, way = machine(tmp_path / "one", hub, monkeypatch)
    folder = Folder(workplace.folders.order("lab/Model", COMMIT))
    way.open()
    stale = folder.write(Group(key="c" * 64, tiers=("I-Mini",)), 2)
    record = folder.write(prepared())
    folder.know()
    assert folder.known == prepared()
    way.leave([file(tmp_path / "one", str(record.relative_to(tmp_path / "one")),
                    record.read_bytes())], "prepared")  # fmt: skip
    way.records()
    assert folder.known == prepared()
    assert not stale.exists()  # of an earlier order: here no job left it
    sentinel = folder.sentinel
    forged = folder.write(replace(prepared(), room=(1, 1)))
    way.leave([file(forged.parent, forged.name, forged.read_bytes())], "forged")
    way.records()
    assert folder.read(Prepared) is not None
    assert folder.known is None  # whoever wrote it, this machine was not told of it
    with pytest.raises(CapacityError, match="not what the job `prepare` wrote"):
        folder.prepared(sentinel)


def test_a_publication_takes_what_was_measured_or_nothing(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, way = machine(tmp_path / "one", hub, monkeypatch)
    way.open()
    tier = file(tmp_path / "one", "jobs/a/release/M.gguf", b"GGUF" + bytes(9000))
    way.leave([tier], "M")
    Path(tier.path).unlink()
    publisher = Client(hub.url, SecretStr(hub.token))
    publisher.create_private("alice/final")
    wrong = replace(tier, sha256="0" * 64)
    with pytest.raises(PublishError, match="as it was measured"):
        way.lend(publisher, "alice/final", {"M.gguf": wrong})
    way.lend(publisher, "alice/final", {"M.gguf": tier})
    head = publisher.head("alice/final")
    publisher.commit("alice/final", {"M.gguf": Path(tier.path)}, "M", head)
    (held,) = [f for f in publisher.release("alice/final").files if f.path == "M.gguf"]
    assert held.sha256 == tier.sha256
    stranger = Client(hub.url, SecretStr(hub.store.add_user("stranger")))
    with pytest.raises(AccessError, match="HF_TOKEN may not read"):
        way.lend(stranger, "stranger/final", {"M.gguf": tier})


def test_the_disk_of_orders_that_are_over_is_given_back(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplace, way = machine(tmp_path / "one", hub, monkeypatch)
    folder = Folder(workplace.folders.order("lab/Model", COMMIT))
    source = file(tmp_path / "one", f"sources/lab--Model/{COMMIT}/m.gguf", b"GGUF" + bytes(100))
    needs = Needs(model=carried(tmp_path / "one", [source]))
    folder.write(replace(prepared(), needs=needs))
    way.open()
    next_order = Folder(workplace.folders.order("lab/Next", COMMIT))
    sweep(workplace, next_order)
    assert Path(source.path).is_file()  # it is on the way still
    way.close()
    sweep(workplace, next_order)
    assert Path(source.path).is_file()  # nobody told this machine that the plan is ours
    folder.know()
    sweep(workplace, next_order)
    assert not Path(source.path).exists()
    assert not folder.path.exists()


def test_without_the_token_nothing_begins(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplace, _ = machine(tmp_path / "one", hub, monkeypatch)
    monkeypatch.delenv("HF_STAGING_TOKEN")
    with pytest.raises(AccessError, match="HF_STAGING_TOKEN is not set"):
        carrier_of(workplace, Folder(tmp_path / "one/orders/x"))
    assert "HF_STAGING_TOKEN" in secrecy.VARIABLES
    changed: dict[str, Any] = {"travel": "hub"}
    with pytest.raises(SettingsError, match="needs staging"):
        load(None, jobs=changed)
