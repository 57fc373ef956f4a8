"""The steps of a release that is spread over jobs of a workflow; each can be run by hand."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bot.cli.context import Context
from bot.cli.options import JSON, RepositoryName, pasted_revision, tell_result
from bot.legible import legible_flat, legible_json

if TYPE_CHECKING:
    from bot.jobs.orders import Folder


RELEASE = click.option(
    "--release", envvar="APEX_RELEASE", required=True, help="As `prepare` called it."
)
SENTINEL = click.option(
    "--sentinel",
    envvar="APEX_SENTINEL",
    required=True,
    help="Of `prepare`; proves that this machine sees the same folder.",
)
SEALS = click.option(
    "--seals",
    envvar="APEX_SEALS",
    default="",
    metavar="N:HEX,…",
    help="Of `prepare`; prove which job wrote a group's record [default: this machine's own]",
)
PUBLISHED = click.option(
    "--published", envvar="APEX_PUBLISHED", default="", help="What `publish` told the run, JSON."
)


@click.group()
def step() -> None:
    """One job of a release that several machines build: see workflows/.

    Options can be given as variables: APEX_MODEL, APEX_REVISION, APEX_TIERS, APEX_DELIVERY,
    APEX_RELEASE, APEX_SENTINEL, APEX_SEALS, APEX_GROUP, APEX_COUNT, APEX_DESCRIBED, APEX_PUBLISHED.
    On GitHub, results go to GITHUB_OUTPUT too.

    \b
    bot step prepare --model Qwen/Qwen3.6-35B-A3B
    bot step quantize --group 1 --release RELEASE --sentinel SENTINEL
    bot step describe --release RELEASE --sentinel SENTINEL
    bot step publish --release RELEASE --sentinel SENTINEL
    bot step report --release RELEASE --sentinel SENTINEL
    """


def _folder(context: Context, release: str) -> Folder:
    from bot.jobs.orders import order_folder

    return order_folder(context.workplace.folders, release)


def _tell(values: dict[str, Any], *, as_json: bool, to_jobs: dict[str, Any] | None = None) -> None:
    """Results on stdout, and to later jobs of a workflow; `to_jobs` to them alone.

    A log is read by many: what proves who wrote a record is in no log.
    """
    public_lines, all_lines = _lines(values), _lines({**values, **(to_jobs or {})})
    target = os.environ.get("GITHUB_OUTPUT")
    if target:
        with Path(target).open("a", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in all_lines.items())
    if as_json:
        click.echo(legible_json({**values, **({} if target else to_jobs or {})}))
    else:
        for name, value in (public_lines if target else all_lines).items():
            click.echo(f"{name}={value}")


def _lines(values: dict[str, Any]) -> dict[str, str]:
    return {
        name: legible_flat(value)
        if isinstance(value, str)
        else json.dumps(value, separators=(",", ":"))
        for name, value in values.items()
    }


@step.command()
@click.option(
    "--model", envvar="APEX_MODEL", required=True, type=RepositoryName(), metavar="ORG/MODEL"
)
@click.option(
    "--revision",
    envvar="APEX_REVISION",
    default="main",
    show_default=True,
    callback=pasted_revision,
)
@click.option(
    "--tiers", envvar="APEX_TIERS", default="", metavar="TIER,TIER", help="[default: all]"
)
@click.option("--delivery", envvar="APEX_DELIVERY", default="by-hand", show_default=True)
@JSON
@click.pass_obj
def prepare(
    context: Context, model: str, revision: str, tiers: str, delivery: str, as_json: bool
) -> None:
    """Fetch, convert, calibrate, and measure the reference: what every tier needs, made once.

    Its results are the release's name, a sentinel, and the jobs of the next step: `count` of them,
    none when the order is published already, as a matrix of `group`, `tiers` and `seal`; `seals`
    are those of all groups.

    \b
    bot step prepare --model Qwen/Qwen3.6-35B-A3B --tiers I-Quality,I-Mini
    """
    from bot.jobs import claims, preparing
    from bot.jobs.orders import JobOrder

    tier_names = tuple(tier.strip() for tier in tiers.split(",") if tier.strip())
    order = JobOrder(model=model, revision=revision or "main", tiers=tier_names, delivery=delivery)
    folder, prepared = preparing.prepare_order(context.workplace, order)
    seals = claims.seals_of(folder, prepared) if prepared is not None else {}
    jobs = preparing.workflow_matrix(prepared, seals) if prepared is not None else {"include": []}
    sentinel = folder.sentinel if prepared is not None else ""
    values = {"release": folder.name, "sentinel": sentinel, "count": len(jobs["include"])}
    _tell(values, as_json=as_json, to_jobs={"matrix": jobs, "seals": claims.show_seals(seals)})


@step.command()
@RELEASE
@SENTINEL
@SEALS
@click.option(
    "--group", envvar="APEX_GROUP", type=click.IntRange(1, 64), help="[default: one after another]"
)
@JSON
@click.pass_obj
def quantize(
    context: Context, release: str, sentinel: str, seals: str, group: int | None, as_json: bool
) -> None:
    """Make and measure the tiers of one group, or of all. No token is needed.

    \b
    bot step quantize --group 1 --release Qwen--Qwen3.6-35B-A3B-0123456789ab --sentinel 0123…
    """
    from bot.jobs import grouping

    folder = _folder(context, release)
    if group is None:
        done_tiers = grouping.quantize_groups(context.workplace, folder, sentinel, seals)
    else:
        done_tiers = grouping.quantize_group(context.workplace, folder, sentinel, group, seals)
    _tell({"tiers": ",".join(done_tiers)}, as_json=as_json)


@step.command()
@RELEASE
@SENTINEL
@SEALS
@click.option("--to", type=RepositoryName(), metavar="OWNER/NAME", help="Repository to publish to.")
@JSON
@click.pass_obj
def describe(
    context: Context, release: str, sentinel: str, seals: str, to: str | None, as_json: bool
) -> None:
    """Write card, plot and results of the tiers that are complete, if jobs.policy has enough.

    Models are opened here and not by `publish`, which has the token that may write. With
    hub.namespace in bot.yaml this step needs no token. `described` among its results is how
    `publish` knows on another machine what was written.

    \b
    bot step describe --release Qwen--Qwen3.6-35B-A3B-0123456789ab --sentinel 0123…
    """
    from bot.jobs import describing
    from bot.jobs.orders import Described

    folder = _folder(context, release)
    release_card = describing.describe_release(context.workplace, folder, sentinel, to, seals)
    values = {"repository": release_card.repo_id, "tiers": ",".join(release_card.tiers)}
    _tell({**values, "described": folder.hash_of(Described)}, as_json=as_json)


@step.command()
@RELEASE
@SENTINEL
@click.option(
    "--described",
    envvar="APEX_DESCRIBED",
    default="",
    metavar="HASH",
    help="Of `describe` [default: what this machine described itself]",
)
@click.option("--private", is_flag=True, help="Leave a new repository private.")
@JSON
@click.pass_obj
def publish(
    context: Context, release: str, sentinel: str, described: str, private: bool, as_json: bool
) -> None:
    """Send what was described: one commit, verified, then public. HF_TOKEN must allow it.

    \b
    bot step publish --release Qwen--Qwen3.6-35B-A3B-0123456789ab --sentinel 0123…
    """
    from bot.jobs import sending
    from bot.records.coding import dump

    stays_private = private or context.settings.publish.private
    folder = _folder(context, release)
    published, sent = sending.publish_described(
        context.workplace, folder, sentinel, described, private=stays_private
    )
    to_jobs = {"published": dump(sent)}
    _tell({"url": published.url, "commit": published.commit}, as_json=as_json, to_jobs=to_jobs)


MAYBE = click.option("--release", envvar="APEX_RELEASE", default="", help="As `prepare` called it.")
MAYBE_SENTINEL = click.option(
    "--sentinel", envvar="APEX_SENTINEL", default="", help="Of `prepare`; none: it never ended."
)


@step.command()
@MAYBE
@MAYBE_SENTINEL
@SEALS
@PUBLISHED
@click.option(
    "--count", envvar="APEX_COUNT", default="", help="As `prepare` counted; 0: published before."
)
@JSON
@click.pass_context
def report(
    ctx: click.Context,
    release: str,
    sentinel: str,
    seals: str,
    published: str,
    count: str,
    as_json: bool,
) -> None:
    """Say what became of each tier, also to GITHUB_STEP_SUMMARY; exit code 1 unless all is well.

    \b
    bot step report --release Qwen--Qwen3.6-35B-A3B-0123456789ab --sentinel 0123…
    """
    from bot.jobs import step_report

    jobs = int(count) if count.isdecimal() else None
    folder = _folder(ctx.obj, release) if release else None
    account = step_report.report_order(
        ctx.obj.workplace, folder, sentinel, published, seals=seals, count=jobs
    )
    target = os.environ.get("GITHUB_STEP_SUMMARY")
    if target:
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(account.text)
    click.echo(legible_json(asdict(account)) if as_json else account.text.rstrip("\n"))
    ctx.exit(0 if account.good or account.waiting else 1)


@step.command()
@MAYBE
@MAYBE_SENTINEL
@PUBLISHED
@JSON
@click.pass_obj
def clean(context: Context, release: str, sentinel: str, published: str, as_json: bool) -> None:
    """Remove unfinished files; and, once all is published, the model's files (see jobs.keep).

    \b
    bot step clean --release Qwen--Qwen3.6-35B-A3B-0123456789ab --sentinel 0123…
    """
    from bot.jobs.step_report import clean_order as sweep

    folder = _folder(context, release) if release and sentinel else None
    model_removed = sweep(context.workplace, folder, sentinel, published) if folder else None
    texts = {True: "removed the model's files", False: "removed unfinished files"}
    text = texts[model_removed] if model_removed is not None else "nothing of it is here"
    tell_result(text, as_json=as_json, release=release, model_removed=model_removed)


REMOTE = click.option(
    "--remote", help="Address or folder of a git repository [default: this workflow's]"
)


@step.command()
@REMOTE
@JSON
@click.pass_obj
def recall(context: Context, remote: str | None, as_json: bool) -> None:
    """Take the watcher's ledger from the branch apex-bot-ledger; a first time there is none.

    \b
    bot step recall --remote https://github.com/me/builds.git
    """
    from bot.watcher import remembering

    recalled = remembering.recall_ledger(context.workplace.folders, remembering.shelf(remote))
    text = "took the ledger of the last run" if recalled else "there is no ledger yet"
    tell_result(text, as_json=as_json, found=recalled)


@step.command()
@REMOTE
@JSON
@click.pass_obj
def remember(context: Context, remote: str | None, as_json: bool) -> None:
    """Write the watcher's ledger to the branch apex-bot-ledger, whose last version it replaces.

    \b
    bot step remember --remote https://github.com/me/builds.git
    """
    from bot.watcher import remembering

    commit = remembering.remember_ledger(context.workplace.folders, remembering.shelf(remote))
    tell_result(f"the ledger is kept at {commit[:12]}", as_json=as_json, commit=commit)


VERBS = (step,)
