"""What draws plots and renders cards, turned hostile: it reaches what a hostile converter does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bot.apart import errand, sandbox
from bot.apart.sandbox import Isolation, Limits
from tests.hostile_process import OWN, REACHES, ROOTS, TOLD, a_user

WORK = f"""
import contextlib, json, os, sys
from bot.apart.errand import carry_out

def work(order, made):
    os.chdir(made)
    sys.argv[1:] = json.loads(order)
    with open("said", "w") as said, contextlib.redirect_stdout(said):
        exec({TOLD!r}, {{}})

carry_out(work)
"""


@pytest.mark.parametrize("level", ["cell", "none"])
def test_what_each_isolation_stops(
    tmp_path: Path,
    level: Isolation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if level == "cell" != sandbox.isolation():
        pytest.skip(f"this system has no isolation of the kind {level}")
    monkeypatch.setattr(sandbox, "isolation", lambda: level)  # as a poorer system would answer
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    place = tmp_path / "site-packages"
    place.mkdir()
    (place / "hostile_errand.py").write_text(WORK)
    monkeypatch.setattr(sys, "path", [*sys.path, str(place)])
    limits = Limits(seconds=60, memory=1 << 30, name="the trial")
    with (
        a_user(tmp_path) as user,
        errand.sent("hostile_errand", json.dumps(user), limits=limits) as answers,
    ):
        attempts: dict[str, bool] = json.loads((answers / "said").read_text())
    reached = {name for name, good in attempts.items() if good}
    assert reached - ROOTS == REACHES[level]
    if level == "cell":
        assert reached == OWN
        assert (tmp_path / "user" / ".bashrc").read_text() == "mine\n"
