"""What changed between two commits of a model: its weights, or the texts beside them alone.

Files are told apart by the hashes that the Hub lists; nothing is fetched for it. Of a card only
what the converter writes into a header counts: licence, languages, tags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bot.records.coding import digest
from bot.records.releases import Release
from bot.tensors import weights
from bot.workplace.fetch import converter_files

CARD = "README.md"
# of which tensors, sizes and the projector are made: they are no words beside the weights
BUILT_FROM = frozenset(
    {
        *("config.json", "params.json", weights.INDEX),
        *("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"),
    }
)


@dataclass(frozen=True, kw_only=True)
class SourceChange:
    """What differs: whether weights do, files that a build starts from, texts of the metadata."""

    weights: bool
    build: tuple[str, ...]
    texts: tuple[str, ...]

    @property
    def needs_build(self) -> str | None:
        """Why headers alone will not do; None where they will."""
        if self.weights:
            return "its weights changed"
        return f"its {self.build[0]} changed" if self.build else None


def texts_of(release: Release) -> dict[str, str]:
    """What a header is made of beside weights: each file's hash, and the card's words as one."""
    files = {file.path: file.sha256 or file.blob_id or "" for file in converter_files(release)}
    words = [
        *(release.license, list(release.licenses), release.license_name, release.license_link),
        *(list(release.languages), [tag for tag in release.tags if ":" not in tag]),
    ]
    return {**files, CARD: digest(words)}


def differing_texts(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Files that one has and the other has not, or has with another content."""
    paths = before.keys() | after.keys()
    return tuple(sorted(path for path in paths if before.get(path) != after.get(path)))


def compared(before: Release, after: Release) -> SourceChange:
    """What changed from one commit to the other."""
    changed = differing_texts(texts_of(before), texts_of(after))
    return SourceChange(
        weights=_weights(before) != _weights(after),
        build=tuple(path for path in changed if path in BUILT_FROM),
        texts=tuple(path for path in changed if path not in BUILT_FROM),
    )


def _weights(release: Release) -> set[tuple[str, int]]:
    """Contents of all files that may hold weights."""
    return {
        (file.sha256 or file.blob_id or file.path, file.size)
        for file in release.files
        if file.path.endswith((".safetensors", ".gguf", ".bin", ".pt", ".pth"))
    }
