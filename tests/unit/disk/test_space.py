"""Room on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.disk.space import require_free
from bot.errors import CapacityError


def test_room_is_asked_for_where_the_folder_will_be(tmp_path: Path) -> None:
    require_free(tmp_path / "not" / "yet", 1, 0)
    with pytest.raises(CapacityError, match="are free; free some"):
        require_free(tmp_path / "not" / "yet", 1 << 60, 0)
