"""Recipes of others: read as llama-quantize reads them, in time that no pattern can stretch."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.plan.profiles import ListedProfile, load_profiles
from bot.plan.typelists import listed_types, read_patterns

NAMES = (
    "token_embd.weight",
    "blk.0.attn_q.weight",
    "blk.10.attn_q.weight",
    "blk.1.ffn_down.weight",
)


def types_by(path: Path, text: str) -> dict[str, str]:
    path.write_text(text)
    return listed_types(read_patterns(path), dict.fromkeys(NAMES, "Q4_K"))


def test_the_first_pattern_that_is_found_in_a_name_decides(tmp_path: Path) -> None:
    text = "blk\\.(0|1)\\.=q6_k ATTN_Q=IQ3_S\n\nattn=q8_0  ^token=Q5_K"
    assert types_by(tmp_path / "r.txt", text) == {
        "token_embd.weight": "Q5_K",
        "blk.0.attn_q.weight": "Q6_K",
        "blk.10.attn_q.weight": "IQ3_S",
        "blk.1.ffn_down.weight": "Q6_K",
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no list of 1 to"),
        ("attn_q", "is not PATTERN=TYPE"),
        ("=q4_k", "is not PATTERN=TYPE"),
        ("attn=q9_z", "is not PATTERN=TYPE"),
        ("attn==q4_k", "is not PATTERN=TYPE"),  # the tool, too, parts a word at its first sign
        ("(?=attn)=q4_k", "is not PATTERN=TYPE"),
        ("(?!attn)x=q4_k", "no pattern that RE2 knows"),
        ("(a)\\1=q4_k", "no pattern that RE2 knows"),
        ("(attn=q4_k", "no pattern that RE2 knows"),
        ("x" * 500 + "=q4_k", "is not PATTERN=TYPE"),
        ("a=q4_k " * 20_001, "no list of 1 to"),
    ],
)
def test_what_is_no_recipe_is_named(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        types_by(tmp_path / "r.txt", text)


def test_a_pattern_of_many_ways_takes_no_longer_than_another(tmp_path: Path) -> None:
    path = tmp_path / "r.txt"
    path.write_text("(a|a)*(a|aa)+(a*)*b$=q4_k " * 50)
    start = time.process_time()
    listed_types(read_patterns(path), dict.fromkeys((f"{'a' * n}c" for n in range(60)), "Q4_K"))
    assert time.process_time() - start < 60  # another engine takes longer than the sun


def test_a_profile_names_the_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "theirs.txt").write_text("ffn_down_exps=IQ2_S\n")
    head = "tier: Theirs\norder: 1\nabout: x\nbase: Q4_K\nrecipe: theirs.txt\n"
    (tmp_path / "theirs.yaml").write_text(head + "imatrix: true\n")
    (profile,) = load_profiles(tmp_path)
    assert isinstance(profile, ListedProfile)
    assert [(each.pattern, each.type) for each in profile.patterns] == [("ffn_down_exps", "IQ2_S")]
    (tmp_path / "theirs.yaml").write_text(head + "imatrix: false\n")
    with pytest.raises(SettingsError, match="IQ2_S needs an importance matrix"):
        load_profiles(tmp_path)
    (tmp_path / "theirs.yaml").write_text(
        head.replace("theirs.txt", "none.txt") + "imatrix: true\n"
    )
    with pytest.raises(SettingsError, match=r"none\.txt cannot be read"):
        load_profiles(tmp_path)
