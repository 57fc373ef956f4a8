"""What a tier must be worth, and a release allowed, before anybody sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import hypot, inf, sqrt

from bot import evidence, licences
from bot.legible import legible
from bot.records.measured import Choices, Divergence, Row
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


def judge(results: Results, facts: GateFacts, wanted: GateSettings) -> Verdict:
    """Hold every built tier and the release against the rules."""
    rows = [row for row in results.tiers if row.same_as is None]
    checks = [check for row in rows for check in _tier(row, results.reference, facts, wanted)]
    checks += _release(results, facts, wanted)
    failed: dict[str, list[str]] = {}
    for check in checks:
        if check.tier is not None and not check.good:
            failed.setdefault(check.tier, []).append(check.text)
    out = tuple(
        LeftOut(tier=row.name, recipe=row.recipe, reason="; ".join(failed[row.same_as or row.name]))
        for row in results.tiers
        if (row.same_as or row.name) in failed
    )
    return Verdict(checks=tuple(checks), left_out=out, stops=_stops(checks, out, rows, wanted))


def kept(results: Results, left_out: Iterable[LeftOut]) -> Results:
    """The results without the tiers that are left out, which they name."""
    reasons = tuple(left_out)
    out = {one.tier for one in reasons}
    rows = tuple(row for row in results.tiers if row.name not in out)
    compared = (c for c in results.comparisons if not {c.one, c.other} & out)
    return replace(results, tiers=rows, comparisons=tuple(compared), left_out=reasons)


def with_card(verdict: Verdict, wrong: str | None) -> Verdict:
    """The verdict after a look at the finished card: None when nothing is wrong with it."""
    text = wrong or "card, names and hashes are sound"
    check = Check(rule="card", tier=None, good=wrong is None, text=text)
    return replace(verdict, checks=(*verdict.checks, check), stops=verdict.stops or wrong)


def broken(tier: str, found: Divergence, wanted: GateSettings) -> str | None:
    """What of a tier's divergence breaks a limit: known long before the release is judged."""
    wrong = [text for _, good, text in _divergence(tier, found, wanted) if not good]
    return "; ".join(wrong) or None


def _stops(
    checks: Iterable[Check], out: tuple[LeftOut, ...], rows: list[Row], wanted: GateSettings
) -> str | None:
    whole = [check.text for check in checks if check.tier is None and not check.good]
    if whole:
        return "; ".join(whole)
    if out and wanted.failing == "stop":
        return "; ".join(f"{one.tier}: {one.reason}" for one in out)
    if {row.name for row in rows} <= {one.tier for one in out}:
        return f"no tier is good enough: {out[0].tier}: {out[0].reason}" if out else "no tier"
    return None


def _tier(row: Row, reference: Row, facts: GateFacts, wanted: GateSettings) -> Iterable[Check]:
    def check(rule: str, good: bool, text: str) -> Check:
        return Check(rule=rule, tier=row.name, good=good, text=text)

    wrong = facts.files.get(row.name)
    yield check("file", wrong is None, wrong or "header, rows and recipe are sound")
    wrong = facts.speech.get(row.name)
    yield check("speech", wrong is None, wrong or "writes text")
    found = row.scores.divergence
    if found is None:
        yield check("measured", not wanted.measured, "its divergence was not measured")
    else:
        yield from (check(*one) for one in _divergence(row.name, found, wanted))
    theirs = {choices.name: choices for choices in reference.scores.choices}
    for ours in row.scores.choices:
        if ours.name in theirs:
            limit = limit_of(wanted.accuracy_drop, row.name)
            value, error = drop_tiers(ours, theirs[ours.name])
            text = f"{ours.name} {value:+.1%} ± {error:.1%} below the reference"
            good, text = _held(value, error, limit, text, f"{limit:.1%}")
            if not good and by_chance(ours, theirs[ours.name]):
                good, text = True, f"{text}, by chance perhaps"
            yield check("accuracy", good, text)


