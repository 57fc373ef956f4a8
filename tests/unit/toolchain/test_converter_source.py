"""What the converter can do, read from its source: sources by hand, and the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import BuildError
from bot.toolchain import toolchain as toolchains
from bot.toolchain.toolchain import Toolchain

MAPS = """
from .base import ModelBase
TEXT_MODEL_MAP: dict[str, str] = {"A": "one", "B": "two", "C": "two", "D": "two"}
MMPROJ_MODEL_MAP: dict[str, str] = {"A": "one"}
raise RuntimeError("never imported")
"""
ONE = """
class Mixin:
    supports_mtp_export = True

@ModelBase.register("A")
class ASeen(MmprojModel):
    pass

@ModelBase.register("A", "Other")
@ModelBase.example("org/a")
class AModel(Mixin, TextModel):
    pass
"""
TWO = """
from .base import TextModel
from .one import AModel as First

@ModelBase.register("B")
class BModel(First):
    supports_mtp_export: bool = False

@ModelBase.register("C")
class CModel(First):
    pass

@ModelBase.register("D")
class DModel(TextModel):
    pass
"""


def tree(folder: Path) -> Path:
    modules = {"__init__": MAPS, "one": ONE, "two": TWO, "base": "class TextModel: pass\n"}
    (folder / "conversion").mkdir(parents=True)
    (folder / "convert_hf_to_gguf.py").write_text("")
    for name, text in modules.items():
        (folder / "conversion" / f"{name}.py").write_text(text)
    return folder


def test_support_is_read_without_running_anything(tmp_path: Path) -> None:
    toolchain = Toolchain(tree=tree(tmp_path), python=tmp_path / "none", version="test")
    assert toolchains.supported(toolchain) == (frozenset("ABCD"), frozenset("A"))
    switches = {name: toolchains.has_mtp_switch(toolchain, name) for name in "ABCDE"}
    assert switches == {"A": True, "B": False, "C": True, "D": False, "E": False}


def test_a_tree_that_is_no_converter_is_refused(tmp_path: Path) -> None:
    toolchain = Toolchain(tree=tmp_path, python=tmp_path, version="test")
    with pytest.raises(BuildError, match=r"not llama\.cpp's converter"):
        toolchains.supported(toolchain)
    (tmp_path / "conversion").mkdir()
    (tmp_path / "conversion" / "__init__.py").write_text("TEXT_MODEL_MAP = make()\n")
    with pytest.raises(BuildError, match="lacks the maps"):
        toolchains.supported(toolchain)


@pytest.mark.long
def test_the_real_converter_is_understood(toolchain: Toolchain) -> None:
    text, projectors = toolchains.supported(toolchain)
    assert {"MixtralForCausalLM", "Qwen3_5MoeForConditionalGeneration", "GptOssForCausalLM"} <= text
    assert "Qwen3_5MoeForConditionalGeneration" in projectors
    assert "JetMoeForCausalLM" not in text
    switched = {name for name in text if toolchains.has_mtp_switch(toolchain, name)}
    # as asked of the converter itself: supports_mtp_export of each registered class
    assert {"Qwen3NextForCausalLM", "Glm4MoeForCausalLM", "Step3p7ForConditionalGeneration"} < (
        switched
    )
    assert not switched & {"DeepseekV3ForCausalLM", "Qwen3MoeForCausalLM", "Qwen4ExpForCausalLM"}
    assert len(switched) == 25
