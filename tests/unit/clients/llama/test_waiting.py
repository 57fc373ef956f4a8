"""Threads of llama.cpp that wait leave the cores to others, unless the user says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
DECODES = """
import hashlib, sys
from pathlib import Path
from bot.clients.llama.session import Session, Token
with Session(Path(sys.argv[1]), n_ctx=64, threads=2, gpu_layers=0) as session:
    tokens = session.tokenize("The river rises in the hills and")
    rows = session.decode([Token(id=t, position=i, logits=True) for i, t in enumerate(tokens)])
    print(hashlib.sha256(b"".join(row.tobytes() for row in rows)).hexdigest())
"""


def decoded(model: Path, **environment: str) -> tuple[str, str]:
    """A hash of logits, and what libgomp says of itself when it is loaded."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    done = subprocess.run(
        [sys.executable, "-c", DECODES, str(model)],
        cwd=ROOT,
        env={**inherited, "OMP_DISPLAY_ENV": "true", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


@pytest.mark.road
def test_waiting_threads_sleep_and_no_number_differs(demo_candidate: Path) -> None:
    ours, settings = decoded(demo_candidate)
    if "OMP_WAIT_POLICY" not in settings:
        pytest.skip("llama.cpp was not compiled with libgomp")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in settings
    theirs, settings = decoded(demo_candidate, OMP_WAIT_POLICY="active")
    assert "OMP_WAIT_POLICY = 'ACTIVE'" in settings
    assert ours == theirs
