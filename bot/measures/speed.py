"""Tokens per second as llama-bench defines them: pp512 and tg128.

test_prompt() and test_gen() of tools/llama-bench/llama-bench.cpp: random tokens, a warm-up, then
`repetitions` measured runs, each from an empty memory; ± is the sample's standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np

from bot.clients.llama.session import Batch, Session, Token
from bot.records.measured import Speed

PROMPT, GENERATED = 512, 128

Progress = Callable[[int, int], None]  # runs done, runs in all


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
