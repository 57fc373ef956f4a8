"""A config.json here is a stranger's too: whatever is in it, one answer or one clear line."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from bot.errors import SourceError
from bot.pipeline import tables
from bot.pipeline.sources import look_at_folder
from tests import checkpoints, headers
from tests.unit.watch.test_moe import HOSTILE, _paths

OUTCOMES = {"eligible", "not_moe", "dense_sibling", "already_quantized", "not_a_text_decoder"}


def mutated(config: dict[str, object], dice: random.Random) -> bytes:
    """The config with a value replaced or lost, or with bytes of its file changed."""
    changed = json.loads(json.dumps(config))
    *way, last = dice.choice(list(_paths(changed)))
    part = changed
    for step in way:
        part = part[step]
    if dice.random() < 0.3:
        del part[last]
    else:
        part[last] = dice.choice([value for value in HOSTILE if value != 10**5000])
    content = bytearray(json.dumps(changed).encode())
    if dice.random() < 0.2:
        content[dice.randrange(len(content))] = dice.choice(b'{}[]",:0eE-\\\xff\x00')
    return bytes(content)


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.long)])
def test_mutated_configs_beside_real_headers(count: int, tmp_path: Path) -> None:
    dice = random.Random(count)  # noqa: S311 - a seed, so that a failure repeats
    seen, refused = set(), list[str]()
    for name in ("mixtral", "granite", "deepseek2", "qwen35moe"):
        family = checkpoints.FAMILIES[name]()
        folder = tmp_path / name
        folder.mkdir()
        entries = {n: ("BF16", shape) for n, shape in family.shapes.items()}
        (folder / "model.safetensors").write_bytes(headers.file(entries))
        for _ in range(count // 4):
            (folder / "config.json").write_bytes(mutated(dict(family.config), dice))
            for path in (folder, folder / "config.json"):
                try:
                    sight = look_at_folder(path)
                except SourceError as error:
                    refused.append(str(error))
                    continue
                seen.add(sight.decision.outcome)
                assert tables.sight(sight).isprintable() or "\n" in tables.sight(sight)
                json.dumps(tables.sight_values(sight), allow_nan=False).encode()
    assert len(refused) > count // 50
    assert not any("\n" in line for line in refused)
    assert seen > {"eligible", "not_moe"}
    assert seen <= OUTCOMES
