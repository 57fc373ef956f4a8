"""What became of an order, for people; and the disk given back."""

from __future__ import annotations

from dataclasses import replace

from bot.jobs.orders import Sent
from bot.jobs.step_report import account
from tests.unit.jobs.test_orders import COMMIT, prepared


def test_the_report_says_what_became_of_each_tier() -> None:
    assert not account(None, None).good
    complete = frozenset({"I-Mini", "Mini"})
    told = account(prepared(), None, complete)
    assert not told.good
    assert "| Mini | 1 | complete, not published |" in told.text
    assert "| Quality | 2 | **failed or not reached** |" in told.text
    sent = Sent(
        key="c" * 64, repo_id="me/Model", url="http://hub/me/Model", commit=COMMIT,
        tiers=("I-Mini", "Mini", "Quality"), whole=True, files={"M.gguf": "f" * 64},
    )  # fmt: skip
    waiting = account(prepared(), replace(sent, waiting="http://hub/me/Model/discussions/1"))
    assert (waiting.good, waiting.waiting) == (False, True)
    assert "Merge http://hub/me/Model/discussions/1 to publish it" in waiting.text
    assert "| Mini | 1 | waits for a person |" in waiting.text
    good = account(prepared(), sent)
    assert (good.good, good.waiting) == (True, False)
    assert "[me/Model](http://hub/me/Model)" in good.text
    lost = account(prepared(), sent, complete, frozenset({"M.gguf"}))
    assert not lost.good
    assert "The Hub does not hold `M.gguf` as it was published." in lost.text
