"""Which files hold the weights: only names and sizes decide."""

from __future__ import annotations

from typing import Any

import pytest

from bot import weights
from bot.records import Release, RepoFile


def a_release(*files: tuple[str, int]) -> Release:
    listed = tuple(RepoFile(path=path, size=size) for path, size in files)
    return Release(repo_id="maker/Model", commit="c" * 40, files=listed)


def shards(template: str, count: int, size: int = 100) -> list[tuple[str, int]]:
    return [(template.format(n, count), size) for n in range(1, count + 1)]


SHARDS = shards("model-{:05d}-of-{:05d}.safetensors", 3)


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        ([("model.safetensors", 5)], ["model.safetensors"]),
        (SHARDS, [name for name, _ in SHARDS]),
        (
            shards("model.safetensors-{:05d}-of-{:05d}.safetensors", 2),
            [
                "model.safetensors-00001-of-00002.safetensors",
                "model.safetensors-00002-of-00002.safetensors",
            ],
        ),
        # the same weights once more, in one file, for another program, in another precision
        ([*SHARDS, ("model.safetensors", 300)], [name for name, _ in SHARDS]),
        ([*SHARDS, ("consolidated.safetensors", 300)], [name for name, _ in SHARDS]),
        ([*SHARDS, ("original/model.safetensors", 300)], [name for name, _ in SHARDS]),
        ([*SHARDS, ("fp32/model-00001-of-00001.safetensors", 600)], [name for name, _ in SHARDS]),
        (
            [("model.safetensors", 5), ("model.fp32-00001-of-00002.safetensors", 9)],
            ["model.safetensors"],
        ),
        # more weights, in a file of another name
        (
            [*SHARDS, ("mtp.safetensors", 20), ("adapter_model.safetensors", 3)],
            [*(name for name, _ in SHARDS), "mtp.safetensors"],
        ),
        ([("consolidated.safetensors", 300)], ["consolidated.safetensors"]),
        ([("model.safetensors", 0), ("training_args.bin", 4)], []),
    ],
)
def test_each_weight_is_taken_once(files: list[tuple[str, int]], chosen: list[str]) -> None:
    assert [file.path for file in weights.safetensors(a_release(*files))] == chosen


@pytest.mark.parametrize(
    ("index", "chosen"),
    [
        ({"weight_map": {"a": "b.safetensors", "c": "a.safetensors"}}, ["a", "b"]),
        ({"weight_map": {"a": "b.safetensors", "c": 7, "d": "../x", "e": None}}, ["b"]),
        ({"weight_map": {"a": "gone.safetensors"}}, ["a", "b"]),  # of no use
        ({"weight_map": [1]}, ["a", "b"]),
        ({}, ["a", "b"]),
    ],
)
def test_an_index_names_the_files(index: dict[str, Any], chosen: list[str]) -> None:
    release = a_release(("a.safetensors", 1), ("b.safetensors", 1), ("x/../c.safetensors", 1))
    found = [file.path for file in weights.safetensors(release, index)]
    assert found == [f"{name}.safetensors" for name in chosen]


def test_missing_shards_are_counted() -> None:
    assert weights.missing_shards(weights.safetensors(a_release(*SHARDS))) == 0
    assert weights.missing_shards(weights.safetensors(a_release(SHARDS[1]))) == 2
    assert weights.missing_shards(weights.safetensors(a_release(("model.safetensors", 1)))) == 0


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (shards("m-BF16-{:05d}-of-{:05d}.gguf", 3), 3),
        (list(reversed(shards("BF16/m-{:05d}-of-{:05d}.gguf", 3))), 3),
        (shards("m-BF16-{:05d}-of-{:05d}.gguf", 3)[:2], 0),
        ([("m-BF16-00001-of-99999.gguf", 1)], 0),
        ([("m-BF16-00000-of-00001.gguf", 1), ("m-BF16-00002-of-00001.gguf", 1)], 0),
        ([*shards("m-BF16-{:05d}-of-{:05d}.gguf", 2), ("m-BF16.gguf", 200)], 1),
        ([*shards("m-F16-{:05d}-of-{:05d}.gguf", 2, 900), ("m-BF16.gguf", 200)], 1),
        (shards("m-Q8_0-{:05d}-of-{:05d}.gguf", 2), 0),
    ],
)
def test_a_gguf_is_taken_whole(files: list[tuple[str, int]], chosen: int) -> None:
    found = [file.path for file in weights.gguf(a_release(*files))]
    assert len(found) == chosen
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["mmproj-BF16.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf"], "mmproj-F16.gguf"),
        (["mmproj-F32.gguf", "mmproj-BF16.gguf"], "mmproj-BF16.gguf"),
        (["m-mmproj-fp16.gguf", "mmproj-BF16.gguf"], "m-mmproj-fp16.gguf"),
        (["mmproj-Q8_0.gguf", "mmproj.gguf"], "mmproj.gguf"),
        (["BF16/mmproj-F16.gguf"], "BF16/mmproj-F16.gguf"),
        (["other/mmproj-F16.gguf", "mmproj-Q8_0.gguf"], None),
    ],
)
def test_the_projector_is_the_one_beside_the_model(files: list[str], chosen: str | None) -> None:
    release = a_release(("BF16/m.gguf", 9), *((name, 1) for name in files))
    (model,) = weights.gguf(release)
    found = weights.projector(release, model)
    assert (found.path if found else None) == chosen
