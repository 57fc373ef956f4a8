"""A local Hub behind a proxy that counts and fails, and clients of it."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub
from tests.local_hub.server import Hub as LocalHub
from tests.local_hub.server import running_hub
from tests.unit.clients.hub.between import Between, between


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def token(server: LocalHub) -> str:
    return server.store.add_user("maker")


@pytest.fixture
def proxy(server: LocalHub) -> Iterator[Between]:
    with between(server.url) as running:
        yield running


@pytest.fixture
def client(proxy: Between, token: str) -> Hub:
    return Hub(proxy.url, SecretStr(token), pause=0.01)


@pytest.fixture
def anonymous(proxy: Between) -> Hub:
    return Hub(proxy.url, None, pause=0.01)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A small set as it is published: a large file, a card, JSON."""
    contents = {
        "Model-BF16.gguf": b"GGUF" + bytes(range(256)) * 64,
        "README.md": b"---\nlicense: mit\nlanguage: [en, de]\n---\n# Model\n",
        "config.json": json.dumps({"model_type": "mixtral", "num_local_experts": 8}).encode(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in contents}


@pytest.fixture
def repo_id(client: Hub, request: pytest.FixtureRequest) -> str:
    """A private repository of this test's own."""
    name = f"maker/{hashlib.sha1(request.node.name.encode()).hexdigest()[:12]}"  # noqa: S324 - a name
    client.create_private(name)
    return name


@pytest.fixture
def closed() -> str:
    """An endpoint at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return f"http://127.0.0.1:{port}"
