"""Which files hold the weights: only names and sizes decide."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bot.records.releases import Release, RepoFile
from bot.tensors import weights


def a_release(*files: tuple[str, int]) -> Release:
    listed = tuple(RepoFile(path=path, size=size) for path, size in files)
    return Release(repo_id="maker/Model", commit="c" * 40, files=listed)


def shards(template: str, count: int, size: int = 100) -> list[tuple[str, int]]:
    return [(template.format(n, count), size) for n in range(1, count + 1)]


def names_of(files: list[tuple[str, int]]) -> list[str]:
    return [name for name, _ in files]


SHARDS = shards("model-{:05d}-of-{:05d}.safetensors", 3)
ALONE = "model-00001-of-00001.safetensors"


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
        # llama.cpp's converter reads model*.safetensors
        ([*SHARDS, ("mtp.safetensors", 20), ("adapter_model.safetensors", 3)], names_of(SHARDS)),
        ([("model.safetensors", 5), ("lora.safetensors", 1)], ["model.safetensors"]),
        (
            [("model.safetensors", 5), ("model_extra.safetensors", 1)],
            ["model.safetensors", "model_extra.safetensors"],
        ),
        ([("consolidated.safetensors", 300)], []),
        ([("weights.safetensors", 300), ("vae/model.safetensors", 9)], []),
        ([("model.safetensors", 0), ("training_args.bin", 4)], []),
        # an older set, whole or in parts
        ([*SHARDS, ("model-00002-of-00004.safetensors", 100)], names_of(SHARDS)),
        ([*SHARDS, (ALONE, 50)], [ALONE, *names_of(SHARDS)]),
        (
            [*shards("model-{:05d}-of-{:05d}.safetensors", 4)[:3], *SHARDS[:1]],
            names_of(shards("model-{:05d}-of-{:05d}.safetensors", 4)[:3]),
        ),
        # of different names: all are read
        (
            [*SHARDS, *shards("model-vision-{:05d}-of-{:05d}.safetensors", 2)],
            names_of([*SHARDS, *shards("model-vision-{:05d}-of-{:05d}.safetensors", 2)]),
        ),
    ],
)
def test_each_weight_is_taken_once(files: list[tuple[str, int]], chosen: list[str]) -> None:
    assert [file.path for file in weights.checkpoint(a_release(*files)).files] == chosen


MAIN, MTP, SEES = ("main",), ("mtp",), ("vision",)


@pytest.mark.parametrize(
    ("index", "files", "missing", "left_out"),
    [
        # all that it names, whatever the names are, and nothing else
        ({"b.safetensors": MAIN, "a.safetensors": MAIN}, "ab", "", ""),
        ({"b.safetensors": MAIN}, "b", "", ""),
        ({"sub/d.safetensors": MAIN}, ["sub/d"], "", ""),
        # what is not there, or is nothing
        ({"a.safetensors": MAIN, "gone.safetensors": MAIN}, "a", ["gone"], ""),
        ({"gone.safetensors": MAIN, "lost.safetensors": SEES}, "", ["gone", "lost"], ""),
        ({"empty.safetensors": MAIN}, "", ["empty"], ""),
        ({"../c.safetensors": MAIN, "a.bin.safetensors": MAIN}, "", ["../c", "a.bin"], ""),
        # where it holds only what is not converted
        ({"a.safetensors": MAIN, "m.safetensors": MTP}, "a", "", "m"),
        ({"a.safetensors": MAIN, "m.safetensors": ("mtp", "none")}, "a", "", "m"),
        ({"a.safetensors": MAIN, "m.safetensors": ("main", "mtp")}, "a", "m", ""),
    ],
)
def test_an_index_names_the_files(
    index: dict[str, tuple[str, ...]],
    files: Sequence[str],
    missing: Sequence[str],
    left_out: Sequence[str],
) -> None:
    present = ("a", "b", "sub/d", "c", "model-00001-of-00003")
    release = a_release(*((f"{name}.safetensors", 1) for name in present), ("empty.safetensors", 0))
    checkpoint = weights.checkpoint(release, index, dropped={"mtp"})
    assert [file.path for file in checkpoint.files] == [f"{name}.safetensors" for name in files]
    assert checkpoint.missing == tuple(f"{name}.safetensors" for name in missing)
    assert checkpoint.left_out == tuple(f"{name}.safetensors" for name in left_out)
    assert checkpoint.whole is (checkpoint.lacks() is None)
    assert not weights.checkpoint(release, {"m.safetensors": MTP}).whole  # MTP is wanted


def test_missing_shards_are_named() -> None:
    def lacks(*files: tuple[str, int]) -> str | None:
        return weights.checkpoint(a_release(*files)).lacks()

    assert lacks(*SHARDS) is None
    assert lacks(("model.safetensors", 1)) is None
    first = "the first is model-00001-of-00003.safetensors"
    assert lacks(SHARDS[1]) == f"lacks 2 of its safetensors files, {first}"
    assert lacks() == "has no safetensors files"
    assert "model*" in (lacks(("consolidated.safetensors", 1)) or "")


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
    files_found = [file.path for file in weights.gguf(a_release(*files))]
    assert len(files_found) == chosen
    assert files_found == sorted(files_found)


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
    projector = weights.projector(release, model)
    assert (projector.path if projector else None) == chosen
