"""What a tier must be worth, and a release allowed, before anybody sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import hypot, inf, sqrt

from bot import evidence, licences
from bot.behaviour.habits import losses, other_prompts, stale
from bot.legible import legible
from bot.records.measured import Behaviour, Choices, Divergence, Row
from bot.records.results import LeftOut, Results
from bot.settings.showing import GateSettings
from bot.wording.columns import table

SURE = 2.0  # standard errors beyond which a limit counts as broken; see docs/statistics.md


@dataclass(frozen=True, kw_only=True)
class Check:
    """One rule held against one tier, or against the whole release (`tier` None)."""

    rule: str
    tier: str | None
    good: bool
    text: str


@dataclass(frozen=True, kw_only=True)
class GateFacts:
    """What is not among the numbers: each is None when it holds, else what is wrong."""

    files: Mapping[str, str | None]  # by tier: is the file what its hash and recipe say
    speech: Mapping[str, str | None]  # by tier: does it write text
    newest: str | None  # does the source still have these weights
    alone: str | None  # did nobody else of ours publish meanwhile


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All checks, and what follows by the policy of `gate.failing`."""

    checks: tuple[Check, ...]
    left_out: tuple[LeftOut, ...]
    stops: str | None  # why nothing is published; None: the release may go

    @property
    def good(self) -> bool:
        """Whether every tier and the release passed."""
        return all(check.good for check in self.checks)


def judge(results: Results, facts: GateFacts, rules: GateSettings) -> Verdict:
    """Hold every built tier and the release against the rules."""
    rows = [row for row in results.tiers if row.same_as is None]
    chats = results.evaluation.chat_template
    checks = [check for row in rows for check in _tier(row, results.reference, facts, rules, chats)]
    checks += _release(results, facts, rules)
    failed: dict[str, list[str]] = {}
    for check in checks:
        if check.tier is not None and not check.good:
            failed.setdefault(check.tier, []).append(check.text)
    out = tuple(
        LeftOut(tier=row.name, recipe=row.recipe, reason="; ".join(failed[row.same_as or row.name]))
        for row in results.tiers
        if (row.same_as or row.name) in failed
    )
    return Verdict(checks=tuple(checks), left_out=out, stops=_stops(checks, out, rows, rules))


def without_tiers(results: Results, left_out: Iterable[LeftOut]) -> Results:
    """The results without the tiers that are left out, which they name."""
    reasons = tuple(left_out)
    unmade = tuple(tier for tier in results.left_out if not tier.made)
    out = {tier_out.tier for tier_out in reasons}
    rows = tuple(row for row in results.tiers if row.name not in out)
    compared = (c for c in results.comparisons if not {c.one, c.other} & out)
    return replace(results, tiers=rows, comparisons=tuple(compared), left_out=(*unmade, *reasons))


def with_card(verdict: Verdict, wrong: str | None) -> Verdict:
    """The verdict after a look at the finished card: None when nothing is wrong with it."""
    text = wrong or "card, names and hashes are sound"
    check = Check(rule="card", tier=None, good=wrong is None, text=text)
    return replace(verdict, checks=(*verdict.checks, check), stops=verdict.stops or wrong)


def broken(
    tier: str, divergence: Divergence, rules: GateSettings, *, chats: bool = False
) -> str | None:
    """What of a tier's divergence breaks a limit: known long before the release is judged.

    `chats`: the model has a chat template.
    """
    wrong = [text for _, good, text in _divergence(tier, divergence, rules, chats) if not good]
    return "; ".join(wrong) or None


def _stops(
    checks: Iterable[Check], out: tuple[LeftOut, ...], rows: list[Row], rules: GateSettings
) -> str | None:
    release_faults = [check.text for check in checks if check.tier is None and not check.good]
    if release_faults:
        return "; ".join(release_faults)
    if out and rules.failing == "stop":
        return "; ".join(f"{tier_out.tier}: {tier_out.reason}" for tier_out in out)
    if {row.name for row in rows} <= {tier_out.tier for tier_out in out}:
        return f"no tier is good enough: {out[0].tier}: {out[0].reason}" if out else "no tier"
    return None


