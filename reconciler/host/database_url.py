"""The URL of a PostgreSQL database that several hosts share: what may stand in it, and never a password."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from reconciler.errors import UsageError

SCHEMES: Final = ("postgresql", "postgres")

_OPTIONS: Final = frozenset(
    {"service", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "channel_binding", "gssencmode"}
    | {"target_session_attrs", "load_balance_hosts", "require_auth", "host", "port", "user", "dbname"}
)
"""Parameters of libpq that an address may have; the others are this program's own matter."""

_FORM: Final = "write postgresql://USER@HOST:PORT/DATABASE"
_ELSEWHERE: Final = (
    "put it into a password file (PGPASSFILE, ~/.pgpass), a service file (PGSERVICEFILE, ?service=NAME), or "
    "a file that `database.password` of the host configuration names"
)


def is_database_url(text: str) -> bool:
    """Whether a state is named by the URL of a database, valid or not."""
    return text.partition("://")[0].lower() in SCHEMES and "://" in text


def parse_postgres_url(url: str) -> str:
    """Check the address of a PostgreSQL store, and give it back.

    Raises:
        UsageError: it is not valid, or has a password; neither is quoted.
    """
    try:
        parts = urlsplit(url)
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise UsageError("the address of the database is not a valid URL", remedy=_FORM) from None
    user, _, places = parts.netloc.rpartition("@")
    # Everybody on this host can read the arguments of its processes.
    if ":" in user or "@" in user or any(key == "password" for key, _ in options):
        raise UsageError("the address of the database contains a password", remedy=_ELSEWHERE)
    if wrong := sorted({key for key, _ in options} - _OPTIONS):
        raise UsageError(
            f"the address of the database has the unknown parameter {wrong[0]!r}",
            remedy=f"known are {', '.join(sorted(_OPTIONS))}",
        )
    if parts.fragment or "/" in parts.path.strip("/"):
        raise UsageError("the address of the database is not a valid URL", remedy=_FORM)
    if not all(re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]/]*)(:\d+)?", one) for one in places.split(",")):
        raise UsageError("the address of the database has an invalid host or port", remedy=_FORM)
    if not parts.path.strip("/") and not {"dbname", "service"} & {key for key, _ in options}:
        raise UsageError("the address of the database names no database", remedy=_FORM)
    return url
