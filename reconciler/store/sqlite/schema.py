"""The tables of the SQLite store, version by version."""

from __future__ import annotations

from reconciler.store.sqlite import rekeying

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
        # until when the call may still take effect; NULL if it cannot, and in rows of older versions
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
    (
        # Every record belongs to a fleet, by number; 0 is the host. Before, a record was identified by the
        # name of its cluster, and a fleet by its source as given: each source becomes a fleet.
        """CREATE TABLE fleet (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL DEFAULT '',
            roots TEXT NOT NULL DEFAULT '[]',   -- ids of the commits with which its history began
            path TEXT,                          -- of the fleet file in its repository; NULL where not known
            ref TEXT NOT NULL DEFAULT ''
        )""",
        "CREATE UNIQUE INDEX fleet_name ON fleet(name) WHERE name != ''",
        """CREATE TABLE fleet_source (
            source TEXT PRIMARY KEY,            -- in the spelling of `core.fleet_identity.spell`
            fleet INTEGER NOT NULL REFERENCES fleet(number) ON DELETE CASCADE,
            since TEXT NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE old_source AS SELECT source, rtrim(replace(
                CASE WHEN source LIKE 'file://%' THEN substr(source, 8) ELSE source END || '/', '/.git/', '/'
            ), '/') AS spelt, min(first) AS first FROM (
                SELECT source, number AS first FROM run UNION ALL SELECT fleet, NULL FROM learnt
                UNION ALL SELECT fleet, NULL FROM claim
                UNION ALL SELECT value, NULL FROM fact WHERE node = '' AND key = 'source'
            ) WHERE source != '' GROUP BY source""",
        """INSERT INTO fleet_source (source, fleet, since)
            SELECT spelt, row_number() OVER (ORDER BY min(first) IS NULL, min(first), spelt), ''
            FROM old_source GROUP BY spelt""",
        "INSERT INTO fleet (number) SELECT fleet FROM fleet_source ORDER BY fleet",
        "ALTER TABLE run ADD COLUMN fleet INTEGER NOT NULL DEFAULT 0",
        """UPDATE run SET fleet = coalesce((
            SELECT fleet_source.fleet FROM old_source JOIN fleet_source ON fleet_source.source = spelt
            WHERE old_source.source = run.source), 0)""",
        "CREATE INDEX run_of_fleet ON run(fleet, number)",
        # A cluster belongs to the fleet that applied it last, else to that of its latest run.
        """CREATE TABLE old_owner AS SELECT cluster, coalesce((
                SELECT fleet_source.fleet FROM fact AS own JOIN old_source ON old_source.source = own.value
                JOIN fleet_source ON fleet_source.source = spelt
                WHERE own.cluster = named.cluster AND own.node = '' AND own.key = 'source'
            ), (
                SELECT run.fleet FROM step JOIN run ON run.number = step.run
                WHERE step.cluster = named.cluster ORDER BY run.number DESC LIMIT 1
            ), (SELECT max(number) FROM fleet HAVING count(*) = 1), 0) AS fleet
            FROM (SELECT DISTINCT cluster FROM fact) AS named""",
        "ALTER TABLE fact RENAME TO old_fact",
        """CREATE TABLE fact (
            fleet INTEGER NOT NULL,
            cluster TEXT NOT NULL,
            node TEXT NOT NULL,            -- empty for a fact of the cluster itself
            key TEXT NOT NULL,
            value TEXT NOT NULL,
            since TEXT NOT NULL,
            PRIMARY KEY (fleet, cluster, node, key)
        ) WITHOUT ROWID""",
        # The keys of attempts ended with a digest of the source. A suspension by name stays with the host.
        """INSERT OR REPLACE INTO fact (fleet, cluster, node, key, value, since)
            SELECT CASE WHEN cluster = '' OR key = 'suspended' THEN 0 ELSE old_owner.fleet END, cluster, node,
            CASE WHEN key LIKE 'attempt/%/________________' THEN substr(key, 1, length(key) - 17)
                ELSE key END,
            value, since FROM old_fact JOIN old_owner USING (cluster) ORDER BY since""",
        """INSERT OR REPLACE INTO fact (fleet, cluster, node, key, value, since)
            SELECT fleet_source.fleet, cluster, node, key, value, learnt.since FROM learnt
            JOIN old_source ON old_source.source = learnt.fleet
            JOIN fleet_source ON fleet_source.source = spelt ORDER BY learnt.since""",
        "ALTER TABLE claim RENAME TO old_claim",
        """CREATE TABLE claim (              -- which fleet has written to which place last
            place TEXT PRIMARY KEY,
            fleet INTEGER NOT NULL,
            cluster TEXT NOT NULL,
            node TEXT NOT NULL,
            since TEXT NOT NULL
        ) WITHOUT ROWID""",
        """INSERT INTO claim (place, fleet, cluster, node, since)
            SELECT place, fleet_source.fleet, cluster, node, old_claim.since FROM old_claim
            JOIN old_source ON old_source.source = old_claim.fleet
            JOIN fleet_source ON fleet_source.source = spelt""",
        *(f"DROP TABLE {old}" for old in ("old_fact", "old_claim", "old_owner", "old_source", "learnt")),
    ),
    (
        """CREATE TABLE exact (              -- what the plain form of a run's steps leaves out
            run INTEGER PRIMARY KEY REFERENCES run(number) ON DELETE CASCADE,
            sealed BLOB NOT NULL           -- JSON, encrypted with the key of the host
        )""",
    ),
    (
        "ALTER TABLE run ADD COLUMN actor TEXT NOT NULL DEFAULT ''",  # JSON of `core.actor.Actor`
        """CREATE TABLE act (               -- what people ordered beside the desired state, and its use
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            kind TEXT NOT NULL,
            cluster TEXT NOT NULL,         -- empty for all clusters; also for some approvals
            digest TEXT NOT NULL DEFAULT '',
            at TEXT NOT NULL,
            actor TEXT NOT NULL
        )""",
    ),
    (
        # whether the fleet was last a settings file without a fleet file; NULL in rows of older versions
        "ALTER TABLE fleet ADD COLUMN lone INTEGER",
    ),
    rekeying.STATEMENTS,
    (
        # Nodes that poll. Contents (`sealed`) are encrypted with the key of the host.
        """CREATE TABLE polled_node (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            fleet INTEGER NOT NULL,
            cluster TEXT NOT NULL,
            node TEXT NOT NULL,
            kind TEXT NOT NULL DEFAULT '',     -- product; empty until it is enrolled
            origin TEXT NOT NULL,              -- from which its tokens are derived; it survives a new name
            generation INTEGER NOT NULL DEFAULT 0,  -- of its current token; 0 for none
            token TEXT NOT NULL DEFAULT '',    -- digest of its current token
            restored INTEGER NOT NULL DEFAULT 0,  -- from a backup: it may have newer tokens than is known
            left TEXT,                         -- when it left the desired state; NULL for a member
            heard TEXT,                        -- newest call of any kind
            polled TEXT,                       -- newest poll
            label TEXT NOT NULL DEFAULT '',    -- version that its newest poll with one showed
            labelled TEXT,                     -- newest poll that showed it
            other_label TEXT,                  -- newest poll that showed another one
            asked_setting TEXT,                -- latest plausible If-Modified-Since of each feed
            asked_purge TEXT,
            address TEXT NOT NULL DEFAULT '',
            clash TEXT NOT NULL DEFAULT '',
            changed INTEGER NOT NULL DEFAULT 0, -- position of the newest change of its offers
            UNIQUE (fleet, cluster, node)
        )""",
        "CREATE INDEX polled_node_changed ON polled_node(changed)",
        """CREATE TABLE node_position (        -- counts changes, for the memory of the node server
            what TEXT PRIMARY KEY,             -- `any`, or `tokens`
            position INTEGER NOT NULL
        ) WITHOUT ROWID""",
        "INSERT INTO node_position VALUES ('any', 1), ('tokens', 1)",
        "CREATE UNIQUE INDEX polled_node_origin ON polled_node(origin)",
        """CREATE TABLE node_token (           -- only digests: a token is derived when it is needed
            digest TEXT PRIMARY KEY,
            node INTEGER NOT NULL REFERENCES polled_node(number) ON DELETE CASCADE,
            generation INTEGER NOT NULL,
            used TEXT,                         -- first use
            ended TEXT
        ) WITHOUT ROWID""",
        "CREATE INDEX node_token_of_node ON node_token(node)",
        """CREATE TABLE node_report (          -- the newest report of each kind
            node INTEGER NOT NULL REFERENCES polled_node(number) ON DELETE CASCADE,
            kind TEXT NOT NULL,
            at TEXT NOT NULL,
            sealed BLOB NOT NULL,
            PRIMARY KEY (node, kind)
        )""",
        """CREATE TABLE node_content (         -- the newest setting that a report had
            node INTEGER PRIMARY KEY REFERENCES polled_node(number) ON DELETE CASCADE,
            at TEXT NOT NULL,
            sealed BLOB NOT NULL
        )""",
        """CREATE TABLE node_label (           -- which contents this program gave to which version
            node INTEGER NOT NULL REFERENCES polled_node(number) ON DELETE CASCADE,
            label TEXT NOT NULL,
            content TEXT NOT NULL,             -- keyed
            shared INTEGER NOT NULL DEFAULT 0, -- whether another content had it too
            since TEXT NOT NULL,
            PRIMARY KEY (node, label)
        ) WITHOUT ROWID""",
        """CREATE TABLE node_offer (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            node INTEGER NOT NULL REFERENCES polled_node(number) ON DELETE CASCADE,
            feed TEXT NOT NULL,
            run TEXT NOT NULL,                 -- id of a run or of an operation
            step TEXT NOT NULL,
            revision TEXT NOT NULL,
            label TEXT NOT NULL,
            last_modified TEXT NOT NULL,
            opens TEXT NOT NULL,
            closes TEXT NOT NULL,
            taken TEXT,
            withdrawn INTEGER NOT NULL DEFAULT 0,
            restored INTEGER NOT NULL DEFAULT 0,  -- from a backup: evidence, but never delivered
            reported TEXT,
            report BLOB                        -- sealed; the newest one about this offer
        )""",
        "CREATE INDEX node_offer_of_node ON node_offer(node, feed, number)",
        """CREATE TABLE content_part (         -- contents of offers; parts that nodes share are there once
            number INTEGER PRIMARY KEY,
            digest TEXT NOT NULL UNIQUE,       -- keyed
            sealed BLOB NOT NULL
        )""",
        """CREATE TABLE offer_part (
            offer INTEGER NOT NULL REFERENCES node_offer(number) ON DELETE CASCADE,
            former INTEGER NOT NULL,           -- whether it is of what the node had before
            position INTEGER NOT NULL,
            part INTEGER NOT NULL REFERENCES content_part(number),
            PRIMARY KEY (offer, former, position)
        ) WITHOUT ROWID""",
        "CREATE INDEX offer_part_of_part ON offer_part(part)",
        """CREATE TABLE operation (            -- what people asked for beside the desired state
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            fleet INTEGER NOT NULL,
            kind TEXT NOT NULL,
            cluster TEXT NOT NULL,
            sealed BLOB NOT NULL,              -- its targets, as JSON
            actor TEXT NOT NULL,
            at TEXT NOT NULL,
            deadline TEXT NOT NULL,
            direct INTEGER NOT NULL,
            waves TEXT NOT NULL                -- JSON
        )""",
        "CREATE INDEX operation_of_fleet ON operation(fleet, number)",
        """CREATE TABLE operation_result (
            operation INTEGER NOT NULL REFERENCES operation(number) ON DELETE CASCADE,
            node TEXT NOT NULL,
            state TEXT NOT NULL,
            reason TEXT NOT NULL,              -- a sealed BLOB, or empty
            totals TEXT NOT NULL,              -- JSON
            at TEXT,
            PRIMARY KEY (operation, node)
        ) WITHOUT ROWID""",
    ),
    (
        "ALTER TABLE operation ADD COLUMN ended TEXT",  # when nothing more of it is sent or expected
        "CREATE INDEX operation_open ON operation(fleet) WHERE ended IS NULL",
    ),
    (
        # Whether the node reported that it did what it was offered: no later report takes that back.
        "ALTER TABLE node_offer ADD COLUMN succeeded INTEGER NOT NULL DEFAULT 0",
    ),
    (
        # Codes of the holds on changes that were set aside for it, with a space between them.
        "ALTER TABLE node_offer ADD COLUMN despite TEXT NOT NULL DEFAULT ''",
    ),
    (
        """CREATE TABLE reservation (          -- nodes that somebody may stop
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,           -- of the operation that asked
            fleet INTEGER NOT NULL,
            cluster TEXT NOT NULL,
            node TEXT NOT NULL,
            actor TEXT NOT NULL,
            at TEXT NOT NULL,
            until TEXT NOT NULL,
            ended TEXT                         -- when it was released or found to be over
        )""",
        "CREATE INDEX reservation_open ON reservation(fleet, cluster) WHERE ended IS NULL",
    ),
    (
        # Nothing is sent to a held node; the places at which it was reached when that was ordered, as JSON.
        "ALTER TABLE reservation ADD COLUMN is_hold INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE reservation ADD COLUMN places TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE act ADD COLUMN node TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE act ADD COLUMN until TEXT",  # the end of a hold
    ),
    (
        # The channel of a message bus to which an offer is published, as JSON, and when that began.
        "ALTER TABLE node_offer ADD COLUMN channel TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE node_offer ADD COLUMN sent TEXT",
        "ALTER TABLE polled_node ADD COLUMN claimed TEXT",  # when somebody last said to be it, without proof
        """CREATE TABLE bus_position (          -- up to where messages of a bus are recorded
            channel TEXT NOT NULL,
            part INTEGER NOT NULL,
            position INTEGER NOT NULL,
            at TEXT NOT NULL,                  -- the latest time of a recorded message
            PRIMARY KEY (channel, part)
        ) WITHOUT ROWID""",
        """CREATE TABLE bus_report (            -- where nodes report, or did by an earlier setting
            cluster TEXT NOT NULL,
            node TEXT NOT NULL,
            channel TEXT NOT NULL,
            named TEXT NOT NULL,               -- when a desired setting had it last
            PRIMARY KEY (cluster, node, channel)
        ) WITHOUT ROWID""",
    ),
    (
        """CREATE TABLE access_token (          -- of programs; only digests
            digest TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            grants TEXT NOT NULL,              -- JSON: roles with clusters
            actor TEXT NOT NULL,               -- who made it
            created TEXT NOT NULL,
            expires TEXT NOT NULL,
            used TEXT,                         -- about when it was last used
            revoked TEXT
        ) WITHOUT ROWID""",
        """CREATE TABLE login_session (         -- of people with a browser; only digests
            digest TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            method TEXT NOT NULL,
            member_of TEXT NOT NULL,           -- JSON: groups
            idle INTEGER NOT NULL,             -- seconds that it lasts without a request
            idle_end TEXT NOT NULL,
            expires TEXT NOT NULL
        ) WITHOUT ROWID""",
    ),
    (
        # What people are told: alerts that are not over, and notices on their way to each address.
        """CREATE TABLE alert (
            fleet INTEGER NOT NULL,
            cluster TEXT NOT NULL,             -- empty for none
            event TEXT NOT NULL,
            subject TEXT NOT NULL,
            severity TEXT NOT NULL,
            end_title TEXT NOT NULL,           -- the sentence that tells its end
            since TEXT NOT NULL,
            members TEXT NOT NULL,             -- JSON: name -> since when it is absent
            absent TEXT,                       -- the earliest of these times
            PRIMARY KEY (fleet, cluster, event, subject)
        ) WITHOUT ROWID""",
        """CREATE TABLE notice (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            address TEXT NOT NULL,             -- name of the recipient and of the secret with its address
            at TEXT NOT NULL,
            urgent INTEGER NOT NULL,
            body TEXT NOT NULL                 -- JSON
        )""",
        "CREATE INDEX notice_of_address ON notice(address, number)",
        """CREATE TABLE notice_address (
            address TEXT PRIMARY KEY,
            holder TEXT NOT NULL,              -- that is sending now
            until TEXT NOT NULL,               -- when another one may
            sent TEXT NOT NULL,                -- JSON: when the last messages were sent
            failures INTEGER NOT NULL,
            next_try TEXT,
            problem TEXT NOT NULL,
            given_up INTEGER NOT NULL,
            dropped INTEGER NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE told_position (         -- up to where the history is told
            what TEXT PRIMARY KEY,
            position INTEGER NOT NULL
        ) WITHOUT ROWID""",
        "ALTER TABLE run ADD COLUMN told INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX run_untold ON run(number) WHERE NOT told",
    ),
)
"""Statements that migrate each version of the tables to the next; never change one, only append."""
