"""The options of the commands that plan or apply, together with what this host adds to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.cli.options import PlanFormat, SignerOptions, read_kept_runs
from reconciler.cli.state_folder import StateFolder, find_source_cache
from reconciler.core.actor import Actor
from reconciler.core.retention import KEPT_RUNS
from reconciler.core.selection import EVERYTHING, Selection
from reconciler.drivers.registry import DRIVERS, select_drivers
from reconciler.errors import UsageError
from reconciler.host.actor import get_current_actor
from reconciler.host.host import Host
from reconciler.planning.inventory_source import add_inventory
from reconciler.planning.prior_revision_reader import NO_BASE, MergeTarget
from reconciler.planning.unread_limit import NO_UNREAD, UnreadLimit
from reconciler.ports.source import Source
from reconciler.sources.locate import locate_source
from reconciler.sources.signatures.trust import Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What one command plans or applies.

    Args:
        only: what it is restricted to.
        all_or_nothing: whether the refusal of one cluster refuses the whole plan.
        state: the state folder; None to plan without one.
        trigger: what started the run, for the history.
        by: claimed name of the person who asks; `actor` has the real user beside it.
        unread_limit: how many nodes may be unread without an error.
        keeps_inventory: whether new lists of instances are kept in the state folder.
        restored: the package to which one cluster goes back; empty for none.
    """

    source: str = "."
    ref: str = ""
    path: str = ""
    sha256: str = ""
    only: Selection = EVERYTHING
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
    unread_limit: UnreadLimit = NO_UNREAD
    all_or_nothing: bool = False
    keeps_inventory: bool = False
    restored: str = ""

    @classmethod
    def for_writing(
        cls,
        host: Host,
        state: StateFolder,
        signer_options: SignerOptions,
        *,
        by: str,
        why: str,
        keep: int | None = None,
    ) -> RunOptions:
        """What all commands have in common that write to a state; the rest is put in with `replace`.

        Args:
            host: this machine.
            state: its state folder.
            signer_options: who may sign revisions.
            by: claimed name of the person who asks.
            why: the reason.
            keep: number of runs to keep, from the command line; None for what the host says.
        """
        return cls(
            host=host,
            state=state,
            trust=signer_options.read_trust(host),
            by=by,
            why=why,
            keep=read_kept_runs(host, keep),
        )

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

    def locate_package(self) -> Source:
        """The package to which one cluster goes back.

        Raises:
            ReconcilerError: there is no such package.
        """
        return locate_source(
            self.restored,
            cache=self.source_cache,
            trust=self.trust,
            environment=self.host.environment,
            accounts=self.host.config.aws,
        )

    def locate(self, **more: Any) -> Source:
        """The source of the command.

        Args:
            more: arguments of `locate_source` that only some commands have, such as `trust`.

        Raises:
            ReconcilerError: there is no such source, or an option does not fit it.
        """
        source = locate_source(
            self.source,
            ref=self.ref,
            path=self.path,
            cache=self.source_cache,
            environment=self.host.environment,
            accounts=self.host.config.aws,
            **more,
        )
        return add_inventory(
            source,
            self.host,
            select_drivers(self.host.config, DRIVERS),
            state=self.state.path if self.state else None,
            is_applying=self.keeps_inventory,
        )
