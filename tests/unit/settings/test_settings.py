"""The calibration mix in bot.yaml: both forms, and what is refused."""

from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.settings.settings import load


def test_a_lent_token_does_not_read_what_travels_through_the_hub(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    jobs = "jobs: {travel: hub, staging: me-builds}"
    file.write_text(f"publish: {{trusted_publisher: true}}\n{jobs}\n")
    with pytest.raises(SettingsError, match=r"needs jobs\.travel: folder"):
        load(file)
    file.write_text(f"{jobs}\n")
    assert load(file).jobs.travel == "hub"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"- a\n", "holds no keys"),
        (b"just words\n", "holds no keys"),
        (b"a: [\n", "is not YAML"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"a: !!python/object:os.system {}\n", "is not YAML"),
        (b"workdir: 2026-99-99\n", "is not YAML"),
    ],
)
def test_what_is_no_settings_file_is_said(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "bot.yaml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=reason):
        load(file)


def test_a_byte_order_mark_and_an_empty_file_are_no_mistakes(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_bytes(b"\xef\xbb\xbfreserve_gb: 7\n")
    assert load(file).reserve_gb == 7
    file.write_bytes(b"# nothing yet\n")
    assert load(file).reserve_gb == 1


def test_a_variable_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_EVALUATION__TASKS", "tasks.txt")
    monkeypatch.setenv("BOT_POLICY__RULES", "[")
    with pytest.raises(SettingsError, match="BOT_"):
        load(None)
