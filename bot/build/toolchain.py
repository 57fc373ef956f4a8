"""llama.cpp's converter in an environment of its own, from the sources the runtime was built of.

A toolchain is a folder with `llama.cpp/` (the converter and its gguf-py out of llama-cpp-python's
source distribution), `venv/` (torch and the rest, in exact versions) and `toolchain.json`, which
says what is in it and is written last.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path

from bot.build import converter_source
from bot.errors import BuildError, BusyError, SettingsError, SourceError
from bot.foreign import last_lines
from bot.settings import ConvertSettings
from bot.workspace import require_free, sha256, write_text

SDISTS = {
    "0.3.36": "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
}

# what llama.cpp's requirements-convert_hf_to_gguf.txt asks for, with all that comes along pinned;
# torch is newer than its 2.11.0: one version for every part of this project
PINS = {
    "torch": "2.13.0",
    "transformers": "4.57.6",
    "sentencepiece": "0.2.3",
    "protobuf": "4.25.9",
    "numpy": "2.2.6",
    "safetensors": "0.8.0",
    "tokenizers": "0.22.2",
    "huggingface-hub": "0.36.2",
    "hf-xet": "1.8.0",
    "jinja2": "3.1.6",
    "markupsafe": "3.0.4",
    "pyyaml": "6.0.3",
    "regex": "2026.11.15",
    "requests": "2.34.2",
    "certifi": "2026.10.18",
    "charset-normalizer": "3.5.2",
    "idna": "3.20",
    "urllib3": "2.8.0",
    "tqdm": "4.70.1",
    "filelock": "4.2.11",
    "fsspec": "2026.9.0",
    "packaging": "26.3",
    "sympy": "1.14.0",
    "mpmath": "1.3.0",
    "networkx": "3.6.1",
    "typing-extensions": "4.16.0",
}

CONVERTER = "convert_hf_to_gguf.py"
_FILES = (CONVERTER, "LICENSE")
_FOLDERS = ("conversion/", "gguf-py/", "models/templates/", "models/ggml-vocab-")
_MEMBER_LIMIT = 64 << 20  # bytes; the largest vocabulary has 16 MB
_ROOM = 4_000_000_000  # bytes: torch's CPU build takes 1.2 GB, twice while it is unpacked
_STAMP = "toolchain.json"

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """A converter that can be run: `python` runs `tree`/convert_hf_to_gguf.py."""

    tree: Path  # a llama.cpp source tree, or the converter's part of one
    python: Path
    version: str  # "llama-cpp-python 0.3.36", or a checkout's commit

    @property
    def converter(self) -> Path:
        """The script."""
        return self.tree / CONVERTER


def folder_of(root: Path) -> Path:
    """Where under `root` the toolchain of the installed llama-cpp-python lies."""
    return root / f"llama-cpp-python-{_runtime()}"


def installed(root: Path) -> Toolchain | None:
    """The whole toolchain of this runtime under `root`; None where there is none."""
    folder = folder_of(root)
    try:
        stamp = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    found = _at(folder)
    whole = found.converter.is_file() and found.python.exists()
    return found if whole and stamp == _stamp() else None


def chosen(settings: ConvertSettings, root: Path) -> Toolchain:
    """The toolchain that settings name, else the installed one.

    Raises SettingsError when it is not there, with the command that makes it.
    """
    own = installed(root)
    python = settings.python or (own.python if own else None)
    if python is None:
        raise SettingsError("the converter is not installed; run `bot toolchain install`")
    if not python.exists():
        raise SettingsError(f"convert.python {python} does not exist; mend bot.yaml")
    if settings.llama_cpp is not None:
        return _checkout(settings.llama_cpp, python)
    if own is None:
        raise SettingsError("the converter is not installed; run `bot toolchain install`")
    return Toolchain(tree=own.tree, python=python, version=own.version)


def install(root: Path, *, report: Say) -> Toolchain:
    """Make the toolchain under `root`, or find it made. Needs a package index and about 1.3 GB.

    Raises BusyError while another process installs there, BuildError when pip fails or the source
    distribution is not the known one, CapacityError without room.
    """
    with _locked(root):
        found = installed(root)
        if found is not None:
            report(f"the converter of {found.version} is installed in {folder_of(root)} already")
            return found
        require_free(root, _ROOM, 0)
        folder = folder_of(root)
        partial = folder.with_name(f"{folder.name}.partial")
        for left in (partial, folder):
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            _fetch(partial, report)
            _install_packages(partial, report)
            write_text(partial / _STAMP, json.dumps(_stamp(), indent=2) + "\n")
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        report(f"the converter of {_at(folder).version} is installed in {folder}")
        return _at(folder)


def supported(toolchain: Toolchain) -> tuple[frozenset[str], frozenset[str]]:
    """Architecture names that the converter knows: (text models, projectors).

    Read from the two literal maps of conversion/__init__.py; nothing is imported or run.
    """
    maps = converter_source.maps(toolchain.tree)
    return frozenset(maps["TEXT_MODEL_MAP"]), frozenset(maps["MMPROJ_MODEL_MAP"])


def has_mtp_switch(toolchain: Toolchain, architecture: str) -> bool:
    """Whether the converter takes --no-nextn and --mtp for this architecture."""
    return converter_source.has_mtp_switch(toolchain.tree, architecture)


# ── making it ───────────────────────────────────────────────────────────────────────────────


def _runtime() -> str:
    return installed_version("llama-cpp-python")


def _at(folder: Path) -> Toolchain:
    return Toolchain(
        tree=folder / "llama.cpp",
        python=folder / "venv" / "bin" / "python",
        version=f"llama-cpp-python {_runtime()}",
    )


def _stamp() -> dict[str, object]:
    return {
        "llama_cpp_python": _runtime(),
        "sdist_sha256": SDISTS.get(_runtime()),
        "python": ".".join(map(str, sys.version_info[:3])),
        "packages": PINS,
    }


def _checkout(tree: Path, python: Path) -> Toolchain:
    if not (tree / CONVERTER).is_file():
        raise SettingsError(f"convert.llama_cpp {tree} has no {CONVERTER}; mend bot.yaml")
    return Toolchain(tree=tree.resolve(), python=python, version=f"llama.cpp {commit_of(tree)}")


def commit_of(tree: Path) -> str:
    """A checkout's commit, as far as its .git tells without running git."""
    try:
        head = (tree / ".git" / "HEAD").read_text(encoding="utf-8").strip()
        if head.startswith("ref: "):
            head = (tree / ".git" / head.removeprefix("ref: ")).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return "of unknown commit"
    return head[:9]


