"""Files measured without a job: which measures, which rows, what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.disk.hashes import sha256
from bot.errors import SettingsError, SourceError
from bot.evaluate.files import evaluate_files, stored_comparisons, subject_of, wanted_measures
from bot.records.coding import digest, from_json, to_json
from bot.records.results import Evaluation
from bot.workplace.workplace import Workplace
from tests.models import workplace_in
from tests.split_gguf import split
from tests.unit.card.samples import nine_tiers

FEW = {"context": 128, "chunks": 2, "noise_chunks": 0, "task_count": 2}


def at_work(folder: Path, **given: Any) -> Workplace:
    default = {"llama": {"threads": 2, "gpu_layers": 0}, "evaluation": FEW, "demo_texts": True}
    return workplace_in(folder, **{**default, **given})


def test_measures_by_name_or_all_of_the_settings(tmp_path: Path) -> None:
    workplace = at_work(tmp_path)
    every = wanted_measures(workplace, (), against=True)
    assert (every.perplexity, every.divergence, every.noise) == (True, True, True)
    assert [data.label for data in every.tasks] == ["Endings"]
    alone = wanted_measures(workplace, (), against=False)
    assert (alone.perplexity, alone.divergence, alone.noise) == (True, False, False)
    named = wanted_measures(workplace, ("KLD", "endings"), against=True)
    assert (named.perplexity, named.divergence, named.speed) == (False, True, False)
    assert [data.label for data in named.tasks] == ["Endings"]


@pytest.mark.parametrize(
    ("measures", "message"),
    [
        (
            ("kdl",),
            r"no measure 'kdl', only ppl, kld, tasks, speed, noise, behaviour, benchmarks, endings",
        ),
        (("kld",), r"a divergence needs a reference; name it with --against"),
        (("noise",), r"a divergence needs a reference"),
    ],
)
def test_a_measure_that_cannot_be_made_is_said(
    tmp_path: Path, measures: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        wanted_measures(at_work(tmp_path), measures, against=False)


def test_the_demos_text_is_not_measured_on_unasked(tmp_path: Path, demo_candidate: Path) -> None:
    workplace = at_work(tmp_path, demo_texts=False)
    with pytest.raises(SettingsError, match=r"evaluation\.text: only the demo's few pages"):
        evaluate_files(workplace, (str(demo_candidate),), None, ("ppl",))


@pytest.mark.road
def test_a_file_is_a_row_with_its_comparisons(
    tmp_path: Path, demo_model: Path, demo_candidate: Path
) -> None:
    workplace, out = at_work(tmp_path), tmp_path / "out.json"
    files = (str(demo_candidate), str(demo_model))
    evaluation = evaluate_files(workplace, files, str(demo_model), ("kld",), out=out)
    assert from_json(Evaluation, out.read_bytes()) == evaluation
    assert [row.name for row in evaluation.files] == [demo_candidate.stem, demo_model.stem]
    first, second = evaluation.files
    assert first.sha256 == sha256(demo_candidate)
    assert (first.bits_per_weight < 9, second.bits_per_weight > 15) == (True, True)
    assert {comparison.measure for comparison in evaluation.comparisons} == {"kld", "ppl"}
    assert evaluation.evaluation is not None
    assert evaluation.evaluation.chunks == 2


def test_shards_are_one_subject(tmp_path: Path, demo_candidate: Path) -> None:
    workplace = at_work(tmp_path)
    folder = tmp_path / "shards"
    folder.mkdir()
    shards = split(demo_candidate, folder / "Tiny-Q8_0.gguf", tensors=60)
    subject = subject_of(workplace, shards[0], "tiny")
    assert subject.bytes == sum(path.stat().st_size for path in shards)
    assert subject.sha256 == digest([sha256(path) for path in shards])
    unsplit = subject_of(workplace, demo_candidate, "tiny")
    assert unsplit.sha256 == sha256(demo_candidate)
    text = tmp_path / "text.gguf"
    text.write_text("no GGUF")
    with pytest.raises(SourceError, match=r"text\.gguf"):
        subject_of(workplace, text, "text")


def test_comparisons_are_read_from_results(tmp_path: Path) -> None:
    path, results = tmp_path / "results.json", nine_tiers()
    path.write_text(to_json(results))
    for comparison in results.comparisons:
        stored = stored_comparisons(path, comparison.other, comparison.one)
        assert comparison in stored
    with pytest.raises(SettingsError, match=r"has no row Other, only "):
        stored_comparisons(path, "Balanced", "Other")
    path.write_text("{}")
    with pytest.raises(SettingsError, match=r"is no results\.json of this version"):
        stored_comparisons(path, "Balanced", "Compact")
