"""Errands: modules of ours in children, with an end to all that they use, in their own words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bot.apart import errand
from bot.apart.sandbox import Limits
from bot.errors import BotError, BuildError, SettingsError

LIMITS = Limits(seconds=60, memory=1 << 30, name="the trial")
WORKS = {
    "fine": "work = lambda order, made: (made / 'answer').write_text(order[::-1])",
    "told": (
        "from bot.errors import SettingsError\n"
        "def work(order, made):\n    raise SettingsError('a\\x1b[31mb; mend it')"
    ),
    "crash": "def work(order, made):\n    raise ValueError(order)",
    "silent": "import os\ndef work(order, made):\n    os._exit(9)",
    "disk": (
        "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "def work(order, made):\n    (made / 'x').write_bytes(bytes(64 << 20))"
    ),
    "memory": "def work(order, made):\n    bytearray(2 << 30)",
}


def sent(work: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a module with this `work` left; it lies among the libraries, as one of others would."""
    place = folder / "site-packages"
    place.mkdir()
    code = f"from bot.apart.errand import carry_out\n{WORKS[work]}\ncarry_out(work)\n"
    (place / "trial_errand.py").write_text(code)
    monkeypatch.setattr(sys, "path", [*sys.path, str(place)])
    with errand.sent("trial_errand", "abc", limits=LIMITS) as answers:
        return {path.name: path.read_text() for path in answers.iterdir()}


def test_an_order_goes_in_and_files_come_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sent("fine", tmp_path, monkeypatch) == {"answer": "cba"}


@pytest.mark.parametrize(
    ("work", "kind", "message"),
    [
        ("told", SettingsError, r"^ab; mend it$"),
        ("crash", BuildError, "^the trial failed: ValueError: abc$"),
        ("silent", BuildError, "^the trial failed: it ended with 9 and said nothing$"),
        ("disk", BuildError, "^the trial failed: OSError: .*File too large"),
        ("memory", BuildError, "^the trial failed: MemoryError$"),
    ],
)
def test_what_goes_wrong_is_said_on_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str, kind: type[BotError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        sent(work, tmp_path, monkeypatch)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems bound no memory")
def test_who_was_given_less_memory_keeps_to_that() -> None:
    program = (
        "import resource, sys\nfrom bot.apart import errand\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (1 << 29, 1 << 29))\n"
        "sys.argv[1:] = ['0', str(1 << 30), 'platform']\nexec(errand.SCRIPT)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
