"""Both databases have the same tables: what is added to one and not to the other fails here."""

import re
import sqlite3

from reconciler.store.postgres import schema as postgres
from reconciler.store.sqlite import rekeying, schema

SHARED_ALONE = {"lease", "host", "agreement", "pass_queue", "watched_cluster", "job_migration"}
"""Tables that one host needs not."""


def columns_of_sqlite():
    found = {}
    connection = sqlite3.connect(":memory:")
    rekeying.define_functions(connection, lambda: b"")
    for statements in schema.MIGRATIONS:
        for statement in statements:
            connection.execute(statement)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in tables:
        if not table.startswith("sqlite_"):
            rows = connection.execute(f"PRAGMA table_info({table})").fetchall()
            found[table] = {(row[1], bool(row[3]) or bool(row[5])) for row in rows}
    connection.close()
    return found


def columns_of_postgres():
    """Table -> names of its columns, and whether each must have a value."""
    found = {}
    for migration in postgres.MIGRATIONS:
        for statement in migration.statements:
            if made := re.match(r"CREATE TABLE (\w+) \((.*)\)$", statement, re.DOTALL):
                table, body = made[1], re.sub(r"--[^\n]*", "", made[2])
                lines = [line.strip().rstrip(",") for line in body.splitlines()]
                key = next((line for line in lines if line.startswith("PRIMARY KEY")), "")
                keys = set(re.findall(r"\w+", key.partition("(")[2]))
                found[table] = {
                    (name, "NOT NULL" in line or "PRIMARY KEY" in line or name in keys)
                    for line in lines
                    if line and not line.startswith(("PRIMARY KEY", "UNIQUE"))
                    for name in [line.split()[0].strip('"')]
                }
            elif added := re.match(r'ALTER TABLE (\w+) ADD COLUMN "?(\w+)"? (.*)$', statement, re.DOTALL):
                found[added[1]].add((added[2], "NOT NULL" in added[3]))
    return found


def test_both_databases_have_the_same_tables_and_columns():
    theirs = columns_of_postgres()
    assert theirs.keys() >= SHARED_ALONE
    assert {table: own for table, own in theirs.items() if table not in SHARED_ALONE} == columns_of_sqlite()


def test_each_version_is_readable_by_the_one_before():
    for number, migration in enumerate(postgres.MIGRATIONS, start=1):
        assert migration.oldest <= max(1, number - 1)
