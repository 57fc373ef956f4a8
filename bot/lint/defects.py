"""What is wrong with a repository of GGUF files as others will meet it, rule by rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from bot.foreign import read_of
from bot.legible import legible
from bot.lint.card_rules import check_card, check_commands, check_links, check_named
from bot.lint.contents import Defect, LintedRepository
from bot.lint.file_rules import check_damaged, check_heads, check_measured, check_sums
from bot.lint.name_rules import check_alone, check_labels, check_shards, check_tags
from bot.lint.number_rules import check_context, check_layers, check_sizes, check_uncertainty


def defects_of(repository: LintedRepository) -> list[Defect]:
    """Every defect, rule by rule; empty for a repository in which everything holds."""
    with read_of(repository.repo_id or "the repository"):
        return [_cleaned(defect) for rule in RULES for defect in rule(repository)]


def _cleaned(defect: Defect) -> Defect:
    return replace(defect, path=legible(defect.path), text=legible(defect.text))


RULES: Sequence[Callable[[LintedRepository], Iterator[Defect]]] = (
    check_damaged,
    check_shards,
    check_labels,
    check_tags,
    check_alone,
    check_card,
    check_links,
    check_named,
    check_commands,
    check_context,
    check_uncertainty,
    check_sizes,
    check_layers,
    check_sums,
    check_measured,
    check_heads,
)
