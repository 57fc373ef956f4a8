"""The main job through the real command, and every way it can be stopped or misused."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bot.clients.files import gguf
from bot.clients.hub.hub import Hub as Client
from bot.disk.hashes import sha256
from bot.settings.sections import DEMO
from tests.e2e.road import BOT, REPO, Road, hub_process
from tests.local_hub.server import Hub

TIERS = "Balanced,I-Compact"


@pytest.fixture
def road(tmp_path: Path, hub: Hub) -> Road:
    made = Road(folder=tmp_path, url=hub.url, token=hub.token)
    made.settings()
    return made


def published(road: Road) -> dict[str, str]:
    """sha256 of every large file of the published repository."""
    release = client(road).release(REPO)
    return {file.path: file.sha256 for file in release.files if file.sha256}


def client(road: Road) -> Client:
    from pydantic import SecretStr

    return Client(road.url, SecretStr(road.token))


@pytest.mark.road
def test_publishing_from_a_file_and_again(road: Road, hub: Hub, demo_model: Path) -> None:
    first = road.bot("publish", str(demo_model), "--profiles", TIERS, "--json")
    assert first.returncode == 0, first.stderr
    done = json.loads(first.stdout)
    assert done["public"]
    assert set(done["changed"]) == set(done["files"])
    # what the Hub lists is what lies here, and everybody may see it
    folder = Path(done["folder"])
    visible = Client(road.url, None).release(REPO)
    held = {file.path: file.sha256 for file in visible.files if file.sha256}
    assert {path.name: sha256(path) for path in folder.glob("*.gguf")} == {
        name: digest for name, digest in held.items() if name.endswith(".gguf")
    }
    there = {file.path for file in visible.files}
    assert {"README.md", "results.json", "imatrix.gguf_file", "plots/size-vs-kld.svg"} <= there
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    listed = {path: digest for digest, path in (line.split("  ") for line in lines)}
    assert set(listed) == there - {"README.md", "SHA256SUMS", ".gitattributes"}
    assert all(sha256(folder / path) == digest for path, digest in listed.items())
    assert (folder / "recipes" / "I-Compact.txt").read_text().startswith("^token_embd\\.weight$=")
    assert hub.commits(REPO) == 1

    again = road.bot("publish", str(demo_model), "--profiles", TIERS)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("nothing to do")
    assert "quantizing" not in again.stderr
    assert hub.commits(REPO) == 1


@pytest.mark.road
@pytest.mark.usefixtures("work")
def test_the_numbers_of_the_card_are_those_of_results(road: Road, demo_model: Path) -> None:
    done = road.bot("card", str(demo_model), "--profiles", TIERS, "--to", REPO, "--json")
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout)
    results = json.loads(Path(files["results.json"]["path"]).read_text())
    card = Path(files["README.md"]["path"]).read_text()
    rows = {row["name"]: row for row in (results["reference"], *results["tiers"])}
    table = [line.strip("| ").split(" | ") for line in card.splitlines() if "±" in line]
    shown = {cells[0].split()[-1 if "APEX" in cells[0] else 0]: cells for cells in table[:3]}
    assert set(shown) == set(rows)
    for name, cells in shown.items():
        assert _printed(cells[2], rows[name]["scores"]["perplexity"]["value"])
        kld = rows[name]["scores"]["divergence"]
        for cell, key in zip(cells[3:6], ("mean", "median", "max"), strict=True):
            assert cell == "—" if kld is None else _printed(cell, kld[key])
    assert rows["I-Compact"]["sha256"][:12] in card


def _printed(cell: str, value: float) -> bool:
    """Whether a cell begins with the value, rounded to as many places as the cell has."""
    number = cell.replace("*", "").split()[0]
    return f"{value:.{len(number.partition('.')[2])}f}" == number


@pytest.mark.road
@pytest.mark.parametrize("tier", ["I-Quality", pytest.param("I-Micro", marks=pytest.mark.long)])
def test_a_file_is_what_its_plan_said(road: Road, demo_model: Path, tier: str) -> None:
    """Every tensor's type, and the bytes of tensor data to the last one."""
    chosen = (str(demo_model), "--profiles", tier, "--json")
    planned, built = road.bot("plan", *chosen), road.bot("quantize", *chosen)
    assert (planned.returncode, built.returncode) == (0, 0), planned.stderr + built.stderr
    (recipe,) = json.loads(planned.stdout)
    made = gguf.read_gguf(Path(json.loads(built.stdout)[tier]["path"]))
    wanted = {a["tensor"]: (a["type"], a["bytes"]) for a in recipe["assignments"]}
    assert {t.name: (t.type, t.bytes) for t in made.tensors} == wanted


