"""The prediction layers in a file of their own: made once, by a role of theirs, or left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bot.clients.files.gguf import read_gguf
from bot.plan.profiles import load_profiles
from bot.plan.recipe import make_recipe
from bot.quantize.prediction import prediction_file
from bot.settings.sections import data_folder
from bot.workplace.job import Job
from bot.workplace.planning import make_plan
from tests.models import model_of, workplace_in
from tests.mtp_models import demo_with_mtp

NAME = "mtp-Tiny-MoE-14M.gguf"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, demo_text: str) -> tuple[Path, Path]:
    return demo_with_mtp(tmp_path_factory.mktemp("mtp"), demo_text)


def job_of(folder: Path, model: Path, apart: Path | None, tiers: tuple[str, ...]) -> Job:
    workplace = workplace_in(folder)
    known = model_of(workplace, str(model))
    if apart is not None:
        known = replace(known, extras={NAME: apart})
    return Job(workplace, make_plan(workplace, known, tiers))


@pytest.mark.road
def test_it_is_made_once_by_the_largest_tiers_rules(
    tmp_path: Path, demo_model: Path, parts: tuple[Path, Path]
) -> None:
    job = job_of(tmp_path, demo_model, parts[1], ("I-Compact", "Quality"))
    made = prediction_file(job)
    assert made is not None
    assert Path(made.path).name == NAME
    types = {tensor.name: tensor.type for tensor in read_gguf(Path(made.path)).tensors}
    assert types["blk.8.nextn.eh_proj.weight"] == "Q6_K"  # attention at the edge, of Quality
    assert types["blk.8.ffn_down_exps.weight"] == "Q6_K"
    assert types["blk.8.nextn.enorm.weight"] == "F32"
    assert prediction_file(job) == made


def test_it_is_left_out_where_a_program_would_take_it(
    tmp_path: Path, demo_model: Path, parts: tuple[Path, Path]
) -> None:
    job = job_of(tmp_path, demo_model, parts[1], ("Quality",))
    assert prediction_file(job) is None


def test_a_model_without_layers_has_none(tmp_path: Path, demo_model: Path) -> None:
    assert prediction_file(job_of(tmp_path, demo_model, None, ("I-Compact",))) is None


def test_files_that_predict_say_so(tmp_path: Path, parts: tuple[Path, Path]) -> None:
    job = job_of(tmp_path, parts[0], None, ("I-Compact",))
    name = job.plan.model.name
    assert job.file_of(job.plan.recipes[0]).name == f"{name}-MTP-Q4_K_M-APEX-I-Compact.gguf"


def test_the_layers_have_a_role_in_profiles(parts: tuple[Path, Path], tmp_path: Path) -> None:
    job = job_of(tmp_path, parts[0], None, ("I-Compact",))
    model = job.plan.model
    (profile,) = load_profiles(data_folder("profiles"), ["I-Compact"])

    def types(prediction: str | None) -> dict[str, str]:
        own = profile.model_copy(update={"prediction": prediction})
        recipe = make_recipe(own, model.architecture, model.tensors)
        return {a.tensor: a.type for a in recipe.assignments if a.role == "MTP"}

    assert set(types("Q8_0").values()) == {"Q8_0", "F32"}
    assert types("Q8_0").keys() == types(None).keys()
    assert types(None)["blk.8.ffn_up_exps.weight"] != "Q8_0"
