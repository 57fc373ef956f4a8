"""Terms: presets, what stands over what, and which rule is whose."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from bot.errors import SettingsError
from bot.settings.policies import PRESETS, Policy, matches
from bot.settings.settings import load


@pytest.mark.parametrize(
    ("pattern", "repo_id", "found"),
    [
        ("Qwen", "Qwen/Qwen3", True),
        ("qwen/*", "Qwen/Qwen3", True),
        ("*/*-test", "maker/model-test", True),
        ("*/*-test", "maker/model-tested", False),
        ("Qwen", "QwenLM/Qwen3", False),
        ("*", "a/b", True),
        ("maker/model.1", "maker/modelx1", False),
    ],
)
def test_patterns(pattern: str, repo_id: str, found: bool) -> None:
    assert matches((pattern,), repo_id) is found


def test_the_first_rule_that_matches_changes_what_it_names() -> None:
    policy = Policy.model_validate(
        {
            "approval": True,
            "settle_hours": 3,
            "rules": [
                {"match": ["Qwen/*"], "approval": False, "tiers": ["I-Mini"]},
                {"match": ["*"], "settle_hours": 9},
            ],
        }
    )
    qwen, other = policy.terms("Qwen/X"), policy.terms("maker/X")
    assert (qwen.approval, qwen.settle_hours, qwen.tiers) == (False, 3, ("I-Mini",))
    assert (other.approval, other.settle_hours, other.tiers) == (True, 9, ())


def test_a_preset_stands_behind_the_section_and_its_rules_behind_its_rules(
    tmp_path: Path,
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("extends: recommended\nper_hour: 9\nrules: [{match: ['*'], likes: 3}]\n")
    policy = Policy.model_validate(
        {"extends": [str(own)], "settle_hours": 0, "rules": [{"match": ["a"], "likes": 7}]}
    )
    assert (policy.settle_hours, policy.per_hour, policy.merges) == (0, 9, False)
    assert [policy.terms(name).likes for name in ("a/x", "b/x")] == [7, 3]


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_every_preset_is_valid(preset: str) -> None:
    assert Policy.model_validate({"extends": preset}) != Policy()


def test_presets_that_go_in_a_circle_or_do_not_exist_are_said(tmp_path: Path) -> None:
    circle = tmp_path / "circle.yaml"
    circle.write_text(f"extends: ['{circle}']\n")
    with pytest.raises(ValidationError, match="circle"):
        Policy.model_validate({"extends": [str(circle)]})
    with pytest.raises(SettingsError, match="no preset; presets are cautious"):
        load(None, policy={"extends": ["bold"]})


def test_an_unknown_key_is_an_error() -> None:
    with pytest.raises(ValidationError, match=r"rules\.0\.aproval"):
        Policy.model_validate({"rules": [{"match": ["*"], "aproval": True}]})
