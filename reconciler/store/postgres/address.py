"""The address of a PostgreSQL store: its parts, how it is shown, and where its password comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from reconciler.errors import StateError, UsageError
from reconciler.host.credentials import read_key_text

VARIABLES: Final = frozenset({"PGPASSFILE", "PGSERVICEFILE", "PGSERVICE"})
"""Variables of libpq that count; the others would change where a database is without being seen."""


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


def _read_password(file: Path) -> str:
    try:
        return read_key_text(file, "the file with the password of the database,").rstrip("\r\n")
    except UsageError as error:
        raise StateError(error.message, remedy=error.remedy) from error
