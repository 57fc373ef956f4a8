"""What each program takes of a repository: alone, by a tag, by a file's name."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bot.resolvers.llamacpp import beside
from bot.resolvers.localai import localai_address, localai_file, localai_projector
from bot.resolvers.programs import PROGRAMS

NAME = "Tiny-MoE-14M"
LONG = "Some-Very-Long-Winded-Model-Name-of-Seventy-Characters-35B-A3B-2507-IT"
TEXTS = ("README.md", "SHA256SUMS", "imatrix.gguf_file", "results.json", "plots/size-vs-kld.svg")
BY_NAME = {program.name: program for program in PROGRAMS}


def release(name: str, *more: str) -> tuple[str, ...]:
    """The files of a release of ours with the usual names."""
    tiers = [f"{name}-APEX-{tier}.gguf" for tier in ("Balanced", "I-Balanced", "I-Mini", "Quality")]
    return (*tiers, f"{name}-Q4_K_M-APEX-I-Compact.gguf", *TEXTS, *more)


DEMO = release(NAME)
BESIDE = release(NAME, "mmproj.gguf", f"mtp-{NAME}.gguf")
SHARDED = tuple(
    path if not path.endswith(".gguf") else f"{path.removesuffix('.gguf')}-{n:05d}-of-00002.gguf"
    for path in release(NAME)
    for n in ((1, 2) if path.endswith(".gguf") else (1,))
)
LONG_NAMED = release(LONG)
FIRST = f"{NAME}-Q4_K_M-APEX-I-Compact-00001-of-00002.gguf"
COMPACT = f"{NAME}-Q4_K_M-APEX-I-Compact.gguf"
LONG_COMPACT = f"{LONG}-Q4_K_M-APEX-I-Compact.gguf"


@pytest.mark.parametrize(
    ("program", "paths", "taken"),
    [
        (program, paths, taken)
        for paths, taken in (
            (DEMO, COMPACT), (BESIDE, COMPACT), (SHARDED, FIRST), (LONG_NAMED, LONG_COMPACT),
        )
        for program in ("LocalAI", "llama.cpp", "Ollama", "the Hub's commands")
        if not (program == "Ollama" and paths == SHARDED)
    ],
)  # fmt: skip
def test_the_repository_alone_gives_the_default_tier(
    program: str, paths: Sequence[str], taken: str
) -> None:
    assert BY_NAME[program].alone("me/model", paths).path == taken


def test_shards_are_nothing_to_ollama() -> None:
    assert BY_NAME["Ollama"].alone("me/model", SHARDED).path is None
    assert BY_NAME["Ollama"].named("me/model", SHARDED, FIRST).path is None


@pytest.mark.parametrize("paths", [DEMO, BESIDE, LONG_NAMED])
@pytest.mark.parametrize("tier", ["Balanced", "I-Balanced", "I-Mini", "Quality", "I-Compact"])
def test_a_file_is_taken_by_its_name(paths: Sequence[str], tier: str) -> None:
    (file,) = (path for path in paths if path.endswith(f"-APEX-{tier}.gguf"))
    for program in PROGRAMS:
        taken = program.named("me/model", paths, file)
        too_long = program.name == "Ollama" and len(file) > 80 and tier != "I-Compact"
        assert taken.path == (None if too_long else file), program.name
        assert taken.path or taken.why


def test_a_tag_is_a_tier_to_llama_cpp_and_a_label_to_ollama() -> None:
    llama, ollama = BY_NAME["llama.cpp"], BY_NAME["Ollama"]
    assert llama.tagged("me/model", DEMO, "I-Mini").path == f"{NAME}-APEX-I-Mini.gguf"
    assert llama.tagged("me/model", DEMO, "q4_k_m").path == COMPACT
    assert ollama.tagged("me/model", DEMO, "Q4_K_M").path == COMPACT
    assert ollama.tagged("me/model", DEMO, "I-Mini").path is None
    assert not BY_NAME["LocalAI"].tagged("me/model", DEMO, "Q4_K_M").path


# ── LocalAI ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("paths", "taken"),
    [
        # of a release as it was called before: the importance matrix is the last
        ((f"{NAME}-APEX-I-Mini.gguf", f"{NAME}-APEX-Quality.gguf", "imatrix.gguf"), "imatrix.gguf"),
        ((f"{NAME}-APEX-I-Mini.gguf", f"mtp-{NAME}.gguf"), f"mtp-{NAME}.gguf"),
        (("a-Q4_K_M.gguf", "b-q4_k_m.gguf", "c.gguf"), "a-Q4_K_M.gguf"),
        (("m-UD-Q4_K_M_XL.gguf", "m-Q2_K.gguf"), "m-UD-Q4_K_M_XL.gguf"),  # the last
        (("mQ4_K_M.gguf", "z.gguf"), "z.gguf"),  # no word of its own
        (("m-Q4_K_MX.gguf", "z.gguf"), "z.gguf"),
        (("m.Q4_K_M.gguf", "z.gguf"), "m.Q4_K_M.gguf"),
        (("MMPROJ-q4_k_m.GGUF", "m.gguf"), "m.gguf"),
        (("m-00002-of-00002.gguf", "m-00001-of-00002.gguf"), "m-00001-of-00002.gguf"),
        (("a/m.gguf", "README.md"), "a/m.gguf"),
        (("a/b/c.gguf", "m.gguf"), None),  # a folder in a folder
        (("README.md",), None),
        ((), None),
    ],
)
def test_localai_takes_a_preferred_word_or_the_last(
    paths: Sequence[str], taken: str | None
) -> None:
    assert localai_file(paths) == taken


def test_localais_projector_is_the_fp16_or_the_last() -> None:
    assert localai_projector(("m.gguf", "mmproj-BF16.gguf", "mmproj-fp16.gguf")) == (
        "mmproj-fp16.gguf"
    )
    assert localai_projector(("mmproj-BF16.gguf", "mmproj-F16.gguf")) == "mmproj-F16.gguf"
    assert localai_projector(("m.gguf",)) is None


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("M-I-Mini.gguf", "huggingface://me/model/M-I-Mini.gguf"),
        ("a/M.gguf", "huggingface://me/model/a/M.gguf"),
        ("M@v2.gguf", None),
        ("M%20.gguf", None),
        ("M v2.gguf", None),
        ("M.GGUF", None),
        ("imatrix.gguf_file", None),
    ],
)
def test_an_address_of_localais_names_the_file(path: str, address: str | None) -> None:
    assert localai_address("me/model", path) == address


# ── llama.cpp's parts beside a model ────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("paths", "model", "kind", "taken"),
    [
        (BESIDE, COMPACT, "mmproj", "mmproj.gguf"),
        (BESIDE, COMPACT, "mtp-", f"mtp-{NAME}.gguf"),
        (DEMO, COMPACT, "mtp-", None),
        (("mmproj-BF16.gguf", "mmproj-Q8_0.gguf"), "m-Q6_K.gguf", "mmproj", "mmproj-Q8_0.gguf"),
        (("a/mmproj.gguf", "mmproj.gguf"), "a/m.gguf", "mmproj", "a/mmproj.gguf"),
        (("b/mmproj.gguf",), "a/m.gguf", "mmproj", None),
        (("mmproj-F16.gguf", "mmproj-F32.gguf"), "m.gguf", "mmproj", "mmproj-F16.gguf"),
    ],
)
def test_llama_cpp_takes_the_nearest_part(
    paths: Sequence[str], model: str, kind: str, taken: str | None
) -> None:
    assert beside(paths, model, kind) == taken
