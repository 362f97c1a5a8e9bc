"""Guards: pure functions that check every plan before the first write."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from typing import Any

from reconciler.core.bus_channels import ChannelIndex
from reconciler.core.drift import Drift
from reconciler.core.entries import ClusterEntry
from reconciler.core.file_state import FileStatus
from reconciler.core.host_entries import EntryKind
from reconciler.core.memory import ClusterMemory, PendingCall
from reconciler.core.observation import Observed
from reconciler.core.pins import PinState
from reconciler.core.plan import ClusterPlan, Revision
from reconciler.core.policy import ChangeRules, Override, Policy
from reconciler.core.reservations import ReservedNodes
from reconciler.core.rollout_rules import RolloutProgress
from reconciler.core.wave_state import WaveState
from reconciler.diagnostic import Diagnostic, Severity


@dataclass(frozen=True, slots=True)
class GuardContext:
    """What a guard looks at: one cluster's plan with all it was made from.

    `desired` and the values in `observed` are the product's own types.

    Args:
        change_rules: how and when the fleet file allows changes of the cluster.
        revision: of the desired state; None if a guard is run on a plan without one.
        now: the present moment; without one, guards of time find nothing.
        digest: the id that an approval is bound to; empty if the policy needs no approval.
        node_facts: node -> what the store remembers of it from runs of this fleet.
        commands: names of the host's commands; None if another host applies the plan.
        listeners: cluster and node, with a `/` between them, and each channel of a message bus on which it
            listens for settings by the files of the whole fleet.
        unknown_entries: what the fleet file names of the host configuration, and the host does not have.
        place_conflicts: place conflicts of its nodes, across clusters and fleets.
        places: node -> its place, by every address.
        released_places: places that earlier revisions of this fleet named, and this one does not.
        content: fingerprint of the cluster's desired content, without the stamp of the revision.
        attempts: step -> fact to write with its intent, which counts the attempt.
        facts_to_store: node -> facts that the reading established, for a pass that may write.
        stalled: nodes that nothing more is sent to, each with the reason.
        progress: the rollout that this plan continues; None if there is none.
        is_waiting: whether a call is in flight, or an attempt is not due yet.
        withheld_nodes: nodes that differ and that nothing is sent to now, each with how it differs.
        stamps: node -> the revision stamp that it shows.
        uncounted_nodes: nodes that the product expects to leave, so that they do not count for limits.
        unmanaged: pattern of fields that are not ours -> number of nodes that show a value there.
        remarks: warnings that are not part of the plan, so that its id is the same on every host.
        can_select_node: whether a run may be restricted to one node of the cluster, for remedies.
        superseded: offers that are not wanted any more, because the desired content has changed since.
        as_desired: nodes that show their desired content.
        refused: stalled nodes that definitely refused their content.
        polling: nodes that poll.
        reporting: nodes that report to this host, also those that poll.
        wave_state: of the open wave, if its nodes poll; None otherwise.
        digests: node -> short keyed fingerprint of its content; see `RolloutProgress`.
        reserved: the nodes that somebody may stop now; they are in `observed.reserved`, too.
        files: node -> its files, for people.
        pin: what the revision means for the cluster's pin; None if it is not pinned.
        drift: node -> its drift.
        shown: node -> keyed fingerprint of what it shows, where nodes are independent.
        has_inventory: whether an inventory gives nodes of the cluster.
        unread: why the cluster's nodes are not known, because an inventory gives them; empty if they are.
    """

    plan: ClusterPlan
    entry: ClusterEntry
    desired: Any
    observed: Observed[Any]
    policy: Policy = field(default_factory=Policy)
    cluster_memory: ClusterMemory = field(default_factory=ClusterMemory)
    change_rules: ChangeRules = field(default_factory=ChangeRules)
    revision: Revision | None = None
    now: datetime | None = None
    digest: str = ""
    node_facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    files: Mapping[str, tuple[FileStatus, ...]] = field(default_factory=dict)
    commands: frozenset[str] | None = None
    unknown_entries: Mapping[tuple[EntryKind, str], Diagnostic] = field(default_factory=dict)
    listeners: ChannelIndex[str] = field(default_factory=ChannelIndex)
    place_conflicts: tuple[Diagnostic, ...] = ()
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    released_places: tuple[str, ...] = ()
    content: str = ""
    attempts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    facts_to_store: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    stalled: Mapping[str, str] = field(default_factory=dict)
    progress: RolloutProgress | None = None
    is_waiting: bool = False
    withheld_nodes: Mapping[str, str] = field(default_factory=dict)
    stamps: Mapping[str, str] = field(default_factory=dict)
    uncounted_nodes: frozenset[str] = frozenset()
    can_select_node: bool = True
    unmanaged: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[Diagnostic, ...] = ()
    superseded: tuple[PendingCall, ...] = ()
    as_desired: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    polling: frozenset[str] = frozenset()
    reporting: frozenset[str] = frozenset()
    wave_state: WaveState | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    reserved: ReservedNodes = field(default_factory=ReservedNodes)
    pin: PinState | None = None
    drift: Mapping[str, Drift] = field(default_factory=dict)
    shown: Mapping[str, str] = field(default_factory=dict)
    unread: str = ""
    has_inventory: bool = False

    @property
    def partial_apply_hint(self) -> str:
        """How to change less in one run, in the imperative, for remedies."""
        return (
            "apply in parts with --only"
            if self.can_select_node
            else "apply in parts, one commit after the other"
        )

    def violation(
        self, code: str, message: str, remedy: str, *, hold: bool = False, ends: datetime | None = None
    ) -> Diagnostic:
        """A violation of the cluster as a whole; its name is put before the message."""
        cluster = self.plan.cluster
        return Diagnostic(
            Severity.ERROR, code, f"{cluster}: {message}", remedy, target=cluster, hold=hold, ends=ends
        )

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to send, and no open wave whose gates can be evaluated now."""
        has_open_wave = self.progress is not None and bool(self.progress.wave)
        return not self.plan.steps and (self.is_waiting or not has_open_wave)