def _tier(
    row: Row, reference: Row, facts: GateFacts, rules: GateSettings, chats: bool
) -> Iterable[Check]:
    def check(rule: str, good: bool, text: str) -> Check:
        return Check(rule=rule, tier=row.name, good=good, text=text)

    wrong = facts.files.get(row.name)
    yield check("file", wrong is None, wrong or "header, rows and recipe are sound")
    wrong = facts.speech.get(row.name)
    yield check("speech", wrong is None, wrong or "writes text")
    divergence = row.scores.divergence
    if divergence is None:
        yield check("measured", not rules.measured, "its divergence was not measured")
    else:
        limit_checks = _divergence(row.name, divergence, rules, chats)
        yield from (check(*limit_check) for limit_check in limit_checks)
    yield from (check(*limit_check) for limit_check in _on_domains(row, rules))
    if row.scores.behaviour is not None and reference.scores.behaviour is not None:
        limit = limit_of(rules.behaviour_drop, row.name)
        found = behaviour_checks(row.scores.behaviour, reference.scores.behaviour, limit)
        yield from (check(*one) for one in found)
    reference_choices = {choices.name: choices for choices in reference.scores.choices}
    for ours in row.scores.choices:
        if ours.name in reference_choices:
            limit = limit_of(rules.accuracy_drop, row.name)
            value, error = accuracy_drop(ours, reference_choices[ours.name])
            text = f"{ours.name} {value:+.1%} ± {error:.1%} below the reference"
            good, text = _held(value, error, limit, text, f"{limit:.1%}")
            if not good and by_chance(ours, reference_choices[ours.name]):
                good, text = True, f"{text}, by chance perhaps"
            yield check("accuracy", good, text)


def _on_domains(row: Row, rules: GateSettings) -> Iterable[tuple[str, bool, str]]:
    """Each domain by its mean and its 99.9 %, whose error nobody knows: it counts as it is."""
    for domain in row.scores.domains:
        of = domain.divergence
        limit = limit_of(rules.p999_kld, row.name)
        text = f"99.9 % KLD on {domain.name} {of.p999:.2f}"
        yield "domain", *_held(of.p999, 0.0, limit, text, f"{limit:g}")
        limit = limit_of(rules.mean_kld, row.name)
        text = f"mean KLD on {domain.name} {of.mean:.4f} ± {of.mean_error:.4f}"
        yield "domain", *_held(of.mean, of.mean_error, limit, text, f"{limit:g}")


def _divergence(
    tier: str, divergence: Divergence, rules: GateSettings, chats: bool
) -> Iterable[tuple[str, bool, str]]:
    limit = inf if chats else limit_of(rules.ppl_ratio, tier)
    text = f"PPL ratio {divergence.ppl_ratio:.4f} ± {divergence.ppl_ratio_error:.4f}"
    text += " of a model with a chat template" if chats else ""
    yield "ppl", *_held(divergence.ppl_ratio, divergence.ppl_ratio_error, limit, text, f"{limit:g}")
    limit = limit_of(rules.mean_kld, tier)
    text = f"mean KLD {divergence.mean:.4f} ± {divergence.mean_error:.4f}"
    yield "mean kld", *_held(divergence.mean, divergence.mean_error, limit, text, f"{limit:g}")
    limit = limit_of(rules.max_kld, tier)
    yield (
        "max kld",
        *_held(divergence.max, 0.0, limit, f"maximum KLD {divergence.max:.2f}", f"{limit:g}"),
    )


