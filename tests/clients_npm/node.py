"""What tests of npm's packages share: a script of this folder, run by node; what it prints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
MISSING = next(
    (
        reason
        for lacking, reason in (
            (shutil.which("node") is None, "node is not installed"),
            (not (HERE / "node_modules").is_dir(), "`make test-clients` installs the packages"),
        )
        if lacking
    ),
    None,
)
clients = [pytest.mark.long, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]


def run(script: str, *arguments: str | Path, given: Any = None) -> Any:
    """The JSON value that `script` prints; `given` is its stdin, as JSON."""
    done = subprocess.run(
        ["node", HERE / script, *arguments],
        input=json.dumps(given),
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
