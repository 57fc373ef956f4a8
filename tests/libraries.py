"""Builds of llama.cpp in folders of their own: the binding's, copied, and ones that do not fit."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import llama_cpp  # noqa: TID251 - where its libraries lie

OWN = Path(llama_cpp.__file__).parent / "lib"
# a struct of another layout, and functions that do otherwise than they should; llama.h has no types
# that these want
WRONG: Mapping[str, str] = {
    "older": """
        struct params { unsigned n_ctx, n_batch, n_ubatch, n_seq_max; int rest[24]; };
        struct params llama_context_default_params(void) {
            struct params p = {512, 2048, 512, 1, {0}};
            for (int i = 0; i < 24; i++) p.rest[i] = i + 1;
            return p;
        }""",
    "newer": """
        struct params { unsigned n_ctx, n_batch, n_ubatch, n_seq_max; int rest[60]; };
        struct params llama_context_default_params(void) {
            struct params p = {512, 2048, 512, 1, {0}};
            for (int i = 0; i < 60; i++) p.rest[i] = i + 1;
            return p;
        }""",
    "ordered otherwise": """
        struct params { unsigned n_batch, n_ctx, n_ubatch, n_seq_max; int rest[36]; };
        struct params llama_context_default_params(void) {
            struct params p = {2048, 512, 512, 1, {0}};
            for (int i = 0; i < 36; i++) p.rest[i] = 7;
            return p;
        }""",
    "crashing": """
        #include <stdlib.h>
        int llama_decode(void) { abort(); }""",
    "raving": """
        static float noise[1 << 20];
        float * llama_get_logits_ith(void * context, int i) {
            for (int n = 0; n < 1 << 20; n++) noise[n] = (n * 7919 + i) % 97;
            return noise;
        }""",
}


def copied(folder: Path) -> Path:
    """The binding's own libraries, as another build of theirs: other files, the same code."""
    folder.mkdir(parents=True)
    for path in OWN.iterdir():
        if "mtmd" not in path.name:
            shutil.copy(path, folder / path.name)
            with (folder / path.name).open("ab") as file:
                file.write(b"built elsewhere")  # behind the end that its header names
    return folder


def wrong(folder: Path, kind: str) -> Path:
    """Libraries of which one function is not what the binding takes it for."""
    copied(folder)
    (folder / "libllama.so").unlink()
    source = folder / "wrong.c"
    source.write_text(WRONG[kind])
    linked = ("-Wl,--no-as-needed", f"-L{folder}", "-l:libllama.so.0", "-Wl,-rpath,$ORIGIN")
    target = str(folder / "libllama.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", target, str(source), *linked], check=True)
    return folder
