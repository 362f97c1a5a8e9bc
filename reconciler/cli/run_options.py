"""What the command line asks of the commands that plan or apply."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import typer

from reconciler.cli.host_loader import read_host
from reconciler.cli.options import PlanFormat, SignatureKind, read_kept_runs, read_merge_target, read_trust
from reconciler.cli.state_folder import StateFolder, find_readable_state, find_source_cache, require_state
from reconciler.core.actor import Actor
from reconciler.core.retention import KEPT_RUNS
from reconciler.errors import UsageError
from reconciler.host.actor import get_current_actor
from reconciler.host.host import Host
from reconciler.planning.prior_revisions import NO_BASE, MergeTarget
from reconciler.sources.signatures.trust import Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line asks for.

    Args:
        state: the state folder; None to plan without what is remembered.
        while_suspended: set suspensions aside, which stay for all others.
    """

    source: str = "."
    ref: str = ""
    path: str = ""
    sha256: str = ""
    only: str = ""
    yes: bool = False
    format: PlanFormat = PlanFormat.TEXT
    state: StateFolder | None = None
    keep: int = KEPT_RUNS
    host: Host = field(default_factory=Host)
    detailed_exitcode: bool = False
    check: bool = False
    trigger: str = "command"
    out: Path | None = None
    trust: Trust | None = None
    base: MergeTarget = NO_BASE
    by: str = ""
    why: str = ""
    while_suspended: bool = False

    @property
    def actor(self) -> Actor:
        """Who asks."""
        return get_current_actor(claim=self.by, why=self.why)

    @property
    def copies(self) -> Path:
        """Where copies of sources are kept."""
        return find_source_cache(self.state.path if self.state else None)

    @property
    def journal(self) -> Path:
        """The state folder of an order that writes.

        Raises:
            UsageError: the order is to do without one.
        """
        return self.used_state.path

    @property
    def used_state(self) -> StateFolder:
        """The same, with what names it."""
        if self.state is None:
            raise UsageError("--no-state works only with --dry-run", remedy="add --dry-run, or leave it out")
        return self.state


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOptions:
    """The options by which a command line chooses among what this host has; each as it was given.

    Args:
        base: what the revision is to be merged into, empty for what a CI system says; None for nothing.
    """

    host_config: Path | None = None
    state: Path | None = None
    no_state: bool = False
    keep: int | None = None
    require_signed: SignatureKind | None = None
    allowed_signers: Path | None = None
    revoked_signers: Path | None = None
    base: str | None = None


def build_run_options(
    context: typer.Context, options: HostOptions, asked: RunOptions, *, writes: bool
) -> RunOptions:
    """An order with what this host adds to it: its configuration, its state, whose signatures count.

    Args:
        context: of the command.
        options: what the command line chooses of the host.
        asked: what the command line asks for.
        writes: whether the state is written to, so that reading it through a watch is not enough.

    Raises:
        ReconcilerError: the host configuration or the state cannot be used, or options contradict each other.
    """
    host = read_host(context, options.host_config, asked.source)
    found = (
        require_state(host, options.state)
        if writes and not options.no_state
        else find_readable_state(host, options.state, without=options.no_state)
    )
    return replace(
        asked,
        host=host,
        state=found,
        keep=read_kept_runs(host, options.keep),
        base=NO_BASE if options.base is None else read_merge_target(host, options.base),
        trust=read_trust(host, options.require_signed, options.allowed_signers, options.revoked_signers),
    )
