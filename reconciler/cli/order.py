"""What the command line asks of the commands that plan or apply."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from reconciler.cli.options import Format
from reconciler.core.retention import KEPT_RUNS
from reconciler.host.host import Host
from reconciler.planning.prior import NO_BASE, Base
from reconciler.sources.signatures.trust import Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the command line asks for."""

    source: str = "."
    ref: str = ""
    path: str = ""
    sha256: str = ""
    only: str = ""
    yes: bool = False
    format: Format = Format.TEXT
    state: Path
    keep: int = KEPT_RUNS
    host: Host = field(default_factory=Host)
    detailed_exitcode: bool = False
    check: bool = False
    trigger: str = "command"
    out: Path | None = None
    trust: Trust | None = None
    base: Base = NO_BASE
