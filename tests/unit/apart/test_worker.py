"""Children that open strangers' files: crashes, hostile ones, and what they answer.

A hostile child is a real process in the place of ours, started as ours is.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.apart import sandbox, worker
from bot.apart.sandbox import Isolation
from bot.apart.voice import Voice
from bot.apart.worker import ChildTerms, Room, away
from bot.errors import BotError, BuildError, CapacityError, SettingsError
from tests.hostile_process import LEVELS, REACHES, ROOTS, TRIES, a_user

ANSWER = "import json, sys, time\ndef say(**found):\n    print(json.dumps(found), flush=True)\n"
WAIT = "time.sleep(60)\n"


def looks(_voice: Voice) -> dict[str, bool]:
    """What is asked of a child here; it is never done as written."""
    raise AssertionError


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have the next children run a program of this test's."""
    worker.close_all()

    def run(program: str) -> None:
        monkeypatch.setattr(worker, "SCRIPT", ANSWER + program)

    return run


def asked(path: Path, **more: Any) -> dict[str, bool]:
    return away(looks, Room(about=path / "model.gguf", **more))()


@pytest.mark.parametrize("level", LEVELS)
def test_what_each_isolation_stops(
    tmp_path: Path, level: Isolation, hostile: Callable[[str], None]
) -> None:
    if LEVELS.index(level) > LEVELS.index(sandbox.isolation()):
        pytest.skip(f"this system has no isolation of the kind {level}")
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "model.gguf").write_text("weights")
    with a_user(tmp_path) as user:
        model = f'"{folder}/model.gguf"'
        program = (
            f"sys.argv[1:] = {[*user]!r}\n{TRIES}\n"
            f"attempt('the model')(lambda: open({model}).read())\n"
            f"attempt('changing the model')(lambda: open({model}, 'a').write('x'))\n"
            f"say(result=reached)\n{WAIT}"
        )
        hostile(program)
        attempts = asked(tmp_path, terms=ChildTerms(isolation=level), reads=(folder,))
    reached = {name for name, good in attempts.items() if good}
    changes = set() if level == "cell" else {"changing the model"}
    assert reached - ROOTS == REACHES[level] | {"the model"} | changes
    assert level != "cell" or not reached & ROOTS


def test_no_secret_and_no_debugger_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hostile: Callable[[str], None]
) -> None:
    for name in ("HF_TOKEN", "SSH_AUTH_SOCK", "PYTHONPATH", "https_proxy"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    hostile("import os\nsay(result=dict.fromkeys(os.environ, True))\n" + WAIT)
    names = set(asked(tmp_path))
    assert {"GGML_NO_BACKTRACE", "CUDA_VISIBLE_DEVICES", "HOME"} <= names
    assert not names & {"HF_TOKEN", "SSH_AUTH_SOCK", "PYTHONPATH", "https_proxy"}
    hostile("import resource\ncore = resource.getrlimit(resource.RLIMIT_CORE)\n"
            "say(result={str(core): True})\n" + WAIT)  # fmt: skip
    worker.close_all()
    assert asked(tmp_path) == {"(0, 0)": True}


STRANGE = "answered what was not asked"


@pytest.mark.parametrize(
    ("program", "kind", "message"),
    [
        ("print('nonsense', flush=True)", BuildError, STRANGE),
        ("print('[' * 100000, flush=True)", BuildError, STRANGE),
        ("say(result={'a': 1})", BuildError, STRANGE),
        ("say(result=[True])", BuildError, STRANGE),
        ("print('{\"result\": {\"a\": NaN}}', flush=True)", BuildError, STRANGE),
        ("say(other=1)", BuildError, STRANGE),
        ("say(tell='what nobody asked for')", BuildError, STRANGE),
        ("say(progress=[2, 1])", BuildError, STRANGE),
        ("say(progress='much')", BuildError, STRANGE),
        ("print('x' * 3_000_000, flush=True)", BuildError, STRANGE),
        ("say(error=['list'], text='')", BuildError, STRANGE),
        ("say(error='SettingsError', text='mend\\nit\\x1b[31m')", SettingsError, r"mend it$"),
        ("say(error='KeyboardInterrupt', text='x')", BuildError, "model.gguf failed: x"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV); os._exit(9)", BuildError,
         "crashed on model.gguf"),
        ("sys.stderr.write('a/b/ggml.c:12: GGML_ASSERT(x) failed\\nlater'); sys.exit(3)",
         BuildError, r"model.gguf \(exit code 3: ggml.c:12: GGML_ASSERT\(x\) failed\)"),
        ("sys.stderr.write('std::bad_alloc'); sys.exit(3)", CapacityError, "model.gguf.*memory"),
        ("sys.exit(0)", BuildError, "it gave no reason"),
        ("sys.stderr.write('x' * 10_000_000); sys.exit(1)", BuildError, "crashed on model.gguf"),
    ],
)  # fmt: skip
def test_what_a_child_may_not_answer(
    tmp_path: Path,
    hostile: Callable[[str], None],
    program: str,
    kind: type[BotError],
    message: str,
) -> None:
    hostile(f"{program}\n{WAIT}")
    with pytest.raises(kind, match=message) as raised:
        asked(tmp_path)
    assert len(str(raised.value)) < 600
    assert str(raised.value).isprintable()


