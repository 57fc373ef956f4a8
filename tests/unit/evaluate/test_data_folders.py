"""Data sets of benchmarks: fetched from a Hub once, whole, without code, held to the lock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi  # noqa: TID251 - the client that reads what the Hub lists

from bot.errors import SettingsError, SourceError
from bot.evaluate.asking import data_folders
from bot.evaluate.asking.data_folders import DataFolders
from bot.kit.lock import read_lock
from tests.local_hub.server import Hub
from tests.models import workplace_in

NAME = "made/questions"
NOWHERE = "http://127.0.0.1:9"
KEY = f"datasets/{NAME}/"
FILES = {
    "README.md": "---\nconfigs: []\n---\n",
    "main/test.jsonl": '{"question": "what is a river?"}\n' * 40,
    "main/train.jsonl": '{"question": "who went home?"}\n',
    "questions.py": "raise SystemExit\n",
    "picture.png": "no picture\n",
}
DATA = ["README.md", "main/test.jsonl", "main/train.jsonl"]


@pytest.fixture
def questions(hub: Hub) -> Path:
    """A data set on the Hub."""
    folder: Path = hub.store.folder / "datasets" / NAME
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def folders(place: Path, url: str, **more: Any) -> DataFolders:
    """As a new process has them."""
    return DataFolders(workplace_in(place, lock=place / "bot.lock", hub={"endpoint": url}, **more))


def names_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_the_hub_lists_as_its_client_reads(hub: Hub, questions: Path) -> None:
    found = HfApi(endpoint=hub.url, token=False).dataset_info(NAME, files_metadata=True)
    sizes = {each.rfilename: each.size for each in found.siblings or ()}
    assert sizes == {name: len(content) for name, content in FILES.items()}
    assert questions.is_dir()


def test_fetched_once_without_code_and_held_to_the_lock(
    hub: Hub, questions: Path, tmp_path: Path
) -> None:
    first = folders(tmp_path, hub.url)
    facts, folder = first.of(NAME)
    assert names_in(folder) == DATA
    row = read_lock(tmp_path / "bot.lock")[KEY]
    assert (row.commit, row.sha256) == (facts.commit, first.content(NAME))
    assert row.bytes == sum(len(FILES[name]) for name in DATA)

    # the Hub is not even asked
    again = folders(tmp_path, NOWHERE)
    assert again.of(NAME) == (facts, folder)

    # elsewhere, with the lock: the same, fetched, or nothing
    other = tmp_path / "other"
    other.mkdir()
    (other / "bot.lock").write_bytes((tmp_path / "bot.lock").read_bytes())
    assert folders(other, hub.url).of(NAME)[0] == facts
    (questions / "main" / "test.jsonl").write_text("{}\n")
    third = tmp_path / "third"
    third.mkdir()
    (third / "bot.lock").write_bytes((tmp_path / "bot.lock").read_bytes())
    with pytest.raises(SourceError, match=row.commit):
        folders(third, hub.url).of(NAME)
    assert folders(tmp_path, hub.url).of(NAME)[0] == facts


def test_a_kill_leaves_no_half_of_it(hub: Hub, questions: Path, tmp_path: Path) -> None:
    _, folder = folders(tmp_path, hub.url).of(NAME)
    (tmp_path / "bot.lock").unlink()
    (folder / "main" / "train.jsonl").unlink()
    (folder / "main" / "test.jsonl").write_text("{")  # cut short
    folders(tmp_path, hub.url).of(NAME)
    assert {name: (folder / name).read_text() for name in DATA} == {n: FILES[n] for n in DATA}
    assert questions.is_dir()


def test_a_folder_of_data_sets_is_held_to_the_lock_too(questions: Path, tmp_path: Path) -> None:
    root = questions.parents[1]
    offline = {"data_from": root}
    facts, folder = folders(tmp_path, NOWHERE, **offline).of(NAME)
    assert (facts.commit, folder) == (None, questions.resolve())
    (questions / "main" / "test.jsonl").write_text("{}\n")
    with pytest.raises(SettingsError, match="put back what was there"):
        folders(tmp_path, NOWHERE, **offline).of(NAME)
    with pytest.raises(SettingsError, match="put the data set made/others there"):
        folders(tmp_path, NOWHERE, **offline).of("made/others")


def test_commits_of_settings_and_lock_must_agree(hub: Hub, questions: Path, tmp_path: Path) -> None:
    commit = hub.ask("GET", f"/api/datasets/{NAME}/revision/main").json["sha"]
    asked = {"evaluation": {"benchmarks": {"commits": {NAME: commit}}}}
    assert folders(tmp_path, hub.url, **asked).of(NAME)[0].commit == commit
    other = {"evaluation": {"benchmarks": {"commits": {NAME: "ab" * 20}}}}
    with pytest.raises(SettingsError, match="mend one of them"):
        folders(tmp_path, hub.url, **other).of(NAME)
    assert questions.is_dir()


def test_what_is_no_data_or_too_much_is_refused(
    hub: Hub, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_folders, "LARGEST", 1000)
    with pytest.raises(SettingsError, match="fetch what the task needs"):
        folders(tmp_path, hub.url).of(NAME)
    for name in DATA:
        (questions / name).unlink()
    with pytest.raises(SettingsError, match="as those have that are made by code"):
        folders(tmp_path, hub.url).of(NAME)
    with pytest.raises(SourceError):
        folders(tmp_path, hub.url).of("made/nothing")
    assert not (tmp_path / "bot.lock").exists()


def test_a_name_that_leads_elsewhere_is_refused(hub: Hub, questions: Path, tmp_path: Path) -> None:
    odd = "..\\out.json"
    (questions / odd).write_text("{}")
    with pytest.raises(SourceError, match="has a file named"):
        folders(tmp_path, hub.url).of(NAME)
