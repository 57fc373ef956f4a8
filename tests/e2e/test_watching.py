"""`bot watch` and the verbs around it, as a person uses them, against a local Hub."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.settings.sections import DEMO
from tests.e2e.road import BOT, Road
from tests.local_hub.server import Hub

MOE = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "num_hidden_layers": 4,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
MODEL = "lab/Some-MoE"


@pytest.fixture
def road(tmp_path: Path, hub: Hub) -> Road:
    made = Road(folder=tmp_path, url=hub.url, token=hub.token)
    made.settings()
    return made


def release(road: Road, repo_id: str = MODEL, licence: str = "mit") -> None:
    """A mixture of experts, as far as a watcher looks."""
    makers = Client(road.url, SecretStr(road.token))
    makers.create_private(repo_id)
    files = {"config.json": json.dumps(MOE).encode(), "model-BF16.gguf": repo_id.encode() * 9}
    files["README.md"] = f"---\nlicense: {licence}\n---\n".encode()
    for name, content in files.items():
        (road.folder / name).write_bytes(content)
    paths = {name: road.folder / name for name in files}
    makers.commit(repo_id, paths, "Release", makers.head(repo_id))
    makers.make_public(repo_id)


def lines(done: subprocess.CompletedProcess[str]) -> list[Any]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def status(road: Road) -> Any:
    [found] = lines(road.bot("status", "--json"))
    return found


@pytest.mark.road
def test_a_release_is_decided_once_asked_about_approved_and_explained(road: Road) -> None:
    road.settings(policy={"approval": True})
    release(road)
    [seen] = lines(road.bot("watch", "--once", "--json"))
    assert (seen["decision"], seen["repo_id"], seen["outcome"]) == (
        "ask",
        MODEL,
        "awaiting_approval",
    )
    again = road.bot("watch", "--once", "--json")
    assert lines(again) == []
    assert status(road)["counts"] == {"asked": 1}
    assert road.bot("approve", "lab/Other").returncode == 4
    assert "is queued" in road.bot("approve", MODEL).stdout
    assert status(road)["counts"] == {"queued": 1}
    table = road.bot("status").stdout
    assert MODEL in table
    assert "1 queued" in table
    [past] = lines(road.bot("watch", "--explain", "--since", "1h", "--json"))
    assert (past["decision"], past["repo_id"]) == ("ask", MODEL)
    told = road.bot("why", MODEL).stdout
    assert "8 experts, 2 active" in told
    assert "with today's settings, the same: Ask" in told
    assert road.bot("why", "lab/Never-Seen").returncode == 4


@pytest.mark.long
def test_pause_ignore_and_retry(road: Road) -> None:
    release(road)
    lines(road.bot("watch", "--once", "--json"))
    assert road.bot("pause", "--because", "a new disk").returncode == 0
    assert "PAUSED: a new disk" in road.bot("status").stdout
    assert road.bot("resume").returncode == 0
    assert road.bot("ignore", MODEL).returncode == 2  # without a reason
    assert road.bot("ignore", MODEL, "--because", "a copy").returncode == 0
    assert status(road)["counts"] == {"ignored": 1}
    assert road.bot("retry", MODEL).returncode == 0
    assert status(road)["counts"] == {"queued": 1}


@pytest.mark.road
@pytest.mark.parametrize(
    ("licence", "decision"), [("null", "wait"), ("[mit, cc-by-nc-nd-4.0]", "skip")]
)
def test_what_may_never_be_published_is_not_queued(road: Road, licence: str, decision: str) -> None:
    release(road, licence=licence)
    [seen] = lines(road.bot("watch", "--once", "--json"))
    assert (seen["decision"], seen["outcome"]) == (decision, "not_wanted")
    assert "nothing made of it may be published" in seen["reason"]
    assert status(road)["counts"] == {}


@pytest.mark.road
def test_what_is_queued_is_built_by_the_watcher_and_its_failure_is_told(road: Road) -> None:
    """The file is no GGUF: refused for good, and the watcher says why."""
    release(road)
    done = road.bot("--log", "json", "watch", "--once", "--build", "--json")
    assert [found["decision"] for found in lines(done)] == ["build"]
    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert any(line.get("text", "").startswith(f"building {MODEL}") for line in said)
    end = time.monotonic() + 600
    while status(road)["counts"] != {"failed": 1} and time.monotonic() < end:
        time.sleep(0.5)
        road.bot("watch", "--once", "--build")
    [task] = status(road)["tasks"]
    assert (task["state"], task["attempts"]) == ("failed", 1)
    assert "GGUF" in task["error"]
    assert Path(task["link"]).is_file()


@pytest.mark.road
def test_a_release_is_seen_built_and_published_and_never_again(
    road: Road, hub: Hub, demo_model: Path
) -> None:
    road.settings(policy={"tiers": ["Compact"]})
    makers = Client(road.url, SecretStr(road.token))
    makers.create_private("lab/Tiny-MoE-14M")
    files = {name: DEMO / name for name in ("config.json", "README.md")}
    files[demo_model.name] = demo_model
    makers.commit("lab/Tiny-MoE-14M", files, "Release", makers.head("lab/Tiny-MoE-14M"))
    makers.make_public("lab/Tiny-MoE-14M")
    end = time.monotonic() + 600
    while status(road)["counts"] != {"published": 1} and time.monotonic() < end:
        assert road.bot("watch", "--once", "--build").returncode == 0
        time.sleep(0.5)
    [task] = status(road)["published"]
    assert task["link"] == f"{road.url}/alice/Tiny-MoE-14M-APEX-GGUF"
    assert hub.commits("alice/Tiny-MoE-14M-APEX-GGUF") == 1
    ours = road.bot("why", "alice/Tiny-MoE-14M-APEX-GGUF")
    assert "skip" in ours.stdout
    # another bot, which knows nothing of it, asks the Hub before it builds
    for file in (road.folder / "work").glob("ledger.sqlite*"):
        file.unlink()
    arguments = ("publish", "lab/Tiny-MoE-14M", "--profiles", "Compact", "--json")
    done = road.bot(*arguments, "--unless-published")
    assert json.loads(done.stdout)["changed"] == []
    assert "quantizing" not in done.stderr
    assert hub.commits("alice/Tiny-MoE-14M-APEX-GGUF") == 1


@pytest.mark.road
def test_a_backup_can_be_watched_on(road: Road) -> None:
    release(road)
    lines(road.bot("watch", "--once", "--json"))
    copy = road.folder / "copy.sqlite"
    assert road.bot("db", "backup", str(copy)).returncode == 0
    assert road.bot("db", "backup", str(copy)).returncode == 3
    ledger = road.folder / "work" / "ledger.sqlite"
    for beside in ledger.parent.glob("ledger.sqlite*"):
        beside.unlink()
    shutil.copy(copy, ledger)
    assert lines(road.bot("watch", "--once", "--json")) == []
    assert status(road)["counts"] == {"queued": 1}


@pytest.mark.road
def test_a_ledger_of_an_older_version_is_taken_over(road: Road) -> None:
    from bot.store.schema import FINISHED_WORK

    (road.folder / "work").mkdir()
    db = sqlite3.connect(road.folder / "work" / "ledger.sqlite")
    db.executescript(FINISHED_WORK)
    db.execute("PRAGMA user_version=1")
    db.close()
    release(road)
    assert len(lines(road.bot("watch", "--once", "--json"))) == 1


@pytest.mark.road
def test_settings_are_checked_with_lines(road: Road) -> None:
    file = road.folder / "wrong.yaml"
    file.write_text("watch:\n  pages: 3\n")
    done = road.bot("config", "check", str(file))
    assert (done.returncode, done.stdout) == (3, f"{file}:2: watch.pages: there is no such key\n")
    assert road.bot("config", "check").stdout.endswith("bot.yaml is right\n")


@pytest.fixture
def served(road: Road) -> Iterator[str]:
    command = road.command("serve", "--port", "0")
    with subprocess.Popen(
        command, env=road.environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().rpartition(" ")[2].strip()
        finally:
            process.terminate()
            process.wait(timeout=120)


@pytest.mark.road
def test_the_state_is_served(road: Road, served: str) -> None:
    from urllib.request import urlopen

    release(road)
    lines(road.bot("watch", "--once", "--json"))
    with urlopen(f"{served}/healthz") as reply:
        assert json.loads(reply.read())["healthy"] is True
    with urlopen(served) as reply:
        assert MODEL in reply.read().decode()


@pytest.mark.parametrize(
    "verb",
    [
        *("why", "status", "approve", "retry", "ignore", "pause", "resume", "serve"),
        *("config check", "config schema", "db backup"),
    ],
)
def test_help_shows_an_example(road: Road, verb: str) -> None:
    done = subprocess.run(
        [*BOT, *verb.split(), "--help"],
        env=road.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"bot {verb}" in done.stdout.partition("\n\n")[2]
