"""The tables of procrastinate, in a schema of their own: made, and migrated with the library's own files."""

from __future__ import annotations

from contextlib import suppress
from importlib import resources
from typing import Final

from reconciler.errors import StateError
from reconciler.store.postgres.access import PostgresAccess
from reconciler.store.postgres.connection import SCHEMA, PostgresConnection, translate_postgres_errors
from reconciler.store.postgres.database import MIGRATION_LOCK, open_connection

JOB_SCHEMA: Final = "reconciler_jobs"

_AFTERWARDS: Final = "_post_"
"""In the names of the library's files that only its newer version can live with."""


def prepare_job_tables(access: PostgresAccess, version: str) -> None:
    """Create the tables of the jobs, or migrate them to the installed version of the library.

    Args:
        access: to the database.
        version: that is installed.

    Raises:
        StateError: the database cannot be used, or the library is too old for the tables.
    """
    files = _read_files()
    connection = open_connection(access.address)
    try:
        with translate_postgres_errors(access.address):
            connection.begin(
                f"BEGIN; SELECT pg_advisory_xact_lock({MIGRATION_LOCK}), clock_timestamp() AS now"
            )
            try:
                _migrate(connection, files, version)
            except BaseException:
                if not connection.is_broken:
                    with suppress(Exception):
                        connection.end(commit=False)
                raise
            connection.end(commit=True)
    finally:
        connection.close()


def select_files(files: list[str], applied: set[str], *, has_older_hosts: bool) -> list[str]:
    """The files to be applied, in their order.

    The library adds first what both versions can live with, and removes afterwards what the older one needs:
    the second waits until no host has an older version.
    """
    missing = [name for name in files if name not in applied]
    return [name for name in missing if not (has_older_hosts and _AFTERWARDS in name)]


def _migrate(connection: PostgresConnection, files: dict[str, str], version: str) -> None:
    applied = {row["name"] for row in connection.execute("SELECT name FROM job_migration").fetchall()}
    if newer := sorted(name for name in applied - files.keys() if _AFTERWARDS in name):
        raise StateError(
            f"a newer version of the library procrastinate changed the tables of the jobs ({newer[-1]}); "
            f"this host, with version {version}, takes no pass",
            remedy="install the newer version on this host",
        )
    exists = connection.execute(
        "SELECT to_regclass(?) IS NOT NULL", (f"{JOB_SCHEMA}.procrastinate_jobs",)
    ).fetchone()[0]
    if not exists:  # new, or the database was restored without them
        connection.execute("DELETE FROM job_migration")
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {JOB_SCHEMA}")
        schema = resources.files("procrastinate.sql") / "schema.sql"
        _execute_file(connection, schema.read_text(encoding="utf-8"))
        chosen = list(files)
    else:
        others = connection.execute(
            "SELECT count(*) FROM host WHERE jobs != '' AND jobs != ?"
            " AND seen > clock_timestamp() - interval '60 seconds'",
            (version,),
        ).fetchone()
        chosen = select_files(list(files), applied, has_older_hosts=others[0] > 0)
        for name in chosen:
            _execute_file(connection, files[name])
    connection.executemany(
        "INSERT INTO job_migration (name, at) VALUES (?, clock_timestamp())", [(name,) for name in chosen]
    )


def _execute_file(connection: PostgresConnection, text: str) -> None:
    # The files name their tables without a schema.
    connection.begin(
        f"SET LOCAL search_path = {JOB_SCHEMA}; {text}; SET LOCAL search_path = {SCHEMA}; SELECT 1"
    )


def _read_files() -> dict[str, str]:
    """Name -> text of each file of the library that changes its tables, in their order."""
    folder = resources.files("procrastinate.sql") / "migrations"
    names = sorted(one.name for one in folder.iterdir() if one.name.endswith(".sql"))
    return {name: (folder / name).read_text(encoding="utf-8") for name in names}
