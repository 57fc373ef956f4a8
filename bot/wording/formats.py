"""Numbers as the card writes them; nothing here rounds further than its own digits."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from math import ceil, floor, isfinite, log10
from typing import Literal

MISSING = "—"
HUGE = 1e15  # from here on a number is written with an exponent
Sizes = Literal["GB", "GiB rounded up"]


def size_text(count: int, style: Sizes = "GB") -> str:
    """Bytes in decimal units with one place, as the Hub's file list shows them.

    The other style, of the APEX project's cards, counts GiB, rounds up and calls them GB; what is
    smaller than one is about 1 GB there.
    """
    if style == "GiB rounded up":
        return f"{ceil(count / 2**30)} GB" if count >= 2**30 else "~1 GB"
    for unit, factor in (("kB", 1e3), ("MB", 1e6)):
        if round(count / factor, 1) < 1000:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e9:.1f} GB"


def large(count: int) -> str:
    """A count of parameters: ~35B, ~3B, 14.2M."""
    for unit, factor in (("B", 10**9), ("M", 10**6)):
        if round(count / factor, 1) >= 1:
            near = count / factor
            return f"~{near:.0f}{unit}" if unit == "B" and near >= 2 else f"{near:.1f}{unit}"
    return f"{count:,}"


def grouped(count: int) -> str:
    """A count with thousands separated."""
    return f"{count:,}"


def fixed(value: float, places: int) -> str:
    """A number with `places` decimals, halves away from zero as people round them.

    A huge one has no decimals: `1.7e+308`, what a broken model's perplexity may come to.
    """
    if not isfinite(value):
        return MISSING
    if abs(value) >= HUGE:
        return f"{value:.1e}"
    return str(Decimal(repr(value)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def percent(fraction: float, places: int = 1) -> str:
    """A fraction in percent."""
    if not isfinite(fraction) or abs(fraction) >= HUGE:
        return MISSING
    hundred = Decimal(repr(fraction)) * 100
    return f"{hundred.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)}%"


def with_error(value: float, error: float | None, places: int) -> str:
    """A value, and its standard error where one is known."""
    value_text = fixed(value, places)
    return value_text if error is None else f"{value_text} ± {fixed(error, places)}"


def error_places(errors: Iterable[float | None], otherwise: int = 4) -> int:
    """Decimal places for a column of values with errors.

    As many as show two significant digits of the smallest error; `otherwise` where none is known.
    """
    return _places(errors, 2, otherwise)


def value_places(values: Iterable[float]) -> int:
    """Decimal places that show three significant digits of a column's smallest value."""
    return _places(values, 3, 4)


def _places(values: Iterable[float | None], digits: int, otherwise: int) -> int:
    positive = [value for value in values if value is not None and value > 0 and isfinite(value)]
    if not positive:
        return otherwise
    return min(max(digits - 1 - floor(log10(min(positive))), 2), 6)