def test_a_child_that_is_killed_is_followed_by_another(
    tmp_path: Path, hostile: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile(WAIT)
    killed: list[int] = []

    def kill(process: Any) -> None:
        killed.append(process.pid)
        os.killpg(process.pid, 9)

    real = subprocess.Popen

    def started(*args: Any, **kwargs: Any) -> Any:
        process = real(*args, **kwargs)
        kill(process)
        return process

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", started)
        with pytest.raises(CapacityError, match=r"model.gguf, likely for memory"):
            asked(tmp_path)
    assert killed
    hostile("say(result={'fine': True})\n" + WAIT)
    assert asked(tmp_path) == {"fine": True}


def test_memory_and_time_have_an_end(
    tmp_path: Path, hostile: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LOOK_EVERY", 0.0)
    hostile("held = bytearray(b'x') * 300_000_000\n" + WAIT)
    with pytest.raises(CapacityError, match=r"memory for model\.gguf, 0\.1 GB are there"):
        asked(tmp_path, terms=ChildTerms(memory=100_000_000))
    # steps backwards are none: only what gets further counts
    hostile("while True:\n    say(progress=[1, 2]); time.sleep(0.01)\n")
    with pytest.raises(BuildError, match=r"no further with model\.gguf"):
        asked(tmp_path, terms=ChildTerms(silence=0.5))


def test_an_interrupt_ends_the_child(tmp_path: Path, hostile: Callable[[str], None]) -> None:
    hostile("import os\nsay(progress=[os.getpid(), 1 << 40])\n" + WAIT)

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asked(tmp_path, report=interrupt)
    assert not worker.IDLE


def test_one_child_serves_calls_on_what_it_sees(
    tmp_path: Path, hostile: Callable[[str], None]
) -> None:
    hostile(
        "import os\nmine = str(time.monotonic())\nfor line in sys.stdin:\n"
        "    say(result={mine: True})\n"
    )
    first_folder, second_folder = tmp_path / "one", tmp_path / "other"
    first_folder.mkdir()
    second_folder.mkdir()
    first = asked(tmp_path, reads=(first_folder,))
    assert asked(tmp_path, reads=(first_folder,)) == first
    second = asked(tmp_path, reads=(second_folder,))
    if sandbox.isolation() == "cell":
        assert second != first
    assert (
        asked(tmp_path, reads=(first_folder, second_folder)) == second
    )  # it sees what the first saw, too
    assert asked(tmp_path, reads=(first_folder,), writes=(second_folder,)) != second  # used once
    assert asked(tmp_path, reads=(first_folder,)) == second
    first_folder.rmdir()
    first_folder.mkdir()  # what a mount shows is another folder now
    if sandbox.isolation() == "cell":
        assert asked(tmp_path, reads=(first_folder,)) != second
    worker.close_all()


def test_only_works_are_done(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"the work on model\.gguf failed: .*is no work"):
        asked(tmp_path)
