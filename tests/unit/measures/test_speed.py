from pathlib import Path

from bot.clients.llama.session import Session
from bot.measures import speed
from tests.evaluation import quiet


def test_both_speeds_with_their_spread(demo_candidate: Path) -> None:
    with Session(demo_candidate, n_ctx=speed.PROMPT, threads=2, gpu_layers=0) as session:
        prompt, generated = speed.measure_speed(session, 2, quiet)
    assert (prompt.name, generated.name) == ("pp512", "tg128")
    assert prompt.repetitions == generated.repetitions == 2
    assert prompt.mean > generated.mean > 0
    assert prompt.spread >= 0
