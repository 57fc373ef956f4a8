"""What a release will take, for people and for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from bot.cli.text.times_text import KNOWN_BY
from bot.clock import span
from bot.release.forecast.foretold import Forecast
from bot.store.paces import Pace
from bot.wording.columns import table

PER_HOUR = 3600.0
TENTHS, WHOLE = 60.0, 600.0  # seconds below which they are told with tenths, and at all


def forecast_text(forecast: Forecast, price_hour: float | None) -> str:
    """A line for each task with its begin, the whole, and what is needed of disk and memory."""
    columns = ("task", "on", "begins", "takes", "known by")
    body = [
        (
            task.name,
            task.lane,
            _instant(forecast.times[task.name][0]),
            _takes(task.pace),
            _known_by(task.pace),
        )
        for task in forecast.tasks
    ]
    lines = [table(columns, body, left=2), *_whole(forecast, price_hour)]
    return "\n".join(lines)


def _takes(pace: Pace | None) -> str:
    if pace is None:
        return "?"
    spread = "" if pace.deviation is None else f" ± {_length(pace.deviation)}"
    return f"{_length(pace.seconds)}{spread}"


def _instant(seconds: float) -> str:
    """Hours, minutes and seconds from the beginning: many tasks may begin within a minute."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _length(seconds: float) -> str:
    if seconds >= WHOLE:
        return span(seconds)
    return f"{seconds:.1f} s" if seconds < TENTHS else f"{seconds:.0f} s"


def _known_by(pace: Pace | None) -> str:
    if pace is None:
        return "nothing yet"
    if not pace.seconds:
        return "nothing to do"
    return f"{KNOWN_BY[pace.origin]}{f' ({pace.samples})' if pace.samples else ''}"


def _whole(forecast: Forecast, price_hour: float | None) -> Iterator[str]:
    yield f"in all about {span(forecast.seconds)}, if nothing runs beside"
    for lane, seconds in lane_seconds(forecast).items():
        share = seconds / forecast.seconds if forecast.seconds else 0.0
        yield f"  {lane:<8} {span(seconds):>10} of work, {share:.0%} of the time"
    if forecast.unknown:
        kinds = Counter(name.partition(" ")[0] for name in forecast.unknown)
        names = ", ".join(f"{kind} ({count})" for kind, count in kinds.items())
        yield f"not in it, since no such work was done here yet: {names}"
    if price_hour is not None:
        yield f"price {forecast.seconds / PER_HOUR * price_hour:,.2f} at {price_hour:g} an hour"
    device, host = forecast.memory.device, forecast.memory.host
    yield (
        f"disk {forecast.disk_bytes / 1e9:,.2f} GB at most, memory {(device + host) / 1e9:,.2f} GB "
        f"to hold the largest model ({device / 1e9:,.2f} GB of it on devices)"
    )
    yield (
        f"fetched {forecast.fetched_bytes / 1e9:,.2f} GB, sent {forecast.sent_bytes / 1e9:,.2f} GB"
    )


def lane_seconds(forecast: Forecast) -> dict[str, float]:
    """Work on each lane."""
    seconds: dict[str, float] = {}
    for task in forecast.tasks:
        seconds[task.lane] = seconds.get(task.lane, 0.0) + task.seconds
    return seconds


def forecast_values(forecast: Forecast, price_hour: float | None) -> dict[str, Any]:
    """The same in seconds and bytes; `seconds` of a task is null where nobody knows."""
    return {
        "tasks": [
            {
                "task": task.name,
                "lane": task.lane,
                "begin": forecast.times[task.name][0],
                "seconds": None if task.pace is None else task.seconds,
                "seconds_deviation": None if task.pace is None else task.pace.deviation,
                "origin": None if task.pace is None else task.pace.origin,
                "samples": 0 if task.pace is None else task.pace.samples,
            }
            for task in forecast.tasks
        ],
        "seconds": forecast.seconds,
        "seconds_deviation": forecast.deviation,
        "lanes": lane_seconds(forecast),
        "unknown": [*forecast.unknown],
        "price": None if price_hour is None else forecast.seconds / PER_HOUR * price_hour,
        "disk_bytes": forecast.disk_bytes,
        "memory_bytes": {"device": forecast.memory.device, "host": forecast.memory.host},
        "fetched_bytes": forecast.fetched_bytes,
        "sent_bytes": forecast.sent_bytes,
    }
