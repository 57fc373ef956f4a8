"""What a card says of tiers that were fitted to a size, and the map of their types."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bot.card.fitted_section import fitted_section
from bot.plots.pictures import drawings_of
from bot.plots.plots import draw_plots
from bot.plots.type_words import inner_name, rows_of
from bot.records.results import Results
from bot.records.sensitivity import Fitted
from bot.settings.showing import CardSettings
from tests.unit.card.samples import nine_tiers, readme


def fitted(**values: object) -> Fitted:
    types = {
        f"blk.{n}.{part}.weight": kind
        for n in range(40)
        for part, kind in (("attn_q", "Q5_K"), ("ffn_up_exps", "IQ2_S" if n else "Q4_K"))
    }
    fit = Fitted(
        tier="Fit-I-Mini",
        asked_bytes=14_000_000_000,
        types=types | {"token_embd.weight": "Q6_K"},
        predicted=0.0312,
        measured=0.0298,
        error=0.0009,
        gap=4e-5,
        rounds=1,
        like="I-Mini",
        like_types=dict.fromkeys(types, "Q3_K"),
        like_bytes=14_000_000_000,
        like_measured=0.0412,
    )
    return replace(fit, **values)  # type: ignore[arg-type]  # by name, as the record has them


def with_fit(fit: Fitted) -> Results:
    return replace(nine_tiers(), fitted=(fit,))


def test_the_card_tells_how_types_were_chosen_and_what_that_gave() -> None:
    card = readme(with_fit(fitted()))
    section = card[card.index("## Fitted tiers") : card.index("## Architecture")]
    assert "0.02980 ± 0.00090" in section
    assert "I-Mini 0.04120" in section
    assert "28%" in section
    assert "0.01% or less from the best" in section
    assert "up to once." in section
    assert "Fitted tiers" not in readme(nine_tiers())


def test_a_tier_beside_which_nothing_stands_has_a_dash() -> None:
    fit = fitted(like=None, like_types={}, like_bytes=None, like_measured=None, rounds=0)
    section = fitted_section(with_fit(fit), CardSettings())
    assert section is not None
    assert [str(cell) for cell in section.table.rows[0][-2:]] == ["—", "—"]
    assert len(section.table.notes) == 1


def test_a_fit_that_roles_beat_says_so() -> None:
    card = readme(with_fit(fitted(by_roles=True)))
    assert "Fit-I-Mini: the types of the tier by roles, made to fit, measured better" in card


@pytest.mark.road
def test_the_map_has_a_row_for_each_tensor_of_a_layer(tmp_path: Path) -> None:
    results = with_fit(fitted())
    assert rows_of(results.fitted[0]) == ["token_embd", "attn_q", "ffn_up_exps"]
    (drawing,) = (each for each in drawings_of(results) if each.name == "types-Fit-I-Mini")
    assert "1 Q6_K, 40 Q5_K, 1 Q4_K, 39 IQ2_S tensors" in drawing.alt
    assert inner_name("blk.12.attn_q.weight") == "attn_q"
    assert draw_plots(results, tmp_path) == {}
    assert all(path.stat().st_size for path in drawing.paths(tmp_path))
