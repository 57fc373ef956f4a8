"""What a name means: a repository, or a file of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import SourceError
from bot.workplace.pinning import as_file


@pytest.mark.parametrize(
    "name", ["./nothing.gguf", "nothing.GGUF", "/nothing/at/all", "~/nothing", "../nothing", "~x/y"]
)
def test_a_file_that_is_not_there_is_said_to_be_missing(name: str) -> None:
    with pytest.raises(SourceError, match="is not there; check the path"):
        as_file(name)


def test_what_else_a_path_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken.gguf").symlink_to("gone")
    with pytest.raises(SourceError, match="is a folder; name a GGUF file, which `bot convert"):
        as_file("folder")
    with pytest.raises(SourceError, match="leads to gone, which is not there"):
        as_file("broken.gguf")
    assert as_file("org/model") is None
