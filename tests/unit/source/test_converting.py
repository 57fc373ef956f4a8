"""Converting by settings, with a converter that copies a file: what it is asked, what it leaves."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bot.errors import BuildError, RefusedError, SettingsError
from bot.source.converting import convert_folder
from bot.workplace.workplace import Workplace
from tests import headers
from tests.models import workplace_in
from tests.unit.source.test_converted import twin_of

MAPS = """
TEXT_MODEL_MAP: dict[str, str] = {"TwinForCausalLM": "twin"}
MMPROJ_MODEL_MAP: dict[str, str] = {}
"""
COPY = """
import shutil, sys
print(*sys.argv)
target = sys.argv[sys.argv.index("--outfile") + 1]
shutil.copyfile(__file__.replace("convert_hf_to_gguf.py", "made.gguf"), target)
"""


@pytest.fixture(scope="module")
def source(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with as many weights in each layer as the demo model; all are zero."""
    twin, folder = twin_of(demo_model), tmp_path_factory.mktemp("twin")
    config = {"architectures": ["TwinForCausalLM"], **twin.config}
    (folder / "config.json").write_text(json.dumps(config))
    entries = {name: (tensor.dtype, tensor.shape) for name, tensor in twin.tensors.items()}
    (folder / "model.safetensors").write_bytes(headers.file(entries))
    return folder


def with_converter(folder: Path, script: str, made: Path, **convert: object) -> Workplace:
    """A workplace whose converter is this script."""
    tree = folder / "llama.cpp"
    (tree / "conversion").mkdir(parents=True)
    (tree / "conversion" / "__init__.py").write_text(MAPS)
    (tree / "conversion" / "twin.py").write_text("class Twin:\n    pass\n")
    (tree / "convert_hf_to_gguf.py").write_text(script)
    (tree / "made.gguf").write_bytes(made.read_bytes())
    settings = {"llama_cpp": tree, "python": Path(sys.executable), **convert}
    return workplace_in(folder, convert=settings, llama={"threads": 2, "gpu_layers": 0})


def test_a_folder_becomes_a_file_and_its_log(
    source: Path, demo_model: Path, tmp_path: Path
) -> None:
    workplace = with_converter(tmp_path, COPY, demo_model, shard_gb=2)
    target = tmp_path / "out" / "Twin-BF16.gguf"
    result = convert_folder(workplace, source, target, "Twin-8x1M")
    assert result.model == (target,)
    assert target.read_bytes() == demo_model.read_bytes()
    assert (result.projector, result.mtp, result.lacks) == (None, None, ())
    assert sorted(path.name for path in target.parent.iterdir()) == [
        target.name,
        f"{target.name}.log",
    ]
    arguments = result.log.read_text().split()
    assert arguments[arguments.index("--model-name") + 1] == "Twin-8x1M"
    assert arguments[arguments.index("--outtype") + 1] == "bf16"
    assert arguments[arguments.index("--split-max-size") + 1] == "2000000000"


@pytest.mark.parametrize(
    ("words", "kind"),
    [("ValueError: Unprocessed experts", RefusedError), ("MemoryError: no room", BuildError)],
)
def test_a_failure_has_the_converters_reason_and_leaves_its_log(
    source: Path, demo_model: Path, tmp_path: Path, words: str, kind: type[BuildError]
) -> None:
    workplace = with_converter(tmp_path, f"raise SystemExit({words!r})\n", demo_model)
    target = tmp_path / "out" / "Twin-BF16.gguf"
    with pytest.raises(BuildError, match=words) as error:
        convert_folder(workplace, source, target, None)
    assert type(error.value) is kind
    assert [path.name for path in target.parent.iterdir()] == [f"{target.name}.log"]


def test_without_a_converter_the_command_that_installs_it_is_named(
    source: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="run `bot toolchain install`"):
        convert_folder(workplace_in(tmp_path), source, tmp_path / "m.gguf", None)
