"""The gate's looks at a file: what they find in it is kept, what the machine lacks is not."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.clients.llama.session import Session
from bot.disk.hashes import sha256
from bot.errors import BuildError, CapacityError
from bot.progress import Narrator
from bot.quantize import verify as looks
from bot.quantize.verify import sound
from bot.settings.settings import Settings
from bot.workplace.job import Job
from bot.workplace.planning import make_plan
from bot.workplace.workplace import Workplace
from tests.evaluation import with_nan, with_swapped_experts
from tests.models import model_of

TOO_LONG = 1 << 24  # tokens, which take 16 GiB
LITTLE = 8 << 30  # bytes of address space


@pytest.fixture
def little() -> Iterator[None]:
    """A process that is refused more memory than some."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (LITTLE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def job(tmp_path: Path, demo_model: Path) -> Job:
    llama = {"threads": 2, "gpu_layers": 0}
    settings = Settings.model_validate({"workdir": tmp_path / "work", "llama": llama})
    workplace = Workplace(settings, Narrator(quiet=True), None)
    return Job(workplace, make_plan(workplace, model_of(workplace, str(demo_model)), ("Compact",)))


@pytest.mark.road
@pytest.mark.usefixtures("little")
def test_want_of_memory_is_no_fact_about_a_file(
    job: Job, demo_candidate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier_file = ("Compact", demo_candidate, sha256(demo_candidate))
    with monkeypatch.context() as patched:
        patched.setattr(looks, "CONTEXT", TOO_LONG)
        with pytest.raises(CapacityError, match="free some memory"):
            sound(job, *tier_file)
    assert sound(job, *tier_file) == ("", None)


@pytest.mark.road
@pytest.mark.usefixtures("little")
def test_a_context_that_memory_does_not_hold_is_the_machines(demo_candidate: Path) -> None:
    with pytest.raises(CapacityError, match="no context of"):
        Session(demo_candidate, n_ctx=TOO_LONG, threads=1, gpu_layers=0)


def test_what_a_file_holds_is_kept_without_its_name(
    job: Job, demo_model: Path, tmp_path: Path
) -> None:
    broken = with_nan(demo_model, tmp_path / "Broken-I-Mini.gguf")
    at, wrong = sound(job, "Compact", broken, sha256(broken))
    assert at == "rows"
    assert wrong is not None
    assert "the file" in wrong
    assert "Broken" not in wrong
    assert str(tmp_path) not in wrong
    tier_file = ("Compact", broken, sha256(broken))
    broken.unlink()
    assert sound(job, *tier_file) == (at, wrong)  # known, wherever the file is by now


def test_a_file_that_is_gone_is_no_fact_either(job: Job, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="is gone"):
        sound(job, "Compact", tmp_path / "none.gguf", "0" * 64)


@pytest.mark.road
def test_an_expert_in_anothers_place_is_named(
    job: Job, demo_candidate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes text that is as good, and every row is valid: only the model itself tells."""
    name = "blk.7.ffn_down_exps.weight"
    swapped = with_swapped_experts(demo_candidate, tmp_path / "Swapped-I-Mini.gguf", name)
    at, wrong = sound(job, "Compact", swapped, sha256(swapped))
    assert at == "weights"
    assert wrong is not None
    assert wrong.startswith(f"the file: {name} expert ")
    assert "is not the 16-bit model's (and 1 more): " in wrong
    assert "rounding to Q8_0 takes 0.0003" in wrong
    gate = job.settings.gate.model_copy(update={"expert_rows": 0})
    unasked = job.settings.model_copy(update={"gate": gate})
    monkeypatch.setattr(job, "settings", unasked)
    assert sound(job, "Compact", swapped, sha256(swapped)) == ("", None)
