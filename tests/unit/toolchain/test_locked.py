"""The lock of the converter's packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import BuildError
from bot.toolchain import locked


def test_every_package_has_hashes_and_is_what_was_asked_for() -> None:
    lines = (locked.LOCK.with_name("packages.in")).read_text(encoding="utf-8").splitlines()
    requirements = {line for line in lines if line and not line.startswith("#")}
    locked_versions = {f"{name}=={locked.version(name)}" for name in locked.lock_entries()}
    assert requirements <= locked_versions
    assert all("--hash=sha256:" in entry for entry in locked.lock_entries().values())
    assert "torch==" not in locked.everywhere()
    assert " ; " not in locked.everywhere()
    assert {"triton", "torch"} <= set(locked.lock_entries())


def test_a_lock_with_a_line_of_its_own_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = locked.LOCK.read_text(encoding="utf-8")
    monkeypatch.setattr(locked, "LOCK", tmp_path / "packages.lock")
    for more in ("--extra-index-url x\n", "evil==1.0\n", "evil @ file:///evil.whl\n"):
        (tmp_path / "packages.lock").write_text(text + more)
        locked.lock_entries.cache_clear()
        with pytest.raises(BuildError, match="is damaged"):
            locked.whole_lock()
    locked.lock_entries.cache_clear()
