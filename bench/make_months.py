"""A ledger as months of watching and building leave it, for bench_months.py.

Models are listed evenly over `DAYS`. What becomes of each is one of `LIVES`, in the proportions of
the Hub's new models: most are dense, some get their weights late or never, one in a hundred is
built. A build leaves the steps that the ledger of a real one holds (`like`), under its own names.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bot.clients.hub.replies import Listed
from bot.detect.listed import ListedFacts, packed
from bot.records.releases import Release, RepoFile
from bot.store.schema import MIGRATIONS

DAY = 86_400.0
DAYS = 240  # of watching
OWNERS = 40_000
DENSE = ("skip", "not_moe", "dense: model_type llama has no experts")
NO_WEIGHTS = ("wait", "no_weights_yet", "there are no weights yet", 0.0)
SETTLING = ("wait", "settling", "its weights have not rested for 2 hours", 0.0)


@dataclass(frozen=True)
class Life:
    """Decisions about a model: kind, outcome, reason and after how many days; a model in …"""

    models: int  # of a thousand
    decisions: tuple[tuple[str, str, str, float], ...]
    looks: bool = False  # it is looked at again without news of it


LIVES = (
    Life(795, ((*DENSE, 0.0),)),
    Life(70, (("skip", "already_quantized", "its weights are quantized already: GPTQ", 0.0),)),
    Life(50, (("skip", "adapter", "an adapter, which needs another model", 0.0),)),
    Life(20, (("skip", "not_a_text_decoder", "not a text decoder: ViTForImage", 0.0),)),
    Life(25, (NO_WEIGHTS, (*DENSE, 1.5)), True),
    Life(10, (NO_WEIGHTS, ("skip", "no_weights_yet", "gave up after 30 days", 30.0)), True),
    Life(5, (("wait", "gone", "it is not there any more", 0.0),
             ("skip", "gone", "gave up after 30 days: it is not there any more", 30.0)), True),
    Life(10, (SETTLING, ("build", "eligible", "mixtral: 8 experts, 2 used", 0.1)), True),
    Life(5, (("wait", "unpopular", "3 likes of the 5 that are wanted", 0.0),
             ("skip", "unpopular", "gave up after 30 days: 4 likes of 5", 30.0)), True),
    Life(2, (("wait", "unsupported_converter", "llama.cpp does not know NewMoE yet", 0.0),)),
    Life(3, (("skip", "too_large", "689 GB do not fit into 512 GB", 0.0),), True),
    Life(5, (("skip", "done_before", "the same weights were built as lab/Model", 0.0),), True),
)  # fmt: skip
STATES = ("published",) * 80 + ("failed",) * 12 + ("ignored",) * 5 + ("asked",) * 3  # of a hundred
FOR_BUILDS = LIVES[7]


def fill(path: Path, like: Path, models: int, end: float, version: int) -> None:
    """Make the ledger at `path` with tables of a `version` and all that happened until `end`."""
    with sqlite3.connect(path, isolation_level=None) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=OFF")
        for statements in MIGRATIONS[:version]:
            db.executescript(statements)
        db.execute(f"PRAGMA user_version={version}")
        db.execute("BEGIN")
        _watched(db, models, end)
        _built(db, [n for n in range(models) if life_of(n) is FOR_BUILDS], models, end, like)
        _around(db, end)
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def life_of(number: int) -> Life:
    """What becomes of a model; neighbours' are as mixed as those of a thousand."""
    place = number * 611 % 1000
    for life in LIVES:
        place -= life.models
        if place < 0:
            return life
    raise ValueError("LIVES are of a thousand models")


def repo_of(number: int) -> str:
    """A model's name."""
    return f"owner-{number % OWNERS}/Some-Model-{number % 97}B-Instruct-{number}"


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _created(number: int, models: int, end: float) -> float:
    return end - DAYS * DAY * (1 - number / models)


def _watched(db: sqlite3.Connection, models: int, end: float) -> None:
    """Releases and decisions, in the order of their times."""
    facts = [_facts(n, moe=False) for n in range(200)], [_facts(n, moe=True) for n in range(200)]
    order: list[tuple[float, int, int]] = []
    for n in range(models):
        life, created = life_of(n), _created(n, models, end)
        times = [created + after * DAY for *_, after in life.decisions]
        order += [(at, n, which) for which, at in enumerate(times) if at <= end]
        last = sum(at <= end for at in times) - 1
        kind, outcome, _, _ = life.decisions[last]
        weights = _hash("weights", n) if life is FOR_BUILDS else None
        db.execute(
            "INSERT INTO releases (repo, commit_id, weights, weights_at, first_seen, kind, outcome,"
            " look_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (repo_of(n), _hash(n)[:40], weights, created if weights else None, created, kind,
             outcome, end + n % 86_400 if life.looks and not _given_up(life, last) else None),
        )  # fmt: skip
    order.sort()
    db.executemany(
        "INSERT INTO decisions (repo, commit_id, at, kind, outcome, reason, facts)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (repo_of(n), _hash(n)[:40], at, *life_of(n).decisions[which][:3],
             facts[life_of(n) is FOR_BUILDS][n % 200])
            for at, n, which in order
        ),
    )  # fmt: skip


def _given_up(life: Life, last: int) -> bool:
    return len(life.decisions) > 1 and life.decisions[last][0] == "skip"


