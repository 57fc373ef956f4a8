"""`.eval_results/*.yaml`: results of benchmarks that are registered on the Hub.

The format is huggingface_hub's `EvalResultEntry` (its _eval_results.py; hub-docs,
docs/hub/eval-results.md). A data set is a benchmark where its own `eval.yaml` names tasks; what it
calls them is read there when the benchmark is measured.
"""

from __future__ import annotations

import json

from bot.disk.paths import RESULTS
from bot.records.measured import Benchmark, BenchmarkScore, Row


def eval_results(row: Row) -> dict[str, str]:
    """Files for the registered benchmarks of a row, by path; none where there are none.

    YAML in JSON's own syntax, one list with one entry each. Values are percentages, as on the
    Hub's leaderboards; how they came about stands in `notes`.
    """
    files = {}
    for benchmark in row.scores.benchmarks:
        registered = [data for data in benchmark.data if data.registered]
        score = headline(benchmark)
        if len(registered) != 1 or score is None:
            continue
        (data,) = registered
        dataset = {"id": data.name, "task_id": data.registered}
        run = next(run for run in row.scores.runs if run.measure == benchmark.measure)
        entry = {
            "dataset": {**dataset, **({"revision": data.commit} if data.commit else {})},
            "value": round(100 * score.value, 2),
            "date": run.finished[:10],
            "notes": _notes(row, benchmark, score),
        }
        name = data.name.rpartition("/")[2].lower()
        files[f"{RESULTS}/{name}.yaml"] = json.dumps([entry], indent=2, ensure_ascii=False) + "\n"
    return files


def headline(benchmark: Benchmark) -> BenchmarkScore | None:
    """The first share of right answers of the benchmark itself, not of a part of it."""
    own = (score for score in benchmark.scores if score.task == benchmark.name)
    return next((s for s in own if s.higher_is_better and 0 <= s.value <= 1), None)


def _notes(row: Row, benchmark: Benchmark, score: BenchmarkScore) -> str:
    filtered = "" if score.filter == "none" else f" ({score.filter})"
    shots = "" if score.fewshot is None else f", {score.fewshot}-shot"
    limit = "" if benchmark.limit is None else f", first {benchmark.limit} documents"
    chat = ", chat template" if benchmark.chat else ""
    return (
        f"GGUF {row.name}; lm-evaluation-harness {benchmark.harness}, {benchmark.name} "
        f"{score.version}, {score.metric}{filtered}{shots}{limit}{chat}, greedy"
    )
