"""The tables of the PostgreSQL store, version by version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_TEXT: Final = 'TEXT COLLATE "C"'
"""Compared byte by byte, as SQLite does: times are stored as text, and names sort the same everywhere."""

_NUMBER: Final = "number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"


@dataclass(frozen=True, slots=True)
class Migration:
    """The step from one version of the tables to the next.

    Args:
        statements: of SQL, in one transaction.
        oldest: the oldest version whose program can still read and write the tables afterwards. The one
            before, at least, so that hosts are upgraded one after another.
    """

    statements: tuple[str, ...]
    oldest: int


_FIRST: Final = (
    f"""CREATE TABLE fleet (
        {_NUMBER},
        name {_TEXT} NOT NULL DEFAULT '',
        roots {_TEXT} NOT NULL DEFAULT '[]',
        path {_TEXT},
        ref {_TEXT} NOT NULL DEFAULT '',
        lone BOOLEAN
    )""",
    "CREATE UNIQUE INDEX fleet_name ON fleet(name) WHERE name != ''",
    f"""CREATE TABLE fleet_source (
        source {_TEXT} PRIMARY KEY,
        fleet BIGINT NOT NULL REFERENCES fleet(number) ON DELETE CASCADE,
        since {_TEXT} NOT NULL
    )""",
    f"""CREATE TABLE run (
        {_NUMBER},
        id {_TEXT} NOT NULL UNIQUE,
        fleet BIGINT NOT NULL DEFAULT 0,
        "trigger" {_TEXT} NOT NULL,
        source {_TEXT} NOT NULL,
        revision {_TEXT} NOT NULL,
        short {_TEXT} NOT NULL,
        title {_TEXT} NOT NULL,
        program {_TEXT} NOT NULL,
        digest {_TEXT} NOT NULL,
        plan BYTEA NOT NULL,
        started {_TEXT} NOT NULL,
        finished {_TEXT},
        exit_status BIGINT,
        acted BOOLEAN NOT NULL DEFAULT FALSE,
        note {_TEXT} NOT NULL DEFAULT '',
        actor {_TEXT} NOT NULL DEFAULT ''
    )""",
    "CREATE INDEX run_of_fleet ON run(fleet, number)",
    f"""CREATE TABLE step (
        run BIGINT NOT NULL REFERENCES run(number) ON DELETE CASCADE,
        position BIGINT NOT NULL,
        id {_TEXT} NOT NULL,
        cluster {_TEXT} NOT NULL,
        node {_TEXT} NOT NULL,
        intended {_TEXT},
        ended {_TEXT},
        state {_TEXT},
        reason {_TEXT} NOT NULL DEFAULT '',
        seconds DOUBLE PRECISION NOT NULL DEFAULT 0,
        answer {_TEXT} NOT NULL DEFAULT '',
        restart {_TEXT} NOT NULL DEFAULT '[]',
        until {_TEXT},
        PRIMARY KEY (run, position),
        UNIQUE (run, id)
    )""",
    "CREATE INDEX step_of_cluster ON step(cluster, run)",
    "CREATE INDEX step_unsettled ON step(run) WHERE state IS NULL OR state IN ('unknown', 'offered')",
    "CREATE INDEX step_intended ON step(intended) WHERE intended IS NOT NULL",
    "CREATE INDEX step_under_way ON step(until) WHERE until IS NOT NULL",
    """CREATE TABLE exact (
        run BIGINT PRIMARY KEY REFERENCES run(number) ON DELETE CASCADE,
        sealed BYTEA NOT NULL
    )""",
    f"""CREATE TABLE message (
        {_NUMBER},
        id {_TEXT} NOT NULL UNIQUE,
        run BIGINT NOT NULL REFERENCES run(number) ON DELETE CASCADE,
        step {_TEXT} NOT NULL,
        created {_TEXT} NOT NULL,
        body BYTEA NOT NULL,
        wanted BOOLEAN NOT NULL,
        delivered {_TEXT},
        attempts BIGINT NOT NULL DEFAULT 0,
        refusals BIGINT NOT NULL DEFAULT 0,
        error {_TEXT} NOT NULL DEFAULT ''
    )""",
    "CREATE INDEX message_of_run ON message(run)",
    "CREATE INDEX message_due ON message(number) WHERE delivered IS NULL AND wanted",
    f"""CREATE TABLE fact (
        fleet BIGINT NOT NULL,
        cluster {_TEXT} NOT NULL,
        node {_TEXT} NOT NULL,
        key {_TEXT} NOT NULL,
        value {_TEXT} NOT NULL,
        since {_TEXT} NOT NULL,
        PRIMARY KEY (fleet, cluster, node, key)
    )""",
    f"""CREATE TABLE claim (
        place {_TEXT} PRIMARY KEY,
        fleet BIGINT NOT NULL,
        cluster {_TEXT} NOT NULL,
        node {_TEXT} NOT NULL,
        since {_TEXT} NOT NULL
    )""",
    f"""CREATE TABLE act (
        {_NUMBER},
        kind {_TEXT} NOT NULL,
        cluster {_TEXT} NOT NULL,
        digest {_TEXT} NOT NULL DEFAULT '',
        at {_TEXT} NOT NULL,
        actor {_TEXT} NOT NULL,
        node {_TEXT} NOT NULL DEFAULT '',
        until {_TEXT}
    )""",
    f"""CREATE TABLE polled_node (
        {_NUMBER},
        fleet BIGINT NOT NULL,
        cluster {_TEXT} NOT NULL,
        node {_TEXT} NOT NULL,
        kind {_TEXT} NOT NULL DEFAULT '',
        origin {_TEXT} NOT NULL UNIQUE,
        generation BIGINT NOT NULL DEFAULT 0,
        token {_TEXT} NOT NULL DEFAULT '',
        restored BOOLEAN NOT NULL DEFAULT FALSE,
        "left" {_TEXT},
        heard {_TEXT},
        polled {_TEXT},
        label {_TEXT} NOT NULL DEFAULT '',
        labelled {_TEXT},
        other_label {_TEXT},
        asked_setting {_TEXT},
        asked_purge {_TEXT},
        address {_TEXT} NOT NULL DEFAULT '',
        clash {_TEXT} NOT NULL DEFAULT '',
        changed BIGINT NOT NULL DEFAULT 0,
        claimed {_TEXT},
        UNIQUE (fleet, cluster, node)
    )""",
    "CREATE INDEX polled_node_changed ON polled_node(changed)",
    f"""CREATE TABLE node_position (
        what {_TEXT} PRIMARY KEY,
        position BIGINT NOT NULL
    )""",
    "INSERT INTO node_position VALUES ('any', 1), ('tokens', 1)",
    f"""CREATE TABLE node_token (
        digest {_TEXT} PRIMARY KEY,
        node BIGINT NOT NULL REFERENCES polled_node(number) ON DELETE CASCADE,
        generation BIGINT NOT NULL,
        used {_TEXT},
        ended {_TEXT}
    )""",
    "CREATE INDEX node_token_of_node ON node_token(node)",
    f"""CREATE TABLE node_report (
        node BIGINT NOT NULL REFERENCES polled_node(number) ON DELETE CASCADE,
        kind {_TEXT} NOT NULL,
        at {_TEXT} NOT NULL,
        sealed BYTEA NOT NULL,
        PRIMARY KEY (node, kind)
    )""",
    f"""CREATE TABLE node_content (
        node BIGINT PRIMARY KEY REFERENCES polled_node(number) ON DELETE CASCADE,
        at {_TEXT} NOT NULL,
        sealed BYTEA NOT NULL
    )""",
    f"""CREATE TABLE node_label (
        node BIGINT NOT NULL REFERENCES polled_node(number) ON DELETE CASCADE,
        label {_TEXT} NOT NULL,
        content {_TEXT} NOT NULL,
        shared BOOLEAN NOT NULL DEFAULT FALSE,
        since {_TEXT} NOT NULL,
        PRIMARY KEY (node, label)
    )""",
    f"""CREATE TABLE node_offer (
        {_NUMBER},
        id {_TEXT} NOT NULL UNIQUE,
        node BIGINT NOT NULL REFERENCES polled_node(number) ON DELETE CASCADE,
        feed {_TEXT} NOT NULL,
        run {_TEXT} NOT NULL,
        step {_TEXT} NOT NULL,
        revision {_TEXT} NOT NULL,
        label {_TEXT} NOT NULL,
        last_modified {_TEXT} NOT NULL,
        opens {_TEXT} NOT NULL,
        closes {_TEXT} NOT NULL,
        taken {_TEXT},
        withdrawn BOOLEAN NOT NULL DEFAULT FALSE,
        restored BOOLEAN NOT NULL DEFAULT FALSE,
        reported {_TEXT},
        report BYTEA,
        succeeded BOOLEAN NOT NULL DEFAULT FALSE,
        despite {_TEXT} NOT NULL DEFAULT '',
        channel {_TEXT} NOT NULL DEFAULT '',
        sent {_TEXT}
    )""",
    "CREATE INDEX node_offer_of_node ON node_offer(node, feed, number)",
    f"""CREATE TABLE content_part (
        {_NUMBER},
        digest {_TEXT} NOT NULL UNIQUE,
        sealed BYTEA NOT NULL
    )""",
    """CREATE TABLE offer_part (
        offer BIGINT NOT NULL REFERENCES node_offer(number) ON DELETE CASCADE,
        former BIGINT NOT NULL,
        position BIGINT NOT NULL,
        part BIGINT NOT NULL REFERENCES content_part(number),
        PRIMARY KEY (offer, former, position)
    )""",
    "CREATE INDEX offer_part_of_part ON offer_part(part)",
    f"""CREATE TABLE operation (
        {_NUMBER},
        id {_TEXT} NOT NULL UNIQUE,
        fleet BIGINT NOT NULL,
        kind {_TEXT} NOT NULL,
        cluster {_TEXT} NOT NULL,
        sealed BYTEA NOT NULL,
        actor {_TEXT} NOT NULL,
        at {_TEXT} NOT NULL,
        deadline {_TEXT} NOT NULL,
        direct BOOLEAN NOT NULL,
        waves {_TEXT} NOT NULL,
        ended {_TEXT}
    )""",
    "CREATE INDEX operation_of_fleet ON operation(fleet, number)",
    "CREATE INDEX operation_open ON operation(fleet) WHERE ended IS NULL",
    f"""CREATE TABLE operation_result (
        operation BIGINT NOT NULL REFERENCES operation(number) ON DELETE CASCADE,
        node {_TEXT} NOT NULL,
        state {_TEXT} NOT NULL,
        reason BYTEA NOT NULL,
        totals {_TEXT} NOT NULL,
        at {_TEXT},
        PRIMARY KEY (operation, node)
    )""",
    f"""CREATE TABLE reservation (
        {_NUMBER},
        id {_TEXT} NOT NULL UNIQUE,
        fleet BIGINT NOT NULL,
        cluster {_TEXT} NOT NULL,
        node {_TEXT} NOT NULL,
        actor {_TEXT} NOT NULL,
        at {_TEXT} NOT NULL,
        until {_TEXT} NOT NULL,
        ended {_TEXT},
        is_hold BOOLEAN NOT NULL DEFAULT FALSE,
        places {_TEXT} NOT NULL DEFAULT '[]'
    )""",
    "CREATE INDEX reservation_open ON reservation(fleet, cluster) WHERE ended IS NULL",
    f"""CREATE TABLE bus_position (
        channel {_TEXT} NOT NULL,
        part BIGINT NOT NULL,
        position BIGINT NOT NULL,
        at {_TEXT} NOT NULL,
        PRIMARY KEY (channel, part)
    )""",
    f"""CREATE TABLE bus_report (
        cluster {_TEXT} NOT NULL,
        node {_TEXT} NOT NULL,
        channel {_TEXT} NOT NULL,
        named {_TEXT} NOT NULL,
        PRIMARY KEY (cluster, node, channel)
    )""",
    # What belongs to several hosts alone. Times here are those of the database, and never of a host.
    f"""CREATE TABLE lease (
        name {_TEXT} PRIMARY KEY,
        holder {_TEXT} NOT NULL,           -- empty once it is released
        token BIGINT NOT NULL,             -- higher with each holder
        until TIMESTAMPTZ NOT NULL
    )""",
    "CREATE INDEX lease_of_holder ON lease(holder) WHERE holder != ''",
    f"""CREATE TABLE host (
        holder {_TEXT} PRIMARY KEY,        -- one process of a host
        name {_TEXT} NOT NULL,
        schema_version BIGINT NOT NULL,    -- the newest that its program knows
        rules {_TEXT} NOT NULL,            -- digests of what a plan depends on in its configuration, as JSON
        seen TIMESTAMPTZ NOT NULL
    )""",
    f"""CREATE TABLE agreement (
        what {_TEXT} PRIMARY KEY,          -- `key`, `rules`
        value {_TEXT} NOT NULL,
        host {_TEXT} NOT NULL              -- that wrote it
    )""",
)

_ACCESS: Final = (
    f"""CREATE TABLE access_token (
        digest {_TEXT} PRIMARY KEY,
        name {_TEXT} NOT NULL,
        grants {_TEXT} NOT NULL,
        actor {_TEXT} NOT NULL,
        created {_TEXT} NOT NULL,
        expires {_TEXT} NOT NULL,
        used {_TEXT},
        revoked {_TEXT}
    )""",
    f"""CREATE TABLE login_session (
        digest {_TEXT} PRIMARY KEY,
        name {_TEXT} NOT NULL,
        method {_TEXT} NOT NULL,
        member_of {_TEXT} NOT NULL,
        idle BIGINT NOT NULL,
        idle_end {_TEXT} NOT NULL,
        expires {_TEXT} NOT NULL
    )""",
)

_COUNTED_WRITES: Final = (
    # How many transactions of this process the database has; see `confirmed_writes`.
    "ALTER TABLE host ADD COLUMN writes BIGINT NOT NULL DEFAULT 0",
)

_SHARED_PASSES: Final = (
    f"""CREATE TABLE pass_queue (
        name {_TEXT} PRIMARY KEY,          -- fleet, and digest of the selection
        target {_TEXT} NOT NULL,           -- id of the newest revision that any host has read
        seen TIMESTAMPTZ NOT NULL
    )""",
    f"""CREATE TABLE watched_cluster (
        queue {_TEXT} NOT NULL,
        cluster {_TEXT} NOT NULL,
        due TIMESTAMPTZ NOT NULL,
        cause {_TEXT} NOT NULL,            -- trigger of the pass that is due
        requests BIGINT NOT NULL,          -- how often a pass was requested from outside
        pass BIGINT NOT NULL,              -- number of the last pass that has begun
        host {_TEXT} NOT NULL,             -- that began it
        doing {_TEXT} NOT NULL,
        status {_TEXT} NOT NULL,           -- of the last pass that has ended, as JSON
        changed TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (queue, cluster)
    )""",
    "CREATE INDEX watched_cluster_due ON watched_cluster(queue, due)",
    "CREATE INDEX watched_cluster_changed ON watched_cluster(queue, changed)",
    # The files of the library that runs the jobs, and their order; see `job_tables.py`.
    f"""CREATE TABLE job_migration (
        name {_TEXT} PRIMARY KEY,
        at TIMESTAMPTZ NOT NULL
    )""",
    f"ALTER TABLE host ADD COLUMN jobs {_TEXT} NOT NULL DEFAULT ''",  # version of the library
)

_INPUT_DIGESTS: Final = (
    # Of which revision the digests are: a host of the former version changes the target without them.
    f"ALTER TABLE pass_queue ADD COLUMN inputs {_TEXT} NOT NULL DEFAULT ''",
    # Keyed digests of what a pass takes from the files: of the target, and of the last pass that has ended.
    f"ALTER TABLE watched_cluster ADD COLUMN input {_TEXT} NOT NULL DEFAULT ''",
    f"ALTER TABLE watched_cluster ADD COLUMN passed_input {_TEXT} NOT NULL DEFAULT ''",
)

_NOTICES: Final = (
    f"""CREATE TABLE alert (
        fleet BIGINT NOT NULL,
        cluster {_TEXT} NOT NULL,
        event {_TEXT} NOT NULL,
        subject {_TEXT} NOT NULL,
        severity {_TEXT} NOT NULL,
        end_title {_TEXT} NOT NULL,
        since {_TEXT} NOT NULL,
        members {_TEXT} NOT NULL,
        absent {_TEXT},
        PRIMARY KEY (fleet, cluster, event, subject)
    )""",
    f"""CREATE TABLE notice (
        {_NUMBER},
        address {_TEXT} NOT NULL,
        at {_TEXT} NOT NULL,
        urgent BOOLEAN NOT NULL,
        body {_TEXT} NOT NULL
    )""",
    "CREATE INDEX notice_of_address ON notice(address, number)",
    f"""CREATE TABLE notice_address (
        address {_TEXT} PRIMARY KEY,
        holder {_TEXT} NOT NULL,
        until {_TEXT} NOT NULL,
        sent {_TEXT} NOT NULL,
        failures BIGINT NOT NULL,
        next_try {_TEXT},
        problem {_TEXT} NOT NULL,
        given_up BIGINT NOT NULL,
        dropped BIGINT NOT NULL
    )""",
    f"""CREATE TABLE told_position (
        what {_TEXT} PRIMARY KEY,
        position BIGINT NOT NULL
    )""",
    "ALTER TABLE run ADD COLUMN told BOOLEAN NOT NULL DEFAULT FALSE",
    "CREATE INDEX run_untold ON run(number) WHERE NOT told",
)

MIGRATIONS: Final[tuple[Migration, ...]] = (
    Migration(_FIRST, oldest=1),
    Migration(_ACCESS, oldest=1),
    Migration(_COUNTED_WRITES, oldest=1),
    Migration(_SHARED_PASSES, oldest=1),
    Migration(_INPUT_DIGESTS, oldest=1),
    Migration(_NOTICES, oldest=1),
)
"""Statements that migrate each version of the tables to the next; never change one, only append."""
