"""Files of a job's tiers: made in one pass, known again, given back, made from a ready matrix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bot.clients.files import gguf
from bot.clients.llama.observer import Stats
from bot.disk.hashes import sha256
from bot.errors import RefusedError, SourceError
from bot.kernels.choice import Kernels
from bot.quantize import imatrix, tier_files
from bot.workplace.job import Job
from bot.workplace.planning import make_plan
from tests.models import model_of, workplace_in
from tests.split_gguf import shrink

TIERS = ("Compact", "Quality")
MakeJob = Callable[..., Job]


@pytest.fixture(scope="module")
def small(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for passes of a second."""
    path = tmp_path_factory.mktemp("small") / "small.gguf"
    shrink(demo_model, path, layers=2, experts=3)
    return path


@pytest.fixture
def make_job(small: Path, tmp_path: Path) -> MakeJob:
    """Jobs in one workplace: the same tiers and settings give the same job."""

    def make(tiers: tuple[str, ...] = TIERS, **settings: object) -> Job:
        llama = {"threads": 2, "gpu_layers": 0}
        workplace = workplace_in(tmp_path, llama=llama, **settings)
        return Job(workplace, make_plan(workplace, model_of(workplace, str(small)), tiers))

    return make


def write_matrix(path: Path, model: Path, tensors: int | None = None) -> Path:
    """A made-up importance matrix of the first weights of a model's layers."""
    weights = [
        tensor
        for tensor in gguf.read_gguf(model).tensors
        if tensor.type == "BF16" and tensor.name.startswith("blk.")
    ]
    statistics = {}
    for tensor in weights[:tensors]:
        experts = tensor.shape[2] if len(tensor.shape) > 2 else 1
        sums = np.ones((experts, tensor.shape[0]), np.float32)
        statistics[tensor.name] = Stats(sums, np.ones(experts, np.int64))
    imatrix.write_matrix(path, statistics, ["made-up.txt"], 3, 512)
    return path


def test_tiers_are_made_once_and_known_again(make_job: MakeJob) -> None:
    job = make_job()
    assert tier_files.known_tier(job, "Compact") is None
    built = tier_files.make_tiers(job)
    assert set(built) >= set(TIERS)
    for tier in TIERS:
        path = Path(built[tier].path)
        assert (built[tier].bytes, built[tier].sha256) == (path.stat().st_size, sha256(path))
        assert gguf.read_gguf(path).get("apex.tier") == tier
    again = make_job()
    assert tier_files.known_tier(again, "Compact") == built["Compact"]
    before = Path(built["Compact"].path).stat().st_mtime_ns
    assert tier_files.make_tiers(again) == built
    assert Path(built["Compact"].path).stat().st_mtime_ns == before


def test_kernels_come_ahead_of_a_pass_unless_one_has_to_be_compiled(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[str]()
    monkeypatch.setattr(Kernels, "kernel", lambda _self, kind: asked.append(kind))
    for tried in (False, True):
        monkeypatch.setattr(Kernels, "tried", lambda _self, _kinds, answer=tried: answer)
        tier_files.load_kernels(make_job())
        assert bool(asked) == tried
    recipes = make_job().plan.distinct
    assert asked == sorted({one.type for recipe in recipes for one in recipe.assignments})
    tier_files.make_tiers(make_job())
    asked.clear()
    tier_files.load_kernels(make_job())
    assert asked == [], "all is made"


def test_of_some_tiers_only_these_are_made(make_job: MakeJob) -> None:
    job = make_job()
    assert list(tier_files.quantize_some(job, ["Quality"])) == ["Quality"]
    assert tier_files.known_tier(job, "Compact") is None


def test_a_tier_that_was_sent_counts_as_made_until_it_is_lost(make_job: MakeJob) -> None:
    job = make_job(("Compact",))
    built = tier_files.make_tiers(job)["Compact"]
    assert not tier_files.is_free(job, "Compact")
    tier_files.free_tier(job, "Compact", built)
    assert not Path(built.path).exists()
    assert tier_files.known_tier(job, "Compact") == built
    assert tier_files.is_free(job, "Compact")
    tier_files.lose(job, "Compact")
    assert tier_files.known_tier(job, "Compact") is None
    assert tier_files.make_tiers(job)["Compact"] == built


@pytest.mark.parametrize(
    ("together", "groups"),
    [
        (None, [("Quality", "Compact"), ("I-Compact",)]),
        (1, [("Quality",), ("Compact",), ("I-Compact",)]),
    ],
)
def test_passes_without_a_matrix_come_first(
    make_job: MakeJob, together: int | None, groups: list[tuple[str, ...]]
) -> None:
    job = make_job(("I-Compact", *TIERS), quantize={"together": together})
    assert tier_files.passes(job.plan, job.settings.quantize.together) == groups


def test_a_ready_matrix_is_used_and_named_in_the_file(
    make_job: MakeJob, small: Path, tmp_path: Path
) -> None:
    job = make_job(("I-Compact",), calibration={"file": write_matrix(tmp_path / "own", small)})
    files = tier_files.tier_files_of(job, write_matrix(tmp_path / "ready", small))
    header = gguf.read_gguf(Path(files.files["I-Compact"].path))
    assert header.get("quantize.imatrix.dataset") == "made-up.txt"
    assert [recipe.tier for recipe in files.recipes if not recipe.plain] == ["I-Compact"]


def test_a_matrix_of_another_model_is_refused_before_a_file_is_begun(
    make_job: MakeJob, tmp_path: Path
) -> None:
    job = make_job(("I-Compact",))
    other = tmp_path / "other.gguf"
    statistics = {"blk.0.other.weight": Stats(np.ones((1, 4), np.float32), np.ones(1, np.int64))}
    imatrix.write_matrix(other, statistics, (), 3, 512)
    with pytest.raises(SourceError, match="knows no tensor of this model"):
        tier_files.make_tiers(job, other)
    assert not job.file_of(job.plan.distinct[0]).exists()


def test_a_matrix_that_lacks_too_much_is_refused(
    make_job: MakeJob, small: Path, tmp_path: Path
) -> None:
    job = make_job(("I-Compact",))
    with pytest.raises(RefusedError, match=r"I-Compact: no calibration data of .*missing_share"):
        tier_files.make_tiers(job, write_matrix(tmp_path / "few", small, tensors=1))
