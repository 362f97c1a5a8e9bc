"""The clock of this machine."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present moment, the clock of everything that is not given another."""
    return datetime.now(UTC)


def read_boot_clock() -> float:
    """Seconds that go on while the machine is suspended, as those of another machine do."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
