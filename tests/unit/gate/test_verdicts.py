"""The rules of the gate, one by one, on results of the right kind."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import pytest

from bot.gate.verdicts import GateFacts, accuracy_drop, judge, limit_of, without_tiers
from bot.records.measured import Choices, DomainDivergence, Row
from bot.records.results import LeftOut, Results
from bot.settings.showing import GateSettings
from tests.unit.card.samples import nine_tiers

FINE = GateFacts(files={}, speech={}, newest=None, alone=None)


def sample() -> Results:
    """Nine tiers whose worst tokens are as bad as those of real models."""
    results = nine_tiers()

    def one(row: Row) -> Row:
        divergence = row.scores.divergence
        assert divergence is not None
        mild = replace(divergence, max=min(divergence.max, 20.0))
        return replace(row, scores=replace(row.scores, divergence=mild))

    return replace(results, tiers=tuple(map(one, results.tiers)))


def changed(tier: str, **values: float) -> Results:
    """The sample with one tier's divergence changed."""

    def one(row: Row) -> Row:
        assert row.scores.divergence is not None
        worse = replace(row.scores.divergence, **values)
        return replace(row, scores=replace(row.scores, divergence=worse))

    results = sample()
    rows = tuple(one(row) if row.name == tier else row for row in results.tiers)
    return replace(results, tiers=rows)


def test_a_good_release_passes_every_rule() -> None:
    verdict = judge(sample(), FINE, GateSettings())
    assert verdict.good
    assert verdict.stops is None
    assert verdict.left_out == ()
    built = {row.name for row in sample().tiers if row.same_as is None}
    assert {check.tier for check in verdict.checks} == built | {None}


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("ppl", {"ppl_ratio": 3.0}),
        ("mean kld", {"mean": 2.0}),
        ("max kld", {"max": 99.0}),
        ("ppl", {"ppl_ratio": nan}),
        ("max kld", {"max": inf}),
    ],
)
def test_a_tier_above_a_limit_is_left_out(rule: str, values: dict[str, float]) -> None:
    results = changed("I-Mini", **values)
    verdict = judge(results, FINE, GateSettings())
    failed = [check for check in verdict.checks if not check.good]
    assert [(check.tier, check.rule) for check in failed] == [("I-Mini", rule)]
    assert [left_out.tier for left_out in verdict.left_out] == ["I-Mini"]
    assert verdict.stops is None
    good = without_tiers(results, verdict.left_out)
    assert "I-Mini" not in {row.name for row in good.tiers}
    assert good.left_out == verdict.left_out
    assert len(good.tiers) == len(results.tiers) - 1


def test_a_value_within_its_error_of_the_limit_passes() -> None:
    limit = GateSettings(mean_kld={"I-Mini": 0.4})
    assert judge(changed("I-Mini", mean=0.44, mean_error=0.03), FINE, limit).good
    assert not judge(changed("I-Mini", mean=0.44, mean_error=0.01), FINE, limit).good


def chatting(**values: float) -> Results:
    """The sample of a model with a chat template; I-Mini's divergence on chats changed."""

    def one(row: Row) -> Row:
        assert row.scores.divergence is not None
        worse = values if row.name == "I-Mini" else {}
        on_chats = replace(row.scores.divergence, **{"p999": 2.0, **worse})
        domains = (DomainDivergence(name="chat", divergence=on_chats),)
        return replace(row, scores=replace(row.scores, domains=domains))

    results = sample()
    facts = replace(results.evaluation, chat_template=True)
    return replace(results, tiers=tuple(map(one, results.tiers)), evaluation=facts)


@pytest.mark.parametrize("values", [{"p999": 13.0}, {"mean": 2.0}, {"p999": nan}])
def test_a_domain_has_limits_of_its_own(values: dict[str, float]) -> None:
    assert judge(chatting(), FINE, GateSettings()).good
    failed = [c for c in judge(chatting(**values), FINE, GateSettings()).checks if not c.good]
    assert [(check.tier, check.rule) for check in failed] == [("I-Mini", "domain")]
    assert "KLD on chat" in failed[0].text


def test_a_model_with_a_chat_template_is_not_judged_by_its_ppl_ratio() -> None:
    plain = changed("I-Mini", ppl_ratio=800.0)
    facts = replace(plain.evaluation, chat_template=True)
    assert not judge(plain, FINE, GateSettings()).good
    verdict = judge(replace(plain, evaluation=facts), FINE, GateSettings())
    assert verdict.good
    told = [check.text for check in verdict.checks if (check.tier, check.rule) == ("I-Mini", "ppl")]
    assert told[0].endswith("of a model with a chat template, no limit")
    worse = changed("I-Mini", ppl_ratio=800.0, mean=2.0)
    failed = judge(replace(worse, evaluation=facts), FINE, GateSettings()).left_out
    assert [left_out.tier for left_out in failed] == ["I-Mini"]


def test_the_policy_may_stop_the_release() -> None:
    verdict = judge(changed("I-Mini", mean=2.0), FINE, GateSettings(failing="stop"))
    assert verdict.stops is not None
    assert "I-Mini" in verdict.stops


def test_tiers_that_are_the_same_file_fall_together() -> None:
    results = sample()
    first, second, *rest = results.tiers
    twin = replace(second, same_as=first.name, sha256=first.sha256)
    results = replace(results, tiers=(first, twin, *rest))
    facts = replace(FINE, files={first.name: "holds rows that are no numbers"})
    verdict = judge(results, facts, GateSettings())
    assert {left_out.tier for left_out in verdict.left_out} == {first.name, twin.name}


