"""The demo's model and its candidate, measured by the bench in children."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.errors import BuildError
from bot.evaluate.bench import Bench
from bot.evaluate.data import find_tasks
from bot.evaluate.files import subject_of
from bot.evaluate.subject import Subject
from bot.measures.logits import base_bytes
from bot.settings.sections import DEMO
from bot.workplace.job import tools_of
from bot.workplace.workplace import Workplace
from tests.evaluation import with_other_tokens
from tests.models import workplace_in

FEW = {"context": 128, "chunks": 2, "noise_chunks": 1, "task_count": 2}


def at_work(folder: Path, **evaluation: Any) -> Workplace:
    llama = {"threads": 2, "gpu_layers": 0}
    return workplace_in(folder, llama=llama, evaluation={**FEW, **evaluation}, demo_texts=True)


def subject(workplace: Workplace, path: Path) -> Subject:
    return subject_of(workplace, path, path.stem)


def bench_of(workplace: Workplace, reference: Path | None, base: Path | None = None) -> Bench:
    model = subject(workplace, reference) if reference else None
    return Bench(workplace, tools_of(workplace.settings), model, base)


@pytest.mark.road
def test_a_divergence_is_the_same_from_a_file_and_beside(
    tmp_path: Path, demo_model: Path, demo_candidate: Path
) -> None:
    measured = []
    for way in ("file", "beside"):
        workplace = at_work(tmp_path / way, reference=way)
        bench = bench_of(workplace, demo_model)
        candidate = subject(workplace, demo_candidate)
        measured.append(bench.divergence(candidate, 1))
        assert bench.known_divergence(candidate) == measured[-1]
        assert bench.new_measures == 2  # with it came the reference's perplexity
        assert (bench.logits.made() is not None) == (way == "file")
    from_file, beside = (each.value for each in measured)
    assert beside == {**from_file, "beside": True}
    assert len(from_file["chunks"]) == len(from_file["nll"]) == 2


@pytest.mark.road
def test_log_probabilities_are_kept_copied_and_dropped(
    tmp_path: Path, demo_model: Path, demo_candidate: Path
) -> None:
    workplace = at_work(tmp_path)
    bench = bench_of(workplace, demo_model)
    bench.logits.prepare_file(1_000_000, 2)
    logits = bench.logits.made()
    assert logits is not None
    assert logits.stat().st_size == base_bytes(4096, 128, 2)
    copied = tmp_path / "copied.logits"
    bench.logits.copy_to(copied)
    assert copied.read_bytes() == logits.read_bytes()
    bench.drop_logits()
    assert bench.logits.made() is None
    # the copy stands for the model
    of_copy = bench_of(workplace, None, copied)
    candidate = subject(workplace, demo_candidate)
    with_model = bench.divergence(candidate, 1).value
    assert of_copy.divergence(candidate, 1).value == {**with_model, "beside": False}


def test_a_stride_needs_no_file(tmp_path: Path, demo_model: Path) -> None:
    bench = bench_of(at_work(tmp_path, stride=64), demo_model)
    bench.logits.prepare_file(1_000_000, 2)
    assert bench.logits.made() is None
    assert bench.noise() == ()


def test_without_a_reference_a_file_cuts_the_text_itself(
    tmp_path: Path, demo_candidate: Path
) -> None:
    workplace = at_work(tmp_path)
    bench, candidate = bench_of(workplace, None), subject(workplace, demo_candidate)
    assert bench.against.windows(candidate).tokens.shape == (2, 128)
    measured = bench.perplexity(candidate)
    assert measured.value["perplexity"]["value"] > 1
    assert bench.perplexity(candidate) == measured
    assert (bench.new_measures, bench.noise()) == (1, ())
    assert bench.against.text.path == DEMO / "evaluation.txt"
    with pytest.raises(TypeError, match="no reference was given"):
        bench.divergence(candidate, 1)


def test_a_file_of_another_tokenizer_is_refused_before_it_is_measured(
    tmp_path: Path, demo_model: Path
) -> None:
    workplace = at_work(tmp_path)
    bench = bench_of(workplace, demo_model)
    other = subject(workplace, with_other_tokens(demo_model, tmp_path / "other.gguf"))
    with pytest.raises(BuildError, match=r"cuts the text into other tokens"):
        bench.divergence(other, 1)
    assert bench.new_measures == 0


@pytest.mark.road
def test_tasks_and_noise_are_kept_too(tmp_path: Path, demo_model: Path) -> None:
    workplace = at_work(tmp_path)
    bench, reference = bench_of(workplace, demo_model), subject(workplace, demo_model)
    (tasks,) = find_tasks(workplace)
    measured = bench.tasks(reference, tasks)
    assert len(measured.value["answers"]) == 2
    (noise,) = bench.noise()
    assert noise.chunks == 1
    assert noise.mean == pytest.approx(0, abs=1e-5)
    again = bench_of(workplace, demo_model)
    assert (again.tasks(reference, tasks), again.noise()) == (measured, (noise,))
    assert again.new_measures == 0
    assert not list(tmp_path.glob("work/measures/*/noise.*"))
