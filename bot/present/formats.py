"""Numbers as the card writes them; nothing here rounds further than its own digits."""

from __future__ import annotations

from collections.abc import Iterable
from math import floor, log10

MISSING = "—"


def size(count: int) -> str:
    """Bytes in decimal units with one place, as the Hub's file list shows them."""
    for unit, factor in (("kB", 1e3), ("MB", 1e6)):
        if round(count / factor, 1) < 1000:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e9:.1f} GB"


def large(count: int) -> str:
    """A count of parameters: 34.7 B, 14.2 M."""
    for unit, factor in (("B", 1e9), ("M", 1e6)):
        if round(count / factor, 1) >= 1:
            return f"{count / factor:.1f} {unit}"
    return f"{count:,}"


def grouped(count: int) -> str:
    """A count with thousands separated."""
    return f"{count:,}"


def percent(fraction: float, places: int = 1) -> str:
    """A fraction in percent."""
    return f"{100 * fraction:.{places}f} %"


def measured(value: float, error: float, places: int) -> str:
    """A value and its standard error."""
    return f"{value:.{places}f} ± {error:.{places}f}"


def error_places(errors: Iterable[float]) -> int:
    """Decimal places for a column of values with errors.

    As many as show two significant digits of the smallest error; 4 where no error is known.
    """
    return _places(errors, 2)


def value_places(values: Iterable[float]) -> int:
    """Decimal places that show three significant digits of a column's smallest value."""
    return _places(values, 3)


def _places(values: Iterable[float], digits: int) -> int:
    known = [value for value in values if value > 0]
    return min(max(digits - 1 - floor(log10(min(known))), 2), 6) if known else 4
