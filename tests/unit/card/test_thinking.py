"""The switch for thinking is named where the chat template knows one."""

from __future__ import annotations

from tests.unit.card.samples import nine_tiers, readme


def test_the_switch_is_named_where_there_is_one() -> None:
    assert "`--reasoning off` or `on` for llama-server" in readme(nine_tiers(), thinking=True)
    assert "--reasoning" not in readme(nine_tiers())
