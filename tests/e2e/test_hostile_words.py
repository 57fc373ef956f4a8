"""Words of strangers from everywhere to all that people look at, by the real command, in bytes.

Each command runs in a process of its own (a fork of one that has read the modules), with its
streams in files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gguf  # noqa: TID251 - what a stranger's tool would write
import numpy as np
import pytest
import yaml

from tests.hostile import HOSTILE, commands, hidden
from tests.hostile_hub import MOE, HostileHub, Stranger, hostile_hub

# argv: a folder for streams, then a JSON list of command lines
DRIVER = """
import json, os, sys
import bot.cli.main, bot.cli.text.ending_text, bot.watcher.assembly
import bot.detect.inspection, bot.lint.defects
folder, lines = sys.argv[1], json.loads(sys.argv[2])
for number, line in enumerate(lines):
    child = os.fork()
    if child == 0:
        for stream, name in ((1, "out"), (2, "err")):
            to = os.open(f"{folder}/{number}.{name}", os.O_WRONLY | os.O_CREAT)
            os.dup2(to, stream)
        sys.argv = ["bot", *line]
        bot.cli.main.main()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    open(f"{folder}/{number}.code", "w").write(str(code))
"""
# where neither a surrogate nor a zero can be written
WRITTEN = HOSTILE.replace("\0", "").encode("utf-8", "replace").decode()
LATIN = "visible\x1b[2J\x9b31m ##[add-mask]visible \xadx <https://evil.example|text> @everyone"


def _strangers() -> list[Stranger]:
    words = [HOSTILE, "visible [text](https://evil.example)", "license:visible <https://evil|x>"]
    config = json.dumps({**MOE, "architectures": [WRITTEN], "model_type": WRITTEN}).encode()
    method = {**MOE, "quantization_config": {"quant_method": WRITTEN}}
    return [
        Stranger(
            name="lab/words",
            row={"tags": words, "library_name": HOSTILE, "pipeline_tag": words[1]},
            reply={
                "tags": words,
                "pipeline_tag": words[1],
                "cardData": {"license": HOSTILE, "license_name": words[1], "language": words},
            },
            files={"config.json": config},
        ),
        Stranger(name="lab/method", files={"config.json": json.dumps(method).encode()}),
        Stranger(name="lab/files", reply={"siblings": [{"rfilename": HOSTILE, "size": 5}] * 2}),
        Stranger(
            name="lab/refused",
            status=403,
            reply={"error": HOSTILE},
            headers={"X-Error-Message": LATIN, "X-Request-Id": LATIN},
        ),
        Stranger(name="lab/teapot", status=418, reply={"error": HOSTILE}),
        Stranger(name="lab/damaged", files={"config.json": b'{"visible\x1b[2J": '}),
        Stranger(name="lab/fine", reply={"tags": words}, row={"tags": words[1:]}),
    ]


def _model(path: Path) -> None:
    """A GGUF file whose words are a stranger's."""
    writer = gguf.GGUFWriter(path, arch=WRITTEN)
    writer.add_name(WRITTEN)
    writer.add_license(WRITTEN)
    writer.add_block_count(1)
    writer.add_tensor(f"blk.0.{WRITTEN[:40]}", np.zeros((2, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _folder(folder: Path) -> Path:
    """A repository of GGUF files on this machine."""
    made = folder / "release"
    made.mkdir()
    _model(made / "Model-Q8_0.gguf")
    name = WRITTEN.replace("/", "|").encode()[:240]
    (Path(os.fsdecode(os.fsencode(made) + b"/" + name))).write_bytes(b"x")
    (Path(os.fsdecode(os.fsencode(made) + b"/visible\xff\xfe.gguf"))).write_bytes(b"GGUF")
    links = "".join(f"[a]({word}.gguf) `{word}.gguf` " for word in WRITTEN.split(" ")[:3])
    (made / "README.md").write_text(f"---\nlicense: {WRITTEN!r}\n---\n# {WRITTEN}\n{links}\n")
    (made / "SHA256SUMS").write_text(f"{'0' * 64}  {WRITTEN}\n{WRITTEN}\n", encoding="utf-8")
    return made


@pytest.fixture
def hub() -> Iterator[HostileHub]:
    with hostile_hub(_strangers()) as running:
        yield running


def _run(folder: Path, lines: Sequence[Sequence[str]], **environment: str) -> list[Any]:
    """Exit code, stdout and stderr of each command line."""
    streams = folder / "streams"
    streams.mkdir(exist_ok=True)
    home = {"HOME": str(folder), "PATH": os.environ["PATH"], "HF_HOME": str(folder / "hf")}
    subprocess.run(
        [sys.executable, "-c", DRIVER, str(streams), json.dumps(lines)],
        env={**home, **environment}, cwd=folder, check=True, timeout=600,
    )  # fmt: skip
    return [
        (
            int((streams / f"{n}.code").read_text()),
            (streams / f"{n}.out").read_bytes(),
            (streams / f"{n}.err").read_bytes(),
        )
        for n in range(len(lines))
    ]


@pytest.mark.road
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.long)])
def test_no_stream_of_any_command_holds_what_strangers_wrote_for_it(
    hub: HostileHub, tmp_path: Path, whole: bool
) -> None:
    (tmp_path / "bot.yaml").write_text(
        yaml.safe_dump({"workdir": str(tmp_path / "work"), "watch": {"tell": ["asked"]}})
    )
    release, model = _folder(tmp_path), tmp_path / "m.gguf"
    _model(model)
    (tmp_path / "config.json").write_text(json.dumps({**MOE, "model_type": WRITTEN}))
    names = [one.name for one in hub.strangers]
    few = [
        ["watch", "--once"],
        ["inspect", "lab/words"],
        ["inspect", "lab/refused", "--json"],
        ["why", "lab/refused"],
        ["inspect", str(model)],
        ["lint", str(release)],
        ["--log", "json", "watch", "--once", "--json"],
        ["status", "--json"],
    ]
    verbs = [
        ["watch", "--once"],
        *(["inspect", name] for name in names),
        *(["why", name] for name in names[:3]),
        *(["lint", name] for name in names[:4]),
        *(["plan", name] for name in names[:2]),
        ["inspect", str(tmp_path / "config.json")],
        ["inspect", str(model)],
        ["inspect", str(release)],
        ["lint", str(release)],
        ["verify", "--no-run", str(model)],
        ["watch", "--explain"],
        ["status"],
        ["inspect", WRITTEN],
        ["inspect", "lab/nothing", "--revision", "visible\x1b[2J\n::error::x"],
    ]  # fmt: skip
    more = [*([*verb, "--json"] for verb in verbs), *(["--log", "json", *v] for v in verbs[:6])]
    lines = [*verbs, *more] if whole else few
    found = _run(tmp_path, lines, HF_ENDPOINT=hub.url, HF_TOKEN="hf_" + "x" * 20)
    seen = 0
    for line, (code, out, err) in zip(lines, found, strict=True):
        text = out.decode() + err.decode()
        seen += "visible" in text
        assert not hidden(text), (line, text)
        assert not commands(text), (line, text)
        assert b"Traceback" not in err, (line, text)
        assert "\nError: forged" not in text, (line, text)
        assert code in (0, 1, 2, 4, 6, 7, 12), (line, text)
        if "--json" in line and code in (0, 1) and out:
            [json.loads(part) for part in (out.splitlines() if line[0] == "watch" else [out])]
    assert seen > len(lines) / 3
