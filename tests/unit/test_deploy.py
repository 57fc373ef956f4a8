"""What deploy/ says holds: container files are whole, and the page answers as its guide has it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "deploy"
FILES = ("Containerfile", "Containerfile.cuda")


@pytest.mark.parametrize("name", FILES)
def test_what_is_built_is_the_whole_package(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    copied = set(re.findall(r"^COPY (\w+) \1$", text, re.MULTILINE))
    assert copied == {"bot", "card_templates", "profiles", "workflows"}
    assert "toolchain install" in text
    assert re.search(r"^USER apex-bot$", text, re.MULTILINE)


def test_one_is_for_cuda_and_the_guide_names_both() -> None:
    assert "GGML_CUDA=on" in (FOLDER / "Containerfile.cuda").read_text(encoding="utf-8")
    guide = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"deploy/{name}" in guide for name in FILES)
    assert "toolchain install" in guide


# ── the page behind a web server ────────────────────────────────────────────────────────────


def advised(name: str) -> str:
    """A block of the guide, by its language."""
    guide = (FOLDER / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"```{name}\n(.*?)```", guide, re.DOTALL)
    return str(block)


@contextmanager
def page(folder: Path, arguments: list[str]) -> Iterator[tuple[str, int]]:
    """The real command with these arguments; where it listens."""
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "BOT_STATUS_TOKEN": "t" * 24}
    command = [sys.executable, "-m", "bot", *arguments, "--port", "0", "--json"]
    environment = variables | {"BOT_WORKDIR": str(folder / "work")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            url = urlsplit(json.loads(process.stdout.readline())["url"])
            yield str(url.hostname), int(url.port or 0)
        finally:
            process.terminate()


def asked(
    where: tuple[str, int], method: str, path: str, headers: Mapping[str, str], body: str = ""
) -> HTTPResponse:
    connection = HTTPConnection(*where, timeout=30)
    connection.request(method, path, body, dict(headers))
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def test_the_page_answers_behind_the_web_server_of_the_guide(tmp_path: Path) -> None:
    """What nginx would send, by its own configuration: $host, $scheme."""
    server, unit = advised("nginx"), advised("ini")
    (name,) = re.findall(r"server_name (\S+);", server)
    (line,) = re.findall(r"^ExecStart=/\S+/bot (.+)$", unit, re.MULTILINE)
    passed = dict(re.findall(r"proxy_set_header (\S+) (\S+);", server))
    values = {"$host": name, "$scheme": "https"}
    sent = {header: values[value] for header, value in passed.items()}
    arguments = [word for word in shlex.split(line) if word not in ("--port", "8911")]
    with page(tmp_path, arguments) as where:
        assert asked(where, "GET", "/", sent).status == 200
        assert asked(where, "GET", "/status.json", {"Host": f"127.0.0.1:{where[1]}"}).status == 200
        assert asked(where, "GET", "/", {**sent, "Host": "rebound.example.com"}).status == 400
        form = {"Content-Type": "application/x-www-form-urlencoded", **sent}
        body = f"token={'t' * 24}"
        good = asked(where, "POST", "/sign-in", {**form, "Origin": f"https://{name}"}, body)
        assert good.status == 303
        assert "Secure" in str(good.headers["set-cookie"])
        assert asked(where, "POST", "/sign-in", {**form, "Origin": "https://x.org"}).status == 403


@pytest.mark.parametrize(
    ("token", "name", "error_text"),
    [
        ("", "status.example.org", "can be reached from other machines; set BOT_STATUS_TOKEN"),
        ("t" * 24, "*", "is no name of a web server; correct --name"),
        ("t" * 24, "https://status.example.org", "is no name of a web server; correct --name"),
    ],
)
def test_a_name_wants_a_token_and_is_one(
    tmp_path: Path, token: str, name: str, error_text: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bot", "serve", "--port", "0", "--name", name],
        env={"HOME": str(tmp_path), "BOT_WORKDIR": str(tmp_path / "w"), "BOT_STATUS_TOKEN": token},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert error_text in done.stderr
