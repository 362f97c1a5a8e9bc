"""What the command line asks of the commands that plan or apply."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from reconciler.cli.options import Format
from reconciler.cli.state_folder import copies_of_sources
from reconciler.core.actor import Actor
from reconciler.core.retention import KEPT_RUNS
from reconciler.errors import UsageError
from reconciler.host.actor import this_actor
from reconciler.host.host import Host
from reconciler.planning.prior import NO_BASE, Base
from reconciler.sources.signatures.trust import Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the command line asks for.

    Args:
        state: the state folder; None to plan without what is remembered.
    """

    source: str = "."
    ref: str = ""
    path: str = ""
    sha256: str = ""
    only: str = ""
    yes: bool = False
    format: Format = Format.TEXT
    state: Path | None
    keep: int = KEPT_RUNS
    host: Host = field(default_factory=Host)
    detailed_exitcode: bool = False
    check: bool = False
    trigger: str = "command"
    out: Path | None = None
    trust: Trust | None = None
    base: Base = NO_BASE
    by: str = ""
    why: str = ""

    @property
    def actor(self) -> Actor:
        """Who asks."""
        return this_actor(claim=self.by, why=self.why)

    @property
    def copies(self) -> Path:
        """Where copies of sources are kept."""
        return copies_of_sources(self.state)

    @property
    def journal(self) -> Path:
        """The state folder of an order that writes.

        Raises:
            UsageError: the order is to do without one.
        """
        if self.state is None:
            raise UsageError("--no-state works only with --dry-run", remedy="add --dry-run, or leave it out")
        return self.state