def test_nothing_left_stops() -> None:
    results = sample()
    silent = {row.name: "repeats 'a' without end" for row in results.tiers}
    verdict = judge(results, replace(FINE, speech=silent), GateSettings())
    assert verdict.stops is not None
    assert verdict.stops.startswith("no tier")


@pytest.mark.parametrize("fact", ["newest", "alone"])
def test_what_concerns_the_release_stops_it(fact: str) -> None:
    facts = replace(FINE, **{fact: "is not so"})  # type: ignore[arg-type]  # both are text
    verdict = judge(sample(), facts, GateSettings())
    assert verdict.stops == "is not so"


@pytest.mark.parametrize(
    ("licence", "settings", "good"),
    [
        ("apache-2.0", GateSettings(), True),
        ("llama4", GateSettings(), True),
        ("cc-by-nc-4.0", GateSettings(), True),
        ("cc-by-nd-4.0", GateSettings(), False),
        ("cc-by-nc-nd-4.0", GateSettings(), False),
        ("llama4", GateSettings(licences=("mit", "apache-2.0")), False),
        ("mit", GateSettings(licences=("mit", "apache-2.0")), True),
        (None, GateSettings(), False),
        (None, GateSettings(unlicensed="publish"), True),
    ],
)
def test_licences(licence: str | None, settings: GateSettings, good: bool) -> None:
    results = sample()
    assert results.release is not None
    results = replace(results, release=replace(results.release, license=licence))
    assert (judge(results, FINE, settings).stops is None) == good
    assert judge(replace(results, release=None), FINE, settings).stops is None


def choices(answers: str, *, kept_answers: bool = True) -> Choices:
    right = answers.count("1")
    per_task = answers if kept_answers else ""
    return Choices(name="T", tasks=len(answers), correct=right, low=0, high=1, answers=per_task)


def test_a_drop_is_judged_by_pairs() -> None:
    reference, ours = choices("1" * 80 + "0" * 20), choices("1" * 70 + "0" * 30)
    value, error = accuracy_drop(ours, reference)
    assert value == pytest.approx(0.1)
    assert error == pytest.approx((10 - 100 / 100) ** 0.5 / 100)
    apart = accuracy_drop(choices(ours.answers, kept_answers=False), reference)
    assert apart[0] == pytest.approx(0.1)
    assert apart[1] == pytest.approx((0.7 * 0.3 / 100 + 0.8 * 0.2 / 100) ** 0.5)


def test_an_accuracy_drop_beyond_its_error_fails() -> None:
    results = sample()
    rows = [
        replace(row, scores=replace(row.scores, choices=(choices("0" * 60 + "1" * 40),)))
        if row.name == "I-Micro"
        else row
        for row in results.tiers
    ]
    reference = replace(
        results.reference, scores=replace(results.reference.scores, choices=(choices("1" * 100),))
    )
    verdict = judge(replace(results, tiers=tuple(rows), reference=reference), FINE, GateSettings())
    assert [(c.tier, c.rule) for c in verdict.checks if not c.good] == [("I-Micro", "accuracy")]


@pytest.mark.parametrize(("lost", "tasks", "good"), [(1, 1, True), (5, 5, True), (6, 6, False)])
def test_few_answers_are_no_drop_however_alike_they_fall(lost: int, tasks: int, good: bool) -> None:
    """All that differ were lost: their standard error is 0, and chance does that to five."""
    ours, right = choices("0" * lost + "1" * (tasks - lost)), choices("1" * tasks)
    assert accuracy_drop(ours, right)[1] == 0
    results = sample()
    first = results.tiers[0]
    tier = replace(first, scores=replace(first.scores, choices=(ours,)))
    reference = replace(
        results.reference, scores=replace(results.reference.scores, choices=(right,))
    )
    verdict = judge(replace(results, tiers=(tier,), reference=reference), FINE, GateSettings())
    (check,) = (check for check in verdict.checks if check.rule == "accuracy")
    assert check.good == good


def test_the_first_pattern_counts() -> None:
    limits = {"I-*": 1.0, "*-Mini": 2.0}
    assert limit_of(limits, "I-Mini") == 1.0
    assert limit_of(limits, "X-Mini") == 2.0
    assert limit_of(limits, "Quality") == inf


def test_an_unmeasured_tier_fails_unless_allowed() -> None:
    results = sample()
    rows = (replace(results.tiers[0], scores=replace(results.tiers[0].scores, divergence=None)),)
    results = replace(results, tiers=(*rows, *results.tiers[1:]))
    assert not judge(results, FINE, GateSettings()).good
    assert judge(results, FINE, GateSettings(measured=False)).good


def test_what_was_not_made_stays_told_beside_what_failed() -> None:
    unmade = LeftOut(tier="Quality", recipe=None, reason="as large", made=False)
    results = replace(changed("I-Mini", ppl_ratio=3.0), left_out=(unmade,))
    verdict = judge(results, FINE, GateSettings())
    good = without_tiers(results, verdict.left_out)
    assert [tier.tier for tier in good.left_out] == ["Quality", "I-Mini"]
    assert without_tiers(good, verdict.left_out) == good
