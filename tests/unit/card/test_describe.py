"""All that is published of a job: names, hashes, recipes for llama-quantize, a sound card."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bot.card import describe
from bot.disk.hashes import sha256
from bot.disk.writing import keep_text
from bot.records.built import Built
from bot.records.coding import to_json
from bot.records.results import Results
from bot.wording.blocks import sections
from bot.workplace.job import Job
from bot.workplace.planning import make_plan
from tests.models import model_of, workplace_in
from tests.unit.card.samples import REPO, nine_tiers

pytestmark = pytest.mark.road

TIERS = ("I-Compact", "Compact")
PLOTS = [f"plots/{name}{end}" for name in ("size-vs-kld", "size-vs-ppl", "kl-max", "accuracy")
         for end in (".png", "-dark.png", ".svg")]  # fmt: skip


def results_of(names: tuple[str, ...] = TIERS) -> Results:
    """Measured values of two tiers."""
    full = nine_tiers()
    return replace(full, tiers=tuple(row for row in full.tiers if row.name in names))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Job:
    """A job whose tiers are planned, and measured elsewhere."""
    workplace = workplace_in(tmp_path_factory.mktemp("describe"))
    job = Job(workplace, make_plan(workplace, model_of(workplace, str(demo_model)), TIERS))
    job.paths.release.mkdir(parents=True)
    keep_text(job.paths.results, to_json(results_of()))
    return job


@pytest.fixture(scope="module")
def files(job: Job) -> dict[str, Built]:
    return describe.written(job, results_of(), job.plan.recipes, REPO)


OTHERS = ("imatrix.gguf_file", "localai-gallery.yaml", "fits.json")


def test_everything_that_is_published_has_its_path_and_hash(files: dict[str, Built]) -> None:
    tiers = {row.file for row in results_of().tiers}
    texts = {"results.json", "provenance.json", "SHA256SUMS", "README.md"}
    recipes = {f"recipes/{tier}.txt" for tier in TIERS}
    assert set(files) == {*tiers, *texts, *recipes, *PLOTS, *OTHERS}
    assert list(files)[-1] == "README.md", "the card tells of all others"
    for path in {*texts, *recipes, *PLOTS}:
        file = Path(files[path].path)
        assert (files[path].bytes, files[path].sha256) == (file.stat().st_size, sha256(file))


def test_sums_are_those_of_every_file_but_the_card(job: Job, files: dict[str, Built]) -> None:
    lines = job.paths.sums.read_text().splitlines()
    assert {line.split("  ")[1] for line in lines} == set(files) - {"README.md", "SHA256SUMS"}
    made_here = [line for line in lines if not line.endswith((".gguf", ".gguf_file"))]
    subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet"],
        cwd=job.paths.release, input="\n".join(made_here) + "\n", text=True, check=True,
    )  # fmt: skip


def test_recipes_name_each_tensor_that_gets_a_type(job: Job, files: dict[str, Built]) -> None:
    """As llama-quantize takes them: a regular expression of a name, and a type."""
    names = {tensor.name for tensor in job.plan.model.tensors}
    for tier in TIERS:
        lines = Path(files[f"recipes/{tier}.txt"].path).read_text().splitlines()
        assert any("ffn_down_exps" in line for line in lines)
        for line in lines:
            pattern, _, kind = line.rpartition("=")
            assert len([name for name in names if re.search(pattern, name)]) == 1
            assert re.fullmatch(r"[A-Z0-9_]+", kind)


def test_provenance_has_the_hash_of_each_file_that_was_there(files: dict[str, Built]) -> None:
    statement = json.loads(Path(files["provenance.json"].path).read_text())
    hashes = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    later = {"provenance.json", "SHA256SUMS", "README.md"}
    assert hashes == {path: file.sha256 for path, file in files.items() if path not in later}


def test_the_card_is_in_blocks_and_sound(job: Job, files: dict[str, Built]) -> None:
    card = Path(files["README.md"].path).read_text()
    names = [name for name, _ in sections(card)]
    assert names[0] == "top"
    assert {"benchmark-results", "available-files", "provenance"} <= set(names)
    assert all(row.file in card for row in results_of().tiers)
    assert describe.wrong(job, results_of(), files, REPO) is None


def test_done_again_it_is_the_same(job: Job, files: dict[str, Built]) -> None:
    assert describe.written(job, results_of(), job.plan.recipes, REPO) == files


def test_an_error_on_the_card_is_told_with_its_rule(job: Job, files: dict[str, Built]) -> None:
    tier = results_of().tiers[0].file
    short = {**files, tier: replace(files[tier], bytes=7)}
    error_text = describe.wrong(job, results_of(), short, REPO)
    assert error_text is not None
    assert error_text.startswith(f"{tier}: has 7 bytes")
    assert error_text.endswith("(size-differs)")


@pytest.mark.road
def test_a_plot_that_cannot_be_drawn_is_left_out_and_told(tmp_path: Path, demo_model: Path) -> None:
    """No axis can show a perplexity of the largest number; all else is described."""
    workplace = workplace_in(tmp_path)
    job = Job(workplace, make_plan(workplace, model_of(workplace, str(demo_model)), ("Compact",)))
    job.paths.release.mkdir(parents=True)
    results = results_of(("Compact",))
    (row,) = results.tiers
    perplexity = row.scores.perplexity
    assert perplexity is not None
    wild = replace(row.scores, perplexity=replace(perplexity, value=1.7e308))
    results = replace(results, tiers=(replace(row, scores=wild),))
    keep_text(job.paths.results, to_json(results))
    files = describe.written(job, results, job.plan.recipes, REPO)
    assert "plots/size-vs-kld.png" in files
    assert "plots/size-vs-ppl.png" not in files
    (line,) = job.lacks
    assert line.startswith("without its plot size-vs-ppl: ")
    assert "size-vs-ppl" not in Path(files["README.md"].path).read_text()
