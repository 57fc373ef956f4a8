"""The tiers of this repository, and profiles of somebody's own: read, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.plan.profiles import BASES, Profile, RolesProfile, load_profiles
from bot.plan.recipe import file_type
from bot.settings.sections import data_folder


@pytest.fixture(scope="module")
def profiles() -> dict[str, Profile]:
    return {profile.tier: profile for profile in load_profiles(data_folder("profiles"))}


def test_nine_tiers_in_order(profiles: dict[str, Profile]) -> None:
    assert list(profiles) == [
        *("Quality", "Balanced", "Compact", "I-Quality", "I-Balanced", "I-Compact"),
        *("I-Mini", "I-Nano", "I-Micro"),
    ]


def test_base_types_are_llama_cpps() -> None:
    import llama_cpp  # noqa: TID251 - the other opinion

    spelled = {"Q5_K": "Q5_K_M", "Q4_K": "Q4_K_M", "Q3_K": "Q3_K_M"}
    for base in BASES:
        name = f"LLAMA_FTYPE_MOSTLY_{spelled.get(base, base)}"
        assert file_type(base) == getattr(llama_cpp, name)


PROFILE = """
tier: Own
order: 1
about: Mine
base: Q6_K
imatrix: true
experts: {edge: q6_k, near: Q5_K, middle: iq2_s}
shared: Q8_0
attention: Q6_K
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tier: [", r":\d+ is not YAML"),
        ("just words", "profile: Input should be"),
        ("", "profile: Input should be"),
        (PROFILE.replace("base: Q6_K", "base: Q6_K\ncolour: red"), "colour: Extra inputs"),
        (PROFILE.replace("base: Q6_K", "base: Q9_K"), "base: "),
        (PROFILE.replace("Q8_0", "Q8_9"), "shared.edge: .*not a type of ggml"),
        (PROFILE.replace("imatrix: true", "imatrix: false"), "IQ2_S needs"),
        (PROFILE.replace("tier: Own", "tier: ../x"), "tier: "),
        ("\0", "is not YAML"),
        ("- " * 5000 + "x", "is not YAML|profile"),
        ("a: &a [*a]", "profile|is not YAML|Field required|Extra"),
    ],
)
def test_a_broken_profile_is_one_line_that_names_it(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(SettingsError, match=reason) as refused:
        load_profiles(tmp_path)
    assert "own.yaml" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_profiles_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has no profiles"):
        load_profiles(tmp_path)
    (tmp_path / "own.yaml").write_text(PROFILE)
    (own,) = load_profiles(tmp_path, ["OWN"])
    assert isinstance(own, RolesProfile)
    assert (own.experts.middle, own.shared.near, own.attention.edge) == ("IQ2_S", "Q8_0", "Q6_K")
    with pytest.raises(SettingsError, match="no tier 'mine'; choose from Own"):
        load_profiles(tmp_path, ["mine"])
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(SettingsError, match=r"folder\.yaml cannot be read"):
        load_profiles(tmp_path)
    (tmp_path / "folder.yaml").rmdir()
    (tmp_path / "twin.yaml").write_text((tmp_path / "own.yaml").read_text())
    with pytest.raises(SettingsError, match="two profiles of the tier own"):
        load_profiles(tmp_path)
