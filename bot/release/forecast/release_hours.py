"""How long a build is thought to take, for a policy that bounds it."""

from __future__ import annotations

from collections.abc import Sequence

from bot.detect.inspection import look_at, machine
from bot.records.releases import Release
from bot.release.forecast.foreseeing import forecast_on
from bot.workplace.planning import make_plan
from bot.workplace.workplace import Workplace


def build_hours(workplace: Workplace, release: Release, tiers: Sequence[str]) -> float | None:
    """Hours on the policy's runner; None for a model that no headers describe.

    Reads the headers of the weights: a request or two for each file. Raises what `look_at` raises.
    """
    runner = workplace.settings.policy.runner
    if runner is None:
        return None
    sight = look_at(workplace, release.repo_id, release.commit, machine(workplace))
    if sight.sketch is None:
        return None
    plan = make_plan(workplace, sight.sketch, tuple(tiers))
    return forecast_on(workplace, plan, runner).seconds / 3600
