"""Answers over sessions against plain decoding, one request at a time, and killed runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from bot.benchmarks.harness_requests import HarnessRequest, ModelAnswer
from bot.benchmarks.request_lines import Bounds, encoded
from bot.benchmarks.responding import Answering
from bot.clients.llama.quantization import quantize_file
from bot.clients.llama.session import Session, Token, generate
from bot.errors import BuildError, SettingsError
from bot.measures.logits import softmax
from bot.settings.sections import DEMO
from tests.evaluation import quiet, with_nan

BOUNDS = Bounds(context=128, memory=192, sequences=6)
EXAMPLES = "".join(
    f"Question: what did the {who} do?\nAnswer: It {did} over the old river and went home.\n\n"
    for who, did in (("house", "walked"), ("boy", "looked"), ("king", "slept"))
)
QUESTIONS = ("what is a river?", "who went home?", "where is the old house?", "why?")
CHOICES = (" It is a river.", " The king of the old house", " dog")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature in 32 bits: what is decoded together hardly changes a number of it."""
    path = tmp_path_factory.mktemp("model") / "tiny-moe-F32.gguf"
    source = DEMO / "tiny-moe-Q8_0.gguf"
    quantize_file(source, path, file_type=0, overrides=(), imatrix=None, threads=2, requantize=True)
    return path


@pytest.fixture(scope="module")
def session(model: Path) -> Iterator[Session]:
    with opened(model) as one:
        yield one


def opened(path: Path, bounds: Bounds = BOUNDS) -> Session:
    return Session(
        path, n_ctx=bounds.memory, threads=1, gpu_layers=0, sequences=bounds.held, unified=True
    )


def answered(
    session: Session,
    requests: Sequence[HarnessRequest],
    bounds: Bounds = BOUNDS,
    done: Sequence[str] = (),
) -> dict[str, ModelAnswer]:
    found: dict[str, ModelAnswer] = {}
    Answering(session, bounds, threads=1).answer(requests, done, found.update, quiet)
    return found


def likely(context: str, continuation: str) -> HarnessRequest:
    return HarnessRequest(kind="likelihood", context=context, continuation=continuation)


def plainly(session: Session, before: list[int], targets: list[int]) -> tuple[float, bool]:
    """The same sum from one sequence that is decoded alone."""
    session.clear()
    whole = [*before, *targets][:-1]
    batch = [Token(id=t, position=i, logits=i >= len(before) - 1) for i, t in enumerate(whole)]
    logits = session.decode(batch)
    norms = softmax(logits)
    values = logits[np.arange(len(targets)), targets] - norms.total
    return float(values.sum()), bool((norms.best == targets).all())


ASKED = [likely(EXAMPLES + question, choice) for question in QUESTIONS for choice in CHOICES]


def test_likelihoods_are_those_of_each_text_alone(session: Session) -> None:
    """Few-shot examples are a stem, questions are shared, and no sum changes by it."""
    requests = [*ASKED, likely("", "Once upon a time"), likely("Once ", "upon a time")]
    found = answered(session, requests)
    assert set(found) == {request.key for request in requests}
    words = session.tokenize
    for request in requests:
        bare = request.context.rstrip()
        before = words(bare) if bare else [session.opening]
        whole = words(request.context + request.continuation)
        targets = whole[len(before) :] if bare else whole
        logprob, greedy = plainly(session, before, targets)
        assert found[request.key].logprob == pytest.approx(logprob, abs=1e-2)
        assert found[request.key].greedy == greedy


def test_whole_texts_are_scored_token_by_token_once(session: Session) -> None:
    """A text longer than the context goes through windows; each token is scored once."""
    text = EXAMPLES * 4
    tokens = session.tokenize(text)
    assert len(tokens) > 2 * BOUNDS.context
    request = HarnessRequest(kind="rolling", continuation=text)
    found = answered(session, [request, HarnessRequest(kind="rolling", continuation="")])
    size, total = BOUNDS.context, 0.0
    for start in range(0, len(tokens), size):
        targets = tokens[start : start + size]
        before = [session.opening, *tokens][: start + 1][-(size + 1 - len(targets)) :]
        total += plainly(session, before, targets)[0]
    assert found[request.key].logprob == pytest.approx(total, abs=0.05)
    assert found[HarnessRequest(kind="rolling", continuation="").key] == ModelAnswer(greedy=True)


def test_texts_are_those_of_greedy_decoding_alone(session: Session) -> None:
    prompts = [EXAMPLES + question for question in QUESTIONS]
    requests = [HarnessRequest(kind="text", context=prompt, limit=12) for prompt in prompts]
    found = answered(session, requests)
    for prompt, request in zip(prompts, requests, strict=True):
        assert found[request.key].text == generate(session, prompt, 12)


def test_texts_end_before_the_first_stop(session: Session) -> None:
    prompt = EXAMPLES + QUESTIONS[0]
    whole = generate(session, prompt, 24)
    stops = (whole[9:12], whole[15:17], "")
    request = HarnessRequest(kind="text", context=prompt, until=stops, limit=24)
    (answer,) = answered(session, [request]).values()
    assert answer.text == whole.split(stops[0])[0].split(stops[1])[0] != ""
    assert not any(stop in answer.text for stop in stops[:2])


def test_long_prompts_lose_their_beginning(session: Session) -> None:
    prompt = EXAMPLES * 2
    request = HarnessRequest(kind="text", context=prompt, limit=16)
    (answer,) = answered(session, [request]).values()
    kept = session.tokenize(prompt)[-(BOUNDS.context - 16) :]
    assert answer.text == generate(session, session.text(kept), 16)


@pytest.mark.parametrize("limit", [0, 128])
def test_texts_that_leave_no_room_are_refused(session: Session, limit: int) -> None:
    with pytest.raises(SettingsError, match="most_tokens"):
        answered(session, [HarnessRequest(kind="text", context="Once", limit=limit)])


@pytest.mark.road
def test_a_run_that_was_killed_ends_with_the_same_bits(session: Session) -> None:
    """Wherever it was killed: batches follow from what is asked, not from what is done."""
    texts = [HarnessRequest(kind="text", context=EXAMPLES + q, limit=4) for q in QUESTIONS]
    requests = [*ASKED[:9], *texts, HarnessRequest(kind="rolling", continuation=EXAMPLES)]
    whole = answered(session, requests)
    for kept in (0, 5, 13, len(whole) - 1):
        done = dict(list(whole.items())[:kept])
        rest = answered(session, requests, done=list(done))
        assert {**done, **rest} == whole
        assert not set(rest) & set(done)


def test_names_of_control_tokens_are_these(session: Session) -> None:
    """As transformers reads a rendered conversation."""
    assert encoded(session, "one <|im_end|>")[-1] == session.opening
    assert session.text([session.opening]) == ""
    assert len(session.tokenize("<|im_end|>")) > 1


def test_numbers_that_are_none_are_told(model: Path, tmp_path: Path) -> None:
    path = with_nan(model, tmp_path / "nan.gguf")
    with opened(path) as damaged, pytest.raises(BuildError, match="no numbers"):
        answered(damaged, ASKED[:2])
