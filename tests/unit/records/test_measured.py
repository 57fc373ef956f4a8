"""What paired tests support, and that no measure is stored without its data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.records.measured import (
    KLD,
    PPL,
    Choices,
    Comparison,
    Row,
    Run,
    Scores,
    Text,
    Tools,
    best,
    supported_claim,
)

TOOLS = Tools(bot="1", llama_cpp_python="1", llama_cpp="b1", device="cpu", threads=1)


def comparison(
    one: str, other: str, difference: float, *, measure: str = KLD, differs: bool = True
) -> Comparison:
    return Comparison(
        measure=measure, one=one, other=other, difference=difference, p=0.01, differs=differs,
        test="t",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("measure", "better"), [(KLD, "small"), (PPL, "small"), ("HellaSwag", "large")]
)
def test_less_divergence_and_more_right_answers_are_better(measure: str, better: str) -> None:
    comparisons = [comparison("small", "large", -0.1, measure=measure)]
    worse = {"small": "large", "large": "small"}[better]
    assert supported_claim(comparisons, measure, better, worse) is True
    assert supported_claim(comparisons, measure, worse, better) is False
    assert supported_claim(comparisons, "other", better, worse) is None


def test_what_does_not_differ_supports_nothing() -> None:
    comparisons = [comparison("a", "b", -0.1, differs=False)]
    assert supported_claim(comparisons, KLD, "a", "b") is None
    assert best(comparisons, KLD, ["a", "b"]) is None


def test_the_best_is_better_than_each_of_the_others() -> None:
    comparisons = [comparison("a", "b", -0.1), comparison("c", "a", 0.2)]
    assert best(comparisons, KLD, ["a", "b", "c"]) == "a"
    assert best(comparisons, KLD, ["b", "c"]) is None
    assert best(comparisons, KLD, ["a"]) is None


def test_a_measure_without_the_hash_of_its_data_is_none() -> None:
    text = Text(name="t", sha256="s", origin="o")
    run = Run(
        measure="perplexity", data=text, model="m", reference=None, beside=False, context=512,
        stride=None, batch=512, tools=TOOLS, seconds=1.0, finished="2026-01-01T00:00:00Z",
    )  # fmt: skip
    assert replace(run, measure="speed", data=None).data is None
    with pytest.raises(ValueError, match="perplexity without the hash of its data"):
        replace(run, data=None)


def test_a_row_names_each_file_of_its_model() -> None:
    row = Row(
        name="Mini", file="m.gguf", bytes=7, sha256="s", bits_per_weight=3.0, imatrix=False,
        scores=Scores(),
    )  # fmt: skip
    [file] = row.files
    assert (file.file, file.bytes, file.sha256) == ("m.gguf", 7, "s")


def test_accuracy_is_a_fraction() -> None:
    assert Choices(name="HellaSwag", tasks=400, correct=300, low=0.7, high=0.8).accuracy == 0.75
