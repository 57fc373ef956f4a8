"""What a file system refuses, in the user's words; defects of ours stay what they are."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bot.errors import CapacityError, SettingsError, of_machine


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOTDIR])
def test_a_folder_that_may_not_be_written_is_a_setting(number: int) -> None:
    error = of_machine(OSError(number, os.strerror(number), "/work/jobs/a"))
    assert isinstance(error, SettingsError)
    assert "/work/jobs/a" in str(error)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_is_full_or_fails_is_the_machine(number: int) -> None:
    assert isinstance(of_machine(OSError(number, os.strerror(number))), CapacityError)


def test_a_folder_that_was_removed_is_said_and_a_missing_file_is_a_defect(tmp_path: Path) -> None:
    for path, kind in ((tmp_path / "gone" / "file", SettingsError), (tmp_path / "file", None)):
        with pytest.raises(FileNotFoundError) as raised:
            path.read_bytes()
        error = of_machine(raised.value)
        assert error is None if kind is None else isinstance(error, kind)
