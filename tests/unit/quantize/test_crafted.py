"""One changed number in a file: llama.cpp may crash, the bot says so in a line of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.clients.files.ggufheader import read_header
from bot.errors import BotError, BuildError, SourceError
from bot.evaluate.bench import Bench
from bot.evaluate.subject import Subject
from bot.progress import Narrator
from bot.quantize import calibrating
from bot.quantize.verify import verify_file
from bot.settings.settings import Settings
from bot.workplace.job import Job, tools_of
from bot.workplace.planning import make_plan
from bot.workplace.workplace import Workplace
from tests import crafted
from tests.models import model_of

ARCH = "qwen35moe"
FEW = {"context": 128, "chunks": 4}
CRASHES = [
    (f"{ARCH}.block_count", 0),
    (f"{ARCH}.block_count", 1 << 31),
    (f"{ARCH}.expert_count", 1),
    (f"{ARCH}.expert_count", None),
    (f"{ARCH}.expert_used_count", 0),
    (f"{ARCH}.ssm.inner_size", 1),
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    llama = {"threads": 1, "gpu_layers": 0}
    return Settings.model_validate(
        {
            "workdir": tmp_path / "work",
            "llama": llama,
            "evaluation": FEW,
            "calibration": FEW,
            "demo_texts": True,
        }
    )


def verified(path: Path, settings: Settings) -> None:
    for _ in verify_file(path, settings, Narrator(quiet=True), run=True):
        pass


def refused(path: Path, settings: Settings) -> str | None:
    """What the bot says of a file; None where it finds nothing wrong."""
    try:
        verified(path, settings)
    except BotError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("key", "number"),
    [CRASHES[0], *(pytest.param(*one, marks=pytest.mark.road) for one in CRASHES[1:])],
)
def test_a_crash_of_llama_is_an_error_that_names_the_file(
    demo_candidate: Path, tmp_path: Path, settings: Settings, key: str, number: int | None
) -> None:
    path = crafted.changed(demo_candidate, tmp_path / "crafted.gguf", key, number)
    with pytest.raises(BuildError, match=r"llama\.cpp crashed on crafted\.gguf \(.*GGML_ASSERT"):
        verified(path, settings)


@pytest.mark.parametrize(
    ("key", "number"),
    [
        (f"{ARCH}.embedding_length", 1),
        (f"{ARCH}.attention.head_count", 0),
        (f"{ARCH}.attention.head_count_kv", 1 << 31),
        (f"{ARCH}.rope.dimension_count", None),
        (f"{ARCH}.ssm.inner_size", None),
        ("tokenizer.ggml.eos_token_id", None),
    ],
)
def test_other_numbers_end_in_an_error_of_ours_or_in_none(
    demo_candidate: Path, tmp_path: Path, settings: Settings, key: str, number: int | None
) -> None:
    path = crafted.changed(demo_candidate, tmp_path / "crafted.gguf", key, number)
    error_text = refused(path, settings)
    assert error_text is None or "crafted" in error_text


@pytest.mark.parametrize(
    ("field", "number"), [("shape", 0), ("shape", 1 << 31), ("type", 39), ("offset", 1 << 40)]
)
def test_entries_of_tensors_are_refused_before_llama_sees_them(
    demo_candidate: Path, tmp_path: Path, settings: Settings, field: str, number: int
) -> None:
    tensor = "blk.0.ffn_down_exps.weight"
    path = crafted.entry(demo_candidate, tmp_path / "crafted.gguf", tensor, field, number)
    with pytest.raises(SourceError, match="crafted"):
        verified(path, settings)


@pytest.mark.road
def test_whatever_opens_such_a_source_says_so(
    demo_model: Path, tmp_path: Path, settings: Settings
) -> None:
    path = crafted.changed(demo_model, tmp_path / "crafted.gguf", f"{ARCH}.expert_used_count", 0)
    workplace = Workplace(settings, Narrator(quiet=True), None)
    subject = Subject(name="crafted", path=path, bytes=path.stat().st_size, sha256="0" * 64)
    bench = Bench(workplace, tools_of(settings), subject)
    with pytest.raises(BuildError, match=r"llama\.cpp crashed on crafted\.gguf"):
        bench.perplexity(subject)
    with pytest.raises(BuildError, match=r"llama\.cpp crashed on crafted\.gguf"):
        bench.speed(subject)
    path = crafted.changed(demo_model, tmp_path / "crafted.gguf", f"{ARCH}.ssm.inner_size", 1)
    job = Job(workplace, make_plan(workplace, model_of(workplace, str(path)), ("I-Compact",)))
    with pytest.raises(BuildError, match=r"llama\.cpp crashed on crafted\.gguf"):
        calibrating.job_matrix(job)


@pytest.mark.long
def test_every_number_of_a_file_at_its_extremes(
    demo_candidate: Path, tmp_path: Path, settings: Settings
) -> None:
    """With some numbers llama.cpp computes for ever: who waits for a step forward ends it."""
    impatient = settings.llama.model_copy(update={"patience_hours": 0.005})
    settings = settings.model_copy(update={"llama": impatient})
    crashed = 0
    for key in crafted.numbers(read_header(demo_candidate)):
        for number in crafted.EXTREMES:
            path = crafted.changed(demo_candidate, tmp_path / "crafted.gguf", key, number)
            error_text = refused(path, settings)
            assert error_text is None or "crafted" in error_text, (key, number)
            crashed += "crashed on" in (error_text or "")
    assert crashed > len(CRASHES)
