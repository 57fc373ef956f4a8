"""The divergence by domain: conversations rendered, cut, measured; and llama.cpp's word on it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from bot.apart.conversing import Speaking, all_rendered
from bot.clients.llama.quantization import quantize_file
from bot.clients.llama.vocabulary import vocabulary_of
from bot.disk.hashes import sha256
from bot.errors import BuildError
from bot.evaluate.bench import Bench
from bot.evaluate.domains import domain_divergence
from bot.evaluate.scores import ScoreTable
from bot.measures.logits import open_base
from bot.measures.windows import cut_conversations
from bot.plan.profiles import FILE_TYPES
from bot.release.own_file import Wanted, refresh_file
from bot.settings.sections import DEMO
from bot.workplace.workplace import Workplace
from tests import llama_tools
from tests.kit_sets import TEMPLATE, write_kit
from tests.models import workplace_in
from tests.unit.evaluate.test_bench import at_work, bench_of, subject

CHATS = "OpenAssistant/oasst2/2023-11-05_oasst2_ready.trees.jsonl.gz"
CHAT = {"data": "chats", "context": 128, "chunks": 12}
PAGES = {"data": str(DEMO / "evaluation.txt"), "context": 256, "chunks": 1}
PRINTED = {
    "mean": (r"Mean    KLD: +(-?[\d.]+) ± +([\d.]+)", 1),
    "max": (r"Maximum KLD: +(-?[\d.]+)", 1),
    "p999": (r"99.9%   KLD: +(-?[\d.]+)", 1),
    "median": (r"Median  KLD: +(-?[\d.]+)", 1),
    "same_top": (r"Same top p: +([\d.]+) ± +([\d.]+)", 100),
}


@pytest.fixture
def chatting(tmp_path: Path, demo_model: Path) -> Path:
    """The demo's model with a chat template."""
    template, made = tmp_path / "template.jinja", tmp_path / "chatting.gguf"
    template.write_text(TEMPLATE, encoding="utf-8")
    wanted = Wanted(template=template, model=None, revision="main")
    refresh_file(at_work(tmp_path / "made"), demo_model, wanted, made, dry_run=False)
    return made


def with_domains(folder: Path, text: str | None = None, **domains: object) -> Workplace:
    file = write_kit(folder / "sets") / CHATS
    entry = {"path": str(file), "sha256": sha256(file), "licence": "CC0-1.0",
             "kind": "conversations", "where": {"lang": ["en"]}}  # fmt: skip
    more = {"text": text} if text else {}
    return workplace_in(
        folder, demo_texts=True, llama={"threads": 2, "gpu_layers": 0}, data={"chats": entry},
        evaluation={"context": 128, "chunks": 2, "noise_chunks": 0, "domains": domains, **more},
    )  # fmt: skip


def test_a_window_begins_where_a_conversation_begins(demo_candidate: Path) -> None:
    texts = [f"<|im_start|>user\nNumber {number} of them all.<|im_end|>\n" for number in range(40)]
    with vocabulary_of(demo_candidate) as words:
        cut = cut_conversations(words, texts, context=64, limit=4)
        pieces = [words.tokenize(text, special=True) for text in texts]
        plain = words.tokenize(texts[0])
    assert (cut.tokens.shape, cut.first) == ((4, 64), 32)
    assert len(pieces[0]) < len(plain)  # words of control tokens are these tokens
    place = 0
    for window in cut.tokens.tolist():
        filled: list[int] = []
        while len(filled) < 64:
            filled += pieces[place]
            place += 1
        assert window == filled[:64]


