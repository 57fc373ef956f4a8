"""The verbs of a Hub of one's own: serving it, its users, and what an owner decides."""

from __future__ import annotations

from pathlib import Path

import click

from bot.cli.options import JSON, Place, tell_result

FOLDER = click.argument("folder", type=Place(file=False))


@click.group()
def hub() -> None:
    """A Hub of your own, for rehearsals: what you publish to it, the world does not see."""


@hub.command()
@FOLDER
@click.option("--port", default=8910, show_default=True, help="0 picks a free one.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--bandwidth",
    type=click.FloatRange(min=0.001),
    metavar="MB",
    help="MB a second that uploads share, to rehearse a slow line; without Xet.",
)
@click.option(
    "--deduplicate",
    is_flag=True,
    help="Keep what Xet sent, so that an update sends its change alone; twice the disk.",
)
@JSON
def serve(
    folder: Path, port: int, host: str, bandwidth: float | None, deduplicate: bool, as_json: bool
) -> None:
    """Serve the Hub kept in FOLDER until interrupted.

    Data sets are read from FOLDER/datasets/OWNER/NAME as they lie there.

    \b
    bot hub serve ./my-hub --port 8910
    HF_ENDPOINT=http://127.0.0.1:8910 bot publish ./model-BF16.gguf
    """
    from bot.localhub.server import serve_hub as run

    def ready(url: str) -> None:
        tell_result(f"serving {folder} at {url}", as_json=as_json, folder=str(folder), url=url)

    rate = bandwidth * 1e6 if bandwidth else None
    run(folder, port, host, ready, bandwidth=rate, deduplicates=deduplicate)


@hub.command()
@FOLDER
@click.argument("repository", metavar="OWNER/NAME")
@click.argument("number", type=click.IntRange(min=1))
@click.option("--merge/--close", "agreed", default=None, help="Agree to it, or refuse it.")
@JSON
def review(folder: Path, repository: str, number: int, agreed: bool | None, as_json: bool) -> None:
    """Merge or close a pull request of the Hub in FOLDER, as its owner; see publish.approval.

    \b
    bot hub review ./my-hub me/model-APEX-GGUF 1 --merge
    """
    from bot.localhub.files.repositories import Store
    from bot.localhub.reviewing import review_pull as settle

    if agreed is None:
        raise click.UsageError("say --merge or --close")
    outcome = settle(Store(folder), repository, number, agreed=agreed)
    tell_result(outcome, as_json=as_json, repository=repository, number=number, merged=agreed)


@hub.command()
@FOLDER
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--issuer", required=True, metavar="URL", help="Who signs the id tokens.")
@click.option(
    "--keys",
    required=True,
    type=Place(exists=True, folder=False),
    help="The issuer's public keys: a JWKS file.",
)
@click.option(
    "--claim",
    "claims",
    multiple=True,
    metavar="NAME=VALUE",
    help="What an id token must say, exactly so; may be given again.",
)
@JSON
def trust(
    folder: Path,
    repository: str,
    issuer: str,
    keys: Path,
    claims: tuple[str, ...],
    as_json: bool,
) -> None:
    """Let a workflow publish to OWNER/NAME of the Hub in FOLDER; see publish.trusted_publisher.

    \b
    bot hub trust ./my-hub me/model-APEX-GGUF --keys jwks.json \\
        --issuer https://token.actions.githubusercontent.com \\
        --claim repository=me/builds --claim environment=hub-publish
    """
    from bot.localhub.files.repositories import Store
    from bot.localhub.routes.lending import trusted_repository as name_publisher

    claim_values = dict(claim.partition("=")[::2] for claim in claims)
    if not all(claim_values.values()):
        raise click.UsageError("a claim is NAME=VALUE")
    name_publisher(Store(folder), repository, issuer, keys, claim_values)
    text = f"{repository} trusts jobs of {issuer} with {', '.join(claims)}"
    tell_result(text, as_json=as_json, repository=repository, issuer=issuer, claims=claim_values)


@hub.command("add-user")
@FOLDER
@click.argument("name")
@click.option("--org", "orgs", multiple=True, help="Organisation the user belongs to.")
@JSON
def add_user(folder: Path, name: str, orgs: tuple[str, ...], as_json: bool) -> None:
    """Make a user of the Hub in FOLDER and print a token. It is shown this once.

    \b
    export HF_TOKEN=$(bot hub add-user ./my-hub me)
    """
    from bot.localhub.files.repositories import Store

    token = Store(folder).add_user(name, orgs)
    tell_result(token, as_json=as_json, name=name, orgs=orgs, token=token)


VERBS = (hub,)
