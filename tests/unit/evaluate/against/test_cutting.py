"""The text of the settings, cut by a model or taken from a file of log-probabilities."""

from pathlib import Path

import numpy as np
import pytest

from bot.errors import BuildError
from bot.evaluate.against.cutting import Cutter
from bot.settings.sections import DEMO
from tests.evaluation import chunks_of, refer
from tests.models import workplace_in


def cutter(folder: Path) -> Cutter:
    evaluation = {"context": 128, "chunks": 3}
    return Cutter(workplace_in(folder, demo_texts=True, evaluation=evaluation))


def test_a_model_cuts_a_text_once(tmp_path: Path, demo_model: Path, demo_text: str) -> None:
    by_settings = cutter(tmp_path)
    cut = by_settings.by_model(demo_model)
    assert np.array_equal(cut.windows.tokens, chunks_of(demo_model, demo_text, 128, 3).tokens)
    assert (cut.vocabulary, cut.windows.together) == (4096, 16)
    assert cut.words == demo_text.removesuffix("\n")
    assert cut.data.path == DEMO / "evaluation.txt"
    assert by_settings.by_model(demo_model) is cut


def test_a_file_of_log_probabilities_has_its_tokens_itself(
    tmp_path: Path, demo_model: Path, demo_text: str
) -> None:
    windows = chunks_of(demo_model, demo_text, 128, 2)
    base = tmp_path / "reference.logits"
    refer(demo_model, windows, base)
    cut = cutter(tmp_path).by_logits(base)
    assert np.array_equal(cut.windows.tokens, windows.tokens)  # two, whatever the settings say
    assert (cut.vocabulary, cut.tokenizer) == (4096, None)
    base.write_bytes(base.read_bytes()[:-2])
    with pytest.raises(BuildError, match="is not whole"):
        cutter(tmp_path).by_logits(base)
