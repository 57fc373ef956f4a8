"""The card: front matter, links, names of files, commands that fetch another file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.lint.repositories import (
    card_with,
    require_error,
    require_fine,
    require_rules,
    with_bytes,
)

# a defect as repositories have it: how it is made, and the rules that find it
MADE = {
    "files referenced but absent": (
        card_with("# M", "# M\nMade with models/m.yaml."),
        {"missing-file"},
    ),
    "dead link": (card_with("# M", "# M\n![p](plot.png)"), {"dead-link"}),
    "dead link in html": (card_with("# M", '# M\n<img src="p.png">'), {"dead-link"}),
    "removed command": (card_with("# M", "# M\nhuggingface-cli download x"), {"removed-command"}),
    "command": (card_with(":M-Q6_K.gguf`", ":Q4_0`"), {"wrong-command"}),
    "card": (lambda folder: (folder / "README.md").unlink(), {"no-card"}),
}


@pytest.mark.parametrize("defect", MADE)
def test_each_defect_is_found_and_nothing_else(folder: Path, defect: str) -> None:
    require_rules(folder, *MADE[defect])


BROKEN = {
    "front matter is no YAML": (card_with("license: mit", "license: [mit"), "front-matter"),
    "front matter is a list": (card_with("license: mit", "- license"), "front-matter"),
    "front matter has a key twice": (
        card_with("license: mit", "license: mit\nlicense: apache-2.0"),
        "front-matter",
    ),
    "front matter has no end": (card_with("license: mit\n---", "license: mit"), "front-matter"),
    "front matter has tabs": (card_with("license: mit", "tags:\n\t- a"), "front-matter"),
    "nothing": (with_bytes("README.md", lambda _: b""), "empty-card"),
    "blanks": (with_bytes("README.md", lambda _: b" \n\n"), "empty-card"),
    "front matter alone": (with_bytes("README.md", lambda _: b"---\na: 1\n---\n"), "empty-card"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_an_error(folder: Path, what: str) -> None:
    require_error(folder, *BROKEN[what])


FINE = {
    "calls in a block": '```python\nprint(messages[0](role="user"))\nx[1](y.png)\n```\n',
    "calls in a line": 'Call `messages[0](role="user")` or ``a `[b](c)` d``.\n',
    "calls in indented code": "So:\n\n    a[0](b.md)\n    c[1](d.md)\n",
    "a fence in a fence": "````md\n```\n[a](b.md)\n```\n````\n",
    "tildes": "~~~\n![p](plot.png)\n~~~\n",
    "a file of the reader's": "Put this into docker-compose.yml, or ~/.config/x/config.yaml.\n",
    "another of the reader's": "Edit `models.yaml` and `.github/workflows/ci.yml`.\n",
    "a model of the reader's": "Run `llama-quantize model.gguf other-Q4_0.gguf Q4_0`.\n",
    "a file in a command": "```sh\nllama-cli -m M-other.gguf --file conf/x.yaml\n```\n",
    "a thematic break": "A\n\n---\n\nB\n",
    "an anchor": '[up](#m) [mail](mailto:a@b.c) <a href="https://x.y/z">z</a>\n',
}


@pytest.mark.parametrize("what", FINE)
def test_what_is_right_is_not_called_wrong(folder: Path, what: str) -> None:
    require_fine(folder, FINE[what])
