"""Rates of this machine, by what it did, and of a machine of settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.kernels.choice import LIBRARY_ONLY
from bot.release.forecast.rates import LOOKING, MeasuredRates, StatedRates
from bot.settings.running import RunnerSettings
from bot.store.paces import (
    CALIBRATE,
    COMMIT,
    HASH,
    LOOK,
    QUANTIZE,
    READING,
    SEND,
    Pace,
    PastWork,
)

SENT = [
    PastWork(kind=SEND, units=1_000_000, seconds=1.0),
    PastWork(kind=SEND, units=1_010_000, seconds=1.212),
    PastWork(kind=SEND, units=900_000_000, seconds=90.0),
]


def measured(*works: PastWork, file: Path | None = None) -> MeasuredRates:
    return MeasuredRates(works, LIBRARY_ONLY, (), 1, file)


def seconds(pace: Pace | None) -> float:
    assert pace is not None
    return pace.seconds


def test_work_of_like_size_tells_most() -> None:
    rates = measured(*SENT)
    assert seconds(rates.of(SEND, 1_000_000)) == pytest.approx(1.1, rel=1e-3)
    far = rates.of(SEND, 5_000_000_000)
    assert far is not None
    assert far.seconds == pytest.approx(500.0)
    assert (far.samples, far.deviation) == (1, None)


def test_what_no_probe_tells_is_not_known_and_what_one_tells_is_tried(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(bytes(3_000_000))
    rates = measured(file=model)
    assert rates.of(SEND, 10) is None
    hashed, looked = rates.of(HASH, 10**9), rates.of(LOOK, 10**9)
    assert hashed is not None
    assert (hashed.origin, hashed.samples) == ("tried", 1)
    assert seconds(looked) == pytest.approx(LOOKING * hashed.seconds)
    rounded = rates.of(QUANTIZE, 10**9)
    assert rounded is not None
    assert rounded.origin == "tried"
    assert 0 < rounded.seconds < 3_600
    assert measured().of(HASH, 10**9) is None
    commit = measured().of(COMMIT, 1)
    assert commit is not None
    assert commit.origin == "assumed"


def test_a_model_is_known_by_its_own_passes() -> None:
    known = PastWork(kind=CALIBRATE, data="texts", units=40, seconds=80.0)
    passed = PastWork(kind="divergence", context=100, units=10, seconds=20.0)
    rates = measured(known, passed)
    assert seconds(rates.decoding(CALIBRATE, "texts", 99, 1)) == 80.0, "as many chunks as it had"
    assert seconds(rates.decoding(CALIBRATE, "other texts", 10, 1)) == 20.0
    assert seconds(measured(passed).decoding(CALIBRATE, "texts", 10, 1_000)) == pytest.approx(20.0)
    tried = PastWork(kind=READING, units=512, seconds=5.12)
    assert seconds(measured(passed, tried).decoding(CALIBRATE, "texts", 1, 100)) == 1.0
    assert measured().decoding(CALIBRATE, "texts", 10, 1_000) is None


def test_a_model_beyond_the_devices_reads_over_the_bus_and_beyond_memory_from_disk() -> None:
    runner = RunnerSettings(
        device_gb=10, device_gb_s=1_000, memory_gb=20, memory_gb_s=50, bus_gb_s=20, disk_gb_s=2,
        tflops=100,
    )  # fmt: skip
    rates = StatedRates(runner, 20 * 10**9, 10**10, 10**9)
    batch = 512
    assert rates.reading(10**9, batch) == pytest.approx(2 * 10**9 * batch / 1e14)
    assert rates.reading(20 * 10**9, batch) == pytest.approx(0.01024 + 10 / 20)
    assert rates.reading(40 * 10**9, batch) == pytest.approx(0.01024 + 20 / 20 + 10 / 2)
    # a tenth of the weights is read for a token
    assert rates.writing(40 * 10**9, 10) == pytest.approx((10 / 1_000 + 20 / 50 + 10 / 2) / 10 * 10)
    assert seconds(rates.of(SEND, 125_000_000)) == pytest.approx(1.0)
    assert seconds(rates.decoding(CALIBRATE, "", 1, batch)) == pytest.approx(0.01024 + 10 / 20)
