"""What building a checkpoint would take: bytes of its GGUF and of its tiers, before it is here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.detect.quantized import is_native
from bot.plan.models import Sketch
from bot.plan.profiles import Profile
from bot.plan.recipe import make_recipes, no_smaller
from bot.predict.converter_classes import family_of
from bot.predict.preview import Preview
from bot.records.releases import Release
from bot.tensors.configs import config_names, quant_method, scopes_of, text_config
from bot.tensors.originals import KEPT
from bot.tensors.sizes import file_bytes
from bot.workplace.names import name_of

# 16-bit bytes for one byte of an original at this precision
EXPANSION = {"fp8": 2.0, "mxfp4": 4.0, "compressed-tensors": 4.0}
FOUR_BIT_EXPERTS = 4.0  # of FP8 checkpoints whose experts have four bits: nearly all their weights
# all nine tiers together, as a share of the 16-bit file: 2.3 for a 35B model, and some room
TIERS = 2.5
# of originals that keep their own bits: no tier is larger than they are, and FP8 becomes Q8_0
KEPT_EXPANSION, KEPT_TIERS = 1.1, 9.0


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """Bytes of files that building a checkpoint makes, counted tensor by tensor."""

    converted: int  # its GGUF
    tiers: tuple[tuple[str, int], ...]  # of each tier that is made; coinciding ones once
    left_out: tuple[str, ...] = ()  # tiers that would be as large as the GGUF

    @property
    def smallest(self) -> int:
        """The smallest tier; as large as the source where none is made."""
        return min((size for _, size in self.tiers), default=self.converted)

    def room(self, source: int) -> int:
        """Disk for a checkpoint of `source` bytes, its GGUF and all tiers."""
        return source + self.converted + sum(size for _, size in self.tiers)

    def saves(self, share: float) -> bool:
        """Whether some tier is smaller than the GGUF by a share of it."""
        return self.smallest <= (1 - share) * self.converted


def sketch_of(release: Release, previewed: Preview) -> Sketch:
    """A checkpoint's model by its preview."""
    return Sketch(
        name=name_of(release.repo_id.split("/")[-1]),
        release=release,
        architecture=previewed.architecture,
        tensors=previewed.tensors,
        header_bytes=previewed.header,
        guessed=previewed.guessed,
    )


def foresee(sketch: Sketch, profiles: Sequence[Profile]) -> Foreseen:
    """Sizes by the tensors of a conversion. Raises SourceError for a tensor without a rule."""
    header = sketch.header_bytes
    recipes = make_recipes(profiles, sketch.architecture, sketch.tensors)
    gone = {recipe.tier for recipe in no_smaller(recipes, sketch.tensors)}
    return Foreseen(
        converted=sketch.file_bytes,
        tiers=tuple(
            (recipe.tier, file_bytes((a.bytes for a in recipe.assignments), header))
            for recipe in recipes
            if recipe.same_as is None and recipe.tier not in gone
        ),
        left_out=tuple(sorted(gone)),
    )


def keeps_its_bits(config: Mapping[str, Any]) -> bool:
    """Whether llama.cpp's converter keeps weights of fewer than 16 bits as their makers have them.

    Then headers have to tell what there is to gain.
    """
    native = is_native(config, config_names(config.get("architectures")))
    return native and family_of(config) in KEPT


def guessed_room(config: Mapping[str, Any], source: int) -> float:
    """About the disk for a checkpoint of `source` bytes, its GGUF and tiers, by config alone."""
    if keeps_its_bits(config):
        return source * (1 + KEPT_EXPANSION * (1 + KEPT_TIERS))
    expansion = EXPANSION.get(quant_method(config) or "", 1.0)
    dtypes = {text_config(scope.get("expert_dtype")) for scope in scopes_of(config)}
    if expansion > 1 and dtypes & {"fp4", "mxfp4", "nvfp4"}:
        expansion = FOUR_BIT_EXPERTS
    return source * (1 + expansion * (1 + TIERS))
