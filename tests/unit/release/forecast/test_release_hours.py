"""Hours of a release that a Hub has, by the headers of its files."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.progress import Narrator
from bot.release.forecast.release_hours import build_hours
from bot.settings.sections import DEMO
from bot.settings.settings import load
from bot.workplace.workplace import Workplace
from tests.local_hub.server import Hub

REPO = "lab/Tiny-MoE-14M"


def test_a_slow_line_takes_long_and_fewer_tiers_less(
    tmp_path: Path, hub: Hub, demo_model: Path
) -> None:
    client = Client(hub.url, SecretStr(hub.token))
    client.create_private(REPO)
    files = {path.name: path for path in (DEMO / "config.json", DEMO / "README.md", demo_model)}
    client.commit(REPO, files, "Release", client.head(REPO))
    client.make_public(REPO)
    settings = load(
        None, workdir=tmp_path, hub={"endpoint": hub.url}, demo_texts=True,
        policy={"max_hours": 1, "runner": "slow"}, runners={"slow": {"up_mbit": 0.01}},
    )  # fmt: skip
    workplace = Workplace(settings, Narrator(quiet=True), SecretStr(hub.token))
    release = workplace.hub.release(REPO)
    one, two = (
        build_hours(workplace, release, tiers) for tiers in (["I-Mini"], ["I-Mini", "Compact"])
    )
    assert one is not None
    assert two is not None
    assert one == pytest.approx(6.6e6 * 8 / 0.01e6 / 3600, rel=0.05), "6.6 MB over the line"
    assert two > 2 * one
