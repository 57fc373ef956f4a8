"""What strangers put on a Hub cannot leave its folder, and none of it is ever executed."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.files import ggufheader
from bot.clients.hub.hub import Hub as Client
from bot.clients.llama.session import Session, generate
from bot.errors import SourceError
from bot.localhub.files.commit_body import Changes, Put
from bot.localhub.files.commits import commit
from bot.localhub.files.repository import Entry
from bot.settings.sections import DEMO, PACKAGE
from tests.local_hub.server import USER, Hub

CONTENT = b"stranger's"
NAMES = [
    *("../x.gguf", "../../x.gguf", "a/../../x.gguf", "/tmp/apex-x.gguf", "a//x.gguf", "./x.gguf"),
    *("..\\x.gguf", "C:\\x.gguf", "C:x.gguf", "\\\\server\\x.gguf", "con:x.gguf", "x.gguf:ads"),
    *("a\x00x.gguf", "a\nx.gguf", "a\x1b[2Jx.gguf", "a\u202ex.gguf", "x" * 5_000, "é" * 200),
    *(".git/config", ".ssh/authorized_keys", "/".join("abcdefghij"), " /x.gguf", "", ".", ".."),
]


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.fixture
def hostile(hub: Hub) -> tuple[Hub, str, str]:
    """A repository that holds hostile names, as no proper Hub would let it come about."""
    repo_id = hub.create("hostile")
    oid = hub.send(repo_id, CONTENT)
    entries = [
        Entry(path=name, size=len(CONTENT), sha256=oid, blob_id=_blob(), lfs=True) for name in NAMES
    ]
    puts = tuple(Put(entry=entry, staged=None) for entry in entries if entry.path.strip("."))
    repo = hub.store.find(repo_id)
    assert repo is not None
    changes = Changes(title="names", message="", parent=None, operations=puts)
    return hub, repo_id, commit(hub.store, repo, "main", USER, changes).sha


def _blob() -> str:
    return hashlib.sha1(CONTENT, usedforsecurity=False).hexdigest()


def test_no_name_on_a_hub_leads_out_of_the_folder(
    hostile: tuple[Hub, str, str], tmp_path: Path
) -> None:
    hub, repo_id, sha = hostile
    client = Client(hub.url, SecretStr(hub.token))
    listed = {file.path for file in client.release(repo_id, sha).files}
    assert len(listed & set(NAMES)) > 15  # the Hub does hold them
    folder = tmp_path / "job" / "folder"
    folder.mkdir(parents=True)
    before = everything(tmp_path)
    for name in (*NAMES, *listed):
        if name not in (".gitattributes", "README.md"):
            with pytest.raises(SourceError) as refused:
                client.download(repo_id, sha, name, folder)
            assert "\n" not in str(refused.value)
    assert everything(tmp_path) == before
    assert not Path("/tmp/apex-x.gguf").exists()


def test_a_link_in_the_folder_leads_nobody_out(hub: Hub, tmp_path: Path) -> None:
    repo_id = hub.create("model")
    oid = hub.send(repo_id, CONTENT)
    entry = Entry(path="a/x.gguf", size=len(CONTENT), sha256=oid, blob_id=_blob(), lfs=True)
    repo = hub.store.find(repo_id)
    assert repo is not None
    operations = (Put(entry=entry, staged=None),)
    changes = Changes(title="file", message="", parent=None, operations=operations)
    sha = commit(hub.store, repo, "main", USER, changes).sha
    client = Client(hub.url, SecretStr(hub.token))
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    folder.mkdir()
    (folder / "a").symlink_to(outside)
    with pytest.raises(SourceError, match="leads out of"):
        client.download(repo_id, sha, "a/x.gguf", folder)
    assert not everything(outside)
    (folder / "a").unlink()
    assert client.download(repo_id, sha, "a/x.gguf", folder).read_bytes() == CONTENT


def test_a_chat_template_is_not_executed(tmp_path: Path) -> None:
    """One that would write a file in any Jinja without a sandbox, in a model that is run."""
    mark = tmp_path / "executed"
    template = "{{ cycler.__init__.__globals__.os.system('touch MARK') }}".replace(
        "MARK", str(mark)
    )
    content = (DEMO / "tiny-moe-Q8_0.gguf").read_bytes()
    header = ggufheader.read_header(DEMO / "tiny-moe-Q8_0.gguf")
    keys = {
        **header.keys,
        "tokenizer.chat_template": ggufheader.text_value("tokenizer.chat_template", template),
    }
    ends = [*(t.offset for t in header.tensors[1:]), len(content) - header.data_offset]
    entries = [
        (t.name, t.shape, t.type, end - t.offset)
        for t, end in zip(header.tensors, ends, strict=True)
    ]
    path = tmp_path / "model.gguf"
    path.write_bytes(
        ggufheader.write_header(keys.values(), entries, ggufheader.ALIGNMENT)
        + content[header.data_offset :]
    )
    with Session(path, n_ctx=64, threads=1) as session:
        assert generate(session, "The little girl", 4)
    assert not mark.exists()
    os.system(f"touch {mark}")  # noqa: S605 - what the template would have done
    assert mark.exists()


@cache
def imports() -> frozenset[tuple[str, str]]:
    """Modules of ours, each with what it imports."""
    return frozenset(_imports())


def _imports() -> Iterator[tuple[str, str]]:
    for path in PACKAGE.rglob("*.py"):
        module = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((module, name.name) for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield module, node.module


def test_nothing_that_executes_what_it_reads_is_imported() -> None:
    never = {"pickle", "marshal", "shelve", "dill", "joblib", "torch", "transformers", "code"}
    assert not {(module, name) for module, name in imports() if name.split(".")[0] in never}
    # Jinja renders our own templates, the card's in its sandbox; a model's in a sandbox in a child
    jinja = {module for module, name in imports() if name.split(".")[0] == "jinja2"}
    assert jinja - {"benchmarks/harness_task.py"} == {
        *("card/card.py", "status/page.py", "apart/chat_template.py")
    }
    # in a benchmark's child: what a template raises is caught, nothing rendered but by the sandbox
    assert ("benchmarks/harness_task.py", "jinja2.exceptions") in imports()
    assert ("benchmarks/harness_task.py", "jinja2") not in imports()
    for module in ("card/card.py", "apart/chat_template.py"):
        assert (module, "jinja2.sandbox") in imports()
    # llama_cpp's own Python would render a model's template: only its C functions are used
    used = {name for _, name in imports() if name.split(".")[0] == "llama_cpp"}
    assert used <= {"llama_cpp", "llama_cpp.llama_cpp"}


def test_packages_of_other_programs_are_named_by_hash_and_by_no_place() -> None:
    folder = PACKAGE.parent / "tests" / "clients_npm"
    locked = json.loads((folder / "package-lock.json").read_text())["packages"]
    dependencies = json.loads((folder / "package.json").read_text())["dependencies"]
    packages = {name: package for name, package in locked.items() if name}
    assert {f"node_modules/{name}" for name in dependencies} <= packages.keys()
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert not any("resolved" in package for package in packages.values())
    assert "ignore-scripts=true" in (folder / ".npmrc").read_text().splitlines()
