"""Metrics as Prometheus reads them."""

from __future__ import annotations

import re
import time

from tests.unit.status.status_page import Page, alive


def test_metrics_are_prometheus_text(page: Page) -> None:
    alive(page.ledger, time.time())
    status, headers, text = page.ask("GET", "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    line = re.compile(r'(# (HELP|TYPE) apex_bot_\w+ .+|apex_bot_\w+(\{\w+="\w+"\})? [\d.e+]+)')
    assert all(line.fullmatch(metric) for metric in text.splitlines())
    for value in ('tasks{state="asked"} 1', 'waiting{outcome="settling"} 1', "healthy 1"):
        assert f"apex_bot_{value}\n" in text
