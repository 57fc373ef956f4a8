"""A 16-bit GGUF with the shapes of a real release, at a chosen number of layers and experts.

    python bench/real_shapes.py Qwen3.6-35B-A3B rig.gguf --layers 4       8 GB
    python bench/real_shapes.py gpt-oss-120b rig.gguf --layers 2          5.7 GB
    python bench/real_shapes.py DeepSeek-V3.1 rig.gguf --layers 2 --experts 32

Weights are seeded, heavy-tailed noise: llama.cpp decodes it to finite logits, and it means nothing.
The tokenizer is real, of llama.cpp's own vocabularies, which come with the source of the installed
binding; it is padded with unused tokens to the release's size. Experts of gpt-oss are in MXFP4, as
published.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tests.true_shapes import SHAPES
from tests.true_weights import write_model

RAW = argparse.RawDescriptionHelpFormatter


def main() -> None:
    """Write what the command line asks for, and tell how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RAW)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("target", type=Path)
    parser.add_argument("--layers", type=int, help="all where none are named")
    parser.add_argument("--experts", type=int, help="all where none are named")
    parser.add_argument("--vocabulary", type=int, help="the release's where none is named")
    parser.add_argument("--tokenizer", type=Path, help="a GGUF file whose tokenizer is taken")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    shape, start = SHAPES[given.shape], time.monotonic()
    size = shape.sized(given.layers, given.experts, given.vocabulary)
    write_model(shape, given.target, size, tokenizer=given.tokenizer, seed=given.seed)
    seconds, written = time.monotonic() - start, given.target.stat().st_size
    print(f"{given.target}: {written / 1e9:.2f} GB in {seconds:.0f} s")


if __name__ == "__main__":
    main()
