import yaml
from huggingface_hub import parse_eval_result_entries  # noqa: TID251 - the Hub's own reader

from bot.catalogue.eval_results import eval_results
from bot.records.measured import (
    Benchmark,
    BenchmarkData,
    BenchmarkScore,
    Row,
    Run,
    Scores,
    Text,
    Tools,
)

TOOLS = Tools(bot="1", llama_cpp_python="1", llama_cpp="b1", device="", threads=1)


def score(task: str, metric: str, value: float, *, better: bool = True) -> BenchmarkScore:
    return BenchmarkScore(
        task=task, metric=metric, filter="strict-match", value=value, error=0.01,
        higher_is_better=better, documents=100, version="3.0", fewshot=5,
    )  # fmt: skip


def row_of(*data: BenchmarkData) -> Row:
    benchmark = Benchmark(
        name="gsm8k", harness="0.4.13", fewshot=None, limit=100, chat=True, most_tokens=None,
        requests=100, data=data,
        scores=(score("part", "acc", 0.1), score("gsm8k", "exact_match", 0.8125)),
    )  # fmt: skip
    run = Run(
        measure=benchmark.measure, data=Text(name="gsm8k", sha256="a" * 64, origin="x"),
        model="b" * 64, reference=None, beside=False, context=512, stride=None, batch=512,
        tools=TOOLS, seconds=1.0, finished="2026-05-04T03:02:01+00:00",
    )  # fmt: skip
    scores = Scores(benchmarks=(benchmark,), runs=(run,))
    return Row(
        name="I-Quality", file="a.gguf", bytes=1, sha256="b" * 64, bits_per_weight=4.0,
        imatrix=True, scores=scores,
    )  # fmt: skip


def test_the_hubs_own_reader_reads_registered_benchmarks() -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    data = BenchmarkData(name="openai/gsm8k", commit=commit, registered="gsm8k")
    ((path, text),) = eval_results(row_of(data, BenchmarkData(name="x/y"))).items()
    assert path == ".eval_results/gsm8k.yaml"
    (entry,) = parse_eval_result_entries(yaml.safe_load(text))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("openai/gsm8k", "gsm8k", 81.25)
    assert (entry.dataset_revision, entry.date) == (commit, "2026-05-04")
    assert entry.notes == (
        "GGUF I-Quality; lm-evaluation-harness 0.4.13, gsm8k 3.0, exact_match (strict-match), "
        "5-shot, first 100 documents, chat template, greedy"
    )


def test_others_have_no_file() -> None:
    assert eval_results(row_of(BenchmarkData(name="own/questions"))) == {}
    both = [BenchmarkData(name=f"x/{n}", registered=n) for n in "yz"]
    assert eval_results(row_of(*both)) == {}
