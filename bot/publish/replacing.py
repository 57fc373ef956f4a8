"""What an update would leave of the build that is published, and so what --prune would give back.

Known before anything is made: a file made of the same inputs is the same file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version

from bot.disk.folders import MATRIX
from bot.plan.models import Plan, Sketch
from bot.publish.publication import held_already, waits
from bot.publish.reclaim import Replaced, replaced
from bot.workplace import names
from bot.workplace.asked import Order
from bot.workplace.provenance import Provenance, provenance_of
from bot.workplace.workplace import Workplace

PROJECTOR = "mmproj.gguf"  # as it is published
BESIDE = ("mmproj", "mtp-")  # parts of the model that are no tier
SHARD = re.compile(r"-\d{5}-of-\d{5}(?=\.gguf$)")


def replaced_by_update(
    workplace: Workplace, plan: Plan[Sketch], order: Order, repo_id: str, *, superset: bool = False
) -> tuple[Replaced, ...]:
    """What the same publication would give back in the end; `superset` as for `held_already`.

    Nothing where a person has to merge it first. Plots of a release that is measured anew count as
    drawn anew.
    """
    hub, publish = workplace.hub, workplace.settings.publish
    if not hub.exists(repo_id):
        return ()
    if held_already(workplace, repo_id, order, private=publish.private, superset=superset):
        return replaced(hub, repo_id, publish.keep_builds)
    if publish.approval != "none" or waits(workplace, repo_id, order):
        return ()
    statement = provenance_of(hub, hub.release(repo_id))
    if statement is None:
        return ()
    kept_hashes = [statement.files[path] for path in _kept_paths(workplace, plan, order, statement)]
    return replaced(hub, repo_id, publish.keep_builds, next_build=kept_hashes)


def _kept_paths(
    workplace: Workplace, plan: Plan[Sketch], order: Order, statement: Provenance
) -> Iterator[str]:
    """Paths of a published build whose content the planned one has, too."""
    settings, hashes_here = workplace.settings, _made_here(workplace, order)
    tiers = [recipe for recipe in plan.distinct if not recipe.plain]
    same = [recipe for recipe in tiers if _is_asked(recipe.tier, order, statement)]
    files = {
        names.file_name(settings.publish, plan.model.stem, recipe.tier, recipe.base)
        for recipe in same
    }
    alike = not settings.quantize.stamp or statement.bot == version("apex-bot")
    for path, sha256 in statement.files.items():
        is_here = sha256 in hashes_here
        if SHARD.sub("", path) in files:
            stays = is_here or alike
        elif path == MATRIX:
            stays = any(recipe.imatrix for recipe in (tiers if is_here else same))
        elif path.startswith(BESIDE):
            stays = bool(same) and (settings.convert.projector != "none" or path != PROJECTOR)
        else:
            stays = is_here and not path.endswith(".gguf")
        if stays:
            yield path


def _is_asked(tier: str, order: Order, statement: Provenance) -> bool:
    """Whether a tier that is published was asked for with the same inputs."""
    return tier in statement.recipes and order.asked.tiers.get(tier) == statement.asked.tiers.get(
        tier
    )


def _made_here(workplace: Workplace, order: Order) -> frozenset[str]:
    """Contents that the job has made on this machine, and would take again."""
    done = workplace.ledger.work(order.key)
    return frozenset(file.sha256 for work in done for file in work.files)
