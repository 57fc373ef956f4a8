"""The Hub's own labels and commands: packages/tasks/src/gguf.ts of huggingface.js.

parseGGUFQuantLabel and the snippets of local-apps.ts, read in November 2026, and run against the
packages that npm has (tests/clients_npm).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# GGMLFileQuantizationType of gguf.ts, in its order: the first that matches at a place counts
_TYPES = (
    "F32|F16|Q4_0|Q4_1|Q4_1_SOME_F16|Q4_2|Q4_3|Q8_0|Q5_0|Q5_1|Q2_K|Q3_K_S|Q3_K_M|Q3_K_L|"
    "Q4_K_S|Q4_K_M|Q5_K_S|Q5_K_M|Q6_K|IQ2_XXS|IQ2_XS|Q2_K_S|IQ3_XS|IQ3_XXS|IQ1_S|IQ4_NL|"
    "IQ3_S|IQ3_M|IQ2_S|IQ2_M|IQ4_XS|IQ1_M|BF16|Q4_0_4_4|Q4_0_4_8|Q4_0_8_8|TQ1_0|TQ2_0|"
    "MXFP4_MOE|MXFP4|NVFP4|Q1_0|Q2_0|Q2_K_XL|Q3_K_XL|Q4_K_XL|Q5_K_XL|Q6_K_XL|Q8_K_XL|"
    "MXFP4"  # an alias, and the last there: MXFP4_MOE is a label of its own
)
_LABEL = re.compile(f"(?:UD-)?(?:{_TYPES})(?:_[A-Z]+)?")
_WITHIN = re.compile(f"(?:UD-)?(?:{_TYPES})", re.IGNORECASE | re.ASCII)
_APART = "-_. "  # what stands between the words of a name


def hub_label(path: str) -> str | None:
    """The label by which the Hub's widgets call a file; None where the name holds none."""
    labels: list[str] = _LABEL.findall(path.upper())
    return labels[-1] if labels else None


def tier_label(base: str, tier: str) -> str:
    """A label of the Hub's for a tier: llama.cpp's file type, then the tier in letters.

    `Q6_K_IQUALITY` for I-Quality; the Hub reads a type and one word of letters after it.
    """
    kind = base if hub_label(base) == base else f"{base}_M"  # llama-quantize's alias Q5_K: Q5_K_M
    letters = re.sub("[^A-Z]", "", tier.upper())
    return f"{kind}_{letters}" if letters else kind


def unlabelled(name: str) -> str:
    """A model's name without the labels in it, which every file of the model would be called by."""
    while match := _WITHIN.search(name):
        parts = (name[: match.start()].rstrip(_APART), name[match.end() :].lstrip(_APART))
        name = "-".join(part for part in parts if part)
    return name


def hub_snippet(paths: Iterable[str]) -> str | None:
    """The file that the Hub's own `llama-server -hf REPO:LABEL` names: of labelled files Q4_K_M,
    else the first; None where no name has a label.
    """
    labelled = [path for path in sorted(paths) if path.endswith(".gguf") and hub_label(path)]
    preferred = [path for path in labelled if hub_label(path) == "Q4_K_M"]
    return next(iter([*preferred, *labelled]), None)
