"""Results as text: what is shown of which values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.cli.text import ending_text, model_text, scores_text, short_size
from bot.detect.inspection import look_at_folder
from bot.plan.profiles import load_profiles
from bot.publish.publication import Published
from bot.records.coding import to_json
from bot.records.findings import Finding
from bot.settings.sections import data_folder
from tests import headers
from tests.unit.card.samples import nine_tiers
from tests.unit.detect.test_inspection import indexed


def test_roles_told_by_words_are_shown(tmp_path: Path) -> None:
    model = headers.deepseek_v4()
    newer = [
        t for i in range(2) for t in headers.tensors({f"layers.{i}.attn.wq_c.weight": (512, 512)})
    ]
    indexed(tmp_path / "source", replace(model, tensors=[*model.tensors, *newer]))
    sight = look_at_folder(tmp_path / "source")
    assert "guessed" in model_text.sight_text(sight)
    assert len(model_text.sight_values(sight)["guessed"]) == 2


def test_true_bytes_and_each_precision_are_shown(tmp_path: Path) -> None:
    """Of DeepSeek-V4, whose config.json says FP8 of weights that have four bits."""
    model = headers.deepseek_v4()
    indexed(tmp_path / "source", model)
    profiles = load_profiles(data_folder("profiles"))
    sight = look_at_folder(tmp_path / "source", profiles=profiles)
    text, values = model_text.sight_text(sight), model_text.sight_values(sight)
    size = sum(tensor.bytes for tensor in model.tensors)
    assert f"stored      {size:,} bytes: MXFP4 " in text
    assert "scales " in text
    for word in ("as GGUF", "tiers", "disk"):
        assert f"\n{word} " in text
    assert values["architecture"]["source_bytes"] == size
    shares = values["architecture"]["source_shares"]
    assert shares[0]["precision"] == "MXFP4"
    assert sum(share["bytes"] for share in shares) == size
    assert values["foreseen"]["converted"] < 1.1 * size
    skipped = look_at_folder(tmp_path / "source", profiles=profiles, least_saving=0.99)
    assert skipped.decision.outcome == "no_gain"
    assert "quantize.least_saving" in model_text.sight_text(skipped)


def test_every_row_of_results_is_in_the_table_largest_first() -> None:
    results = nine_tiers()
    lines = scores_text.results_table(results).splitlines()
    names = [line.split()[0] for line in lines if (line.split() and "GB" in line) or "MB" in line]
    rows = (results.reference, *sorted(results.tiers, key=lambda row: -row.bytes))
    assert names[: len(rows)] == [row.name for row in rows]


@pytest.mark.parametrize(
    ("count", "text"), [(1_500, "1.5 kB"), (2_000_000, "2.0 MB"), (1_250_000_000, "1.2 GB")]
)
def test_bytes_are_shown_in_decimal_units(count: int, text: str) -> None:
    assert short_size.size(count) == text


PUBLISHED = Published(
    repo_id="me/M", url="http://hub/me/M", commit="0123456789abcdef", public=True,
    changed=("a", "b"), files=("a", "b", "c"), folder="/x",
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({}, "(public), 2 of 3 files in commit 0123456789ab, every hash verified"),
        ({"changed": ()}, "nothing to do: http://hub/me/M (public) already holds these 3 files"),
        ({"changed": (), "shown": True}, "is public now: 3 files, every hash verified"),
        ({"public": False, "waiting": "http://hub/1"}, "merge http://hub/1 to publish 3 files"),
        ({"reclaimed": 2_000_000}, "; 2.0 MB of replaced files given back"),
        ({"lacks": ("no projector",)}, "\nno projector"),
    ],
)
def test_how_a_publication_ended(changed: dict[str, Any], text: str) -> None:
    assert text in ending_text.published_text(replace(PUBLISHED, **changed))


def test_without_results_a_publication_is_told_all_the_same(tmp_path: Path) -> None:
    assert ending_text.ended_text(PUBLISHED, tmp_path / "none.json") == (
        ending_text.published_text(PUBLISHED)
    )
    measured = tmp_path / "results.json"
    measured.write_text(to_json(nine_tiers()))
    assert ending_text.ended_text(PUBLISHED, measured).startswith(
        scores_text.results_table(nine_tiers())
    )


def test_words_of_strangers_do_nothing_to_a_terminal() -> None:
    finding = Finding(name="hub", good=False, text="\x1b[2Jgone")
    assert ending_text.finding_line(finding).isprintable()
    lacking = replace(PUBLISHED, lacks=("\x1b[2J",))
    assert "\x1b" not in ending_text.published_text(lacking)
