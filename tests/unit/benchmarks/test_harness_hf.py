"""The harness's own `hf` model on the miniature's checkpoint against ours on its conversion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bot.benchmarks.harness_requests import HarnessRequest, ModelAnswer
from bot.benchmarks.request_lines import Bounds
from bot.benchmarks.responding import Answering
from bot.clients.llama.quantization import quantize_file
from bot.clients.llama.session import Session
from tests.evaluation import TINY, quiet

BEFORE = (
    "Question: what did the king do?\nAnswer: He went home.\n\nQuestion: who went home?\nAnswer:"
)
PAIRS = ((BEFORE, " The king."), (BEFORE, " It is a river"), ("", "Once upon a time"))
BOUNDS = Bounds(context=128, memory=256, sequences=4)


@pytest.mark.long
@pytest.mark.filterwarnings("default")  # of the harness's libraries
@pytest.mark.skipif(not TINY.is_dir(), reason="the miniature's checkpoint is not on this machine")
def test_answers_are_those_of_the_hf_model(tmp_path: Path) -> None:
    """In 32 bits; llama.cpp's cache has 16, which is what is left of a difference."""
    for module in ("lm_eval", "torch", "transformers"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from lm_eval.api.instance import Instance  # noqa: TID251 - what ours is compared with
    from lm_eval.models.huggingface import HFLM  # noqa: TID251 - the same

    from bot.benchmarks.harness import HarnessModel

    def asked(kind: Any, given: Sequence[Any]) -> list[Any]:
        return [
            Instance(request_type=kind, doc={}, arguments=arguments, idx=i)
            for i, arguments in enumerate(given)
        ]

    pairs = asked("loglikelihood", PAIRS)
    texts = asked("generate_until", [(BEFORE, {"until": ["\n"], "max_gen_toks": 6})])
    whole = asked("loglikelihood_rolling", [(BEFORE,)])
    hf = HFLM(
        pretrained=str(TINY / "hf"), dtype="float32", device="cpu", batch_size=1, max_length=128
    )
    full = tmp_path / "f32.gguf"
    quantize_file(
        TINY / "tiny-moe-BF16.gguf", full, file_type=0, overrides=(), imatrix=None, threads=2
    )
    with Session(
        full, n_ctx=BOUNDS.memory, threads=1, gpu_layers=0, sequences=BOUNDS.held, unified=True
    ) as session:
        answering = Answering(session, BOUNDS, threads=1)

        def respond(requests: Sequence[HarnessRequest]) -> list[ModelAnswer]:
            found: dict[str, ModelAnswer] = {}
            answering.answer(requests, (), found.update, quiet)
            return [found[request.key] for request in requests]

        ours = HarnessModel(respond)
        for own, theirs in zip(ours.loglikelihood(pairs), hf.loglikelihood(pairs), strict=True):
            assert own[0] == pytest.approx(theirs[0], abs=5e-3)
            assert own[1] == theirs[1]
        rolling = hf.loglikelihood_rolling(whole)
        assert ours.loglikelihood_rolling(whole) == pytest.approx(rolling, rel=2e-4)
        assert ours.generate_until(texts) == hf.generate_until(texts)
