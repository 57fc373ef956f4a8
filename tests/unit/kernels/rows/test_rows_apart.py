"""Kernels on rows in the child that opens a file: what it reads, and that numbers stay."""

from pathlib import Path

import numpy as np
import pytest

from bot.apart.worker import Room, away
from bot.clients.llama.session import Loading
from bot.kernels.choice import load
from bot.measures.journal import Journal
from bot.measures.opening import Listener, Reading, divergence_pass, reference_pass
from bot.quantize import imatrix
from bot.quantize.calibrate import Portion, Savepoint
from bot.quantize.works import calibrated
from tests.evaluation import KEY, chunks_of

pytestmark = [
    pytest.mark.road,
    pytest.mark.skipif(isinstance(load(), str), reason="Numba does not run here"),
]


def test_measures_with_kernels_are_those_without(
    demo_model: Path,
    demo_candidate: Path,
    demo_text: str,
    tmp_path: Path,
    rows_place: Path,
) -> None:
    windows = chunks_of(demo_model, demo_text, 128, 8)
    place, results = rows_place, []
    for name, kernels in (("ours", place), ("numpy", None)):
        folder = tmp_path / name
        folder.mkdir()
        journal = Journal(folder / "journal", KEY)
        hear = Listener(windows, journal).hear
        seen = (demo_model, demo_candidate, place)
        room = Room(about=demo_model, reads=seen, writes=(folder,), hear=hear)
        base = folder / "reference.logits"
        model = Loading(path=demo_model, threads=2, gpu_layers=0)
        reference = Reading(model=model, kernels=kernels)
        ppl = away(reference_pass, room)(reference, windows, base, done=[])
        journal.keep(0)
        candidate = Reading(
            model=Loading(path=demo_candidate, threads=2, gpu_layers=0), kernels=kernels
        )
        room = Room(about=demo_candidate, reads=(*seen, folder), hear=hear)
        _, kld = away(divergence_pass, room)(candidate, base, together=None, done=[])
        results.append((ppl, kld, np.fromfile(base, np.uint16)))
    (ppl, kld, ours), (near, expected, theirs) = results
    assert ppl.value == pytest.approx(near.value, abs=5e-5)  # the digits that are printed: four
    assert kld.mean == pytest.approx(expected.mean, abs=5e-7)  # six
    assert kld.max == pytest.approx(expected.max, abs=3e-6)
    assert kld.same_top == expected.same_top
    assert (ours != theirs).mean() < 0.001  # floors by their last bit


def test_calibration_with_kernels_has_the_same_bits(
    demo_model: Path, demo_text: str, tmp_path: Path, rows_place: Path
) -> None:
    place, made = rows_place, []
    for name, kernels in (("ours", place), ("numpy", None)):
        folder = tmp_path / name
        folder.mkdir()
        away(calibrated, Room(about=demo_model, reads=(demo_model, place), writes=(folder,)))(
            Loading(path=demo_model, threads=2, gpu_layers=0),
            folder / "imatrix.gguf",
            [Portion(name="text", text=demo_text)],
            context=128,
            chunks=6,
            batch=512,
            checkpoint=Savepoint(path=folder / "checkpoint", every=100, key="key"),
            kernels=kernels,
        )
        made.append(imatrix.read_matrix(folder / "imatrix.gguf"))
    one, other = made
    assert one.sums.keys() == other.sums.keys()
    assert all(one.sums[name].tobytes() == other.sums[name].tobytes() for name in one.sums)
