"""A model that is not here yet, as far as recipes and sizes need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.predict.conversion import predict
from bot.predict.from_headers import describe_predicted
from bot.predict.header_size import header_bytes
from bot.records.model import Architecture, HeaderTensor, Tensor
from bot.records.releases import Release
from bot.tensors.stored import read_content


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The GGUF that the converter will make of a checkpoint."""

    architecture: Architecture
    tensors: tuple[Tensor, ...]
    header: int  # bytes before the first tensor's data, estimated
    guessed: tuple[str, ...]  # the checkpoint's tensors whose roles are guessed by words


def preview(
    config: Mapping[str, Any], tensors: Sequence[HeaderTensor], release: Release
) -> Preview:
    """What a checkpoint becomes by conversion, from its config.json and safetensors headers alone.

    `release` gives the name, the tags and the sizes of the tokenizer's files. Raises SourceError
    when the tensors are no mixture of experts, not the config's, or of no known kind.
    """
    content = read_content(config, tensors)
    predicted = predict(config, content)
    model = describe_predicted(config, content, predicted, release)
    return Preview(
        architecture=model,
        tensors=predicted.tensors,
        header=header_bytes(predicted.tensors, model.layers, model.vocabulary, release),
        guessed=predicted.guessed,
    )
