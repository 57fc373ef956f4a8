"""What is secret is neither printed nor handed to subprocesses."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bot import secrecy
from bot.errors import SettingsError
from bot.settings import hub_token

SECRET = "hf_plantedplantedplanted"


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrecy, "_KEPT", set())


def test_kept_values_are_not_written() -> None:
    secrecy.keep(SECRET)
    secrecy.keep("short")
    out = io.StringIO()
    guarded = secrecy.Guarded(out)
    assert guarded.write(f"Bearer {SECRET}, short\n") == len(f"Bearer {SECRET}, short\n")
    guarded.writelines([SECRET, "\n"])
    guarded.flush()
    assert out.getvalue() == "Bearer ***, short\n***\n"


def test_subprocesses_see_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in secrecy.VARIABLES:
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("KEPT", "yes")
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(dict(os.environ))"],
        env=secrecy.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert SECRET not in child.stdout
    assert "'KEPT': 'yes'" in child.stdout


def test_a_traceback_holds_no_secret() -> None:
    program = (
        "from bot import secrecy; import os; secrecy.guard();"
        "raise ValueError('Bearer ' + os.environ['HF_TOKEN'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HF_TOKEN": SECRET},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ValueError: Bearer ***" in done.stderr
    assert SECRET not in done.stderr


def test_a_token_of_a_file_that_only_its_owner_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    monkeypatch.setenv("HF_TOKEN_FILE", str(path))
    token = hub_token()
    assert token is not None
    assert token.get_secret_value() == SECRET
    assert SECRET in secrecy._KEPT
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        hub_token()
    monkeypatch.setenv("HF_TOKEN_FILE", str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match="cannot be read"):
        hub_token()
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_environment")
    found = hub_token()
    assert found is not None
    assert found.get_secret_value() == "hf_of_the_environment"