def _divergence(
    tier: str, found: Divergence, wanted: GateSettings
) -> Iterable[tuple[str, bool, str]]:
    limit = limit_of(wanted.ppl_ratio, tier)
    text = f"PPL ratio {found.ppl_ratio:.4f} ± {found.ppl_ratio_error:.4f}"
    yield "ppl", *_held(found.ppl_ratio, found.ppl_ratio_error, limit, text, f"{limit:g}")
    limit = limit_of(wanted.mean_kld, tier)
    text = f"mean KLD {found.mean:.4f} ± {found.mean_error:.4f}"
    yield "mean kld", *_held(found.mean, found.mean_error, limit, text, f"{limit:g}")
    limit = limit_of(wanted.max_kld, tier)
    yield "max kld", *_held(found.max, 0.0, limit, f"maximum KLD {found.max:.2f}", f"{limit:g}")


def _held(value: float, error: float, limit: float, text: str, shown: str) -> tuple[bool, str]:
    """A limit is broken where the value is surely above it; what is no number breaks any."""
    if limit == inf:
        return value == value, f"{text}, no limit"
    good = value - SURE * error <= limit
    return good, f"{text}, {'within' if good else 'above'} {shown}"


def limit_of(limits: Mapping[str, float], tier: str) -> float:
    """The limit of the first pattern that fits the tier; none where no pattern does."""
    return next((limit for name, limit in limits.items() if fnmatchcase(tier, name)), inf)


def drop_tiers(ours: Choices, theirs: Choices) -> tuple[float, float]:
    """How much less is answered rightly, as a fraction, with one standard error.

    Paired by task (McNemar's variance) where both kept their answers, else as independent shares.
    """
    value = theirs.accuracy - ours.accuracy
    if ours.answers and len(ours.answers) == len(theirs.answers):
        pairs = list(zip(ours.answers, theirs.answers, strict=True))
        lost, won = pairs.count(("0", "1")), pairs.count(("1", "0"))
        count = len(pairs)
        return value, sqrt(max(lost + won - (lost - won) ** 2 / count, 0.0)) / count
    shares = [(choices.accuracy, choices.tasks) for choices in (ours, theirs)]
    return value, hypot(*(sqrt(share * (1 - share) / tasks) for share, tasks in shares))


def by_chance(ours: Choices, theirs: Choices) -> bool:
    """Whether few answers differ so much that equal files could: McNemar's exact test.

    The standard error of a drop is none where every answer that differs was lost.
    """
    if not ours.answers or len(ours.answers) != len(theirs.answers):
        return False
    pairs = list(zip(ours.answers, theirs.answers, strict=True))
    return evidence.discordant(pairs.count(("1", "0")), pairs.count(("0", "1"))) >= evidence.LEVEL


def _release(results: Results, facts: GateFacts, wanted: GateSettings) -> Iterable[Check]:
    source = results.release or results.origin
    good, text = True, "the source is a file of yours"
    if source is not None:
        good, text = licences.permitted(source, wanted)
    yield Check(rule="licence", tier=None, good=good, text=text)
    newest = facts.newest if wanted.newest else None
    text = newest or ("the source still has these weights" if wanted.newest else "not asked")
    yield Check(rule="newest", tier=None, good=newest is None, text=text)
    text = facts.alone or "nobody else of ours published meanwhile"
    yield Check(rule="alone", tier=None, good=facts.alone is None, text=text)


def verdict_text(found: Verdict) -> str:
    """Every rule of the gate with what came of it, and what follows."""
    rows = [
        (check.tier or "the release", check.rule, "passed" if check.good else "FAILED", check.text)
        for check in found.checks
    ]
    lines = [table(("what", "rule", "", ""), rows, left=4)]
    lines += [legible(f"left out: {one.tier}: {one.reason}") for one in found.left_out]
    lines.append(
        legible(f"stops: {found.stops}") if found.stops else "the release may be published"
    )
    return "\n".join(lines)
