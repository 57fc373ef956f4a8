"""The harness on task files of our own: asked, killed, gone on, counted; against its own count."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bot.benchmarks.harness_requests import HarnessRequest, ModelAnswer, read_answers
from bot.benchmarks.harness_task import AskedTask
from bot.benchmarks.request_lines import Bounds
from bot.benchmarks.responding import Answering
from bot.clients.llama.session import Session
from bot.errors import SettingsError
from bot.evaluate.bench import Bench
from bot.evaluate.files import subject_of
from bot.evaluate.kept import benchmarked
from bot.kit.lock import read_lock
from bot.settings.making import BenchmarkTask
from bot.settings.sections import DEMO
from bot.workplace.job import tools_of
from tests.evaluation import quiet
from tests.local_hub.server import Hub
from tests.models import workplace_in
from tests.steps import holding

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: apex-bot[lm-eval]")

MODEL = DEMO / "tiny-moe-Q8_0.gguf"
BOUNDS = {"context": 96, "memory": 192, "parallel": 4}
CHOICE = """\
task: own_choice
dataset_path: json
dataset_kwargs: {data_files: {test: choice.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 1.5}
"""
WRITING = """\
task: own_writing
dataset_path: made/for-this
test_split: test
fewshot_split: test
num_fewshot: 1
output_type: generate_until
doc_to_text: "Q: {{question}}\\nA:"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 5, do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
metadata: {version: 2}
"""
KEY = "datasets/made/for-this/"
QUESTIONS = ("what is a river?", "who went home?", "where is the house?")


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Task files with their data; the data set of one stands under a name as on the Hub."""
    folder = tmp_path / "tasks"
    data = folder / "made" / "for-this"
    data.mkdir(parents=True)
    (folder / "choice.yaml").write_text(CHOICE)
    (folder / "writing.yaml").write_text(WRITING)
    endings = ["a river", "nobody", "the old house"]
    rows = [
        {"question": q, "choices": endings, "answer": i, "number": i}
        for i, q in enumerate(QUESTIONS)
    ]
    (folder / "choice.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = [{"question": q, "answer": e} for q, e in zip(QUESTIONS, endings, strict=True)]
    (data / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    return folder


def config(folder: Path, tasks: Path) -> Path:
    path = folder / "bot.yaml"
    settings = {
        "workdir": str(folder / "work"),
        "llama": {"threads": 1, "gpu_layers": 0},
        "evaluation": {"benchmarks": {"folder": str(tasks), **BOUNDS}},
    }
    path.write_text(json.dumps(settings))
    return path


def bench(folder: Path, tasks: Path, **more: Any) -> Bench:
    workplace = workplace_in(
        folder,
        llama={"threads": 1, "gpu_layers": 0},
        evaluation={"benchmarks": {"folder": tasks, **BOUNDS}},
        **more,
    )
    return Bench(workplace, tools_of(workplace.settings), None)


def counted_by_the_harness(task: str, tasks: Path) -> Any:
    """`simple_evaluate` with our model in this process, without children, files or settings."""
    from bot.benchmarks import harness

    bounds = Bounds(context=96, memory=192, sequences=4)
    with Session(
        MODEL, n_ctx=192, threads=1, gpu_layers=0, sequences=bounds.held, unified=True
    ) as session:
        answering = Answering(session, bounds, threads=1)

        def respond(requests: Any) -> list[ModelAnswer]:
            found: dict[str, ModelAnswer] = {}
            unique: list[HarnessRequest] = list({one.key: one for one in requests}.values())
            answering.answer(unique, (), found.update, quiet)
            return [found[one.key] for one in requests]

        return harness.evaluated(AskedTask(task=task, folder=tasks), respond)


@pytest.mark.road
@pytest.mark.filterwarnings("default")  # of the harness's libraries
def test_a_killed_run_goes_on_and_ends_with_what_the_harness_counts(
    tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held where the third answer is kept, and killed there."""
    out = tmp_path / "results.json"
    words = [sys.executable, "-m", "bot", "--config", str(config(tmp_path, tasks)), "evaluate"]
    words += [str(MODEL), "--benchmarks", "own_choice,own_writing", "--out", str(out)]
    with holding(words, at=4, of=r"write .*/answers\.jsonl") as held:
        assert held.step() is not None
        held.kill()
    (kept,) = (tmp_path / "work").glob("measures/*/answers.jsonl")
    before = read_answers(kept)
    assert len(before) == 2
    with holding(words, at=2, of=r"write .*/answers\.jsonl") as held:
        held.step()
        assert read_answers(kept) == before  # what was answered is not asked again
        held.go_on()
        held.process.communicate()
        assert held.process.returncode == 0
    (row,) = json.loads(out.read_bytes())["files"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    for found in row["scores"]["benchmarks"]:
        theirs = counted_by_the_harness(found["name"], tasks)
        metrics = theirs["results"][found["name"]]
        assert found["harness"] == theirs["lm_eval_version"]
        for score in found["scores"]:
            assert score["value"] == metrics[f"{score['metric']},{score['filter']}"]
            assert score["error"] == metrics[f"{score['metric']}_stderr,{score['filter']}"]
            assert score["version"] == str(theirs["versions"][found["name"]])
            assert score["fewshot"] == theirs["n-shot"][found["name"]]
            assert score["documents"] == len(score["right"]) == 3
    assert [one["name"] for one in row["scores"]["benchmarks"]] == ["own_choice", "own_writing"]
    assert [one["requests"] for one in row["scores"]["benchmarks"]] == [9, 3]


@pytest.mark.road
def test_what_was_asked_once_is_known(tmp_path: Path, tasks: Path) -> None:
    first = bench(tmp_path, tasks)
    model = subject_of(first._workplace, MODEL, "demo")
    task = BenchmarkTask(name="own_choice", limit=1)
    assert first.benchmarks.foreseen(model, task).requests == 3
    measured = first.benchmarks.benchmark(model, task)
    assert [score.documents for score in benchmarked(measured).scores] == [1]
    assert first.benchmarks.benchmark(model, task) == measured
    assert first.new_measures == 1
    assert first.benchmarks.foreseen(model, task).requests == 0


@pytest.mark.road
@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("unsafe_code: true\n", "runs what the model writes"),
        ("process_docs: !function utils.change\n", "names functions"),
    ],
)
def test_code_is_refused_before_it_is_read(
    tmp_path: Path, tasks: Path, more: str, reason: str
) -> None:
    (tasks / "choice.yaml").write_text(CHOICE + more)
    (tasks / "utils.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    asking = bench(tmp_path, tasks)
    model = subject_of(asking._workplace, MODEL, "demo")
    with pytest.raises(SettingsError, match=reason):
        asking.benchmarks.benchmark(model, BenchmarkTask(name="own_choice"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.road
def test_a_data_set_of_the_hub_gives_what_a_folder_gives(
    tmp_path: Path, tasks: Path, hub: Hub
) -> None:
    task, places = BenchmarkTask(name="own_writing"), [tmp_path / "here", tmp_path / "there"]
    own = bench(places[0], tasks)
    model = subject_of(own._workplace, MODEL, "demo")
    given = benchmarked(own.benchmarks.benchmark(model, task))

    (hub.store.folder / "datasets").mkdir(exist_ok=True)
    (tasks / "made").rename(hub.store.folder / "datasets" / "made")
    lock = tmp_path / "bot.lock"
    afar = bench(places[1], tasks, hub={"endpoint": hub.url}, lock=lock)
    fetched = benchmarked(afar.benchmarks.benchmark(model, task))
    assert fetched.scores == given.scores
    (data,) = fetched.data
    assert (data.name, data.commit) == ("made/for-this", read_lock(lock)[KEY].commit)
