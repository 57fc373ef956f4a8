"""llama.cpp's own types in one pass: byte for byte what it writes with no word from us."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.clients.files import gguf
from bot.clients.llama.quantization import chosen_types
from bot.disk.hashes import sha256
from bot.errors import BuildError
from bot.plan.profiles import FILE_TYPES
from bot.plan.recipe import file_type
from bot.quantize import imatrix, quantize
from bot.quantize.imatrix import Matrix
from bot.quantize.passes.layout import OutputSpec
from tests.oracle import quantize_recipe
from tests.unit.quantize.passes.test_onepass import _store, matrix_for, one_pass

SLOW = pytest.mark.long
PLAIN = (
    *("Q8_0", "Q4_0", "Q4_K_M"),
    *(
        pytest.param(n, marks=SLOW)
        for n in ("Q6_K", "Q3_K_L", "Q5_K_S", "IQ4_XS", "IQ4_NL", "Q2_K")
    ),
)
WEIGHED = ("Q4_K_M", *(pytest.param(n, marks=SLOW) for n in ("IQ4_XS", "Q4_0", "Q2_K_S")))


def pair(model: Path, folder: Path, base: str, matrix: Matrix | None) -> tuple[str, str]:
    """Hashes of our file and of llama.cpp's."""
    types = chosen_types(model, file_type(base), imatrix=matrix is not None)
    want = OutputSpec(
        target=folder / f"{base}.gguf",
        file_type=file_type(base),
        types=types,
        weights=matrix.weights() if matrix else None,
        notes=quantize.notes(matrix) if matrix else (),
    )
    one_pass(model, [want])
    other = folder / "llama.gguf"
    quantize_recipe(model, other, file_type=file_type(base), types={}, imatrix=matrix, threads=2)
    assert types == {t.name: t.type for t in gguf.read_gguf(other).tensors}
    return sha256(want.target), sha256(other)


@pytest.mark.parametrize("base", PLAIN)
def test_without_an_importance_matrix(demo_model: Path, tmp_path: Path, base: str) -> None:
    ours, theirs = pair(demo_model, tmp_path, base, None)
    assert ours == theirs


@pytest.mark.parametrize("base", WEIGHED)
def test_with_an_importance_matrix(demo_model: Path, tmp_path: Path, base: str) -> None:
    stored = tmp_path / "matrix"
    _store(stored, matrix_for(demo_model))
    ours, theirs = pair(demo_model, tmp_path, base, imatrix.read_matrix(stored))
    assert ours == theirs


def test_llama_cpp_tells_a_type_for_every_tensor_of_every_file_type(demo_model: Path) -> None:
    names = {tensor.name for tensor in gguf.read_gguf(demo_model).tensors}
    refused = set()
    for base in FILE_TYPES:
        assert chosen_types(demo_model, file_type(base), imatrix=True).keys() == names
        try:
            chosen_types(demo_model, file_type(base), imatrix=False)
        except BuildError:
            refused.add(base)
    assert {"IQ2_XXS", "IQ1_S", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ2_M", "Q2_K_S"} <= refused
    assert not {"Q8_0", "Q4_K_M", "IQ4_XS", "Q2_K"} & refused
    with pytest.raises(BuildError, match="put I- before its name"):
        chosen_types(demo_model, file_type("IQ1_M"), imatrix=False)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(BuildError, match="could not quantize"):
        chosen_types(path, 15, imatrix=False)


@pytest.mark.road
def test_the_stamp_changes_nothing_but_metadata(demo_model: Path, tmp_path: Path) -> None:
    """We and llama.cpp write the same stamped file; without its three keys it is the plain one."""
    matrix = matrix_for(demo_model)
    types = chosen_types(demo_model, 15, imatrix=True)
    stamp = quantize.stamp_of("I-Compact", "c0ffee" * 10, "0.1.0")
    wanted_files = [
        OutputSpec(
            target=tmp_path / f"{name}.gguf",
            file_type=15,
            types=types,
            weights=quantize.Importance(matrix),
            notes=(*quantize.notes(matrix), *more),
        )
        for name, more in (("stamped", stamp), ("plain", ()))
    ]
    one_pass(demo_model, wanted_files)
    stamped, plain = (want.target for want in wanted_files)
    other = tmp_path / "llama.gguf"
    quantize_recipe(
        demo_model, other, file_type=15, types=types, imatrix=matrix, threads=2, stamp=stamp
    )
    assert sha256(stamped) == sha256(other)
    one, two = gguf.read_gguf(stamped), gguf.read_gguf(plain)
    assert {k: v for k, v in one.metadata.items() if k not in dict(stamp)} == two.metadata
    assert [one.get(key) for key, _ in stamp] == ["I-Compact", "c0ffee" * 10, "0.1.0"]
    assert one.tensors == two.tensors
    assert stamped.read_bytes()[one.data_offset :] == plain.read_bytes()[two.data_offset :]


def test_a_long_dataset_name_is_cut_as_llama_cpp_cuts_it(demo_model: Path, tmp_path: Path) -> None:
    name = "ä" * 100
    matrix = Matrix(datasets=(name,), chunks=1, sums={}, counts={})
    assert dict(quantize.notes(matrix))["quantize.imatrix.dataset"] == "ä" * 63
    target = tmp_path / "out.gguf"
    quantize_recipe(demo_model, target, file_type=7, types={}, imatrix=matrix, threads=2)
    assert gguf.read_gguf(target).get("quantize.imatrix.dataset") == "ä" * 63


def test_importance_is_made_by_tensor(demo_model: Path) -> None:
    matrix = matrix_for(demo_model)
    lazy, all_at_once = quantize.Importance(matrix), matrix.weights()
    assert list(lazy) == list(all_at_once)
    assert len(lazy) == len(all_at_once)
    assert all((lazy[name] == weights).all() for name, weights in all_at_once.items())
    assert "output_norm.weight" not in lazy