@pytest.mark.road
@pytest.mark.usefixtures("work")
def test_recomputing_a_tier_gives_the_same(road: Road, demo_model: Path, tmp_path: Path) -> None:
    first = road.bot("evaluate", str(demo_model), "--profiles", "I-Compact", "--json")
    config = road.settings("other.yaml", workdir=str(tmp_path / "elsewhere"))
    second = road.bot(
        "evaluate", str(demo_model), "--profiles", "I-Compact", "--json", config=config
    )
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    one, two = (json.loads(run.stdout)["tiers"][0]["scores"] for run in (first, second))
    assert one["perplexity"]["value"] == pytest.approx(two["perplexity"]["value"], abs=1e-4)
    assert one["divergence"]["mean"] == pytest.approx(two["divergence"]["mean"], abs=1e-4)


@pytest.mark.long
def test_a_release_on_the_hub_is_watched_and_published(road: Road, demo_model: Path) -> None:
    path = DEMO / "config.json"
    makers = client(road)
    makers.create_private("lab/Tiny-MoE-14M")
    files = {"config.json": path, "README.md": DEMO / "README.md", demo_model.name: demo_model}
    makers.commit("lab/Tiny-MoE-14M", files, "Release", makers.head("lab/Tiny-MoE-14M"))
    makers.make_public("lab/Tiny-MoE-14M")
    seen = road.bot("watch", "--once", "--json")
    assert seen.returncode == 0, seen.stderr
    decisions = [json.loads(line) for line in seen.stdout.splitlines()]
    assert [(d["decision"], d["repo_id"]) for d in decisions] == [("build", "lab/Tiny-MoE-14M")]
    done = road.bot("publish", "lab/Tiny-MoE-14M", "--profiles", "Compact", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["repo_id"] == REPO
    card = client(road)._content(REPO, "main", "README.md", 100_000).decode()
    assert "base_model: lab/Tiny-MoE-14M" in card
    # and the watcher knows our own repository for what it is
    seen = road.bot("watch", "--once", "--json")
    decisions = [json.loads(line) for line in seen.stdout.splitlines()]
    assert {d["repo_id"]: d["decision"] for d in decisions}[REPO] == "skip"


def test_watching_goes_on_until_interrupted(road: Road, hub: Hub) -> None:
    hub.create("some-model")
    # a suite run in the background passes an ignored SIGINT on to its children
    program = (
        "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from bot.cli.main import main\nmain()"
    )
    arguments = road.command("watch", "--every", "1", "--json")[len(BOT) :]
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=road.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["repo_id"] == "alice/some-model"
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Interrupted; the same command goes on" in said


def _dense(road: Road, _model: Path) -> tuple[str, ...]:
    """A GGUF without experts: a file of arrays that calls itself a model."""
    import numpy as np

    path = road.folder / "dense.gguf"
    metadata = [("general.architecture", "llama"), ("llama.block_count", 1)]
    gguf.write_arrays(path, metadata, [("blk.0.ffn_up.weight", np.zeros((4, 32), np.float32))])
    return ("publish", str(path))


def _truncated(road: Road, demo_model: Path) -> tuple[str, ...]:
    path = road.folder / "cut.gguf"
    path.write_bytes(demo_model.read_bytes()[:1_000_000])
    return ("publish", str(path))


def _pieces(road: Road, _model: Path) -> tuple[str, ...]:
    import numpy as np

    path = road.folder / "model-00001-of-00002.gguf"
    metadata = [("general.architecture", "llama"), ("split.count", 2)]
    gguf.write_arrays(path, metadata, [("blk.0.ffn_up.weight", np.zeros((4, 32), np.float32))])
    return ("publish", str(path))


def _profile(road: Road, demo_model: Path) -> tuple[str, ...]:
    folder = road.folder / "profiles"
    folder.mkdir()
    (folder / "broken.yaml").write_text("tier: X\nexperts: {edge: Q6_K\n")
    road.settings(profiles=str(folder))
    return ("publish", str(demo_model))


def _full(road: Road, demo_model: Path) -> tuple[str, ...]:
    road.settings(reserve_gb=1e9)  # no disk has that much to spare
    return ("publish", str(demo_model))


def _settings(road: Road, demo_model: Path) -> tuple[str, ...]:
    road.settings(evaluaton={})
    return ("publish", str(demo_model))


BAD: dict[str, tuple[Callable[[Road, Path], tuple[str, ...]], int, str]] = {
    "unknown model": (lambda _r, _m: ("publish", "nobody/nothing"), 12, "does not exist"),
    "no name at all": (lambda _r, _m: ("publish", "what is this"), 4, "neither a file here nor"),
    "missing file": (lambda _r, _m: ("publish", "missing.gguf"), 4, "is not there"),
    "dense model": (_dense, 4, "not a mixture of experts"),
    "truncated file": (_truncated, 4, "not a whole GGUF|shorter than"),
    "one of several shards": (_pieces, 4, "fetch all 2 shards"),
    "corrupt profile": (_profile, 3, "broken.yaml"),
    "unknown tier": (lambda _r, m: ("publish", str(m), "--profiles", "Huge"), 3, "I-Quality"),
    "full disk": (_full, 5, "are free"),
    "misspelt setting": (_settings, 3, "evaluaton"),
    "no such verb": (lambda _r, _m: ("pubish",), 2, "No such command"),
}


SAME_WAY = (
    "corrupt profile",
    "dense model",
    "full disk",
    "misspelt setting",
    "no name at all",
    "one of several shards",
    "unknown tier",
    "truncated file",
    "unknown model",
)


@pytest.mark.parametrize(
    "case", [pytest.param(n, marks=pytest.mark.road if n in SAME_WAY else ()) for n in BAD]
)
def test_bad_input_is_one_clear_line(road: Road, hub: Hub, demo_model: Path, case: str) -> None:
    prepare, code, said = BAD[case]
    done = road.bot(*prepare(road, demo_model))
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    line = done.stderr.splitlines()[-1]
    assert line.startswith("Error: ")
    assert re.search(said, line), line
    assert "Traceback" not in done.stderr
    assert not list(road.folder.glob("work/jobs/*/release/*"))
    assert hub.commits(REPO) is None


def test_a_missing_token_is_said_before_any_work(road: Road, demo_model: Path) -> None:
    done = road.bot("publish", str(demo_model), HF_TOKEN="")
    assert done.returncode == 6
    assert re.fullmatch(r"Error: HF_TOKEN is not set.*\n", done.stderr)
    assert not (road.folder / "work").exists()


@pytest.mark.road
def test_a_wrong_token_is_said_and_not_shown(road: Road, demo_model: Path) -> None:
    done = road.bot("publish", str(demo_model), HF_TOKEN="hf_wrongwrongwrong")
    assert done.returncode == 6, done.stderr
    assert "wrongwrong" not in done.stderr


@pytest.mark.road
def test_an_unreachable_hub_is_said(road: Road, demo_model: Path) -> None:
    done = road.bot("publish", str(demo_model), HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 7, done.stderr
    assert "did not answer" in done.stderr.splitlines()[-1]
    assert not (road.folder / "work" / "jobs").exists()


@pytest.mark.road
def test_a_dry_run_makes_nothing(road: Road, hub: Hub, demo_model: Path) -> None:
    done = road.bot("publish", str(demo_model), "--dry-run", HF_TOKEN="")
    assert done.returncode == 0, done.stderr
    assert "I-Micro" in done.stdout
    assert not list(road.folder.glob("work/jobs/*/release/*"))
    assert hub.commits(REPO) is None


@pytest.mark.road
def test_pushing_what_is_not_built_is_refused(road: Road, demo_model: Path) -> None:
    done = road.bot("push", str(demo_model), "--profiles", "Compact")
    assert done.returncode == 4
    assert "run `bot publish`" in done.stderr


@pytest.mark.road
def test_a_second_bot_on_the_same_job_is_refused(road: Road, demo_model: Path) -> None:
    arguments = ("quantize", str(demo_model), "--profiles", "Compact")
    with road.held_at(r"write .*\.partial$", *arguments) as first:
        assert first.step() is not None
        second = road.bot(*arguments)
        first.go_on()
        assert first.process.wait() == 0
    assert second.returncode == 10
    assert "another bot works" in second.stderr


@pytest.mark.road
def test_the_hub_command_serves_and_keeps_its_users(road: Road) -> None:
    folder = road.folder / "own-hub"
    made = road.bot("hub", "add-user", str(folder), "me")
    assert made.returncode == 0, made.stderr
    with hub_process(folder, road.environment()) as url:
        assert road.bot("doctor", HF_ENDPOINT=url, HF_TOKEN=made.stdout.strip()).returncode == 0
    bad = road.bot("hub", "serve", str(road.folder / "open-hub"), "--host", "0.0.0.0")  # noqa: S104 - must be refused
    assert bad.returncode == 3
    assert "token" in bad.stderr


@pytest.mark.road
def test_the_doctor_names_what_is_wrong(road: Road) -> None:
    good = road.bot("doctor", "--json")
    assert good.returncode == 0, good.stdout
    found = {finding["name"]: finding for finding in json.loads(good.stdout)}
    assert found["hub token"]["text"] == "HF_TOKEN belongs to alice"
    assert road.token not in good.stdout
    assert "CPU" in found["llama.cpp"]["text"]
    assert found["github"]["good"] is None
    assert found["converter"]["good"] is None
    assert "`bot toolchain install`" in found["converter"]["text"]
    config = road.settings("wrong.yaml", convert={"python": "/nowhere/python"})
    wrong = road.bot("doctor", "--json", config=config)
    told = {finding["name"]: finding for finding in json.loads(wrong.stdout)}["converter"]
    assert (told["good"], "does not exist" in told["text"]) == (False, True)
    assert "GITHUB_TOKEN is not set" in found["github"]["text"]
    bad = road.bot("doctor", HF_ENDPOINT="http://127.0.0.1:9")
    assert bad.returncode == 1
    assert re.search(r"^FAIL +hub ", bad.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("token", "good", "said"),
    [
        ("", None, "one that may write to carol alone"),
        ("hf_of_nobody", False, "HF_STAGING_TOKEN is not accepted"),
        ("alice's", True, "files travel through carol, as alice"),
    ],
)
@pytest.mark.road
def test_the_doctor_tries_the_token_that_files_travel_with(
    road: Road, token: str, good: bool | None, said: str
) -> None:
    """A machine that only watches needs none."""
    given = road.token if token == "alice's" else token
    settings = road.settings("apart.yaml", jobs={"travel": "hub", "staging": "carol"})
    done = road.bot("doctor", "--json", config=settings, HF_STAGING_TOKEN=given)
    found = {finding["name"]: finding for finding in json.loads(done.stdout)}["staging"]
    assert found["good"] is good, found
    assert said in found["text"]
    assert not given or given not in done.stdout
    assert done.returncode == (good is False)


def test_help_needs_no_heavy_library(road: Road) -> None:
    program = (
        "import sys\nfrom bot.cli.main import cli\n"
        "try: cli.main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'pydantic', 'yaml', 'huggingface_hub', 'llama_cpp', 'gguf', 'rich',"
        " 'matplotlib', 'jinja2', 'starlette', 'apscheduler', 'github3'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=road.environment(),
        cwd=os.curdir,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("HEAVY []\n")


@pytest.mark.parametrize(
    "verb", ["", "inspect", "plan", "publish", "watch", "hub", "hub serve", "demo", "doctor"]
)
def test_help_shows_an_example(road: Road, verb: str) -> None:
    done = subprocess.run(
        [*BOT, *verb.split(), "--help"],
        env=road.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert verb == "hub" or re.search(rf"^  (HF_\w+=\S+ )?bot {verb}", done.stdout, re.MULTILINE)
