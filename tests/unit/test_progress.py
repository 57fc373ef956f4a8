import io
import os
import pty
import time

import pytest

from bot import progress
from bot.progress import Narrator


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(progress, "EVERY", 0.05)
    with Narrator(out).work("measuring Quality") as report:
        report(1, 10)
        time.sleep(0.06)
        report(5, 10)
    first, middle, last = out.getvalue().splitlines()
    assert first == "measuring Quality …"
    assert middle.startswith("measuring Quality: 5 of 10, ")
    assert last.startswith("measuring Quality: done in ")


def test_quiet_says_nothing() -> None:
    out = io.StringIO()
    narrator = Narrator(out, quiet=True)
    narrator.say("something")
    with narrator.work("measuring") as report:
        report(1, 2)
    assert out.getvalue() == ""


def test_an_error_is_not_called_done() -> None:
    out = io.StringIO()

    def fail() -> None:
        with Narrator(out).work("measuring"):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - the block's own
        fail()
    assert "done" not in out.getvalue()


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    reading, writing = pty.openpty()
    with os.fdopen(writing, "w") as terminal:
        narrator = Narrator(terminal)
        with narrator.work("measuring Quality") as report:
            report(3, 10)
            report(10, 10)
        with narrator.work("hashing"):
            pass
    shown = os.read(reading, 1 << 16).decode()
    os.close(reading)
    assert "measuring Quality" in shown
    assert "10/10" in shown
    assert "hashing" in shown
    assert "0/?" not in shown
