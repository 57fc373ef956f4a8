"""Paces of this machine: kept by every measure, read back for one family on one machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import stdev

import pytest

from bot.settings.making import LlamaSettings
from bot.store.ledger import Ledger
from bot.store.paces import (
    PACES,
    READING,
    Pace,
    PastWork,
    host_of,
    keep_pace,
    past_works,
)
from bot.workplace.job import tools_of
from tests.models import workplace_in

WORK = PastWork(
    kind="divergence", family="a" * 64, data="b" * 64, context=512, units=4, seconds=8.0, host="h"
)


def test_a_pace_is_the_mean_of_its_samples_with_their_deviation() -> None:
    works = [WORK, replace(WORK, seconds=12.0), replace(WORK, units=10, seconds=10.0)]
    pace = Pace.of(works)
    assert pace.seconds == pytest.approx(2.0)
    assert pace.deviation == pytest.approx(stdev([2.0, 3.0, 1.0]))
    assert (pace.samples, pace.origin) == (3, "measured")
    alone = Pace.of([replace(WORK, kind=READING)])
    assert (alone.deviation, alone.origin) == (None, "tried")
    assert pace.times(512).deviation == pytest.approx(512 * stdev([2.0, 3.0, 1.0]))
    both = pace.plus(alone)
    assert (both.seconds, both.deviation, both.origin) == (4.0, pace.deviation, "tried")
    assert (both.samples, alone.times(2).deviation) == (1, None)


def test_work_done_anew_replaces_its_pace_and_damaged_rows_tell_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    keep_pace(ledger, "one", WORK)
    keep_pace(ledger, "one", replace(WORK, seconds=9.0))
    keep_pace(ledger, "two", replace(WORK, host="another"))
    ledger.record(PACES, "divergence three", {}, [], {"kind": "divergence"})
    ledger.record(PACES, "divergence four", {}, [], {**WORK.__dict__, "units": 0})
    ledger.record("other job", "divergence five", {}, [], WORK.__dict__)
    assert past_works(ledger, "h") == (replace(WORK, seconds=9.0),)


def test_a_machine_is_its_device_threads_and_llama(tmp_path: Path) -> None:
    tools = tools_of(workplace_in(tmp_path).settings)
    two = LlamaSettings(threads=2)
    assert host_of(tools, two) == host_of(replace(tools, bot="another"), two)
    others = (
        host_of(tools, LlamaSettings(threads=3)),
        host_of(tools, LlamaSettings(threads=2, gpu_layers=0)),
        host_of(replace(tools, device="another"), two),
        host_of(replace(tools, llama_cpp="another"), two),
    )
    assert len({host_of(tools, two), *others}) == 5
