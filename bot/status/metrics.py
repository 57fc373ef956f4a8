"""The state of the watcher in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bot.store.board import Board

TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = ("asked", "queued", "starting", "running", "published", "failed", "ignored")


def metrics_text(board: Board) -> str:
    """Every metric with its help; values that are not known are left out."""
    lines: list[str] = []

    def gauge(name: str, about: str, values: Iterable[tuple[str, float | None]]) -> None:
        lines.append(f"# HELP apex_bot_{name} {about}")
        lines.append(f"# TYPE apex_bot_{name} gauge")
        lines.extend(
            f"apex_bot_{name}{labels} {value:.15g}" for labels, value in values if value is not None
        )

    gauge("healthy", "1 while a watcher runs and reads its Hub.", [("", board.trouble is None)])
    gauge("paused", "1 while no builds are started.", [("", board.paused is not None)])
    gauge("heartbeat_timestamp_seconds", "Last sign of life.", [("", board.heartbeat)])
    gauge("look_timestamp_seconds", "Last whole look at the newest models.", [("", board.looked)])
    counts = {state: board.counts.get(state, 0) for state in STATES}
    gauge("tasks", "Releases to build, by state.", _labelled("state", counts))
    gauge("waiting", "Releases that wait, by reason.", _labelled("outcome", board.waiting_counts))
    spent = {bucket: board.spent.get(bucket, 0) for bucket in board.allowed}
    gauge("requests_5m", "Requests in the last five minutes.", _labelled("bucket", spent))
    gauge("requests_5m_allowed", "The budget of these.", _labelled("bucket", board.allowed))
    return "\n".join(lines) + "\n"


def _labelled(label: str, values: Mapping[str, int]) -> list[tuple[str, float | None]]:
    return [(f'{{{label}="{name}"}}', value) for name, value in sorted(values.items())]
