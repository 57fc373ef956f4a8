"""A release's entries in a gallery of LocalAI's: proposed to its repository on GitHub."""

from __future__ import annotations

from pathlib import Path

from bot.catalogue.localai_gallery import NAME, slug, with_entries
from bot.clients.github import github_client
from bot.clients.github.pull_requests import propose_files, read_files
from bot.errors import AccessError, BotError
from bot.publish.publication import Published
from bot.workplace.workplace import Workplace

TITLE = "Add {name}"
BODY = """Entries of [{repo_id}](https://huggingface.co/{repo_id}): one for each file, and one
that chooses among them. Hashes are those of the files as they were published and compared.

The bot keeps this pull request up to date until it is merged or closed.
"""


def offer(workplace: Workplace, published: Published) -> None:
    """Propose the entries to the gallery that the settings name; said, whatever comes of it.

    Nothing is proposed where the gallery holds them as they are.
    """
    wanted, entries = workplace.settings.publish.gallery, Path(published.folder) / NAME
    if wanted is None or not entries.is_file():
        return
    repo_id, gallery = published.repo_id, wanted.repository
    try:
        where = _proposed(workplace, gallery, wanted.file, repo_id, entries.read_text("utf-8"))
    except BotError as error:
        workplace.narrator.say(f"{repo_id} is not proposed to the gallery {gallery} yet: {error}")
        return
    told = f"is proposed to the gallery {gallery}: {where}" if where else f"is in {gallery}"
    workplace.narrator.say(f"{repo_id} {told}")


def _proposed(
    workplace: Workplace, gallery: str, file: str, repo_id: str, entries: str
) -> str | None:
    """The pull request's address; None where nothing is to be changed."""
    token = github_client.token()
    if token is None:
        raise AccessError("GITHUB_TOKEN is not set; give it one that may write there")
    client = github_client.connect(token, github_client.api_url())
    index = read_files(client, gallery, [file]).get(file, "")
    text, left = with_entries(index, entries, repo_id)
    for name in left:
        workplace.narrator.say(
            f"{gallery} has an entry {name} of somebody else's: it is left alone"
        )
    if text == index:
        return None
    name = repo_id.partition("/")[2]
    body = BODY.format(repo_id=repo_id)
    branch = f"apex-bot-{slug(name)}"
    return propose_files(client, gallery, branch, {file: text}, TITLE.format(name=name), body)
