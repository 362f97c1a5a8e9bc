"""What the watch is told on its command line and in its environment, checked before anything starts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.core.endpoint import format_url_host
from reconciler.core.retention import KEPT_RUNS
from reconciler.errors import UsageError
from reconciler.host.host import Host
from reconciler.sources.signatures.trust import Trust

DAY = 86_400.0
UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": DAY}
DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+|\d+(?:\.\d+)?", re.ASCII)
OFF = "off"


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where the HTTP endpoints listen; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{format_url_host(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """All that one watch runs by.

    Args:
        source: folder, git URL or path, or tarball, as the operator wrote it.
        state: the state directory.
        keep: how many runs the history keeps.
        host: what this machine allows.
        uncommitted: whether a folder in a git work tree is followed as its files are saved, not as committed.
        only: one cluster's or node's name; empty for all.
        interval: seconds after a pass until the nodes are looked at again.
        poll: seconds after which the source is asked again.
        listen: where the endpoints are; None for none.
        log_format: `console`, `json`, or empty to decide by what stderr is.
        grace: seconds that running steps have to finish once the watch is told to stop.
        secret: shared with the forge, empty where the webhook is not wanted.
        trust: whose signature every revision has to have; None where none is asked.
    """

    source: str
    state: Path
    keep: int = KEPT_RUNS
    host: Host = field(default_factory=Host)
    ref: str = ""
    path: str = ""
    sha256: str = ""
    uncommitted: bool = False
    only: str = ""
    dry_run: bool = False
    interval: float = 300.0
    poll: float = 30.0
    listen: ListenAddress | None = None
    log_format: str = ""
    grace: float = 90.0
    secret: str = ""
    trust: Trust | None = None


def parse_duration_option(text: str, *, name: str, least: float = 0.1, most: float = 30 * DAY) -> float:
    """Seconds that `90`, `1.5s`, `5m`, `1h30m` or `1d` stand for.

    Args:
        text: one or more numbers, each with a unit; a bare number is seconds.
        name: the option, for the message.
        least: seconds below which the value is refused.
        most: seconds above which the value is refused.

    Raises:
        UsageError: not a duration, or out of bounds.
    """
    clean = text.strip().lower()
    if not DURATION.fullmatch(clean):
        raise UsageError(f"{name}: {text!r} is not a duration", remedy="write it like 30s, 5m or 1h30m")
    parts = re.findall(r"([\d.]+)([smhd]?)", clean)
    seconds = sum(float(number) * UNITS[unit or "s"] for number, unit in parts)
    if not least <= seconds <= most:
        raise UsageError(f"{name}: {text!r} is not between {least:g} s and {most:g} s")
    return seconds


def parse_listen_address(text: str) -> ListenAddress | None:
    """Where to listen: `HOST:PORT`, `[IPv6]:PORT`, `:PORT` for loopback; None for `off`.

    Raises:
        UsageError: not of that form.
    """
    if text.strip().lower() == OFF:
        return None
    host, colon, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    ambiguous = ":" in host and not text.strip().startswith("[")
    if not colon or ambiguous or not port.isascii() or not port.isdigit() or int(port) > 65_535:  # noqa: PLR2004
        remedy = "write it like 127.0.0.1:8642 or [::1]:8642, or off"
        raise UsageError(f"--listen: {text!r} is not an address and a port", remedy=remedy)
    return ListenAddress(host or "127.0.0.1", int(port))
