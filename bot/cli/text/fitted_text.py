"""Fitted tiers, for people: what was found, and what it will cost."""

from __future__ import annotations

from bot.clock import span
from bot.quantize.fitting_cost import FitCost
from bot.records.results import TierFiles
from bot.records.sensitivity import Fitted
from bot.wording.columns import table
from bot.wording.formats import size_text


def fitted_table(made: TierFiles) -> str:
    """What `bot fit` prints: each file, its size, and what its types give on the probe text."""
    rows = []
    for fit in made.fitted:
        file = made.files[fit.tier]
        rows.append(
            (
                fit.tier,
                size_text(file.bytes),
                f"{fit.measured:.5f} ± {fit.error:.5f}",
                f"{fit.predicted:.5f}",
                _beside(fit),
            )
        )
    names = ("tier", "size", "mean KLD", "predicted", "tier by roles of that size")
    paths = "\n".join(made.files[fit.tier].path for fit in made.fitted)
    how = "Divergence from the 16-bit model on the calibration texts, rounded in place."
    return f"{table(names, rows, left=1)}\n\n{how}\n\n{paths}"


def _beside(fit: Fitted) -> str:
    if fit.like is None or fit.like_measured is None or fit.like_bytes is None:
        return ""
    return f"{fit.like}: {size_text(fit.like_bytes)}, {fit.like_measured:.5f}"


def cost_text(cost: FitCost) -> str:
    """What `bot fit --dry-run` prints."""
    lines = [
        f"probes: {cost.probes} of groups of {cost.tensors} tensors, {cost.known} known already",
        f"        and up to {cost.corrections} that correct",
        f"each:   {cost.chunks} chunks of {cost.context} tokens",
        f"memory: {size_text(cost.memory_bytes)}, the 16-bit model among them",
        f"disk:   {size_text(cost.disk_bytes)} meanwhile",
    ]
    lines.append(f"time:   at most about {span(cost.seconds)}, importance matrix apart")
    return "\n".join(lines)
