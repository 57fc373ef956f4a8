"""Safetensors headers → the tensors of the GGUF file that the converter will make of them.

So recipes and sizes of all tiers are known before anything is downloaded. Names come from the
gguf package's table of the family; a name that no table knows stops the plan. Only where that
package has no table of a family that the converter knows, a name is given a role by the words in
it and listed as guessed; one that no decoder has stops the plan there, too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from bot.clients.files.gguf import knows, tensor_names
from bot.errors import SourceError
from bot.foreign import printable
from bot.predict.converter_classes import (
    ALL_MATRICES_BF16,
    AS_STORED,
    CLASSES,
    DROPS_TIED_HEAD,
    family_of,
)
from bot.predict.layouts import require_known_layout
from bot.predict.own_names import own_name
from bot.predict.reshaping import Shape, Sizes, change
from bot.records.model import Tensor
from bot.tensors.configs import scopes_of
from bot.tensors.originals import kept_type
from bot.tensors.roles import has_role
from bot.tensors.sizes import BLOCKS, TABLE, tensor_bytes
from bot.tensors.stored import Content, StoredPart, expert_of, without_expert

HEAD = "output.weight"

# always F32: prepare_tensors of llama.cpp's conversion/base.py
_EXACT = re.compile(
    r"(.*\.)?(ffn_gate_inp(_shexp)?|ssm_conv1d(_[qkv])?|shortconv\.conv|indexer\.proj"
    r"|position_embd|token_types)\.weight|.*_norm\.weight"
)

# the name without layer; other spellings under which the table may know it
_SPELLINGS: tuple[tuple[str, str], ...] = (
    (r"$", ".weight"),
    (r"e_score_correction_bias$", "e_score_correction.bias"),
    (r"\.dt_bias$", ".dt_proj.bias"),
    (r"\.dt_bias$", ".dt.bias"),
    (r"^(model\.)?(ernie|transformer)\.", "model."),
    (r"^backbone\.", "model."),
    (r"^model\.", ""),
)

# words of unknown names, the first that fits; and names in their roles that a layer may have free
_WORDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        r"ssm|mamba|conv|delta|linear_attn|kda|recurrent",
        ("ssm_in", "ssm_out", "ssm_x", "ssm_dt", "ssm_g", "ssm_f_a", "ssm_f_b", "ssm_g_a"),
    ),
    (
        r"att|wq|wk|wv|wo|q_|k_|v_|o_|index|compress",
        (
            *("attn_q", "attn_k", "attn_v", "attn_output", "attn_gate", "attn_q_a", "attn_q_b"),
            *("attn_kv", "attn_kv_b", "attn_output_a", "attn_output_b", "attn_kv_a_mqa"),
            *("attn_qkv", "attn_k_b", "attn_v_b", "indexer.attn_k", "indexer.attn_q_b"),
        ),
    ),
    (
        r"",
        (
            *("ffn_gate", "ffn_up", "ffn_down", "ffn_latent_down", "ffn_latent_up"),
            *("ffn_routed_down", "ffn_routed_up", "ssm_in", "ssm_out", "ssm_x", "ssm_g"),
        ),
    ),
)
MOST_GUESSED = 10_000
# what stands before and around the number of a layer
_PLACE = re.compile(r"\A(.{0,200}?\b(?:layers|blocks|h|decoder_layer|layer)\.)\d{1,5}\.")
# how a decoder's own tensors end; caches, states of optimizers and counters do not
_WEIGHTS = re.compile(
    r"([._](weight|bias|scale|norm|param|w\d?|a_log|dt_bias|d|fn|base|sinks?|ape|gamma|beta|alpha"
    r"|conv1d|embedding|(gate|up|down|gate_up)_proj|correction_bias))$",
    re.IGNORECASE,
)
# the last modules outside of layers
_OF_A_DECODER = re.compile(
    r"\w{0,40}(embed|norm)\w{0,40}|wte|(lm_)?head|output|ln_f|hc_head\w{0,40}", re.IGNORECASE
)
_OUTSIDE: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"head|output|score", ("output", "token_embd", "per_layer_token_embd")),
    (r"", ("token_embd", "per_layer_token_embd", "output")),
)


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """The tensors of a GGUF file that does not exist yet."""

    family: str
    tensors: tuple[Tensor, ...]
    guessed: tuple[str, ...]  # names of the checkpoint that no table knows


def predict(config: Mapping[str, Any], content: Content) -> Predicted:
    """The tensors that the converter writes: the text decoder without MTP layers.

    Matrices are BF16, or of the type in which it keeps the family's own precision.

    Raises SourceError naming a tensor that no rule knows, or a layout that is not read.
    """
    require_known_layout(tensor.name for tensor in content.main)
    family = family_of(config)
    maker = _Maker(family=family, find=tensor_names(family))
    sizes = Sizes.of(config, family)
    drops_head = family in DROPS_TIED_HEAD and _tied(config)
    for tensor in _stacked(content.main):
        for name, shape in _converted(tensor, sizes) or [(None, tensor.shape)]:
            maker.add(tensor, name, shape)
    odd = maker.guessed
    if not knows(family) and family in CLASSES:
        odd = _odd(maker.guessed, [tensor.name for tensor in content.main])
    if odd:
        raise _unknown(odd, family)
    tensors = tuple(
        tensor for tensor in maker.tensors.values() if not (drops_head and tensor.name == HEAD)
    )
    return Predicted(family=family, tensors=tensors, guessed=tuple(maker.guessed))


def converted_bytes(config: Mapping[str, Any], content: Content) -> int:
    """About the bytes of the converted text decoder: by weights, whatever their names."""
    family = family_of(config)

    def size(tensor: StoredPart) -> int:
        kept = kept_type(family, tensor.precision)
        block, width = BLOCKS[kept or "BF16"]
        return -(-tensor.weights // block) * width

    return sum(map(size, content.main))


def _unknown(names: Sequence[str], family: str) -> SourceError:
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return SourceError(
        f"tensor {printable(names[0])!r}{more} of this {printable(family)} model has a name that "
        "no rule knows; its maker has to name it as the family does, or it needs a newer apex-bot"
    )


def _odd(names: Sequence[str], all_names: Iterable[str]) -> list[str]:
    """Those of some names that are no tensor of a decoder, whatever its family.

    In a layer: under another prefix than the others have, or in no module of theirs. Outside: no
    embedding, norm or head of a language model.
    """
    places = Counter(match[1] for name in all_names if (match := _PLACE.match(name)))
    usual = places.most_common(1)[0][0] if places else ""
    odd_names = []
    for name in names:
        place = _PLACE.match(name)
        if place is None:
            module = name.removesuffix(".weight").removesuffix(".bias").rpartition(".")[2]
            is_decoders = _OF_A_DECODER.fullmatch(module) is not None
        else:
            is_decoders = place[1] == usual and _WEIGHTS.search(name) is not None
        if not is_decoders:
            odd_names.append(name)
    return odd_names


def _tied(config: Mapping[str, Any]) -> bool:
    return any(scope.get("tie_word_embeddings") is True for scope in scopes_of(config))


# ── all experts of a layer in one tensor ────────────────────────────────────────────────────


def _stacked(tensors: Iterable[StoredPart]) -> Iterator[StoredPart]:
    """Experts of their own stacked, as the converter does; everything else as it is."""
    numbers: dict[str, set[int]] = {}
    first: dict[str, StoredPart] = {}
    for tensor in tensors:
        number = expert_of(tensor.name)
        if number is None:
            yield tensor
            continue
        name = without_expert(tensor.name)
        numbers.setdefault(name, set()).add(number)
        if tensor.shape != first.setdefault(name, tensor).shape:
            raise SourceError(
                f"{printable(tensor.name)} has another shape than the layer's other experts; "
                "llama.cpp keeps all experts of a layer in one tensor, choose another model"
            )
    for name, tensor in first.items():
        _require_all_numbers(name, numbers[name])
        yield replace(tensor, name=name, shape=(len(numbers[name]), *tensor.shape))


def _require_all_numbers(name: str, numbers: set[int]) -> None:
    """Experts are numbered from 0 without a gap: the converter counts so."""
    lost = next(number for number in range(len(numbers) + 1) if number not in numbers)
    if lost != len(numbers):
        raise SourceError(
            f"{printable(name)} lacks expert {lost} though there is expert {max(numbers)}; "
            "its maker has to repair it"
        )


def _converted(tensor: StoredPart, sizes: Sizes) -> list[tuple[str | None, Shape]] | None:
    """GGUF names and shapes of a tensor in a layer by the table of changes; None without a row."""
    if tensor.layer is None:
        return None
    inner_name = tensor.name.split(f".{tensor.layer}.", 1)[-1]
    pieces = change(inner_name, tensor.shape, sizes)
    if pieces is None:
        return None
    return [(f"blk.{tensor.layer}.{name}", shape) for name, shape in pieces]


# ── names ───────────────────────────────────────────────────────────────────────────────────


@dataclass(kw_only=True)
class _Maker:
    """Gives each tensor a GGUF name that no other has, and its type."""

    family: str
    find: Callable[[str], str | None]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    guessed: list[str] = field(default_factory=list)

    def add(self, stored: StoredPart, name: str | None, shape: Shape) -> None:
        if name is None:
            own = own_name(self.family, stored.name, stored.layer)
            name = own or self._known(stored.name)
        if name is None or name in self.tensors:
            name = self._guess(stored, shape)
            self.guessed.append(stored.name)
            if len(self.guessed) > MOST_GUESSED:
                raise _unknown(self.guessed, self.family)
        kind = self._type(stored, name, shape)
        ne = tuple(reversed(shape)) or (1,)
        if prod(ne):
            size = tensor_bytes(kind, ne)
            self.tensors[name] = Tensor(name=name, shape=ne, type=kind, bytes=size)

    def _type(self, stored: StoredPart, name: str, shape: Shape) -> str:
        if stored.is_table:
            return TABLE
        if len(shape) <= 1 or name.endswith("_norm.weight"):
            return "F32"
        if self.family in AS_STORED and stored.precision in ("BF16", "F32"):
            return stored.precision
        if self.family not in ALL_MATRICES_BF16 and _is_exact(name):
            return "F32"
        kept = kept_type(self.family, stored.precision)
        return kept if kept and shape[-1] % BLOCKS[kept][0] == 0 else "BF16"

    def _known(self, name: str) -> str | None:
        """Its name in the family's table, under the first spelling whose name has a role."""
        spellings = (re.sub(pattern, instead, name, count=1) for pattern, instead in _SPELLINGS)
        gguf_names = map(self.find, (name, *spellings))
        return next((own for own in gguf_names if own is not None and has_role(own)), None)

    def _guess(self, stored: StoredPart, shape: Shape) -> str:
        """A free name in the role that words of the maker's name suggest."""
        inside = stored.layer is not None
        place = f"blk.{stored.layer}." if inside else ""
        if len([length for length in shape if length > 1]) > 1:
            words = next(
                names
                for pattern, names in (_WORDS if inside else _OUTSIDE)
                if re.search(pattern, stored.name.split(".", 3)[-1] if inside else stored.name)
            )
            for word in words:
                if f"{place}{word}.weight" not in self.tensors:
                    return f"{place}{word}.weight"
        return f"{place}unknown{len(self.guessed)}_norm.weight"


def _is_exact(name: str) -> bool:
    return not name.endswith(".weight") or _EXACT.fullmatch(name) is not None
