"""The clock of this machine."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present moment, the clock of everything that is not given another."""
    return datetime.now(UTC)
