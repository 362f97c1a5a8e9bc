"""The kinds of stores there are, for tests that hold for each of them."""

import atexit
import os
from functools import cache
from pathlib import Path

from reconciler.store.postgres.access import HostIdentity, PostgresAccess
from reconciler.store.postgres.address import PostgresAddress
from support.postgres_servers import PostgresServer


class SqliteKind:
    """Stores in a file."""

    def url(self, folder: Path) -> str:
        return f"sqlite://{folder}"

    def lose_locks(self, folder: Path) -> None:
        """What no holder notices: its lock is gone, and another one can have it."""
        for file in (folder / "locks").iterdir():
            file.unlink()


class PostgresKind:
    """Stores in a database of their own, on one real server."""

    def url(self, folder: Path) -> PostgresAccess:
        """The same for every call with one folder."""
        return _access(folder)

    def lose_locks(self, folder: Path) -> None:
        """What no holder notices: its lease has ended, and another one can have it."""
        name = _access(folder).address.url.rpartition("/")[2]
        start_postgres().execute(
            "UPDATE reconciler.lease SET until = clock_timestamp() - interval '1 s'", name
        )


@cache
def start_postgres() -> PostgresServer:
    """The server of this test process."""
    server = PostgresServer()
    atexit.register(server.close)
    server.start()
    return server


@cache
def _access(folder: Path) -> PostgresAccess:
    return make_access(start_postgres().create_database(), folder)


def make_access(url: str, folder: Path, *, host: str = "host-a", **rules: str) -> PostgresAccess:
    """A host's access to a database, with its key in a folder."""
    return PostgresAccess(PostgresAddress(url), folder / "host.key", HostIdentity(host, rules))


KINDS = {"sqlite": SqliteKind()}
"""A new kind of store is one more line here."""

if os.environ.get("RECONCILE_COMPONENTS") == "required":
    KINDS["postgresql"] = PostgresKind()  # .ci/components installs the server
