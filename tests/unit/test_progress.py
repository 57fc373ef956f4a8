import io
import json
import os
import pty
import subprocess
import sys
import time
from datetime import datetime

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


def test_json_lines_for_machines() -> None:
    stream = io.StringIO()
    narrator = Narrator(stream, as_json=True)
    narrator.say('a "quoted" line\nof two')
    with narrator.work("reading") as report:
        report(1, 2)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["message"] for line in lines][:2] == ['a "quoted" line\nof two', "reading …"]
    assert all(datetime.fromisoformat(line["time"]).tzinfo for line in lines)


def test_what_libraries_log_is_json_too() -> None:
    program = (
        "import logging; from bot.progress import log_as_json; log_as_json()\n"
        "try: 1 / 0\nexcept ZeroDivisionError: logging.getLogger('x').exception('a turn failed')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    [line] = [json.loads(line) for line in done.stderr.splitlines()]
    assert line["level"] == "error"
    assert line["message"].startswith("a turn failed\nTraceback")
