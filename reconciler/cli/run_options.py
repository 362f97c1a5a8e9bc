"""The options of the commands that plan or apply, together with what this host adds to them."""

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
    """What one command plans or applies.

    Args:
        state: the state folder; None to plan without one.
        trigger: what started the run, for the history.
        by: claimed name of the person who asks; `actor` has the real user beside it.
        while_suspended: override suspensions in this run; they stay in force for all others.
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
        """Who asks for the run."""
        return get_current_actor(claim=self.by, why=self.why)

    @property
    def source_cache(self) -> Path:
        """The folder with copies of sources."""
        return find_source_cache(self.state.path if self.state else None)

    @property
    def required_state(self) -> StateFolder:
        """The state folder of a command that writes.

        Raises:
            UsageError: the options ask to use none.
        """
        if self.state is None:
            raise UsageError("--no-state works only with --dry-run", remedy="add --dry-run, or leave it out")
        return self.state


def build_run_options(
    context: typer.Context,
    asked: RunOptions,
    *,
    writes: bool,
    host_config: Path | None,
    state: Path | None,
    no_state: bool = False,
    keep: int | None = None,
    require_signed: SignatureKind | None,
    allowed_signers: Path | None,
    revoked_signers: Path | None,
    base: str | None = None,
) -> RunOptions:
    """Complete the options of a command with the configuration, state folder and signers of this host.

    Args:
        context: of the command.
        asked: what the command line asks for.
        writes: whether the command writes to the state folder; reading it through a watch is then not enough.
        host_config: value of `--host-config`.
        state: value of `--state`.
        no_state: value of `--no-state`.
        keep: value of `--keep`.
        require_signed: value of `--require-signed`.
        allowed_signers: value of `--allowed-signers`.
        revoked_signers: value of `--revoked-signers`.
        base: what the revision will be merged into; empty to ask the environment; None for no merge target.

    Raises:
        ReconcilerError: the host configuration or the state cannot be used, or options contradict each other.
    """
    host = read_host(context, host_config, asked.source)
    found = (
        require_state(host, state)
        if writes and not no_state
        else find_readable_state(host, state, without=no_state)
    )
    return replace(
        asked,
        host=host,
        state=found,
        keep=read_kept_runs(host, keep),
        base=NO_BASE if base is None else read_merge_target(host, base),
        trust=read_trust(host, require_signed, allowed_signers, revoked_signers),
    )
