"""What may not be handed on is known before anything is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import GateError
from bot.gate import gating
from tests.models import workplace_in


def test_a_file_without_a_licence_is_published_by_nobody(tmp_path: Path, demo_model: Path) -> None:
    with pytest.raises(GateError, match=r"names no licence.*--license.*--private"):
        gating.require_allowed(workplace_in(tmp_path), str(demo_model), "main")
    for settings in ({"source": {"license": "mit"}}, {"publish": {"private": True}}):
        gating.require_allowed(workplace_in(tmp_path, **settings), str(demo_model), "main")
    closed = workplace_in(tmp_path, source={"license": "cc-by-nd-4.0"})
    with pytest.raises(GateError, match="forbids"):
        gating.require_allowed(closed, str(demo_model), "main")
