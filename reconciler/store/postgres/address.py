"""The address of a PostgreSQL store: its parts, how it is shown, and where its password comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from reconciler.errors import StateError, UsageError
from reconciler.host.files import FileRefused, read_regular

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
_LARGEST: Final = 4096


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Where a database is, and how this host logs in.

    Args:
        url: without a password.
        password: file with the password; None for libpq's own sources.
        variables: `PGPASSFILE` and the like, as at the start of the program.
    """

    url: str
    password: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return self.url.partition("?")[0] if urlsplit(self.url).netloc else self.url

    def parameters(self, seconds: int) -> dict[str, Any]:
        """What psycopg connects with.

        Args:
            seconds: for the connection.

        Raises:
            StateError: the file of the password cannot be read.
        """
        parts = urlsplit(self.url)
        found: dict[str, Any] = dict(parse_qsl(parts.query))
        user, at, places = parts.netloc.rpartition("@")
        if at:
            found["user"] = unquote(user)
        if places:
            pairs = [re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d*))?", one) for one in places.split(",")]
            found["host"] = ",".join(unquote(pair[1]).strip("[]") for pair in pairs if pair)
            if any(pair and pair[2] for pair in pairs):
                found["port"] = ",".join((pair[2] or "5432") for pair in pairs if pair)
        if name := parts.path.strip("/"):
            found["dbname"] = unquote(name)
        for variable, parameter in {"PGPASSFILE": "passfile", "PGSERVICEFILE": "servicefile"}.items():
            if value := self.variables.get(variable):
                found[parameter] = value
        if "service" not in found and (service := self.variables.get("PGSERVICE")):
            found["service"] = service
        if self.password is not None:
            found["password"] = _read_password(self.password)
        return found | {
            "connect_timeout": seconds,
            "application_name": "reconcile",
            # A server that vanished must not hold a host for the hours of TCP's own patience.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
            "client_encoding": "UTF8",
        }


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


def _read_password(file: Path) -> str:
    try:
        return read_regular(file, limit=_LARGEST).decode().rstrip("\r\n")
    except (FileRefused, UnicodeDecodeError) as error:
        reason = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise StateError(
            f"the file with the password of the database, {file}, {reason}",
            remedy="correct `database.password` of the host configuration",
        ) from None
