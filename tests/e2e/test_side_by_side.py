"""Two jobs of one model at once, in processes of their own: what both need is made once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.road import Road


@pytest.mark.road
def test_the_reference_is_made_once(tmp_path: Path, demo_model: Path) -> None:
    road = Road(folder=tmp_path, url="http://127.0.0.1:9", token="hf_none")
    evaluation = {"context": 128, "chunks": 4, "reference": "file", "speed": False}
    road.settings(evaluation={**evaluation, "tasks": []})
    running = [
        subprocess.Popen(
            road.command("evaluate", str(demo_model), "--profiles", tier, "--json"),
            env=road.environment(BOT_LOG="json"),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for tier in ("Balanced", "Compact")
    ]
    told = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0], told
    lines = [json.loads(line) for _, err in told for line in err.splitlines()]
    made = [line for line in lines if line.get("work") == "perplexity of BF16"]
    assert len([line for line in made if line.get("event") == "done"]) == 1, lines
    first, second = (json.loads(out)["reference"]["scores"] for out, _ in told)
    assert first == second
