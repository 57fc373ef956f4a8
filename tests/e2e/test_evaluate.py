"""`bot evaluate FILE...`, `bot compare` and `bot import` as a person runs them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.disk.hashes import sha256
from bot.measures.logits import base_bytes
from bot.publish.upload import open_private, upload
from bot.records.built import Built
from bot.records.coding import from_json
from bot.records.results import Evaluation
from bot.settings.sections import DEMO
from tests import evaluation as shared
from tests.e2e.road import Road
from tests.local_hub.server import Hub
from tests.split_gguf import split

SMALL = {"context": 128, "chunks": 36, "task_count": 4, "noise_chunks": 2}  # three groups of 16
FEW = {**SMALL, "chunks": 4, "noise_chunks": 0}


@pytest.fixture
def road(tmp_path: Path, hub: Hub) -> Road:
    made = Road(folder=tmp_path, url=hub.url, token=hub.token)
    made.settings(evaluation=SMALL)
    return made


def told(road: Road, *arguments: object) -> Any:
    done = road.bot(*(str(argument) for argument in arguments), "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(road: Road, code: int, *arguments: object) -> str:
    """What a verb that fails says, in one line."""
    done = road.bot(*(str(argument) for argument in arguments))
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def divergence(found: Any, row: int = 0) -> Any:
    return found["files"][row]["scores"]["divergence"]


@pytest.mark.road
def test_everything_is_measured_once_and_says_how(
    road: Road, demo_model: Path, demo_candidate: Path, tmp_path: Path
) -> None:
    out, logits = tmp_path / "out.json", tmp_path / "kept.logits"
    given = ("evaluate", demo_candidate, "--against", demo_model)
    found = told(road, *given, "--out", out, "--keep-logits", logits)
    assert json.loads(out.read_text()) == found
    record = from_json(Evaluation, out.read_text())
    assert record.version == 2
    assert record.evaluation is not None
    assert record.evaluation.noise[0].mean == pytest.approx(0, abs=1e-5)
    (row,) = record.files
    assert row.scores.divergence is not None
    assert 1e-5 < row.scores.divergence.mean < 0.1
    for run in row.scores.runs:
        assert run.data is not None
        assert run.model == sha256(demo_candidate)
        assert run.tools.build
        assert run.tools.device
        assert run.seconds > 0
    assert [run.measure for run in row.scores.runs] == ["divergence", "Endings"]
    assert row.scores.runs[0].reference == sha256(demo_model)
    assert logits.stat().st_size == base_bytes(4096, 128, 36)
    # again, nothing is measured; one file more measures that file alone
    again = road.bot(*(str(part) for part in given), "--json")
    assert json.loads(again.stdout) == found
    assert again.stderr == ""
    other = shutil.copy(demo_model, tmp_path / "other.gguf")
    more = road.bot("evaluate", str(demo_candidate), str(other), "--against", str(demo_model))
    assert "divergence of other" in more.stderr
    assert demo_candidate.stem not in more.stderr
    # the kept file stands for the model
    from_file = told(road, "evaluate", demo_candidate, "--against", logits, "--measures", "kld")
    assert divergence(from_file) == divergence(found)


@pytest.mark.long
def test_beside_and_from_a_file_the_numbers_are_equal(
    road: Road, demo_model: Path, demo_candidate: Path
) -> None:
    measures = ("--measures", "ppl,kld")
    found = []
    for way, said in (("file", "log-probabilities on disk"), ("beside", "beside the candidate")):
        road.settings(
            evaluation={**SMALL, "reference": way}, workdir=str(road.folder / f"work-{way}")
        )
        given = ("evaluate", str(demo_candidate), "--against", str(demo_model), *measures)
        done = road.bot(*given, "--json")
        assert said in done.stderr
        found.append(json.loads(done.stdout))
    one, other = found
    assert divergence(one) == divergence(other)
    assert one["files"][0]["scores"]["perplexity"] == other["files"][0]["scores"]["perplexity"]
    ppl = [part["reference"]["scores"]["perplexity"] for part in found]
    assert ppl[0] == ppl[1]


@pytest.mark.road
@pytest.mark.parametrize("way", ["file", pytest.param("beside", marks=pytest.mark.long)])
def test_killed_in_the_middle_it_goes_on_and_ends_the_same(
    road: Road, demo_model: Path, demo_candidate: Path, way: str
) -> None:
    settings = {**SMALL, "reference": way, "chunks": 36, "noise_chunks": 0}
    given = ("evaluate", str(demo_candidate), "--against", str(demo_model), "--measures", "kld")
    calm = road.settings("calm.yaml", evaluation=settings, workdir=str(road.folder / "calm"))
    undisturbed = road.bot(*given, "--json", config=calm)
    assert undisturbed.returncode == 0, undisturbed.stderr
    road.settings(evaluation=settings)

    # of each pass: a beginning, then a note for each group of sixteen chunks
    road.killed_at(r"write .*/tokens$", *given, at=7 if way == "file" else 3)
    (kept, *_) = sorted(road.folder.glob("work/measures/*/tokens"), key=lambda p: p.stat().st_size)
    assert kept.stat().st_size > 40
    done = road.bot(*given, "--json")
    assert done.returncode == 0, done.stderr
    assert divergence(json.loads(done.stdout)) == divergence(json.loads(undisturbed.stdout))
    assert not list(road.folder.glob("work/measures/*/tokens"))


@pytest.mark.road
def test_bad_input_is_one_clear_line_and_nothing_is_stored(
    road: Road, demo_model: Path, demo_candidate: Path, tmp_path: Path
) -> None:
    road.settings(evaluation=FEW)
    against = ("--against", demo_model, "--measures", "kld")
    other = shared.with_other_tokens(demo_candidate, tmp_path / "other.gguf")
    assert "another tokenizer" in refused(road, 8, "evaluate", other, *against)
    broken = shared.with_nan(demo_model, tmp_path / "broken.gguf")
    assert "no numbers (NaN or infinity) in chunk 1" in refused(
        road, 8, "evaluate", broken, *against
    )
    short = tmp_path / "short.txt"
    short.write_text("A few words only.\n")
    said = refused(road, 3, "evaluate", demo_candidate, *against, "--text", short)
    assert "less than two chunks of 128" in said
    logits = tmp_path / "kept.logits"
    told(road, "evaluate", demo_candidate, *against, "--keep-logits", logits)
    logits.write_bytes(logits.read_bytes()[:-2])
    said = refused(road, 8, "evaluate", demo_candidate, "--against", logits, "--measures", "kld")
    assert "is not whole" in said
    road.settings(evaluation={**FEW, "memory_gb": 0.01}, workdir=str(tmp_path / "elsewhere"))
    said = refused(road, 5, "evaluate", demo_candidate, *against)
    assert "0.01 GB are free" in said
    empty = str(tmp_path / "empty")
    road.settings(evaluation={**FEW, "reference": "file"}, reserve_gb=1e6, workdir=empty)
    said = refused(road, 5, "evaluate", demo_model, *against)
    assert "log-probabilities" in said
    assert "larger disk" in said
    assert "--against" in refused(road, 3, "evaluate", demo_model, "--measures", "kld")
    assert "no measure 'kdl'" in refused(road, 3, "evaluate", demo_model, "--measures", "kdl")
    ledger = road.bot("compare", str(broken), str(other), *(str(part) for part in against))
    assert ledger.returncode in (5, 8)  # still refused: nothing was kept of them


@pytest.mark.road
def test_files_are_compared_in_pairs(
    road: Road, demo_model: Path, demo_candidate: Path, tmp_path: Path
) -> None:
    road.settings(evaluation={**FEW, "chunks": 16})
    same = shutil.copy(demo_model, tmp_path / "same.gguf")
    found = told(
        road, "compare", demo_candidate, same, "--against", demo_model, "--measures", "kld,tasks"
    )
    kld, _ppl, endings = found
    assert (kld["measure"], endings["measure"]) == ("kld", "Endings")
    assert kld["differs"]
    assert kld["difference"] > 0
    assert not endings["differs"]
    assert endings["test"].startswith("McNemar")


@pytest.mark.road
def test_tasks_and_texts_have_names_and_hashes(
    road: Road, hub: Hub, demo_candidate: Path, tmp_path: Path
) -> None:
    tasks = tmp_path / "choices.jsonl"
    questions = [{"question": f"One {i} is", "choices": ["a", "b"], "answer": 0} for i in range(5)]
    tasks.write_text("\n".join(json.dumps(question) for question in questions))
    client = Client(hub.url, SecretStr(hub.token))
    files = {"set/choices.jsonl": Built(path=str(tasks), bytes=1, sha256=sha256(tasks))}
    upload(client, open_private(client, "lab/tasks"), files, "Tasks")
    client.make_public("lab/tasks")
    entry = {
        "kind": "multiple-choice",
        "label": "Letters",
        "path": "set/choices.jsonl",
        "repository": "lab/tasks",
        "repository_type": "model",  # the local Hub has no datasets
        "commit": client.head("lab/tasks"),
        "sha256": sha256(tasks),
        "licence": "CC0",
        "count": 3,
    }
    chosen = {**FEW, "tasks": ["letters"]}
    road.settings(data={"letters": entry}, evaluation=chosen)
    found = told(road, "evaluate", demo_candidate, "--measures", "letters")
    (row,) = found["files"]
    assert row["scores"]["choices"][0]["tasks"] == 3
    (run,) = row["scores"]["runs"]
    assert run["data"]["sha256"] == entry["sha256"]
    assert "lab/tasks@" in run["data"]["origin"]
    assert run["data"]["origin"].endswith("CC0")
    road.settings(
        data={"letters": {**entry, "sha256": "0" * 64}},
        evaluation=chosen,
        workdir=str(tmp_path / "elsewhere"),
    )
    said = refused(road, 3, "evaluate", demo_candidate, "--measures", "letters")
    assert "another file than the settings name" in said
    entry.pop("commit")
    (road.folder / "bot.yaml").write_text(yaml.safe_dump({"data": {"letters": entry}}))
    assert "stand together" in refused(road, 3, "evaluate", demo_candidate, "--measures", "ppl")


@pytest.mark.long
def test_other_publishers_files_are_rows_shards_too(
    road: Road, hub: Hub, demo_model: Path, demo_candidate: Path, tmp_path: Path
) -> None:
    road.settings(evaluation=FEW)
    folder = tmp_path / "theirs"
    folder.mkdir()
    shards = split(demo_candidate, folder / "Tiny-UD-Q8_0.gguf", tensors=60)
    assert len(shards) > 1
    client = Client(hub.url, SecretStr(hub.token))
    files = {
        f"UD-Q8_0/{path.name}": Built(
            path=str(path), bytes=path.stat().st_size, sha256=sha256(path)
        )
        for path in shards
    }
    files["Tiny-BF16.gguf"] = Built(
        path=str(demo_model), bytes=demo_model.stat().st_size, sha256=sha256(demo_model)
    )
    upload(client, open_private(client, "lab/Tiny-GGUF"), files, "Release")
    client.make_public("lab/Tiny-GGUF")
    name = "lab/Tiny-GGUF:UD-Q8_0"
    found = told(road, "evaluate", name, "--against", demo_model, "--measures", "kld")
    (row,) = found["files"]
    assert row["name"] == "lab UD-Q8_0"
    assert row["publisher"] == f"lab/Tiny-GGUF@{client.head('lab/Tiny-GGUF')}"
    assert row["bytes"] == sum(path.stat().st_size for path in shards)
    whole = told(road, "evaluate", demo_candidate, "--against", demo_model, "--measures", "kld")
    assert divergence(found) == divergence(whole)  # the same weights in another form
    said = refused(road, 4, "evaluate", "lab/Tiny-GGUF:Q3_K", "--measures", "ppl")
    assert "0 models that fit 'Q3_K'" in said
    # as a row of a job's table, where the settings name it
    road.settings(evaluation={**FEW, "others": [name]})
    results = told(road, "evaluate", demo_model, "--profiles", "Compact")
    assert [other["name"] for other in results["others"]] == ["lab UD-Q8_0"]
    assert {(c["one"], c["other"]) for c in results["comparisons"]} == {("Compact", "lab UD-Q8_0")}
    path = next(road.folder.glob("work/jobs/*/release/results.json"))
    assert json.loads(path.read_text()) == results
    stored = told(road, "compare", "lab UD-Q8_0", "Compact", "--results", path)
    assert stored == results["comparisons"]


@pytest.mark.road
def test_other_peoples_numbers_are_imported_and_marked(road: Road, tmp_path: Path) -> None:
    path = tmp_path / "q8.json"
    path.write_text(json.dumps({"model": "Big-Q8_0", "size_gb": 30.3, "perplexity": 9.5368}))
    (row,) = told(road, "import", path)
    assert (row["name"], row["perplexity"]) == ("Big-Q8_0", 9.5368)
    shown = road.bot("import", str(path)).stdout
    assert "Measured by others" in shown
    assert refused(road, 3, "import", DEMO / "evaluation.txt")


@pytest.mark.road
def test_a_perplexity_in_another_models_tokens_is_another_number(
    road: Road, demo_model: Path, demo_candidate: Path, tmp_path: Path
) -> None:
    """A model's own is asked for afterwards, and is not the one that was measured first."""
    road.settings(evaluation={**SMALL, "chunks": 4})
    other = shared.with_other_tokens(demo_model, tmp_path / "other.gguf")
    measures = ("--measures", "ppl")
    foreign = told(road, "evaluate", demo_candidate, "--against", other, *measures)
    own = told(road, "evaluate", demo_candidate, *measures)
    found = [part["files"][0]["scores"]["perplexity"]["value"] for part in (foreign, own)]
    assert found[0] != found[1]
