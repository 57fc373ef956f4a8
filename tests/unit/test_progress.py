import io
import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from bot import progress, secrecy
from bot.progress import Halted, Narrator, halting
from tests.hostile import HOSTILE, hidden


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(progress, "EVERY", 3600)
    with Narrator(out).work("measuring Quality") as report:
        report(1, 10)
        monkeypatch.setattr(progress, "EVERY", 0)
        report(5, 10)
    first, middle, last = out.getvalue().splitlines()
    assert first == "measuring Quality …"
    assert middle.startswith("measuring Quality: 5 of 10, ")
    assert last.startswith("measuring Quality: done in ")


def test_bytes_come_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with Narrator(out).work("quantizing 9 tiers", unit="B") as report:
        report(2_000_000, 10_000_000, "3 of 12 tensors")  # done before: no speed of this run
        time.sleep(0.02)
        report(6_000_000, 10_000_000, "7 of 12 tensors")
    _, first, second, _ = out.getvalue().splitlines()
    assert re.fullmatch(r"quantizing 9 tiers: 2 of 10 MB, 3 of 12 tensors, \d+ s", first)
    assert re.fullmatch(
        r"quantizing 9 tiers: 6 of 10 MB, 7 of 12 tensors, \d+ s, \d+\.\d MB/s, \d+ s left", second
    )


def test_pace_counts_what_this_run_did() -> None:
    now = [100.0]
    pace = progress.Pace(lambda: now[0])
    assert not pace.due(400, 10)
    now[0] = 105.0
    assert not pace.due(450, 10)
    assert (pace.rate(450), pace.left(450, 1000)) == (10.0, 55.0)
    assert (pace.rate(400), pace.left(400, 1000)) == (None, None)
    now[0] = 110.0
    assert pace.due(500, 10)
    assert not pace.due(500, 10)
    assert pace.left(1000, 1000) == 0


def test_events_for_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(progress, "EVENTS_EVERY", 0.0)
    narrator = Narrator(out, events=True)
    narrator.say("hello")
    with narrator.work("quantizing", unit="B") as report:
        report(0, 100, "0 of 2 tensors")
        time.sleep(0.01)
        report(100, 100, "2 of 2 tensors")
    with pytest.raises(KeyError), narrator.work("measuring"):
        raise KeyError
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    spoken = [(e["event"], e.get("work", e.get("text"))) for e in events]
    assert spoken == [
        ("say", "hello"),
        ("start", "quantizing"),
        *[("progress", "quantizing")] * 2,
        ("done", "quantizing"),
        ("start", "measuring"),
        ("failed", "measuring"),
    ]
    first, last = (event for event in events if event["event"] == "progress")
    assert (first["done"], first["total"], first["rate"], first["left"]) == (0, 100, None, None)
    assert (last["unit"], last["note"], last["left"]) == ("B", "2 of 2 tensors", 0)
    assert last["rate"] > 0
    assert last["seconds"] > 0


def test_quiet_events_are_silent() -> None:
    out = io.StringIO()
    with Narrator(out, quiet=True, events=True).work("quantizing") as report:
        report(1, 1)
    assert out.getvalue() == ""


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


def _read_all(terminal: int) -> str:
    """What was written to a terminal so far; it comes in pieces."""
    os.set_blocking(terminal, False)
    content = b""
    try:
        while piece := os.read(terminal, 1 << 16):
            content += piece
    except BlockingIOError:
        return content.decode()
    raise AssertionError("the terminal was closed")


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    reading, writing = pty.openpty()
    with os.fdopen(writing, "w") as terminal:
        narrator = Narrator(terminal)
        with narrator.work("measuring Quality") as report:
            report(3, 10)
            report(10, 10)
        with narrator.work("quantizing", unit="B") as report:
            report(5_000_000, 10_000_000, "7 of 12 tensors")
        with narrator.work("hashing"):
            pass
        text = _read_all(reading)
    os.close(reading)
    assert "measuring Quality" in text
    assert "10/10" in text
    assert "hashing" in text
    assert "5.0/10.0 MB" in text
    assert "7 of 12 tensors" in text
    assert "0/?" not in text


def test_two_works_at_once_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    reading, writing = pty.openpty()
    with os.fdopen(writing, "w") as terminal:
        narrator = Narrator(terminal)
        with narrator.work("quantizing 3 tiers") as report:
            with narrator.work("sending Quality"):  # ends first, and is not shown as going on
                narrator.say("reference: [kept]")
            report(1, 3)
        narrator.say("after all")
        text = _read_all(reading)
    os.close(reading)
    assert "reference: [kept]" in text
    last = text[text.rindex("1/3") :]
    assert "sending Quality" not in last
    assert "after all" in last


def test_a_terminal_obeys_our_signs_and_no_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "1000")
    words = "[link=https://evil.example]visible[/link] [bold]visible :bomb: "
    reading, writing = pty.openpty()
    with os.fdopen(writing, "w") as terminal:
        guarded: Any = secrecy.Guarded(terminal)
        narrator = Narrator(guarded)
        with narrator.work(words) as report:
            narrator.say(HOSTILE + words)
            report(1, 3, words + HOSTILE)
        text = _read_all(reading)
    os.close(reading)
    assert text.count("visible") > 10
    assert text.count("[link=https://evil.example]") > 1
    assert ":bomb:" in text
    assert "\x1b]" not in text
    ours = re.sub(r"\x1b\[(?:[0-9;]*m|[0-9]*[AK]|2K|\?25[lh])", "", text)
    assert not hidden(ours.replace("\r", ""))


def test_work_is_stopped_where_it_reports() -> None:
    halt, heard = threading.Event(), []
    narrator = Narrator(quiet=True)
    narrator.listener = lambda title, start, end: heard.append((title, end >= start))

    def measure() -> None:
        with halting(halt), narrator.work("measuring") as report:
            report(1, 2)
            halt.set()
            report(2, 2)

    with pytest.raises(Halted):
        measure()
    with narrator.work("measuring again") as report:  # outside nobody is stopped
        report(1, 2)
    assert heard == [("measuring", True), ("measuring again", True)]


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
    assert line["text"].startswith("a turn failed\nTraceback")


def test_a_line_of_narration_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page of a watcher knows of a build what its log says."""
    monkeypatch.setattr(progress, "EVERY", 0.0)
    units: tuple[tuple[progress.Unit, int], ...] = (("B", 4_000_000_000), ("", 4_000))
    for unit, total in units:
        stream = io.StringIO()
        with Narrator(stream).work("quantizing: all", unit) as report:
            report(0, total, "0 of 9 tensors")
            report(total // 4, total, "3 of 9 tensors")
        _, _, line, _ = stream.getvalue().splitlines()
        step = progress.step_of(line)
        assert (step.text, step.share) == (line, 0.25)
        assert step.left is not None
    assert progress.step_of("publishing …").share is None
