"""What is secret is neither printed nor handed to subprocesses."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from bot import secrecy

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


def test_subprocesses_see_no_secret() -> None:
    program = (
        "from bot import secrecy; import os, subprocess, sys; secrecy.hide_secrets();"
        "look = [sys.executable, '-c', 'import os; print(dict(os.environ))'];"
        "seen = subprocess.run(look, capture_output=True, text=True, check=True).stdout;"
        "assert 'planted' not in seen and 'KEPT' in seen, seen;"
        "assert all(secrecy.value(name) == 'planted' + name.lower()"
        " for name in secrecy.VARIABLES);"
        "assert set(secrecy.VARIABLES) <= set(secrecy.publisher())"
    )
    planted = {name: f"planted{name.lower()}" for name in secrecy.VARIABLES}
    subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **planted, "KEPT": "yes"},
        check=True,
    )


def test_a_traceback_holds_no_secret() -> None:
    program = (
        "from bot import secrecy; secrecy.hide_secrets();"
        "raise ValueError('Bearer ' + secrecy.value('HF_TOKEN'))"
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
