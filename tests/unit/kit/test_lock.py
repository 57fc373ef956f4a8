"""The lock of data sets: written at first use, strict in what it takes, held against."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bot.disk.hashes import sha256
from bot.errors import SettingsError
from bot.kit.lock import LockedFile, add_to_lock, lock_key, read_lock
from bot.progress import Narrator
from bot.settings.settings import load
from bot.workplace.texts import calibration_texts, data_file, pin_data, read_text
from bot.workplace.workplace import Workplace
from tests.kit_sets import write_kit
from tests.local_hub.server import Hub

ROW = LockedFile(commit="ab" * 20, sha256="0" * 64, bytes=3)
USES = frozenset({"calibration.texts", "evaluation.text", "evaluation.tasks"})


def workplace(folder: Path, **more: object) -> Workplace:
    sections = {"evaluation": {"preset": "recommended"}, "calibration": {"preset": "recommended"}}
    file = folder / "bot.yaml"
    file.write_text(yaml.safe_dump({"workdir": "work", **sections, **more}))
    return Workplace(load(file), Narrator(quiet=True), None)


def test_rows_once_written_stay(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "bot.lock"
    assert read_lock(file) == {}
    add_to_lock(file, {"b": ROW})
    other = LockedFile(commit=None, sha256="1" * 64, bytes=4)
    assert add_to_lock(file, {"a": other, "b": other}) == {"a": other, "b": ROW}
    assert read_lock(file) == {"a": other, "b": ROW}


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"version": 2, "files": {}}', "[" * 100_000, " " * (1 << 21),
     '{"version": 1, "files": {"a": {"commit": "main", "sha256": "x", "bytes": 1}}}'],
)  # fmt: skip
def test_a_damaged_lock_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bot.lock").write_text(text)
    with pytest.raises(SettingsError, match=r"bot\.lock is no lock of data sets"):
        workplace(tmp_path)


def test_a_folder_is_recorded_and_held_to_without_a_hub(tmp_path: Path) -> None:
    sets = write_kit(tmp_path / "sets")
    first = workplace(tmp_path, data_from="sets")
    pin_data(first, USES)
    rows = read_lock(tmp_path / "bot.lock")
    assert len(rows) == 6
    key = lock_key("dataset", "TIGER-Lab/MathInstruct", "MathInstruct.json")
    file = sets / "TIGER-Lab/MathInstruct/MathInstruct.json"
    assert rows[key] == LockedFile(commit=None, sha256=sha256(file), bytes=file.stat().st_size)

    again = workplace(tmp_path, data_from="sets")
    entry = again.settings.data["kit:reasoning-mix"]
    assert entry.sha256 == sha256(file)
    made = data_file(again, "kit:reasoning-mix", entry, form="text")
    file.write_bytes(file.read_bytes() + b" ")
    assert data_file(again, "kit:reasoning-mix", entry, form="text") == made  # made of the old one
    made.unlink()
    with pytest.raises(SettingsError, match=r"another file than the settings name, or .*bot\.lock"):
        data_file(again, "kit:reasoning-mix", entry, form="text")


@pytest.mark.road
def test_a_hub_is_asked_once_and_texts_tell_where_they_are_from(tmp_path: Path, hub: Hub) -> None:
    write_kit(hub.store.folder / "datasets")
    first = workplace(tmp_path, hub={"endpoint": hub.url})
    pin_data(first, USES)
    texts = {text.name: text for text in calibration_texts(first)}
    assert set(texts) == {"chat", "code", "reasoning", "multilingual", "tool calls", "encyclopedia"}
    rows = read_lock(tmp_path / "bot.lock")
    commit = rows["datasets/OpenAssistant/oasst2/2023-11-05_oasst2_ready.trees.jsonl.gz"].commit
    assert commit is not None
    assert f"OpenAssistant/oasst2@{commit}, 2023" in texts["chat"].origin
    assert texts["chat"].licence == "Apache-2.0"
    by_name = {source.label: source for source in first.settings.calibration.texts}
    chat, calls = (read_text(first, by_name[name]) for name in ("chat", "tool calls"))
    assert len(chat) > 1000
    assert '{"name": "look_up", "arguments"' in calls
    assert "<tool_call>" not in calls

    offline = workplace(tmp_path, hub={"endpoint": "http://127.0.0.1:9"})
    pin_data(offline, USES)  # all is known and here
    assert {text.sha256 for text in calibration_texts(offline)} == {
        text.sha256 for text in texts.values()
    }
