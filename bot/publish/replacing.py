"""What an update would leave of the build that is published, and so what --prune would give back.

Known before anything is made: a file made of the same inputs is the same file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version

from bot.plan.models import Plan, Sketch
from bot.publish.publication import held_already, waits
from bot.publish.reclaim import Replaced, replaced
from bot.workplace import names
from bot.workplace.asked import Order
from bot.workplace.provenance import Made, said_of
from bot.workplace.workplace import Workplace

MATRIX, PROJECTOR = "imatrix.gguf", "mmproj.gguf"  # as they are published
BESIDE = ("mmproj", "mtp-")  # parts of the model that are no tier
SHARD = re.compile(r"-\d{5}-of-\d{5}(?=\.gguf$)")


def replaced_by_update(
    workplace: Workplace, plan: Plan[Sketch], order: Order, repo_id: str, *, others: bool = False
) -> tuple[Replaced, ...]:
    """What the same publication would give back in the end; `others` as for `held_already`.

    Nothing where a person has to merge it first. Plots of a release that is measured anew count as
    drawn anew.
    """
    hub, wanted = workplace.hub, workplace.settings.publish
    if not hub.exists(repo_id):
        return ()
    if held_already(workplace, repo_id, order, private=wanted.private, others=others):
        return replaced(hub, repo_id, wanted.keep_builds)
    if wanted.approval != "none" or waits(workplace, repo_id, order):
        return ()
    made = said_of(hub, hub.release(repo_id))
    if made is None:
        return ()
    kept = [made.files[path] for path in _kept(workplace, plan, order, made)]
    return replaced(hub, repo_id, wanted.keep_builds, next_build=kept)


def _kept(workplace: Workplace, plan: Plan[Sketch], order: Order, made: Made) -> Iterator[str]:
    """Paths of a published build whose content the planned one has, too."""
    settings, here = workplace.settings, _made_here(workplace, order)
    tiers = [recipe for recipe in plan.distinct if not recipe.plain]
    same = [recipe for recipe in tiers if _is_asked(recipe.tier, order, made)]
    files = {names.file_name(settings.publish, plan.model.name, one.tier, one.base) for one in same}
    alike = not settings.quantize.stamp or made.bot == version("apex-bot")
    for path, sha256 in made.files.items():
        known = sha256 in here
        if SHARD.sub("", path) in files:
            stays = known or alike
        elif path == MATRIX:
            stays = any(one.imatrix for one in (tiers if known else same))
        elif path.startswith(BESIDE):
            stays = bool(same) and (settings.convert.projector != "none" or path != PROJECTOR)
        else:
            stays = known and not path.endswith(".gguf")
        if stays:
            yield path


def _is_asked(tier: str, order: Order, made: Made) -> bool:
    """Whether a tier that is published was asked for with the same inputs."""
    return tier in made.recipes and order.asked.tiers.get(tier) == made.asked.tiers.get(tier)


def _made_here(workplace: Workplace, order: Order) -> frozenset[str]:
    """Contents that the job has made on this machine, and would take again."""
    done = (work for work in workplace.ledger.work() if work.job == order.key)
    return frozenset(file.sha256 for work in done for file in work.files)