def _fetch(folder: Path, report: Say) -> None:
    """The converter's files out of the source distribution, its hash checked."""
    version = _runtime()
    known = SDISTS.get(version)
    if known is None:
        raise BuildError(
            f"the source distribution of llama-cpp-python {version} is not known; "
            f"install {', '.join(SDISTS)} or name a checkout as convert.llama_cpp"
        )
    report(f"fetching the source distribution of llama-cpp-python {version} (76 MB) …")
    downloads = folder / "download"
    downloads.mkdir()
    wanted = downloads / "requirements.txt"
    # pip runs a source distribution's own code to learn its metadata: only after the hash matched
    wanted.write_text(f"llama-cpp-python=={version} --hash=sha256:{known}\n", encoding="utf-8")
    arguments = ("download", "--no-deps", "--no-binary", "llama-cpp-python", "--require-hashes")
    _pip(folder, *arguments, "-d", str(downloads), "-r", str(wanted))
    archive = next(downloads.glob("*.tar.gz"), None)
    if archive is None or sha256(archive) != known:
        raise BuildError("pip brought another source distribution than asked for; run it again")
    unpack(archive, folder / "llama.cpp")
    shutil.rmtree(downloads)


def unpack(archive: Path, target: Path) -> None:
    """Extract what the converter needs of `vendor/llama.cpp`, nothing else, below `target`.

    Raises SourceError for a member that is not a plain file of reasonable size.
    """
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            name = member.name.partition("/vendor/llama.cpp/")[2]
            if not member.isfile() or not _wanted(name):
                continue
            if ".." in Path(name).parts or member.size > _MEMBER_LIMIT:
                raise SourceError(f"{archive.name} holds {name!r}; it is not what it should be")
            member.name = name
            tar.extract(member, target, filter="data")
    if not (target / CONVERTER).is_file():
        raise SourceError(f"{archive.name} holds no {CONVERTER}; name a checkout of llama.cpp")


def _wanted(name: str) -> bool:
    return name in _FILES or name.startswith(_FOLDERS)


def _install_packages(folder: Path, report: Say) -> None:
    report(f"installing torch {PINS['torch']}, transformers {PINS['transformers']} and others …")
    venv = folder / "venv"
    _run(folder, [sys.executable, "-m", "venv", "--without-pip", str(venv)])
    pins = [f"{name}=={version}" for name, version in PINS.items()]
    _pip(folder, "--python", str(venv / "bin" / "python"), "install", *pins)


def _pip(folder: Path, *arguments: str) -> None:
    quiet = ("--disable-pip-version-check", "--no-input")
    _run(folder, [sys.executable, "-m", "pip", *quiet, *arguments])


def _run(folder: Path, command: list[str]) -> None:
    """Run a command, its output in a log beside the unfinished folder."""
    log = folder.with_name(f"{folder.name}.log")
    with log.open("a", encoding="utf-8") as file:
        code = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False
        ).returncode
    if code:
        lines = last_lines(log)
        telling = [line for line in lines if line.startswith("ERROR")] or lines or ["no output"]
        raise BuildError(f"installing failed: {telling[-1][:300]}; the whole log is {log}")
    log.unlink()


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(f"another bot installs in {root}; wait for it") from error
        yield
