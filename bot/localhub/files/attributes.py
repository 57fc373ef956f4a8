""".gitattributes: which files git keeps as LFS pointers; the Hub adds what a commit leaves out."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

FILE = ".gitattributes"
LIMIT = 1 << 20  # bytes
BY_LFS = "filter=lfs diff=lfs merge=lfs -text"
EXTENSIONS = (
    *("7z", "arrow", "bin", "bz2", "ckpt", "ftz", "gguf", "gz", "h5", "joblib", "mlmodel"),
    *("model", "msgpack", "npy", "npz", "onnx", "ot", "parquet", "pb", "pickle", "pkl", "pt"),
    *("pth", "rar", "safetensors", "tar", "tflite", "tgz", "wasm", "xz", "zip", "zst"),
)
MEDIA = ("bmp", "gif", "jpeg", "jpg", "mp3", "mp4", "pdf", "png", "wav", "webm", "webp")
# like the real Hub's, which knows no *.gguf: every GGUF file gets a line of its own
INITIAL = "".join(f"*.{name} {BY_LFS}\n" for name in EXTENSIONS if name != "gguf")


def wants_lfs(path: str, size: int, sample: bytes) -> bool:
    """Whether a file shall be sent as LFS: large, binary, or of a kind that always is."""
    suffix = PurePosixPath(path).suffix.lower().removeprefix(".")
    return size >= 10_000_000 or b"\0" in sample or suffix in (*EXTENSIONS, *MEDIA)


def covering(text: str, paths: Iterable[str]) -> str:
    """The text of .gitattributes with a line for each LFS path that no line covers yet."""
    patterns = [line.split()[0] for line in text.splitlines() if "filter=lfs" in line.split()[1:]]
    missing = sorted(path for path in paths if not _covered(path, patterns))
    if not missing:
        return text
    lines = "".join(f"{_escaped(path)} {BY_LFS}\n" for path in missing)
    return (text if text.endswith("\n") or not text else f"{text}\n") + lines


def _escaped(path: str) -> str:
    return path.replace(" ", "[[:space:]]")


def _covered(path: str, patterns: list[str]) -> bool:
    name = path.rpartition("/")[2]
    return any(
        pattern == _escaped(path) or fnmatchcase(path if "/" in pattern else name, pattern)
        for pattern in patterns
    )
