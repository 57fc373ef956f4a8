"""Two jobs of one model at once, in processes of their own: what both need is made once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bot.evaluate.measure import drop_logits, logits_of, logits_path
from bot.progress import Narrator
from bot.settings.settings import load
from bot.workplace.job import Job
from bot.workplace.planning import make_plan
from bot.workplace.workplace import Workplace
from tests.e2e.road import Road
from tests.models import model_of

NEEDS = """
import sys
from pathlib import Path
from bot.disk.locks import use
use(Path(sys.argv[1]))
print(flush=True)
sys.stdin.read()
"""


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


def test_one_job_leaves_another_its_log_probabilities(tmp_path: Path, demo_model: Path) -> None:
    settings = load(
        workdir=tmp_path / "work",
        llama={"threads": 2, "gpu_layers": 0},
        evaluation={"context": 128, "chunks": 4},
    )
    workplace = Workplace(settings, Narrator(quiet=True), None)
    job = Job(workplace, make_plan(workplace, model_of(workplace, str(demo_model)), ("Compact",)))
    path = logits_path(job)
    path.write_bytes(b"x")
    command = [sys.executable, "-c", NEEDS, str(path.parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        drop_logits(job)
        assert logits_of(job) == path  # the other one still needs it
        other.communicate()
    drop_logits(job)
    assert logits_of(job) is None
