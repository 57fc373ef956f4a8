"""Tables: numbers with their errors, files with size and hash, bold where tests say so."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations

from bot.card.tables.cells import CardFile
from bot.card.tables.measured_table import benchmarks
from bot.records.measured import (
    KLD,
    PPL,
    ChunkInterval,
    Comparison,
    Divergence,
    DomainDivergence,
    Row,
    Text,
)
from bot.records.results import DomainFacts, Results
from bot.settings.showing import CardSettings
from tests.unit.card.markdown import read
from tests.unit.card.samples import (
    ABOUT,
    divergence,
    files,
    nine_tiers,
    readme,
    row,
)


def _same(cell: str, value: float, factor: float = 1) -> None:
    """A printed number is the value at its own precision."""
    number = cell.removesuffix("%")
    places = len(number.partition(".")[2])
    assert abs(float(number) - value * factor) <= 0.500001 * 10**-places
    assert places >= 1


def test_every_number_of_the_benchmark_table() -> None:
    results = nine_tiers()
    look = CardSettings(columns=("p999", "same_top", "bits"))
    head, *body = read(readme(results, look=look)).tables[0]
    assert head == [
        "Model",
        "Size",
        "PPL ↓",
        "KL mean ↓",
        "KL median ↓",
        "KL 99.9% ↓",
        "KL max ↓",
        "Same top ↑",
        "HellaSwag ↑",
        "BPW",
    ]
    tiers = sorted(results.tiers, key=lambda tier: -tier.bytes)
    names = ["BF16 (reference)", *(f"APEX {tier.name}" for tier in tiers)]
    assert [cells[0] for cells in body] == names
    for cells, tier_row in zip(body, [results.reference, *tiers], strict=True):
        _check_row(cells, tier_row)


def _check_row(cells: list[str], tier_row: Row) -> None:
    size, ppl, mean, *divergences, accuracy, bits = cells[1:]
    _same(bits, tier_row.bits_per_weight)
    _same(size.removesuffix(" GB"), tier_row.bytes / 1e9)
    assert tier_row.scores.perplexity
    _same(ppl.split(" ± ")[0], tier_row.scores.perplexity.value)
    _same(ppl.split(" ± ")[1], tier_row.scores.perplexity.error)
    choice = tier_row.scores.choices[0]
    share, low, high = re.fullmatch(r"(\S+%) \(([\d.]+)–([\d.]+)\)", accuracy).groups()  # type: ignore[union-attr]  # a mismatch fails the test
    _same(share, choice.accuracy, 100)
    _same(low, choice.low, 100)
    _same(high, choice.high, 100)
    if tier_row.scores.divergence is None:
        assert [mean, *divergences] == ["—"] * 5
    else:
        _check_divergence(mean, divergences, tier_row.scores.divergence)


def _check_divergence(mean: str, cells: list[str], measured: Divergence) -> None:
    _same(mean.split(" ± ")[0], measured.mean)
    _same(mean.split(" ± ")[1], measured.mean_error)
    assert float(mean.split(" ± ")[1]) > 0, "an error must not round to nothing"
    for cell, value in zip(cells, (measured.median, measured.p999, measured.max), strict=False):
        _same(cell, value)
    _same(cells[3], measured.same_top, 100)


def test_missing_values_are_dashes() -> None:
    results = nine_tiers()
    bare = replace(results.tiers[0], scores=replace(results.tiers[0].scores, choices=()))
    unmeasured = replace(row("Mini", 12_000_000_000, None), name="Mini")
    table = read(readme(replace(results, tiers=(bare, unmeasured)))).tables[0]
    assert table[2][0] == "APEX Quality"
    assert table[2][-1] == "—"
    assert table[3][3:6] == ["—"] * 3
    assert all(cell for cells in table for cell in cells)


def test_every_file_is_listed_with_size_and_hash() -> None:
    results = nine_tiers()
    listed = files(results)
    page = read(readme(results))
    cells = {line[0]: line for line in page.tables[1][1:]}
    listed = [file for file in listed if not file.path.startswith("plots/")]
    assert set(cells) == {file.path for file in listed}
    for file in listed:
        line = cells[file.path]
        assert int(line[5].replace(",", "")) == file.bytes
        assert line[6] == file.sha256[:12]
        bits = {tier.file: tier.bits_per_weight for tier in results.tiers}.get(file.path)
        if bits is None:
            assert line[4] == "—"
        else:
            _same(line[4], bits)
        assert line[3] == (file.note or ABOUT[file.tier or ""])
        assert file.path in page.links


def test_files_need_no_tier() -> None:
    extra = CardFile(path="mmproj.gguf", tier=None, bytes=1, sha256="00", note="")
    line = read(readme(nine_tiers(), files=[extra])).tables[1][1]
    assert line == ["mmproj.gguf", "—", "0.0 kB", "—", "1", "00"]


def _bold(results: Results) -> dict[str, list[str]]:
    table = benchmarks(results, CardSettings())
    return {
        str(line[0]): [
            str(title)
            for title, cell in zip(table.columns, line, strict=True)
            if cell.startswith("**")
        ]
        for line in table.rows
    }


def test_bold_needs_a_paired_comparison_with_every_other_file() -> None:
    first, second = (
        row("A", 10**10, divergence(0.01, 1e-4)),
        row("B", 10**10, divergence(0.02, 1e-4)),
    )
    results = replace(nine_tiers(), tiers=(first, second))
    assert not any(_bold(results).values()), "errors that do not overlap are no paired comparison"
    comparison = Comparison(
        measure=KLD, one="A", other="B", difference=-0.01, p=1e-9, differs=True, test="paired"
    )
    bold = _bold(replace(results, comparisons=(comparison,)))
    assert bold["APEX A"] == ["KL mean ↓"]
    assert sum(map(len, bold.values())) == 1
    assert not any(
        _bold(replace(results, comparisons=(replace(comparison, differs=False),))).values()
    )
    third = row("D", 5 * 10**9, divergence(0.03, 1e-4))
    more = replace(results, tiers=(first, second, third), comparisons=(comparison,))
    assert not any(_bold(more).values()), "D was not compared"


def test_bold_stands_at_no_file_that_another_surely_beats() -> None:
    """The best of two small files is no best of a column, as whoever reads it would think."""
    rows = [row(n, size, divergence(m, 1e-4)) for n, size, m in
            (("A", 3 * 10**10, 0.01), ("B", 10**10, 0.3), ("C", 10**10, 0.4))]  # fmt: skip
    comparisons = [
        Comparison(measure=KLD, one=first.name, other=second.name, difference=-0.1, p=1e-9,
                   differs=True, test="paired")
        for first, second in combinations(rows, 2)
    ]  # fmt: skip
    bold = _bold(replace(nine_tiers(), tiers=tuple(rows), comparisons=tuple(comparisons)))
    assert {name: cells for name, cells in bold.items() if cells} == {"APEX A": ["KL mean ↓"]}


def test_domains_lead_with_the_means_of_99_9_percent_and_mean() -> None:
    results = nine_tiers()
    assert "by domain" not in readme(results)
    text = Text(name="chats.jsonl.gz", sha256="ab" * 32, origin="a/b@c, chats.jsonl.gz, MIT")
    facts = [
        DomainFacts(
            name=name, text=text, context=512, chunks=4, scored_tokens=1020, rendered=rendered
        )
        for name, rendered in (("chat", True), ("code", False))
    ]

    def measured(tier: Row, worse: float) -> Row:
        values = {"chat": (0.01 * worse, 1.0), "code": (0.03 * worse, 2.0)}
        domains = tuple(
            DomainDivergence(name=name, divergence=divergence(mean, 0.001, p999=p999, same_top=0.9))
            for name, (mean, p999) in values.items()
        )
        return replace(tier, scores=replace(tier.scores, domains=domains))

    tiers = [measured(tier, n + 1) for n, tier in enumerate(results.tiers)]
    partly = replace(tiers[-1].scores, domains=tiers[-1].scores.domains[:1])
    tiers[-1] = replace(tiers[-1], scores=partly)
    evaluation = replace(results.evaluation, domains=tuple(facts))
    page = readme(replace(results, tiers=tuple(tiers), evaluation=evaluation))
    head, first, *_, last = read(page).tables[0]
    assert head == ["Model", "KL 99.9% ↓", "KL mean ↓", "chat", "code"]
    assert first[1:] == ["1.50", "0.0200", "1.00 / 0.0100 / 90.0%", "2.00 / 0.0300 / 90.0%"]
    assert (last[1], last[2], last[4]) == ("—", "—", "—")
    assert (
        "4 chunks of 512 tokens, 1,020 scored, rendered with the model's own chat template" in page
    )


def _with_intervals(results: Results) -> Results:
    """PPL and mean KLD from 2 % below to 3 % above."""

    def known(tier: Row) -> Row:
        ppl, kld = tier.scores.perplexity, tier.scores.divergence
        values = {PPL: ppl.value if ppl else None, KLD: kld.mean if kld else None}
        bounds = tuple(
            ChunkInterval(of=of, low=0.98 * value, high=1.03 * value)
            for of, value in values.items()
            if value is not None
        )
        return replace(tier, scores=replace(tier.scores, intervals=bounds))

    return replace(
        results,
        reference=known(results.reference),
        tiers=tuple(known(tier) for tier in results.tiers),
    )


def test_intervals_over_chunks_stand_by_themselves() -> None:
    results = _with_intervals(nine_tiers())
    text = readme(results)
    table = read(text).tables[1]
    assert table[0] == ["Model", "PPL, 95%", "KL mean, 95%"]
    assert table[1][2] == "—", "the reference has no divergence"
    assert len(table) == 1 + 1 + len(results.tiers)
    tiers = {f"APEX {tier.name}": tier for tier in results.tiers}
    for title, *cells in table[2:]:
        tier = tiers[title]
        for cell, bounds in zip(cells, tier.scores.intervals, strict=True):
            low, high = cell.split("–")
            _same(low, bounds.low)
            _same(high, bounds.high)
    assert "one standard error, over tokens as if they were independent" in text
    assert "95% intervals" not in readme(nine_tiers())
    assert max(len("".join(line)) for line in table) < 50, "three columns of a phone"


def test_footnotes_tell_how_far_intervals_reach() -> None:
    look = CardSettings(errors="footnote")
    (note,) = (n for n in benchmarks(_with_intervals(nine_tiers()), look).notes if "Uncert" in n)
    ppl_note, mean, _accuracy = note.removeprefix("Uncertainty: ").split("; ")
    measured = [tier.scores.perplexity for tier in nine_tiers().tiers]
    highest = max(ppl.value for ppl in measured if ppl)
    reach = f"−{0.02 * highest:.3f} to +{0.03 * highest:.3f}"
    assert ppl_note == f"PPL {reach} at most (95% interval over chunks)"
    assert mean.startswith("KL mean −0.0")
    partly = _with_intervals(nine_tiers())
    partly = replace(partly, tiers=(nine_tiers().tiers[0], *partly.tiers[1:]))
    assert all("over chunks" not in note for note in benchmarks(partly, look).notes)
