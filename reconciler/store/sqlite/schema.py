"""The tables of the SQLite store, version by version."""

from __future__ import annotations

APPLICATION = 0x52434E43
"""SQLite's `application_id` of our files: "RCNC"."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE run (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            "trigger" TEXT NOT NULL,
            source TEXT NOT NULL,
            revision TEXT NOT NULL,
            short TEXT NOT NULL,
            title TEXT NOT NULL,
            program TEXT NOT NULL,
            digest TEXT NOT NULL,
            plan BLOB NOT NULL,            -- zlib over the plan's masked JSON
            started TEXT NOT NULL,
            finished TEXT,
            exit_status INTEGER,
            acted INTEGER NOT NULL DEFAULT 0,
            note TEXT NOT NULL DEFAULT ''
        )""",
        """CREATE TABLE step (
            run INTEGER NOT NULL REFERENCES run(number) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            id TEXT NOT NULL,
            cluster TEXT NOT NULL,
            node TEXT NOT NULL,
            intended TEXT,
            ended TEXT,
            state TEXT,
            reason TEXT NOT NULL DEFAULT '',
            seconds REAL NOT NULL DEFAULT 0,
            answer TEXT NOT NULL DEFAULT '',
            restart TEXT NOT NULL DEFAULT '[]',
            PRIMARY KEY (run, position),
            UNIQUE (run, id)
        )""",
        "CREATE INDEX step_of_cluster ON step(cluster, run)",
        "CREATE INDEX step_unsettled ON step(run) WHERE state IS NULL OR state = 'unknown'",
        "CREATE INDEX step_intended ON step(intended) WHERE intended IS NOT NULL",
        """CREATE TABLE message (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            run INTEGER NOT NULL REFERENCES run(number) ON DELETE CASCADE,
            step TEXT NOT NULL,
            created TEXT NOT NULL,
            body BLOB NOT NULL,
            wanted INTEGER NOT NULL,
            delivered TEXT,
            attempts INTEGER NOT NULL DEFAULT 0,
            refusals INTEGER NOT NULL DEFAULT 0,
            error TEXT NOT NULL DEFAULT ''
        )""",
        "CREATE INDEX message_of_run ON message(run)",
        "CREATE INDEX message_due ON message(number) WHERE delivered IS NULL AND wanted",
        """CREATE TABLE fact (
            cluster TEXT NOT NULL,
            node TEXT NOT NULL,            -- empty for a fact of the cluster itself
            key TEXT NOT NULL,
            value TEXT NOT NULL,
            since TEXT NOT NULL,
            PRIMARY KEY (cluster, node, key)
        ) WITHOUT ROWID""",
    ),
    (
        """CREATE TABLE learnt (             -- what steps taught of nodes, apart for each fleet
            fleet TEXT NOT NULL,           -- its source, as given, with the path
            cluster TEXT NOT NULL,
            node TEXT NOT NULL,
            key TEXT NOT NULL,
            value TEXT NOT NULL,
            since TEXT NOT NULL,
            PRIMARY KEY (fleet, cluster, node, key)
        ) WITHOUT ROWID""",
    ),
    (
        # until when the call may still be under way; NULL where it is not, and in what older programs wrote
        "ALTER TABLE step ADD COLUMN until TEXT",
        "CREATE INDEX step_under_way ON step(until) WHERE until IS NOT NULL",
    ),
    (
        """CREATE TABLE claim (              -- which fleet has written to which place last
            place TEXT PRIMARY KEY,
            fleet TEXT NOT NULL,           -- its source, as given, with the path
            cluster TEXT NOT NULL,
            node TEXT NOT NULL,
            since TEXT NOT NULL
        ) WITHOUT ROWID""",
    ),
)
"""Statements that lead from each version of the tables to the next; never changed, only added to."""
