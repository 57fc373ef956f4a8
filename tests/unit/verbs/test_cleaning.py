"""Giving disk back: what is over goes, what a bot holds or still has to publish stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from bot.cli.main import cli
from bot.disk.folders import JobFolder
from bot.progress import Narrator
from bot.publish.afterwards import follow
from bot.publish.publication import Published
from bot.settings.settings import Settings
from bot.verbs.cleaning import Cleaned, WantedCleaning, clean_folders
from bot.workplace.workplace import Workplace

COMMIT = "0" * 40
HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_SH)
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    settings = Settings.model_validate({"workdir": tmp_path / "work"})
    return Workplace(settings, Narrator(quiet=True), None)


def put(path: Path, text: str = "x" * 10_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def published(workplace: Workplace, job: Path) -> None:
    publication = Published(
        repo_id="me/A-APEX-GGUF", url="http://hub/me/A-APEX-GGUF", commit=COMMIT, public=True,
        changed=(), files=(), folder=str(job / "release"),
    )  # fmt: skip
    follow(workplace, publication)


@pytest.fixture
def two(workplace: Workplace) -> Path:
    """A is published, B is not; of both all kinds of places lie there."""
    root = workplace.folders.root
    for name in ("A", "B"):
        put(root / f"jobs/{name}-0123456789ab/release/{name}.gguf")
        put(root / f"sources/org--{name}/{COMMIT}/model.safetensors")
        put(root / f"converted/org--{name}/{COMMIT}/{name}-BF16.gguf")
        put(root / f"measures/{name * 16}/reference.logits")
        put(root / f"measures/{name * 16}/of", f"converted/org--{name}/{COMMIT}/{name}-BF16.gguf\n")
    put(root / f"texts/data--set/{COMMIT}/text.txt")
    put(root / "runs/task-1-100/log")
    put(root / "toolchain/llama-cpp/converter.py")
    published(workplace, root / "jobs/A-0123456789ab")
    return root


def gone(done: Cleaned) -> set[str]:
    return {place.path for place in done.places if place.goes}


OF_A = {
    "jobs/A-0123456789ab",
    f"sources/org--A/{COMMIT}",
    f"converted/org--A/{COMMIT}",
    f"measures/{'A' * 16}",
}
OF_B = {
    path.replace("A-0", "B-0").replace("-A/", "-B/").replace("A" * 16, "B" * 16) for path in OF_A
}


def test_what_is_published_goes_and_the_rest_stays(workplace: Workplace, two: Path) -> None:
    would = clean_folders(workplace, WantedCleaning(dry_run=True))
    files = sorted(two.rglob("*"))
    assert gone(would) == OF_A | {"runs/task-1-100"}
    assert sorted(two.rglob("*")) == files  # a dry run leaves nothing, no lock either
    done = clean_folders(workplace, WantedCleaning())
    assert gone(done) == gone(would)
    assert done.freed == would.freed >= 4 * 10_000
    assert {path for path in OF_A | OF_B if (two / path).exists()} == OF_B
    assert (two / "toolchain/llama-cpp/converter.py").is_file()
    assert (two / f"texts/data--set/{COMMIT}/text.txt").is_file()  # B may need it


def test_all_of_it_goes_when_asked_and_nothing_else(workplace: Workplace, two: Path) -> None:
    done = clean_folders(workplace, WantedCleaning(everything=True))
    assert gone(done) == OF_A | OF_B | {"runs/task-1-100", f"texts/data--set/{COMMIT}"}
    assert [path.name for path in two.rglob("*") if path.is_file()] == ["converter.py"]


@pytest.mark.parametrize("name", ["org/B", "B"])
def test_a_model_that_is_named_goes_alone(workplace: Workplace, two: Path, name: str) -> None:
    assert gone(clean_folders(workplace, WantedCleaning(model=name))) == OF_B
    assert all((two / path).exists() for path in OF_A)


def test_another_owners_model_is_another(workplace: Workplace, two: Path) -> None:
    goes = gone(clean_folders(workplace, WantedCleaning(model="other/B", dry_run=True)))
    assert not {path for path in goes if path.startswith(("sources", "converted"))}
    assert two.is_dir()


@contextmanager
def held(lock: Path) -> Iterator[None]:
    """Another process holds a lock as a running bot does."""
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield
        holder.communicate()


HELD = {
    "jobs/A-0123456789ab/lock": OF_A,  # by the job, all of its model
    f"sources/org--A/{COMMIT}/.use": {f"sources/org--A/{COMMIT}"},
    f"converted/org--A/{COMMIT}/.lock": {f"converted/org--A/{COMMIT}"},
    f"measures/{'A' * 16}/.use": {f"measures/{'A' * 16}"},
}


@pytest.mark.parametrize("lock", HELD)
@pytest.mark.parametrize(
    "wanted", [WantedCleaning(), WantedCleaning(everything=True), WantedCleaning(model="org/A")]
)
def test_what_a_bot_works_with_stays(
    workplace: Workplace, two: Path, lock: str, wanted: WantedCleaning
) -> None:
    with held(two / lock):
        done = clean_folders(workplace, wanted)
    assert {path for path in OF_A if (two / path).exists()} == HELD[lock]
    assert not gone(done) & HELD[lock]


def test_only_what_is_old_enough(workplace: Workplace, two: Path) -> None:
    for path in (two / "jobs/A-0123456789ab").rglob("*"):
        os.utime(path, (1000, 1000))
    for path in (two / f"sources/org--A/{COMMIT}").rglob("*"):
        os.utime(path, (1000, 1000))
    goes = gone(clean_folders(workplace, WantedCleaning(before=2000)))
    assert goes == {"jobs/A-0123456789ab", f"sources/org--A/{COMMIT}"}


def test_what_a_killed_conversion_left_goes_unless_it_runs(workplace: Workplace, two: Path) -> None:
    work = put(two / f"converted/org--B/{COMMIT}/B-BF16.gguf.work/out/B.gguf").parent.parent
    with held(two / f"converted/org--B/{COMMIT}/.lock"):
        clean_folders(workplace, WantedCleaning())
        assert work.is_dir()
    clean_folders(workplace, WantedCleaning())
    assert not work.exists()


def test_links_go_and_never_what_they_lead_to(
    workplace: Workplace, two: Path, tmp_path: Path
) -> None:
    precious = put(tmp_path / "precious/file")
    (two / "jobs/A-0123456789ab/release/link").symlink_to(precious.parent)
    (two / "jobs/C-0123456789ab").symlink_to(precious.parent)
    (two / "sources/org--C").symlink_to(tmp_path)
    done = clean_folders(workplace, WantedCleaning(everything=True))
    assert precious.is_file()
    assert "a link on its way leads elsewhere" in {place.reason for place in done.places}


@pytest.mark.parametrize("note", ["", "[]", "{", '{"repo_id": 7}', "[" * 2000, '"x"'])
def test_a_note_that_is_none_says_nothing(workplace: Workplace, two: Path, note: str) -> None:
    JobFolder(two / "jobs/B-0123456789ab").published.write_text(note)
    assert not gone(clean_folders(workplace, WantedCleaning())) & OF_B


def test_the_verb_says_paths_sizes_and_reasons(
    two: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BOT_WORKDIR", str(two))
    monkeypatch.chdir(tmp_path)
    words = ["clean", "--dry-run", "--older", "0h"]
    values = json.loads(CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False).stdout)
    (job,) = (place for place in values["places"] if place["path"] == "jobs/A-0123456789ab")
    assert (job["goes"], job["reason"]) == (True, "published as me/A-APEX-GGUF")
    assert values["dry_run"]
    assert values["freed"] >= job["bytes"] >= 10_000
    text = CliRunner().invoke(cli, words, catch_exceptions=False).stdout
    assert "would free" in text
    assert "it is not published" in text
    assert CliRunner().invoke(cli, ["clean", "--older", "soon"]).exit_code == 2


def test_a_working_folder_that_is_not_there_holds_nothing(workplace: Workplace) -> None:
    assert clean_folders(workplace, WantedCleaning()).places == ()
    assert not workplace.folders.root.exists()
