"""What was described, sent in one commit; no model is opened here."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from bot.disk.hashes import sha256
from bot.disk.paths import remove, require_safe
from bot.disk.writing import write_text
from bot.errors import SourceError
from bot.jobs.orders import Described, Folder, Prepared, Sent
from bot.jobs.shared import moved, written_files
from bot.jobs.travel import Carrier, carried, carrier_of
from bot.publish.afterwards import follow
from bot.publish.publication import Published, send_release
from bot.workplace.workplace import Workplace


def publish_described(
    workplace: Workplace, folder: Folder, sentinel: str, described_hash: str = "", *, private: bool
) -> tuple[Published, Sent]:
    """Send what was described: one commit, verified, then public. No model is opened here.

    `described_hash` is the sha256 of described.json, where another machine wrote that; without it
    this machine's own is sent. Also returns what later jobs of the run are handed.
    """
    carrier = carrier_of(workplace, folder)
    prepared, described = _load_described(carrier, folder, sentinel, described_hash)
    message = f"APEX quants of {prepared.order.model} at {prepared.commit[:12]}"
    carrier.lend(workplace.hub, described.repo_id, described.files)
    published = send_release(
        workplace, described.repo_id, described.files, message, prepared.key, private=private
    )
    sent = Sent(
        key=prepared.key,
        repo_id=published.repo_id,
        url=published.url,
        commit=published.commit,
        tiers=described.tiers,
        whole=set(prepared.tiers) <= set(described.tiers),
        files=_large(described),
        waiting=published.waiting,
    )
    folder.write(sent)
    return follow(workplace, published, complete=sent.whole), sent


def _load_described(
    carrier: Carrier, folder: Folder, sentinel: str, described_hash: str
) -> tuple[Prepared, Described]:
    """The plan and what was described of it, with its files here but for models.

    Raises CapacityError for another one than the describing job wrote.
    """
    if described_hash:
        carrier.records()
    prepared, file = folder.prepared(sentinel), folder.file(Described)
    if described_hash and folder.hash_of(Described) != described_hash:
        text = carrier.text(file)
        if hashlib.sha256(text).hexdigest() != described_hash:
            raise folder.not_of("describe")
        write_text(file, text.decode())
    described = folder.read(Described)
    if described is None or described.key != prepared.key:
        raise SourceError("there is nothing to publish yet; run `bot step describe` before")
    described = replace(
        described, files=moved(described.files, lambda path: str(folder.root / path))
    )
    _require_in_release(folder, prepared, described)
    if described_hash:
        _bring_described(carrier, folder, prepared, described)
    return prepared, described


def _bring_described(
    carrier: Carrier, folder: Folder, prepared: Prepared, described: Described
) -> None:
    """Have the card and what lies beside it here; what is left of an earlier one goes."""
    verdict = [described.verdict] if described.verdict is not None else []
    carried_files = (*carried(folder.root, written_files(described.files).values()), *verdict)
    for file in carried_files if carrier.apart else ():
        path = file.path.below(folder.root, prepared.job)
        if path.is_file() and sha256(path) != file.sha256:
            remove(path, folder.root / prepared.job)
    carrier.bring(carried_files, (prepared.job,))


def _require_in_release(folder: Folder, prepared: Prepared, described: Described) -> None:
    """Raise SourceError unless all that would be sent is of this release's own folder."""
    place = (folder.root / prepared.job / "release").resolve()
    for name, file in described.files.items():
        require_safe(name, described.repo_id)
        if Path(file.path).resolve() != place / name:
            raise SourceError(
                f"{name} of {described.repo_id} would come from {file.path}, which is not where "
                "this release was described; rerun all jobs"
            )


def _large(described: Described) -> dict[str, str]:
    models = (name for name in described.files if Path(name).suffix == ".gguf")
    return {name: described.files[name].sha256 for name in models}
