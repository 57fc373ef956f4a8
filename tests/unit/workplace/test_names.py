"""What a release will be called, and what is found wrong with it before anything is made."""

from __future__ import annotations

import pytest

from bot.errors import SettingsError, SourceError
from bot.plan.profiles import BASES, load_profiles
from bot.resolvers.hub_labels import hub_label, tier_label
from bot.resolvers.llamacpp import ambiguous, models
from bot.settings.sections import data_folder
from bot.settings.showing import PublishSettings
from bot.workplace import names

PROFILES = load_profiles(data_folder("profiles"))


BY_LABEL = PublishSettings(file="{name}-APEX-{label}.gguf")


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "NVIDIA-Nemotron-3-Nano-30B-A3B"),
        ("gpt-oss-120b-MXFP4", "gpt-oss-120b"),
        ("Model-30B-NVFP4-Instruct", "Model-30B-Instruct"),
        ("model_q4_k_m", "model"),
        ("UD-Q4_K_XL.Model", "Model"),
        ("Model-Q8_0-F16-00001-of-00002", "Model"),
        ("Model-fp16", "Model"),
        ("Qwen3.6-35B-A3B", "Qwen3.6-35B-A3B"),
    ],
)
def test_a_label_leaves_the_name_of_a_model(stem: str, name: str) -> None:
    assert names.name_of(stem) == name
    files = names.require_files(PublishSettings(), name, PROFILES)
    labelled = {file: label for file in files if (label := hub_label(file))}
    assert labelled == {f"{name}-Q4_K_M-APEX-I-Compact.gguf": "Q4_K_M"}  # the default tier's
    assert (names.labels_in(stem) is None) == (names.BESIDE.sub("", stem) == name)


@pytest.mark.parametrize(
    "stem", ["0" * 64, "sha256-" + "ab" * 32, "ef" * 20, "BF16", "-", "Q8_0-F16"]
)
def test_a_hash_or_a_type_is_no_name(stem: str) -> None:
    with pytest.raises(SourceError, match="--name"):
        names.name_of(stem)


@pytest.mark.parametrize("base", BASES)
def test_every_tier_has_a_label_of_its_own(base: str) -> None:
    labels = {tier_label(base, profile.tier) for profile in PROFILES}
    assert len(labels) == len(PROFILES)
    for label in labels:
        file = f"Model-30B-A3B-APEX-{label}.gguf"
        assert hub_label(file) == label
        assert hub_label(f"Model-30B-A3B-APEX-{label}-00001-of-00002.gguf") == label


def test_files_by_label_are_told_apart_even_with_a_label_in_the_name() -> None:
    for name in ("Model", "Model-BF16"):
        files = names.require_files(BY_LABEL, name, PROFILES)
        assert ambiguous(files) == []
        assert models(files) == sorted(files)


@pytest.mark.parametrize(
    ("template", "name", "reason"),
    [
        ("{name}-{tier}.gguf", "Model-BF16", "would all be called BF16 on the Hub"),
        ("{name}-{tier}.gguf", "my-imatrix", "for a part of a model"),
        ("mmproj-{name}-{tier}.gguf", "m", "for a part of a model"),
        ("{name}-{tier}.gguf", "m" * 190, "is no name of a file on every Hub"),
        ("{name}-{tier}.gguf", "a:b", "is no name of a file on every Hub"),
        ("-{name}-{tier}.gguf", "m", "would be an option"),
    ],
)
def test_names_that_programs_would_take_for_something_else(
    template: str, name: str, reason: str
) -> None:
    with pytest.raises(SettingsError, match=reason):
        names.require_files(PublishSettings(file=template), name, PROFILES)


@pytest.mark.parametrize("name", ["My Model (v2)", "m" * 90, "a--b", "a..b", "modèle", "-m", "a/b"])
def test_a_target_that_no_hub_takes_is_refused(name: str) -> None:
    with pytest.raises(SourceError, match="is no name on a Hub"):
        names.target(PublishSettings(), name, "alice")
