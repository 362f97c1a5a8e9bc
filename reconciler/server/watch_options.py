"""Options of the watch from its command line and environment, checked before anything starts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.core.endpoint import SocketAddress
from reconciler.core.retention import KEPT_RUNS
from reconciler.core.selection import EVERYTHING, Selection
from reconciler.errors import UsageError
from reconciler.host.config_database import SHARED_PASSES
from reconciler.host.host import Host
from reconciler.sources.signatures.trust import Trust
from reconciler.store.factory import StoreDatabase, StorePlace

DAY = 86_400.0
UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": DAY}
DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+|\d+(?:\.\d+)?", re.ASCII)
OFF = "off"


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """All options of one watch.

    Args:
        source: folder, git URL or path, or tarball, as the operator wrote it.
        state: the state directory.
        interval: seconds from a pass to the next check of the nodes.
        poll: seconds between reads of the source.
        grace: seconds that running steps have to finish when the watch stops.
        keep: how many runs the history keeps.
        host: what this machine allows.
        uncommitted: whether saved files of a git work tree count, not only committed ones.
        only: what it is restricted to.
        listen: address of the endpoints, with port 0 for a free one; None for no endpoints.
        log_format: `console`, `json`, or empty: console if stderr is a terminal.
        secret: shared with the forge; empty to accept no webhook calls.
        colour: whether the log on a terminal has colours.
        trust: required signatures of revisions; None if signatures are not required.
        database: with the store; None if it is in the state folder.
    """

    source: str
    state: Path
    interval: float
    poll: float
    grace: float
    keep: int = KEPT_RUNS
    host: Host = field(default_factory=Host)
    ref: str = ""
    path: str = ""
    sha256: str = ""
    uncommitted: bool = False
    only: Selection = EVERYTHING
    dry_run: bool = False
    listen: SocketAddress | None = None
    log_format: str = ""
    secret: str = ""
    colour: bool = True
    trust: Trust | None = None
    database: StoreDatabase | None = None

    @property
    def store(self) -> StorePlace:
        """Where the store is."""
        return self.database or self.state

    @property
    def passes(self) -> int:
        """Largest number of passes at the same time, of those that hosts share."""
        own = self.host.config.database
        return own.passes if own is not None else SHARED_PASSES


def parse_duration_option(text: str, *, name: str, least: float = 0.1, most: float = 30 * DAY) -> float:
    """Seconds in a text such as `90`, `1.5s`, `5m`, `1h30m` or `1d`.

    Args:
        text: one or more numbers, each with a unit; a number without a unit is seconds.
        name: the option, for the message.
        least: smallest allowed number of seconds.
        most: largest allowed number of seconds.

    Raises:
        UsageError: not a duration, or out of bounds.
    """
    clean = text.strip().lower()
    if not DURATION.fullmatch(clean):
        raise UsageError(f"{name}: {text!r} is not a duration", remedy="write it like 30s, 5m or 1h30m")
    parts = re.findall(r"([\d.]+)([smhd]?)", clean)
    seconds = sum(float(number) * UNITS[unit or "s"] for number, unit in parts)
    if not least <= seconds <= most:
        raise UsageError(f"{name}: {text!r} must be between {least:g} s and {most:g} s")
    return seconds


def parse_listen_address(text: str) -> SocketAddress | None:
    """Parse `HOST:PORT`, `[IPv6]:PORT` or `:PORT` (loopback); None for `off`.

    Raises:
        UsageError: not of that form.
    """
    if text.strip().lower() == OFF:
        return None
    host, colon, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    # `::1:8642` could be an address with a port or an address without one: brackets are required.
    ambiguous = ":" in host and not text.strip().startswith("[")
    if not colon or ambiguous or not port.isascii() or not port.isdigit() or int(port) > 65_535:  # noqa: PLR2004
        remedy = "write it like 127.0.0.1:8642 or [::1]:8642, or off"
        raise UsageError(f"--listen: {text!r} is not an address and a port", remedy=remedy)
    return SocketAddress(host or "127.0.0.1", int(port))