def _facts(number: int, *, moe: bool) -> bytes:
    """Facts of a decision as the ledger keeps them, other ones for every number."""
    time = datetime.fromtimestamp(1_790_000_000 + number * 7919, UTC).isoformat()
    name, architecture = ("mixtral", "Mixtral") if moe else ("llama", "Llama")
    listed = Listed(
        repo_id=repo_of(number), commit=_hash(number)[:40], created_at=time, last_modified=time,
        private=False, gated=False, disabled=False, pipeline_tag="text-generation",
        tags=("transformers", "safetensors", name, "en", f"base_model:{repo_of(number + 1)}",
              "license:apache-2.0", "endpoints_compatible", "region:us", f"arxiv:23{number:03}.1"),
        library="transformers", model_type=name, architectures=(f"{architecture}ForCausalLM",),
        quant_method=None, likes=number % 50, downloads=number * 13,
    )  # fmt: skip
    release = Release(
        repo_id=listed.repo_id, commit=listed.commit or "", created_at=time, last_modified=time,
        tags=listed.tags, license="apache-2.0",
        files=tuple(
            RepoFile(path=f"model-{part:05}-of-00008.safetensors", size=4_999_000_000 + part,
                     sha256=_hash("file", number, part), blob_id=_hash("blob", number, part)[:40])
            for part in range(8)
        ),
    )  # fmt: skip
    config = {"model_type": name, "architectures": listed.architectures, "hidden_size": 4096,
              "num_local_experts": 8, "num_experts_per_tok": 2, "num_hidden_layers": 32,
              "vocab_size": 32_000, "torch_dtype": "bfloat16"}  # fmt: skip
    facts = ListedFacts(listed=listed, release=release, config=config)
    text = json.dumps(packed(facts if moe else ListedFacts(listed=listed)), separators=(",", ":"))
    return zlib.compress(text.encode(), 3)


def _built(
    db: sqlite3.Connection, builds: Sequence[int], models: int, end: float, like: Path
) -> None:
    """Tasks, events and finished steps of all builds."""
    steps = _Steps(like)
    for number, n in enumerate(builds):
        at = min(_created(n, models, end) + 0.1 * DAY, end)
        state = STATES[number * 37 % 100]
        is_open = number >= len(builds) - 12  # the newest ones still wait or run
        state = ("queued", "running")[number % 4 == 0] if is_open else state
        task = _hash(repo_of(n))[:16]
        texts = {name: _hash(name, n)[:40] for name in ("config.json", "chat_template.jinja",
                 "tokenizer.json", "tokenizer_config.json", "generation_config.json")}  # fmt: skip
        error = "llama.cpp refused it: unknown tensor" if state == "failed" else None
        link = f"/var/lib/apex-bot/runs/{task}-1-{int(at)}/log"
        page = f"https://huggingface.co/apex/Some-Model-{n}-APEX-GGUF"
        db.execute(
            "INSERT INTO tasks (id, repo, commit_id, weights, tiers, reason, state, attempts, due,"
            " error, link, created, changed, page, faults, texts)"
            " VALUES (?, ?, ?, ?, '[]', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (task, repo_of(n), _hash(n)[:40], _hash("weights", n),
             "mixtral: 8 experts, 2 used", state, 0 if state == "asked" else 1 + number % 3, at,
             error, link, at, at + 3_600, page if state == "published" else None,
             int(state == "failed"), json.dumps(texts)),
        )  # fmt: skip
        _events(db, repo_of(n), state, at, number)
        if state in ("published", "failed"):
            steps.write(db, n, at)


def _events(db: sqlite3.Connection, repo: str, state: str, at: float, number: int) -> None:
    kinds = ["asked" if state == "asked" else "queued"]
    if state in ("published", "failed", "running"):
        kinds += ["started", "failed"] * (number % 3) + ["started"]
    kinds += {"published": ["published"], "failed": ["gave_up"], "ignored": ["ignored"]}.get(
        state, []
    )
    db.executemany(
        "INSERT INTO events (at, kind, repo, text, link, told) VALUES (?, ?, ?, ?, ?, ?)",
        ((at + 60 * i, kind, repo, f"attempt {i}", None, number % 2)
         for i, kind in enumerate(kinds)),
    )  # fmt: skip


def _around(db: sqlite3.Connection, end: float) -> None:
    """A watcher that lives, its feeds, requests and schedule."""
    for name in ("created", "sweep", "trending"):
        db.execute("INSERT INTO feeds (name, mark, looked) VALUES (?, ?, ?)", (name, end, end))
        db.execute("INSERT INTO schedule VALUES (?, ?)", (name, end + 600))
    db.execute("INSERT INTO remembered VALUES ('heartbeat', 'host 1', ?)", (end,))
    for bucket in ("api", "resolvers"):
        slots = ((bucket, int(end // 10) - slot, 3) for slot in range(31))
        db.executemany("INSERT INTO spent VALUES (?, ?, ?)", slots)


class _Steps:
    """Finished steps of one build, to be written again under other names."""

    def __init__(self, like: Path) -> None:
        with sqlite3.connect(f"file:{like}?mode=ro", uri=True) as db:
            self._rows = db.execute("SELECT job, step, inputs, files, value FROM work").fetchall()
        db.close()

    def write(self, db: sqlite3.Connection, number: int, at: float) -> None:
        """All of them, of the build of a model."""
        time = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        db.executemany(
            "INSERT INTO work (job, step, inputs, files, value, finished)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            ((*row, time) for row in self._named(number)),
        )

    def _named(self, number: int) -> Iterator[tuple[Any, ...]]:
        """Jobs get keys of their own, and so do measures, which are of no job."""
        for job, step, _, files, value in self._rows:
            key = _hash(job, step, number)
            own = job if len(job) < 64 else _hash(job, number)
            name = f"{step.rsplit(' ', 2)[0]} {key[:12]} {key[:16]}" if own == job else step
            paths = files.replace("jobs/", f"jobs/{number}-").replace(
                "sources/", f"sources/{number}-"
            )
            yield own, name, key, paths, value
