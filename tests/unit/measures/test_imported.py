import json
from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.measures.imported import read_imported
from tests.evaluation import SHARED

RESULTS = SHARED / "apex" / "results"


def test_a_result_file_of_the_project(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(
        json.dumps(
            {"model": "M-Q8_0", "size_gb": 30.3, "perplexity": 9.5, "ppl_error": 0.07}
            | {"kl_mean": 0.003, "kl_max": None, "hellaswag": 75.75, "tg128_ts": 57.1}
        )
    )
    (row,) = read_imported(path)
    assert (row.name, row.bytes, row.perplexity) == ("M-Q8_0", round(30.3 * 2**30), 9.5)
    assert row.kld == {"mean": 0.003}
    assert row.choices == {"HellaSwag": pytest.approx(0.7575)}
    assert row.speed == {"tg128": 57.1}
    assert row.origin.startswith("x.json, sha256 ")


def test_tables_are_told_by_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    path.write_text("A-Q8_0 6.7198 82.5 0.0058 0.0021 9.7\nB 6.8 82.0 0.04 0.01 9.3\n")
    first, second = read_imported(path)
    assert (first.perplexity, first.kld["median"], second.kld["max"]) == (6.7198, 0.0021, 9.3)
    path.write_text("A 0.011664 14.137285 0.422012 0.004665\n")
    (row,) = read_imported(path)
    assert row.kld == {"mean": 0.011664, "max": 14.137285, "p999": 0.422012, "median": 0.004665}


def test_logs_of_llama_perplexity(tmp_path: Path) -> None:
    path = tmp_path / "q4.log"
    path.write_text(
        "Mean PPL(Q)                   :  35.928482 ±   0.825172\n"
        "Mean    KLD:   0.001299 ±   0.000073\nMaximum KLD:   0.403796\n"
        "99.9%   KLD:   0.111490\nMedian  KLD:   0.000150\n"
    )
    (row,) = read_imported(path)
    assert (row.name, row.perplexity, row.perplexity_error) == ("q4", 35.928482, 0.825172)
    assert row.kld["mean_error"] == 0.000073
    path.write_text("Final estimate: PPL = 35.9310 +/- 0.82539\n")
    assert read_imported(path)[0].perplexity == 35.931
    path.write_text("task\tacc\n399\t26.0%\t[22, 31]\n400\t26.5%\t[22.4134%, 31.0337%]\n")
    assert read_imported(path)[0].choices == {"HellaSwag": pytest.approx(0.265)}


@pytest.mark.parametrize("text", ["", "nothing here\n", "A 1 2\n"])
def test_what_holds_no_results_is_refused(tmp_path: Path, text: str) -> None:
    for name in ("x.txt", "x.json"):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(SettingsError, match=r"evaluation\.imported"):
            read_imported(path)


@pytest.mark.skipif(not RESULTS.is_dir(), reason="shared data not present")
def test_every_result_of_the_project_is_read() -> None:
    rows = [row for path in RESULTS.rglob("*.*") for row in read_imported(path)]
    assert len(rows) == 10 + 7 + 6 + 7
    assert sum("winogrande" in {name.lower() for name in row.choices} for row in rows) == 10