@dataclass(frozen=True, slots=True)
class Guard:
    """A rule that every plan is checked against; calling it gives the violations.

    Args:
        codes: the codes that its violations may have, by which a fleet file's overrides name it.
        rule: gives the violations of one cluster's plan; pure.
    """

    codes: tuple[str, ...]
    rule: Callable[[GuardContext], Iterable[Diagnostic]]

    def __call__(self, context: GuardContext) -> Iterable[Diagnostic]:
        """The violations of one cluster's plan."""
        return self.rule(context)


def guard(*codes: str) -> Callable[[Callable[[GuardContext], Iterable[Diagnostic]]], Guard]:
    """Make a function a guard that finds violations of these codes and of no others."""
    return partial(Guard, codes)


def run_guards(context: GuardContext, guards: Iterable[Guard]) -> tuple[Diagnostic, ...]:
    """The violations of all guards, sorted by code and target; none means the plan may be applied."""
    # Sorted, so that the refusal is the same on every host, whatever the order of the guards.
    found = [violation for guard in guards for violation in guard(context)]
    return tuple(sorted(found, key=lambda violation: (violation.code, violation.target, violation.message)))


@dataclass(frozen=True, slots=True)
class GuardResult:
    """Violations in force, and those that an override sets aside, each with its override."""

    in_force: tuple[Diagnostic, ...]
    overridden: tuple[tuple[Diagnostic, Override], ...] = ()


def refuse_everything(
    violations: Iterable[Diagnostic], clusters: Container[str], *, all_or_nothing: bool = False
) -> bool:
    """Whether violations refuse the plans of all clusters, and not only of those that they are about.

    Args:
        violations: in force; a hold never does.
        clusters: those of the plan: what is about no single one of them is a verdict on the whole fleet.
        all_or_nothing: whether the refusal of one cluster counts for all.
    """
    return any(not one.hold and (all_or_nothing or one.cluster not in clusters) for one in violations)


def apply_overrides(
    violations: Iterable[Diagnostic], overrides: Sequence[Override], today: date
) -> GuardResult:
    """Violations with the overrides applied that are valid today; an expired override has no effect."""
    in_force: list[Diagnostic] = []
    overridden: list[tuple[Diagnostic, Override]] = []
    # An expired override has no effect, so that a forgotten one does not disable a guard for good.
    for violation in violations:
        holding = [
            override
            for override in overrides
            if override.until >= today and override.covers(violation.code, violation.target)
        ]
        if holding:
            overridden.append((violation, holding[0]))
        else:
            in_force.append(violation)
    return GuardResult(tuple(in_force), tuple(overridden))
