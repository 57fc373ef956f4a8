"""llama.cpp's own programs from the installed binding's source: what results are compared with.

    python -m tests.build_llama_tools FOLDER

`make test-all` runs it. They are built once for a version, which takes minutes; needs a compiler,
cmake and ninja, the latter two from PyPI where the system has none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

from bot.apart.library_trial import WITHOUT_AMX, has_amx
from bot.clients.llama.library import build_flags

TARGETS = (
    *("llama-quantize", "llama-imatrix", "llama-perplexity", "llama-server"),
    *("ggml-rpc", "ggml-rpc-server"),
)
OPTIONS = (
    *("-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=ON", "-DGGML_RPC=ON"),
    *("-DGGML_RPC_RDMA=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_TESTS=OFF"),
    *("-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_BUILD_UI=OFF"),
    *("-DLLAMA_USE_PREBUILT_UI=OFF", "-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON"),
)


def build(folder: Path) -> None:
    """Leave the programs and their libraries in `folder`, unless they are there."""
    stamp = folder / f"llama-cpp-python-{version('llama-cpp-python')}"
    if stamp.is_file():
        return
    with tempfile.TemporaryDirectory() as place:
        source, made = _source(Path(place)), Path(place) / "build"
        tools = _tools(Path(place))
        env = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
        if (python := Path(place) / "packages").is_dir():
            env["PYTHONPATH"] = str(python)
        if has_amx() and "AMX" not in build_flags():  # with the binding's instructions, as it is
            for name in ("CFLAGS", "CXXFLAGS"):
                env[name] = f"{env.get(name, '')} {WITHOUT_AMX}"
        configure = ["cmake", "-G", "Ninja", "-S", str(source), "-B", str(made), *OPTIONS]
        subprocess.run(configure, check=True, env=env, stdout=subprocess.DEVNULL)
        subprocess.run(["cmake", "--build", str(made), "--target", *TARGETS], check=True, env=env)
        folder.mkdir(parents=True, exist_ok=True)
        for file in (made / "bin").iterdir():
            shutil.copy2(file, folder / file.name, follow_symlinks=False)
    stamp.touch()


def download(folder: Path) -> Path:
    """The source distribution of the installed binding, fetched into `folder`."""
    name = f"llama-cpp-python=={version('llama-cpp-python')}"
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps",
         "--no-binary", ":all:", "-d", str(folder), name],
        check=False,
    )  # fmt: skip
    [archive] = folder.glob("llama_cpp_python-*.tar.gz")
    return archive


def _source(folder: Path) -> Path:
    archive = download(folder)
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "source", filter="data")
    [source] = (folder / "source").glob("*/vendor/llama.cpp")
    return source


def _tools(folder: Path) -> Path:
    """Where cmake and ninja lie, where the system lacks one of them."""
    if not (shutil.which("cmake") and shutil.which("ninja")):
        packages = folder / "packages"
        command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(packages)]
        subprocess.run([*command, "cmake", "ninja"], check=True)
    return folder / "packages" / "bin"


if __name__ == "__main__":
    build(Path(sys.argv[1]).absolute())
