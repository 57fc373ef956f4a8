"""Tokens per second as llama-bench defines them: pp512 and tg128.

test_prompt() and test_gen() of tools/llama-bench/llama-bench.cpp: random tokens, a warm-up, then
`repetitions` measured runs, each from an empty memory; ± is the sample's standard deviation.

And what multi-token prediction brings: the model writes on from the beginnings of a text, greedily,
without guesses and with 1, 2 and 3 of them at a time; the text has to be the same. Of each place
among the guesses the share that was kept is counted over all drafts that came so far, with Wilson's
interval; drafts of one text depend on each other, so the interval is one of these texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np

from bot.clients.llama.drafting import Drafted, Drafting
from bot.clients.llama.session import Batch, Session, Token
from bot.measures.choices import wilson
from bot.records.measured import DraftPlace, Drafts, Speed

PROMPT, GENERATED = 512, 128

Progress = Callable[[int, int], None]  # runs or texts done, and in all


def measure_speed(session: Session, repetitions: int, progress: Progress) -> tuple[Speed, Speed]:
    """Prompt processing and generation. `session` needs room for 512 tokens of one sequence."""
    random = np.random.default_rng(1)
    total = 2 * repetitions

    def timed(name: str, tokens: int, work: Callable[[], None], before: int) -> Speed:
        rates = []
        for done in range(repetitions):
            progress(before + done, total)
            session.clear()
            start = perf_counter()
            work()
            rates.append(tokens / (perf_counter() - start))
        spread = float(np.std(rates, ddof=1)) if len(rates) > 1 else 0.0
        return Speed(name=name, mean=float(np.mean(rates)), spread=spread, repetitions=repetitions)

    def prompt() -> None:
        ids = _random(session, random, PROMPT)
        session.decode(Batch.rows(ids[None], PROMPT - 1))
        session.wait()

    def generate() -> None:
        for position, token in enumerate(_random(session, random, GENERATED)):
            session.decode([Token(id=int(token), position=position, logits=True)])
            session.wait()

    session.clear()
    prompt()  # warm-up
    prompts = timed(f"pp{PROMPT}", PROMPT, prompt, 0)
    session.clear()
    session.decode([Token(id=int(_random(session, random, 1)[0]), position=0, logits=True)])
    generated = timed(f"tg{GENERATED}", GENERATED, generate, repetitions)
    progress(total, total)
    return prompts, generated


def _random(session: Session, random: np.random.Generator, count: int) -> np.ndarray:
    ids = random.integers(0, session.vocabulary, count, dtype=np.int32)
    if session.bos is not None:
        ids[0] = session.bos
    return ids


# ── drafts ──────────────────────────────────────────────────────────────────────────────────

OPENING, WRITTEN = 64, 96  # tokens
TEXTS = 8
GUESSES = (1, 2, 3)
ROOM = 512  # tokens of context


def measure_drafts(
    drafting: Drafting, prompts: Sequence[Sequence[int]], progress: Progress
) -> tuple[Drafts, ...]:
    """For each number of guesses at a time: how many were kept, and tokens a second.

    `prompts` are tokens. The first text is written once before, so that nothing is measured cold.
    """
    total = len(prompts) * (1 + len(GUESSES))
    drafting.write(prompts[0], WRITTEN, 0)
    plain = [_told(progress, i, total, drafting, prompt, 0) for i, prompt in enumerate(prompts)]
    measured = []
    for number, guesses in enumerate((n for n in GUESSES if n <= drafting.drafts), 1):
        drafted = [
            _told(progress, number * len(prompts) + i, total, drafting, prompt, guesses)
            for i, prompt in enumerate(prompts)
        ]
        measured.append(_counted(guesses, plain, drafted))
    progress(total, total)
    return tuple(measured)


def _told(
    progress: Progress, done: int, total: int, drafting: Drafting, prompt: Sequence[int], n: int
) -> Drafted:
    progress(done, total)
    return drafting.write(prompt, WRITTEN, n)


def _counted(guesses: int, plain: Sequence[Drafted], drafted: Sequence[Drafted]) -> Drafts:
    rounds = [each for text in drafted for each in text.rounds]
    same = [one.tokens == other.tokens for one, other in zip(plain, drafted, strict=True)]
    return Drafts(
        guesses=guesses,
        drafts=len(rounds),
        offered=sum(offered for offered, _ in rounds),
        kept=sum(kept for _, kept in rounds),
        places=tuple(_place(number, rounds) for number in range(guesses)),
        rate=_rate(drafted),
        rate_without=_rate(plain),
        texts=len(same),
        same_texts=sum(same),
    )


def _place(number: int, rounds: Sequence[tuple[int, int]]) -> DraftPlace:
    offered = sum(size > number for size, _ in rounds)
    kept = sum(kept > number for _, kept in rounds)
    low, high = wilson(kept, offered) if offered else (0.0, 1.0)
    return DraftPlace(offered=offered, kept=kept, low=low, high=high)


def _rate(texts: Sequence[Drafted]) -> float:
    """Tokens a second, of which the first of a text came with its prompt."""
    seconds = sum(text.seconds for text in texts)
    return sum(len(text.tokens) - 1 for text in texts) / seconds if seconds else 0.0
