"""The container files: both hold the whole package, and both say how the converter comes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "deploy"
FILES = ("Containerfile", "Containerfile.cuda")


@pytest.mark.parametrize("name", FILES)
def test_what_is_built_is_the_whole_package(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    copied = set(re.findall(r"^COPY (\w+) \1$", text, re.MULTILINE))
    assert copied == {"bot", "card_templates", "profiles", "workflows"}
    assert "toolchain install" in text
    assert re.search(r"^USER apex-bot$", text, re.MULTILINE)


def test_one_is_for_cuda_and_the_guide_names_both() -> None:
    assert "GGML_CUDA=on" in (FOLDER / "Containerfile.cuda").read_text(encoding="utf-8")
    guide = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"deploy/{name}" in guide for name in FILES)
    assert "toolchain install" in guide