@pytest.mark.road
def test_each_domain_is_measured_and_kept_apart(
    tmp_path: Path, chatting: Path, demo_candidate: Path
) -> None:
    workplace = with_domains(tmp_path, chat=CHAT, pages=PAGES)
    bench = bench_of(workplace, chatting)
    candidate = subject(workplace, demo_candidate)
    table = ScoreTable(bench, [candidate], tasks=(), speed=False, wrote=lambda: None)
    table.fill(noise=False)
    scores = table.scores(candidate.sha256)
    assert scores is not None
    assert [domain.name for domain in scores.domains] == ["chat", "pages"]
    assert len({domain.divergence.mean for domain in scores.domains}) == 2
    assert scores.divergence not in [domain.divergence for domain in scores.domains]
    assert [run.measure for run in scores.runs] == [
        "divergence", "divergence on chat", "divergence on pages"]  # fmt: skip
    facts = table.facts(candidate)
    assert facts.chat_template
    assert [(d.name, d.context, d.chunks, d.scored_tokens, d.rendered) for d in facts.domains] == [
        ("chat", 128, 12, 12 * 63, True), ("pages", 256, 1, 127, False)]  # fmt: skip
    other = subject(workplace, chatting)
    both = ScoreTable(bench, [candidate, other], tasks=(), speed=False, wrote=lambda: None)
    both.fill(noise=False)
    compared = both.comparisons({candidate.sha256: "one", other.sha256: "other"})
    assert [(c.measure, c.test.split(":")[0]) for c in compared] == [
        ("kld", "none"), ("ppl", "none"), ("kld on chat", "signs of 12 chunks"),
        ("kld on pages", "none")]  # fmt: skip
    on_chat = compared[2]
    mean = scores.domains[0].divergence.mean
    assert on_chat.difference == pytest.approx(mean, abs=1e-5), "the other is the reference"
    assert on_chat.adjusted == on_chat.p, "the one of the family that can be tested"
    assert on_chat.differs
    made = bench.new_measures
    again = ScoreTable(bench, [candidate], tasks=(), speed=False, wrote=lambda: None)
    again.fill(noise=False)
    assert (again.scores(candidate.sha256), bench.new_measures) == (scores, made)
    bench.drop_logits()
    assert all(one.logits.made() is None for one in (bench, *bench.domains.values()))


def test_without_a_template_conversations_are_left_out(
    tmp_path: Path, demo_model: Path, demo_candidate: Path
) -> None:
    workplace = with_domains(tmp_path, chat=CHAT, pages=PAGES)
    bench = bench_of(workplace, demo_model)
    assert not bench.against.chats
    assert list(bench.domains) == ["pages"]
    alone = with_domains(tmp_path / "alone", text="chats")
    chat = bench_of(alone, demo_model)
    with pytest.raises(BuildError, match="has no chat template to render"):
        chat.divergence(subject(alone, demo_candidate), 1)


@pytest.mark.long
def test_the_chat_domain_is_what_llama_perplexity_says_of_the_same_tokens(
    tmp_path: Path, chatting: Path, demo_candidate: Path
) -> None:
    """Two tiers, within 1e-5; percent have three places."""
    workplace = with_domains(tmp_path, chat={**CHAT, "context": 512, "chunks": 8})
    bench = bench_of(workplace, chatting).domains["chat"]
    base = tmp_path / "chat.logits"
    bench.logits.copy_to(base)
    _require_rendered(base, bench, chatting)
    small = tmp_path / "small.gguf"
    quantize_file(chatting, small, file_type=FILE_TYPES["Q4_K_M"], overrides=[], imatrix=None,
                  notes=(), threads=2, requantize=True)  # fmt: skip
    for tier in (demo_candidate, small):
        measured = bench.divergence(subject(workplace, tier), 2)
        divergence = domain_divergence("chat", measured).divergence
        options = ("-m", tier, "-c", "512", "-t", "2", "--kl-divergence")
        printed = llama_tools.run("llama-perplexity", *options, "--kl-divergence-base", base)
        for name, (pattern, factor) in PRINTED.items():
            match = re.search(pattern, printed)
            assert match is not None, printed
            numbers = [float(group) for group in match.groups()]
            close = 1e-5 if factor == 1 else 1e-3
            ours = factor * getattr(divergence, name)
            assert ours == pytest.approx(numbers[0], abs=close), name
            if len(numbers) > 1:
                error = factor * getattr(divergence, f"{name}_error")
                assert error == pytest.approx(numbers[1], abs=close), name


def _require_rendered(base: Path, bench: Bench, model: Path) -> None:
    """The file's tokens are the conversations as the template writes them."""
    lines = bench.against.text.path.read_text(encoding="utf-8").splitlines()
    told = all_rendered(Speaking(template=TEMPLATE), map(json.loads, lines))
    with vocabulary_of(model) as words, open_base(base) as opened:
        expected = cut_conversations(words, told.texts, context=512, limit=8)
        assert np.array_equal(opened.windows.tokens, expected.tokens)