def behaviour_checks(
    ours: Behaviour, reference: Behaviour, limit: float
) -> Iterable[tuple[str, bool, str]]:
    """Rules of behaviour, each relative to the 16-bit model: rule, whether it holds, why.

    A habit is lost where the net loss is above the limit and surely no chance. Prompts and memory
    are the same or not; of a memory that fails for the model itself no tier is to blame.
    """
    others = other_prompts(ours, reference)
    told = f"its chat template renders {others} of {len(reference.prompts)} prompts otherwise"
    same = f"renders all {len(reference.prompts)} prompts as the reference does"
    yield "template", not others, f"{told} than the reference's" if others else same
    for loss in losses(ours, reference):
        text = (
            f"{loss.habit}: {loss.lost} lost and {loss.gained} won of {loss.judged} answers, "
            f"p = {loss.p:.2g}"
        )
        good = not (loss.is_sure and loss.share > limit)
        yield "behaviour", good, text if good else f"{text}, more than {limit:.0%} surely lost"
    if ours.edits:
        (bad, worst), (blamed, _) = stale(ours), stale(reference)
        good = not bad or bool(blamed)
        told = "no numbers" if worst is None else f"{worst:.2g} nats"
        text = f"{told} at most from a fresh run after {len(ours.edits)} edits"
        yield "memory", good, text if good else f"{text}: {bad} were stale"


def _held(value: float, error: float, limit: float, text: str, limit_text: str) -> tuple[bool, str]:
    """A limit is broken where the value is surely above it; what is no number breaks any."""
    if limit == inf:
        return value == value, f"{text}, no limit"
    good = value - SURE * error <= limit
    return good, f"{text}, {'within' if good else 'above'} {limit_text}"


def limit_of(limits: Mapping[str, float], tier: str) -> float:
    """The limit of the first pattern that fits the tier; none where no pattern does."""
    return next((limit for name, limit in limits.items() if fnmatchcase(tier, name)), inf)


def accuracy_drop(ours: Choices, reference: Choices) -> tuple[float, float]:
    """How much less is answered rightly, as a fraction, with one standard error.

    Paired by task (McNemar's variance) where both kept their answers, else as independent shares.
    """
    value = reference.accuracy - ours.accuracy
    if ours.answers and len(ours.answers) == len(reference.answers):
        pairs = list(zip(ours.answers, reference.answers, strict=True))
        lost, won = pairs.count(("0", "1")), pairs.count(("1", "0"))
        count = len(pairs)
        return value, sqrt(max(lost + won - (lost - won) ** 2 / count, 0.0)) / count
    shares = [(choices.accuracy, choices.tasks) for choices in (ours, reference)]
    return value, hypot(*(sqrt(share * (1 - share) / tasks) for share, tasks in shares))


def by_chance(ours: Choices, reference: Choices) -> bool:
    """Whether few answers differ so much that equal files could: McNemar's exact test.

    The standard error of a drop is none where every answer that differs was lost.
    """
    if not ours.answers or len(ours.answers) != len(reference.answers):
        return False
    pairs = list(zip(ours.answers, reference.answers, strict=True))
    return evidence.discordant(pairs.count(("1", "0")), pairs.count(("0", "1"))) >= evidence.LEVEL


def _release(results: Results, facts: GateFacts, rules: GateSettings) -> Iterable[Check]:
    source = results.release or results.origin
    good, text = True, "the source is a file of yours"
    if source is not None:
        good, text = licences.permitted(source, rules)
    yield Check(rule="licence", tier=None, good=good, text=text)
    newest = facts.newest if rules.newest else None
    text = newest or ("the source still has these weights" if rules.newest else "not asked")
    yield Check(rule="newest", tier=None, good=newest is None, text=text)
    text = facts.alone or "nobody else of ours published meanwhile"
    yield Check(rule="alone", tier=None, good=facts.alone is None, text=text)


def verdict_text(verdict: Verdict) -> str:
    """Every rule of the gate with what came of it, and what follows."""
    rows = [
        (check.tier or "the release", check.rule, "passed" if check.good else "FAILED", check.text)
        for check in verdict.checks
    ]
    lines = [table(("what", "rule", "", ""), rows, left=4)]
    lines += [
        legible(f"left out: {tier_out.tier}: {tier_out.reason}") for tier_out in verdict.left_out
    ]
    lines.append(
        legible(f"stops: {verdict.stops}") if verdict.stops else "the release may be published"
    )
    return "\n".join(lines)
