"""What comes to its end at a known moment: certificates, tokens, overrides, licences; pure data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from reconciler.core.timestamps import format_minute, format_timestamp

EXPIRY_WARNING: Final = 30 * 24 * 3600.0
"""Seconds before its end at which something is warned of, if the fleet file says nothing else."""


class ExpiryKind(StrEnum):
    """What kind of thing ends."""

    CERTIFICATE = "certificate"
    """It is delivered to nodes."""

    LISTENER = "listener certificate"
    """Nodes see it when they call this host."""

    AUTHORITY = "authority certificate"
    """This host checks nodes by it."""

    TOKEN = "token"  # noqa: S105  (a word)
    OVERRIDE = "override"
    LICENCE = "licence"


@dataclass(frozen=True, slots=True)
class Expiry:
    """One thing that ends.

    Args:
        what: its name for people, such as the path of a file.
        target: the cluster, or `cluster/node`, that it is of; empty for this host or the whole fleet.
        at: when it ends.
    """

    kind: ExpiryKind
    what: str
    target: str
    at: datetime

    def describe(self, now: datetime) -> str:
        """`certificate tls/site.pem of edge expires on 2026-12-05 12:00 UTC, in 5 days`."""
        owner = f" of {self.target}" if self.target else ""
        days = int(abs(self.at - now) / timedelta(days=1))
        distance = f"{days} days" if days != 1 else "1 day"
        when = f"expired at {format_minute(self.at)} UTC, {distance} ago"
        if self.at > now:
            when = f"expires at {format_minute(self.at)} UTC, in {distance}"
        return f"{self.kind.value} {self.what}{owner} {when}"

    def plain(self, now: datetime) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "kind": self.kind.value,
            "what": self.what,
            "target": self.target,
            "at": format_timestamp(self.at),
            "expired": self.at <= now,
        }


def select_soon(expiries: Iterable[Expiry], now: datetime, warning: float) -> tuple[Expiry, ...]:
    """Those that have ended, or end within so many seconds, the first one first, each once."""
    limit = now + timedelta(seconds=warning)
    found = {one for one in expiries if one.at <= limit}
    return tuple(sorted(found, key=lambda one: (one.at, one.kind, one.target, one.what)))
