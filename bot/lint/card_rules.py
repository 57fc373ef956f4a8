"""The card: front matter, links, names of files, commands that fetch another file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase as fnmatch
from functools import partial
from urllib.parse import unquote

from bot.lint.contents import Defect, LintedRepository
from bot.localhub.files.card_data import front_matter, split_card
from bot.resolvers.llamacpp import llama_file, models
from bot.resolvers.ollama import ollama_file
from bot.wording.markdown import prose, without_code

LONGEST_CARD = 4_000_000
MOST = 200  # dead links that are told
# bounded: no text makes them slower than its length
LINK = re.compile(
    r"\]\([ \t\n]{0,8}<?([^()\s<>]{1,500})>?[^()]{0,100}\)"
    r"|(?:src|srcset|href)=\"([^\"]{1,500})\""
)
NAMED = re.compile(r"(?<![\w/:.@*~-])[\w.*/-]{1,200}(?![\w.*/-])", re.ASCII)
FILE = re.compile(r"(?:[\w.-]+/)*[\w.*-]+\.(?:gguf|ya?ml|dat|imatrix)", re.ASCII)
ADDRESS = re.compile(r"https?://\S+|\]\([^()\s]{1,500}")
OPENED = re.compile(r"\ufeff?---[ \t]*(?:\r?\n|\Z)")
KEY = re.compile(r"^([\w-]{1,100}):", re.MULTILINE | re.ASCII)
LEAST = 4  # letters that names of one repository's files have in common, at least
REMOVED = {
    "huggingface-cli": "hf",
    "hf whoami": "hf auth whoami",
    "hf repo create": "hf repos create",
    "upload_large_folder": "upload_folder",
}


def check_card(repository: LintedRepository) -> Iterator[Defect]:
    """A card is there, its front matter is read by the Hub, and it has a body."""
    if repository.card is None:
        if "README.md" not in repository.damaged:
            text = "there is no card; add one"
            yield Defect(rule="no-card", level="error", path="README.md", text=text)
        return
    if fault := _front_matter(repository.card):
        text = f"{fault}; mend what stands between the two lines of ---"
        yield Defect(rule="front-matter", level="error", path="README.md", text=text)
    if not split_card(repository.card)[1].strip():
        text = "the card says nothing; write what the files are"
        yield Defect(rule="empty-card", level="error", path="README.md", text=text)


def _front_matter(card: str) -> str | None:
    """What is wrong with a card's metadata, by the rules of the Hub."""
    source, _ = split_card(card)
    if source is None and OPENED.match(card):
        return "front matter has no end"
    try:
        front_matter(card)
    except ValueError as error:
        return f"front matter cannot be read: {error}"
    keys = KEY.findall(source or "")
    twice = next((key for key in keys if keys.count(key) > 1), None) if len(keys) < 200 else None
    return f"front matter has {twice!r} twice" if twice else None


def check_links(repository: LintedRepository) -> Iterator[Defect]:
    """Links of the text; what looks like one in code is code."""
    paths = set(repository.paths)
    folders = {path[: at + 1] for path in paths for at, c in enumerate(path) if c == "/"}
    dead = {
        target
        for match in LINK.findall(without_code(repository.card or ""))
        if (target := _local(match[0] or match[1]))
        and target not in paths
        and f"{target.rstrip('/')}/" not in folders
    }
    for target in sorted(dead)[:MOST]:
        yield Defect(
            rule="dead-link", level="error", path="README.md",
            text=f"links to {target}, which is not there; add the file or drop the link",
        )  # fmt: skip


def _local(target: str) -> str | None:
    if re.match(r"[a-zA-Z][\w+.-]*:|//|#|/", target):
        return None
    return unquote(target.split("#")[0].split("?")[0]).removeprefix("./") or None


def check_named(repository: LintedRepository) -> Iterator[Defect]:
    """Files of this repository that the text speaks of, and that are not there.

    A name is one of its files' by a folder, or by what names of its models begin with; any other
    (`docker-compose.yml`, `model.gguf`) may be the reader's, and so is all that stands in code.
    """
    file_names = {path.rpartition("/")[2] for path in repository.paths}
    sources = {repository.results.reference.file} if repository.results else set()
    text = ADDRESS.sub("]", prose(repository.card or ""))
    card_names = {name.rstrip(".") for name in NAMED.findall(text)}
    for name in sorted(
        name for name in card_names if FILE.fullmatch(name) and _is_ours(repository, name)
    ):
        last = name.rpartition("/")[2]
        if last in file_names or name in sources or ("*" in name and _fits(repository, name)):
            continue
        yield Defect(
            rule="missing-file", level="error", path="README.md",
            text=f"names {name}, which is not there; add it or do not speak of it",
        )  # fmt: skip


