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

from bot.disk.hashes import sha256
from bot.disk.space import require_free
from bot.disk.writing import write_text
from bot.errors import BuildError, BusyError, SettingsError, SourceError
from bot.foreign import last_lines
from bot.settings.making import ConvertSettings
from bot.toolchain import converter_source, locked

SDISTS = {
    "0.3.36": "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
}

CONVERTER = "convert_hf_to_gguf.py"
_FILES = (CONVERTER, "LICENSE")
_FOLDERS = ("conversion/", "gguf-py/", "models/templates/", "models/ggml-vocab-")
_MEMBER_LIMIT = 64 << 20  # bytes; the largest vocabulary has 16 MB
_ROOM = 4_000_000_000  # bytes: torch's CPU build takes 1.2 GB, twice while it is unpacked
_STAMP = "toolchain.json"
_QUIET = ("--disable-pip-version-check", "--no-input")

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


def toolchain_folder(root: Path) -> Path:
    """Where under `root` the toolchain of the installed llama-cpp-python lies."""
    return root / f"llama-cpp-python-{_runtime()}"


def installed(root: Path) -> Toolchain | None:
    """The whole toolchain of this runtime under `root`; None where there is none."""
    folder = toolchain_folder(root)
    try:
        stamp = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    toolchain = _at(folder)
    is_whole = toolchain.converter.is_file() and toolchain.python.exists()
    return toolchain if is_whole and stamp == _stamp() else None


def present(settings: ConvertSettings, root: Path) -> Toolchain | None:
    """As `chosen_toolchain`; None where settings name none and none is installed."""
    return chosen_toolchain(settings, root) if settings.llama_cpp or installed(root) else None


def chosen_toolchain(settings: ConvertSettings, root: Path) -> Toolchain:
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


def install_toolchain(root: Path, *, report: Say) -> Toolchain:
    """Make the toolchain under `root`, or find it made. Needs a package index and about 1.3 GB.

    Raises BusyError while another process installs there, BuildError when pip fails or the source
    distribution is not the known one, CapacityError without room.
    """
    if toolchain := _already(root, report):  # nobody has to wait for somebody who only looks
        return toolchain
    with _locked(root):
        if toolchain := _already(root, report):
            return toolchain
        sdist_hash = _known_sdist()
        require_free(root, _ROOM, 0)
        folder = toolchain_folder(root)
        partial = folder.with_name(f"{folder.name}.partial")
        for leftover in (partial, folder):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            _install_packages(partial, report)
            _fetch(partial, sdist_hash, report)
            write_text(partial / _STAMP, json.dumps(_stamp(), indent=2) + "\n")
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        report(f"the converter of {_at(folder).version} is installed in {folder}")
        return _at(folder)


def _already(root: Path, report: Say) -> Toolchain | None:
    toolchain = installed(root)
    if toolchain is not None:
        folder = toolchain_folder(root)
        report(f"the converter of {toolchain.version} is installed in {folder} already")
    return toolchain


def supported(toolchain: Toolchain) -> tuple[frozenset[str], frozenset[str]]:
    """Architecture names that the converter knows: (text models, projectors).

    Read from the two literal maps of conversion/__init__.py; nothing is imported or run.
    """
    maps = converter_source.maps(toolchain.tree)
    return frozenset(maps["TEXT_MODEL_MAP"]), frozenset(maps["MMPROJ_MODEL_MAP"])


def has_mtp_switch(toolchain: Toolchain, architecture: str) -> bool:
    """Whether the converter takes --no-nextn and --mtp for this architecture."""
    return converter_source.source_has_mtp_switch(toolchain.tree, architecture)


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
        "packages": locked.lock_digest(),
    }


def _checkout(tree: Path, python: Path) -> Toolchain:
    if not (tree / CONVERTER).is_file():
        raise SettingsError(f"convert.llama_cpp {tree} has no {CONVERTER}; mend bot.yaml")
    return Toolchain(tree=tree.resolve(), python=python, version=f"llama.cpp {commit_of(tree)}")


def commit_of(tree: Path) -> str:
    """A checkout's commit by its .git, without running git; words where it is not found."""
    try:
        head = (tree / ".git" / "HEAD").read_text(encoding="utf-8").strip()
        if head.startswith("ref: "):
            head = (tree / ".git" / head.removeprefix("ref: ")).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return "of unknown commit"
    return head[:9]


def _known_sdist() -> str:
    """The hash of this runtime's source distribution; asked before anything is installed."""
    version = _runtime()
    sdist_hash = SDISTS.get(version)
    if sdist_hash is None:
        raise BuildError(
            f"the source distribution of llama-cpp-python {version} is not known; "
            f"install {', '.join(SDISTS)} or name a checkout as convert.llama_cpp"
        )
    return sdist_hash


def _fetch(folder: Path, sdist_hash: str, report: Say) -> None:
    """The converter's files out of the source distribution, whose sha256 has to be `sdist_hash`."""
    version = _runtime()
    report(f"fetching the source distribution of llama-cpp-python {version} (76 MB) …")
    downloads = folder / "download"
    downloads.mkdir()
    requirements = downloads / "requirements.txt"
    # pip runs a source distribution's own code to learn its metadata: only after the hash matched,
    # and with the build tools of the environment, whose hashes matched, too
    line = f"llama-cpp-python=={version} --hash=sha256:{sdist_hash}\n"
    requirements.write_text(line, encoding="utf-8")
    arguments = ("--no-deps", "--no-binary", "llama-cpp-python", "--no-build-isolation")
    files = ("--require-hashes", "-d", str(downloads), "-r", str(requirements))
    _pip(folder, *_inside(folder), "download", *arguments, *files)
    archive = next(downloads.glob("*.tar.gz"), None)
    if archive is None or sha256(archive) != sdist_hash:
        raise BuildError("pip brought another source distribution than asked for; run it again")
    unpack_source(archive, folder / "llama.cpp")
    shutil.rmtree(downloads)


def unpack_source(archive: Path, target: Path) -> None:
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
    """Everything by its hash, and nothing that is not in the lock.

    A torch without CUDA, a sixth of the size, is taken where pip is told of a place that has it.
    """
    torch, transformers = (locked.version(name) for name in ("torch", "transformers"))
    report(f"installing torch {torch}, transformers {transformers} and others …")
    _run(folder, [sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")])
    try:
        install_locked(folder, locked.without_cuda())
    except BuildError:
        report("no torch without CUDA is offered here; the one with it is fetched (3 GB)")
        install_locked(folder, locked.whole_lock())
    else:
        install_locked(folder, locked.everywhere())
    _pip(folder, *_inside(folder), "check")


def install_locked(folder: Path, requirements: str) -> None:
    """Install these into the environment in `folder`: wheels alone, each of a hash that is named.

    Raises BuildError, with nothing installed, where one is not to be had or is another.
    """
    requirements_file = folder / "requirements.txt"
    requirements_file.write_text(requirements, encoding="utf-8")
    strict = ("--require-hashes", "--no-deps", "--only-binary", ":all:")
    _pip(folder, *_inside(folder), "install", *strict, "-r", str(requirements_file))


def _inside(folder: Path) -> tuple[str, str]:
    return "--python", str(folder / "venv" / "bin" / "python")


def _pip(folder: Path, *arguments: str) -> None:
    _run(folder, [sys.executable, "-m", "pip", *_QUIET, *arguments])


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
