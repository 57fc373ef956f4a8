"""Why a release was decided as it was: from what the ledger kept, without a request."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bot.clients.hub.replies import Listed
from bot.detect.listed import ListedFacts, packed
from bot.errors import SourceError
from bot.progress import Narrator
from bot.settings.settings import load
from bot.store.pruning import prune
from bot.store.queue import Queue
from bot.store.sightings import Decided, Sightings
from bot.watcher.explaining import (
    explanation_json,
    explanation_text,
    past_json,
    past_line,
    why_decided,
)
from bot.workplace.workplace import Workplace

AT = 1_790_000_000.0  # 2026-09-21 14:13:20 UTC
REPO = "lab/Model-LoRA"
LISTED = Listed(
    repo_id=REPO, commit="c" * 40, created_at="2026-01-01T00:00:00Z", last_modified=None,
    private=False, gated=False, disabled=False, tags=("peft", "x\x1b[2J"), pipeline_tag=None,
    library="peft", model_type="qwen3_moe", architectures=(), quant_method=None, likes=7,
)  # fmt: skip
DECIDED = Decided(
    repo=REPO, commit="c" * 40, kind="skip", outcome="adapter", reason="an adapter", until=None,
    look_at=None, weights=None, weights_at=None,
    facts=packed(ListedFacts(listed=LISTED)) | {"policy": float("inf")},
)  # fmt: skip


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(load(workdir=tmp_path / "work"), Narrator(quiet=True), None)


def test_the_last_decision_and_what_it_rested_on(workplace: Workplace) -> None:
    sightings = Sightings(workplace.ledger)
    sightings.record([replace(DECIDED, kind="wait", outcome="unpopular", reason="few likes")], AT)
    sightings.record([DECIDED], AT + 1)
    Queue(workplace.ledger).say(AT, "ignored", "by hand", REPO)
    explained = why_decided(workplace, REPO)
    assert [past.outcome for past in explained.decisions] == ["unpopular", "adapter"]
    text = explanation_text(explained)
    assert "few likes" in text.splitlines()[0]
    assert "  likes      7" in text
    assert "with today's settings, the same: Skip" in text
    assert text.splitlines()[-1].endswith("ignored  by hand")
    assert "\x1b" not in text
    document = json.loads(explanation_json(explained))
    assert document["facts"]["listed"]["likes"] == 7
    assert document["facts"]["policy"] is None  # no number of JSON


def test_today_s_policy_may_decide_otherwise(tmp_path: Path, workplace: Workplace) -> None:
    Sightings(workplace.ledger).record([DECIDED], AT)
    settings = load(workdir=tmp_path / "work", watch={"owners": ["others"]})
    explained = why_decided(Workplace(settings, Narrator(quiet=True), None), REPO)
    assert not explained.same
    assert "with today's settings, another: Skip" in explanation_text(explained)


def test_what_was_never_seen_or_is_forgotten_is_said(workplace: Workplace) -> None:
    with pytest.raises(SourceError, match="was never seen; `bot watch --once`"):
        why_decided(workplace, REPO)
    sightings = Sightings(workplace.ledger)
    sightings.record([DECIDED], AT)
    prune(workplace.ledger, AT + 1)
    with pytest.raises(SourceError, match=r"older than watch\.keep_days; `bot retry"):
        why_decided(workplace, REPO)


def test_a_decision_on_a_line_and_as_json(workplace: Workplace) -> None:
    sightings = Sightings(workplace.ledger)
    sightings.record([DECIDED], AT)
    [past] = sightings.history(REPO)
    assert past_line(past).endswith(f"skip   {REPO}@cccccccc  an adapter")
    assert past_json(past)["at"].startswith("2026-09-2")
    assert past_json(past)["until"] is None