def _fits(repository: LintedRepository, pattern: str) -> bool:
    if pattern.count("*") > 3:
        return True
    return any(fnmatch(path, pattern) for path in repository.paths)


def _is_ours(repository: LintedRepository, name: str) -> bool:
    if "/" in name:
        return not name.startswith(".")  # .github/, .config/: of another place
    model_names = [path.rpartition("/")[2] for path in models(repository.paths)]
    shared = (
        _beginning(model_names)
        if len(model_names) > 1
        else re.split(r"[-.]", (model_names or [""])[0])[0]
    )
    return len(shared) >= min(LEAST, len(re.split(r"[-.]", name)[0])) and name.startswith(shared)


def _beginning(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return first[:same]


def check_commands(repository: LintedRepository) -> Iterator[Defect]:
    """Commands that programs no longer have, and those that fetch no file of this repository."""
    card = repository.card or ""
    for old, new in REMOVED.items():
        if re.search(rf"(?<![\w-]){re.escape(old)}(?![\w-])", card):
            yield Defect(
                rule="removed-command", level="error", path="README.md",
                text=f"uses {old}, which huggingface_hub no longer has; write {new}",
            )  # fmt: skip
    for repo, file in BY_LOCALAI.findall(card)[:1]:
        yield Defect(
            rule="gallery-command", level="warning", path="README.md",
            text=f"{repo}@{file} is looked up in LocalAI's gallery alone, and fails where that has "
            f"no such entry; write huggingface://{repo}/{file}",
        )  # fmt: skip
    for command, repo, chosen_file in _fetches(card):
        if repository.repo_id in (None, repo) and chosen_file(repository.paths) is None:
            yield Defect(
                rule="wrong-command", level="error", path="README.md",
                text=f"{command} fetches nothing of this repository; name a file that is there",
            )  # fmt: skip


REPO = r"[\w.-]{1,96}/[\w.-]{1,96}"
BY_TAG = re.compile(rf"-hf(?:-repo)?[ \t]{{1,4}}'?({REPO}):([\w.-]{{1,200}})", re.ASCII)
BY_OLLAMA = re.compile(rf"hf\.co/({REPO}):([\w.-]{{1,200}})", re.ASCII)
BY_LOCALAI = re.compile(rf"(?<![\w.-])({REPO})@([\w./-]{{1,200}}\.gguf)(?!\w)", re.ASCII)
BY_ADDRESS = re.compile(rf"huggingface://({REPO})/([\w./-]{{1,200}})(?![\w])", re.ASCII)


Fetched = Callable[[Sequence[str]], str | None]  # the file that is taken of a repository's


def _fetches(card: str) -> Iterator[tuple[str, str, Fetched]]:
    """Each command of a card that fetches by a short name, the repository, and what it takes."""
    for repo, tag in BY_TAG.findall(card):
        yield f"-hf {repo}:{tag}", repo, partial(llama_file, tag=tag)
    for repo, tag in BY_OLLAMA.findall(card):
        yield f"hf.co/{repo}:{tag}", repo, partial(ollama_file, tag=tag)
    for repo, file in BY_LOCALAI.findall(card):
        yield f"{repo}@{file}", repo, partial(_named_file, name=file)
    for repo, file in BY_ADDRESS.findall(card):
        yield f"huggingface://{repo}/{file}", repo, partial(_named_file, name=file)


def _named_file(paths: Sequence[str], name: str) -> str | None:
    return name if name in paths else None


def astray(
    card: str, repo_id: str, our_paths: Sequence[str], hub_paths: Sequence[str]
) -> str | None:
    """A command of our card that fetches another file of those on the Hub than of ours, if any."""
    for command, repo, chosen_file in _fetches(card):
        our_file, fetched_file = chosen_file(our_paths), chosen_file(hub_paths)
        if repo == repo_id and our_file is not None and our_file != fetched_file:
            return f"{command} fetches {fetched_file or 'nothing'}, not {our_file}"
    return None
