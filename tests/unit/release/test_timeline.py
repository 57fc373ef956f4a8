import json
from pathlib import Path

import pytest

from bot.errors import SourceError
from bot.progress import Narrator
from bot.release.timeline import PastTimeline, Span, Timeline, busy, read_timeline, timeline_text


def span(name: str, lane: str, start: float, end: float, run: int = 1) -> Span:
    return Span(name=name, lane=lane, start=start, end=end, run=run)


RELEASE = (
    span("make a", "cpu", 100, 140),
    span("measure a", "gpu", 140, 170),
    span("make b", "cpu", 140, 180),
    span("send a", "network", 170, 200),
)


def test_text_says_where_the_time_went() -> None:
    lines = timeline_text(PastTimeline(spans=RELEASE), 80).splitlines()
    assert lines[0].split() == ["start", "seconds", "on"]
    assert lines[1].split()[:4] == ["0.0", "40.0", "cpu", "make"]
    assert lines[4].split()[:4] == ["70.0", "30.0", "network", "send"]
    bars = [line[line.rindex("  ") :].strip() for line in lines[1:5]]
    assert [set(bar) for bar in bars] == [{"█"}, {"▓"}, {"█"}, {"░"}]
    assert all(len(line) <= 80 for line in lines)
    assert lines[6].split() == ["cpu", "80.0", "s", "busy,", "80%", "of", "the", "time"]
    assert lines[-1] == "in all      100.0 s; one after another 140.0 s"


def test_only_the_last_run_is_shown() -> None:
    later = (span("commit", "network", 500, 501, run=2),)
    assert "make" not in timeline_text(PastTimeline(spans=(*RELEASE, *later)), 80)
    assert timeline_text(PastTimeline(spans=()), 80) == "nothing was done"


def test_busy_counts_no_second_twice() -> None:
    assert busy([span("a", "cpu", 0, 4), span("b", "cpu", 1, 3), span("c", "cpu", 6, 7)]) == 5


def test_a_file_holds_every_run_and_its_works(tmp_path: Path) -> None:
    path = tmp_path / "timeline.json"
    for name in ("first", "second"):
        timeline, narrator = Timeline(), Narrator(quiet=True)
        narrator.listener = timeline.heard
        with narrator.work("fetching lab/model"):
            pass
        with narrator.work("hashing"):
            pass
        timeline.keep_in(path)
        with timeline.on(name, "network"), narrator.work("sending"):
            pass
    spans = read_timeline(path).spans
    told = [(s.run, s.name, s.lane, s.part) for s in spans]
    assert told == [
        (run, *rest)
        for run, name in ((1, "first"), (2, "second"))
        for rest in (
            ("fetching lab/model", "network", False),
            ("hashing", "cpu", False),
            (name, "network", False),
            ("sending", "network", True),
        )
    ]
    trace = json.loads(path.read_text())
    assert {event["ph"] for event in trace["traceEvents"]} == {"M", "X"}
    assert all(event["dur"] >= 0 for event in trace["traceEvents"] if event["ph"] == "X")


def test_a_span_is_kept_when_its_work_fails(tmp_path: Path) -> None:
    timeline = Timeline()
    timeline.keep_in(tmp_path / "timeline.json")
    with pytest.raises(KeyError), timeline.on("make a", "cpu"):
        raise KeyError
    assert [s.name for s in read_timeline(tmp_path / "timeline.json").spans] == ["make a"]


@pytest.mark.parametrize(
    "content", ["", "[]", '{"traceEvents": [{"ph": "X"}]}', '{"traceEvents": 3}']
)
def test_what_is_no_timeline_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "timeline.json"
    path.write_text(content)
    with pytest.raises(SourceError, match="is no timeline"):
        read_timeline(path)
    with pytest.raises(SourceError, match="does not exist"):
        read_timeline(tmp_path / "none.json")
