"""Whether a model was itself made from another by quantizing it: what its config declares, and
what its name and tags hint at. Pure.

A declaration decides. It is that of an original where the family's makers publish at exactly this
precision: every word of it that names another one speaks against it, whatever key it stands under.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bot.detect.makers import NATIVE_PRECISION
from bot.tensors.configs import DECLARATIONS, quant_method, scopes_of

# words for precisions below 16 bits and for programs that make them, as names and configs have them
_WORD = (
    r"(?:nv|mx)[-_]?fp[468](?:a\d{1,2})?|fp[468](?:a\d{1,2})?|nf4|u?int[2-8](?:wo)?"
    r"|w\d{1,2}a(?:fp|int)?\d{1,2}|q[2-8](?:\.\d)?e?|[a-z]{1,2}q[1-8](?:\.\d|\d)?e?|qx\d{2}"
    r"|[1-8](?:[._]\d{1,2})?[-_]?(?:bpw|bits?)"
    r"|dwq|d?awq|gptq(?:model)?|exl[23]|bnb|mlx|hqq|eetq|aqlm|auto[-_]?round|vptq|spqr|quip|quark"
)
_NAMED = re.compile(rf"[-_.]({_WORD}|[a-z]{{0,10}}quant(?:i[sz]ed)?)(?=$|[-_.])", re.IGNORECASE)
_TOLD = re.compile(rf"(?:^|[-_.])({_WORD})(?=$|[-_.])", re.IGNORECASE)

HINTING_TAGS = frozenset(
    {"gptq", "awq", "exl2", "exl3", "mlx", "bitsandbytes", "hqq", "eetq", "aqlm"}
)
# parts of a declaration that say nothing of how weights are stored, or name modules
_ASIDE = re.compile(
    r"activation|kv_cache|scale|zero|zp_|ignore|exclude|not_convert|targets|producer|observer"
)
_BITS = ("bits", "num_bits", "w_bit", "wbits", "weight_bits")
_FLOATS = {(8, 0): "fp8", (4, 16): "nvfp4", (4, 32): "mxfp4"}


def hinted(name: str) -> str | None:
    """The word of a repository's own name that says it was quantized."""
    match = _NAMED.search(name)
    return match[1] if match else None


def method_refused(method: str | None, architectures: Sequence[str]) -> bool:
    """Whether nobody's originals of these architectures are published by this method.

    Without architectures, whether nobody's originals at all are.
    """
    natives = [NATIVE_PRECISION.get(name, {}) for name in architectures]
    methods = natives if architectures else NATIVE_PRECISION.values()
    return method is not None and not any(method in native for native in methods)


def is_native(config: Mapping[str, Any], architectures: Sequence[str]) -> bool:
    """Whether the makers themselves publish the family at exactly the declared precision."""
    method = quant_method(config)
    model_type = config.get("model_type")
    for name in architectures:
        native = NATIVE_PRECISION.get(name, {}).get(method or "")
        if native is None or (native.types and model_type not in native.types):
            continue
        if precisions(config) <= {native.precision}:
            return True
    return False


def precisions(config: Mapping[str, Any]) -> set[str]:
    """Every precision that a config's declarations name for weights, in lower case."""
    words: set[str] = set()
    for scope in scopes_of(config):
        for key in DECLARATIONS:
            declared = scope.get(key)
            if isinstance(declared, Mapping):
                words.update(_named(declared))
    return words


def _named(part: Mapping[str, Any]) -> Iterator[str]:
    yield from _stored(part)
    for key, value in part.items():
        if _ASIDE.search(key):
            continue
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, Mapping):
                yield from _named(inner)
            elif isinstance(inner, str):
                yield from (word.lower() for word in _TOLD.findall(inner[:200]))


def _stored(part: Mapping[str, Any]) -> Iterator[str]:
    """The precision of a group: bits of floats or integers, and how many share a scale."""
    bits = next((part[key] for key in _BITS if type(part.get(key)) is int), None)
    if bits is None:
        return
    size = part.get("group_size") if bits == 4 else 0
    size = size if type(size) is int else 0
    yield _FLOATS.get((bits, size), f"fp{bits}") if part.get("type") == "float" else f"int{bits}"
