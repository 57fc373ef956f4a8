"""The ledger's tables, as the steps that lead from one version to the next.

A step is never changed once released. Times are POSIX seconds, texts of records are JSON.
"""

from __future__ import annotations

FINISHED_WORK = """
CREATE TABLE IF NOT EXISTS work (
    job TEXT NOT NULL,
    step TEXT NOT NULL,
    inputs TEXT NOT NULL,      -- digest of all that decided the outcome
    files TEXT NOT NULL,       -- JSON: [{path, bytes, sha256, changed}]
    value TEXT NOT NULL,       -- JSON: what the step returned
    finished TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    PRIMARY KEY (job, step)
) STRICT;
"""

WATCHING = """
CREATE TABLE releases (        -- every repository that was ever listed, as it was last seen
    repo TEXT PRIMARY KEY,
    commit_id TEXT NOT NULL,
    weights TEXT,              -- digest of its weight files
    weights_at REAL,           -- when these were pushed, as far as the Hub told
    first_seen REAL NOT NULL,
    kind TEXT NOT NULL,        -- of its latest decision, here too: asked for every listed row
    outcome TEXT NOT NULL,
    look_at REAL               -- when to look without being told of a new commit
) STRICT, WITHOUT ROWID;
CREATE INDEX releases_due ON releases (look_at) WHERE look_at IS NOT NULL;
CREATE INDEX releases_waiting ON releases (kind, outcome) WHERE kind IN ('wait', 'ask');
CREATE TABLE decisions (
    id INTEGER PRIMARY KEY,
    repo TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    at REAL NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('build', 'ask', 'wait', 'skip')),
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    until REAL,
    facts BLOB NOT NULL        -- zlib of JSON: all that the decision rested on
) STRICT;
CREATE INDEX decisions_of ON decisions (repo, id);
CREATE INDEX decisions_since ON decisions (at);
CREATE TABLE tasks (           -- releases that shall be built, each commit once
    id TEXT PRIMARY KEY,
    repo TEXT NOT NULL,
    commit_id TEXT NOT NULL UNIQUE,
    weights TEXT NOT NULL,
    tiers TEXT NOT NULL,       -- JSON list; [] for all
    reason TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN
        ('asked', 'queued', 'starting', 'running', 'published', 'failed', 'ignored')),
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL,         -- not started before
    lease REAL,                -- whoever starts it has until then to say that it runs
    error TEXT,
    link TEXT,
    created REAL NOT NULL,
    changed REAL NOT NULL
) STRICT;
CREATE INDEX tasks_by_state ON tasks (state, due);
CREATE INDEX tasks_by_repo ON tasks (repo);
CREATE INDEX tasks_by_weights ON tasks (weights);
CREATE TABLE ignored (repo TEXT PRIMARY KEY, because TEXT NOT NULL, at REAL NOT NULL) STRICT;
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    repo TEXT,
    text TEXT NOT NULL,
    link TEXT,
    told INTEGER NOT NULL DEFAULT 0   -- whether the notification went out
) STRICT;
CREATE INDEX events_by_kind ON events (kind, at);
CREATE INDEX events_untold ON events (id) WHERE told = 0;
CREATE TABLE feeds (           -- how far each listing was read
    name TEXT PRIMARY KEY,
    mark REAL,                 -- the newest time in the listing, by the Hub's clock
    etag TEXT,
    looked REAL,               -- when the last whole look ended
    holder TEXT,
    lease REAL
) STRICT;
CREATE TABLE schedule (name TEXT PRIMARY KEY, next REAL NOT NULL) STRICT;
CREATE TABLE spent (           -- requests in ten seconds each
    bucket TEXT NOT NULL,
    slot INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (bucket, slot)
) STRICT, WITHOUT ROWID;
CREATE TABLE held (bucket TEXT PRIMARY KEY, until REAL NOT NULL) STRICT;
CREATE TABLE remembered (name TEXT PRIMARY KEY, value TEXT NOT NULL, at REAL NOT NULL) STRICT;
"""

PAGES = """
ALTER TABLE tasks ADD COLUMN page TEXT;  -- address of the repository that was published
"""

# a repository copied with its history has the commits of its original
TWINS = """
CREATE TABLE tasks_of_repos (
    id TEXT PRIMARY KEY,
    repo TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    weights TEXT NOT NULL,
    tiers TEXT NOT NULL,
    reason TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN
        ('asked', 'queued', 'starting', 'running', 'published', 'failed', 'ignored')),
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL,
    lease REAL,
    error TEXT,
    link TEXT,
    created REAL NOT NULL,
    changed REAL NOT NULL,
    page TEXT,
    UNIQUE (repo, commit_id)
) STRICT;
INSERT INTO tasks_of_repos SELECT id, repo, commit_id, weights, tiers, reason, state, attempts,
    due, lease, error, link, created, changed, page FROM tasks ORDER BY rowid;
DROP TABLE tasks;
ALTER TABLE tasks_of_repos RENAME TO tasks;
CREATE INDEX tasks_by_state ON tasks (state, due);
CREATE INDEX tasks_by_commit ON tasks (commit_id);
CREATE INDEX tasks_by_weights ON tasks (weights);
"""

LOOKS = """
ALTER TABLE tasks ADD COLUMN look TEXT;  -- 'person', 'busy': its next start only asks how that is
ALTER TABLE tasks ADD COLUMN faults INTEGER NOT NULL DEFAULT 0;  -- attempts that failed by its own
"""

TEXTS = """
ALTER TABLE tasks ADD COLUMN texts TEXT;  -- JSON: hashes of what is beside the weights, by path
"""

STALE = """
ALTER TABLE tasks ADD COLUMN stale TEXT;  -- what an advisory says is wrong with what was published
"""

SIZES = """
ALTER TABLE tasks ADD COLUMN bytes INTEGER;  -- of the weights that a build starts from
"""

# for ledgers of months: each question about the latest of something reads that many rows and no
# more. SQLite takes a partial index where the question repeats its condition word by word, which
# nobody did with the first `releases_waiting` (https://www.sqlite.org/partialindex.html)
MONTHS = """
ALTER TABLE releases ADD COLUMN decided REAL;  -- when its latest decision was made
UPDATE releases SET decided =
    (SELECT at FROM decisions WHERE decisions.repo = releases.repo ORDER BY id DESC LIMIT 1)
    WHERE kind = 'wait' OR outcome = 'gone';   -- of others it is asked by nobody
DROP INDEX releases_waiting;
CREATE INDEX releases_waiting ON releases
    (outcome = 'no_weights_yet', decided DESC, outcome, kind) WHERE kind = 'wait';
CREATE INDEX releases_gone ON releases (decided) WHERE outcome = 'gone';
CREATE INDEX tasks_latest ON tasks (state, changed DESC, id);
CREATE INDEX events_of ON events (repo, id);
CREATE INDEX events_since ON events (at);
CREATE INDEX work_since ON work (finished);
CREATE INDEX work_with_files ON work (job) WHERE files <> '[]';
"""

MIGRATIONS = (FINISHED_WORK, WATCHING, PAGES, TWINS, LOOKS, TEXTS, STALE, SIZES, MONTHS)
VERSION = len(MIGRATIONS)
