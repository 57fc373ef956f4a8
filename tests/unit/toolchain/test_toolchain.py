import fcntl
import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from bot.errors import BuildError, BusyError, SettingsError, SourceError
from bot.settings.making import ConvertSettings
from bot.toolchain import locked
from bot.toolchain import toolchain as toolchains
from bot.toolchain.toolchain import Toolchain
from tests.unit.toolchain.test_converter_source import tree


def archive(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(f"pkg-1/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for name, to in (links or {}).items():
            entry = tarfile.TarInfo(f"pkg-1/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, to
            tar.addfile(entry)
    return path


def test_only_the_converter_is_unpacked(tmp_path: Path) -> None:
    inside = "vendor/llama.cpp"
    members = {
        f"{inside}/convert_hf_to_gguf.py": b"script",
        f"{inside}/conversion/base.py": b"base",
        f"{inside}/gguf-py/gguf/gguf.py": b"gguf",
        f"{inside}/models/ggml-vocab-gpt-2.gguf": b"vocabulary",
        f"{inside}/src/llama.cpp": b"source",
        f"{inside}/models/other.bin": b"other",
        "setup.py": b"setup",
    }
    archive_file = archive(
        tmp_path / "a.tar.gz", members, {f"{inside}/conversion/link.py": "/etc/passwd"}
    )
    toolchains.unpack_source(archive_file, tmp_path / "out")
    unpacked = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*")}
    assert unpacked == {
        *("convert_hf_to_gguf.py", "conversion", "conversion/base.py", "models"),
        *("gguf-py", "gguf-py/gguf", "gguf-py/gguf/gguf.py", "models/ggml-vocab-gpt-2.gguf"),
    }


def test_an_archive_that_reaches_out_is_refused(tmp_path: Path) -> None:
    members = {"vendor/llama.cpp/conversion/../../../evil.py": b"evil"}
    with pytest.raises(SourceError, match="not what it should be"):
        toolchains.unpack_source(
            archive(tmp_path / "a.tar.gz", members), tmp_path / "a" / "b" / "out"
        )
    assert not list(tmp_path.rglob("evil.py"))
    with pytest.raises(SourceError, match=r"holds no convert_hf_to_gguf\.py"):
        toolchains.unpack_source(
            archive(tmp_path / "b.tar.gz", {"setup.py": b""}), tmp_path / "other"
        )


def test_a_second_install_does_nothing_and_says_so(toolchain_root: Path) -> None:
    messages: list[str] = []
    before = {
        p: p.stat().st_mtime_ns for p in toolchains.toolchain_folder(toolchain_root).iterdir()
    }
    toolchain = toolchains.install_toolchain(toolchain_root, report=messages.append)
    assert toolchain == toolchains.installed(toolchain_root)
    assert len(messages) == 1
    assert "already" in messages[0]
    with (toolchain_root / "lock").open("w") as file:  # somebody else looks at it just now
        fcntl.flock(file, fcntl.LOCK_SH)
        assert toolchains.install_toolchain(toolchain_root, report=messages.append) == toolchain
    after = {p: p.stat().st_mtime_ns for p in toolchains.toolchain_folder(toolchain_root).iterdir()}
    assert before == after


def test_two_installers_do_not_meet(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="another bot installs"):
            toolchains.install_toolchain(tmp_path, report=print)


def test_an_unknown_runtime_is_not_guessed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchains, "SDISTS", {"9.9": "0" * 64})
    with pytest.raises(BuildError, match=r"is not known; install 9\.9"):
        toolchains.install_toolchain(tmp_path, report=lambda _line: None)
    assert toolchains.installed(tmp_path) is None


@pytest.mark.long
def test_another_source_distribution_is_refused_before_its_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchains, "SDISTS", dict.fromkeys(toolchains.SDISTS, "0" * 64))
    with pytest.raises(BuildError, match="installing failed") as refused:
        toolchains.install_toolchain(tmp_path, report=lambda _line: None)
    log = Path(str(refused.value).rpartition(" ")[2])
    text = log.read_text()
    assert "DO NOT MATCH THE HASHES" in text
    assert "Preparing metadata" not in text


def test_settings_choose_the_toolchain(tmp_path: Path, toolchain_root: Path) -> None:
    own = toolchains.installed(toolchain_root)
    assert own is not None
    assert toolchains.chosen_toolchain(ConvertSettings(), toolchain_root) == own
    with pytest.raises(SettingsError, match="bot toolchain install"):
        toolchains.chosen_toolchain(ConvertSettings(), tmp_path)
    checkout = tree(tmp_path / "llama.cpp")
    (checkout / ".git" / "refs" / "heads").mkdir(parents=True)
    (checkout / ".git" / "HEAD").write_text("ref: refs/heads/master\n")
    (checkout / ".git" / "refs" / "heads" / "master").write_text("0c1e57098aaaaaaaa\n")
    chosen = toolchains.chosen_toolchain(ConvertSettings(llama_cpp=checkout), toolchain_root)
    assert chosen == Toolchain(tree=checkout, python=own.python, version="llama.cpp 0c1e57098")
    with pytest.raises(SettingsError, match=r"convert\.llama_cpp"):
        toolchains.chosen_toolchain(ConvertSettings(llama_cpp=tmp_path), toolchain_root)
    with pytest.raises(SettingsError, match=r"convert\.python"):
        toolchains.chosen_toolchain(ConvertSettings(python=tmp_path / "no"), toolchain_root)


# ── packages ────────────────────────────────────────────────────────────────────────────────


def wheel(folder: Path, name: str, version: str, code: str) -> Path:
    """A wheel that anybody could make: this name and version, other content."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": code,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(member, text)
    return path


@pytest.mark.road
def test_a_package_with_another_content_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel_file = wheel(tmp_path / "found", "certifi", locked.version("certifi"), "EVIL = True\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel_file.parent))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    folder = tmp_path / "made"
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (entry,) = [part for part in locked.lock_entries().values() if part.startswith("certifi==")]
    with pytest.raises(BuildError, match="installing failed") as refused:
        toolchains.install_locked(folder, entry)
    assert "DO NOT MATCH THE HASHES" in Path(str(refused.value).rpartition(" ")[2]).read_text()
    assert not list(folder.rglob("certifi*"))
    with pytest.raises(BuildError, match="installing failed"):  # none without a hash
        toolchains.install_locked(folder, f"certifi=={locked.version('certifi')}\n")
    assert not list(folder.rglob("certifi*"))
    sha = hashlib.sha256(wheel_file.read_bytes()).hexdigest()
    toolchains.install_locked(folder, f"certifi=={locked.version('certifi')} --hash=sha256:{sha}\n")
    assert len(list(folder.rglob("certifi.py"))) == 1
