"""A recipe of others, taken as a tier: the very file that llama-quantize makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.fitting.sixteen import stored_tensors
from bot.quantize import tier_files
from bot.workplace.job import Job
from bot.workplace.planning import make_plan
from tests.llama_tools import run
from tests.models import model_of, workplace_in
from tests.split_gguf import shrink
from tests.unit.quantize.test_tier_files import write_matrix

RECIPE = "blk\\.(0|3)\\.=q6_k FFN_(up|gate)_exps=iq3_s\nffn_down_exps=q3_k attn=q5_k ^token=q8_0\n"


@pytest.mark.long
@pytest.mark.parametrize("base", ["Q4_K", "IQ2_S"])
def test_a_list_gives_the_file_of_llama_quantize(
    demo_model: Path, tmp_path: Path, base: str
) -> None:
    small, target = tmp_path / "small.gguf", tmp_path / "theirs.gguf"
    shrink(demo_model, small, layers=4, experts=3)
    matrix = write_matrix(tmp_path / "matrix.gguf", small)
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    (profiles / "list.txt").write_text(RECIPE)
    (profiles / "theirs.yaml").write_text(
        f"tier: Theirs\norder: 1\nabout: x\nbase: {base}\nimatrix: true\nrecipe: list.txt\n"
    )
    workplace = workplace_in(
        tmp_path,
        profiles=profiles,
        llama={"threads": 2, "gpu_layers": 0},
        calibration={"file": matrix},
        quantize={"stamp": False, "missing_share": 1.0},
    )
    job = Job(workplace, make_plan(workplace, model_of(workplace, str(small))))
    with job.paths.locked():
        (built,) = tier_files.make_tiers(job).values()
    given = ("--tensor-type-file", profiles / "list.txt", "--imatrix", job.paths.imatrix)
    run("llama-quantize", *given, small, target, {"Q4_K": "Q4_K_M"}.get(base, base), "2")
    ours, theirs = (stored_tensors(path) for path in (Path(built.path), target))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.kind == theirs[name].kind, name
        assert tensor.data.tobytes() == theirs[name].data.tobytes(), name
