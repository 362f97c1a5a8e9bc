"""The status of a fleet: each node by its own answer, what it runs since when, and what holds changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from reconciler.core.drift import Drift
from reconciler.core.expiry import Expiry
from reconciler.core.file_state import FileStatus
from reconciler.core.guard import GuardContext, apply_overrides, run_guards
from reconciler.core.operations import Operation
from reconciler.core.pins import PinState
from reconciler.core.plan import Revision
from reconciler.core.reservations import Reservation
from reconciler.core.revision import shorten_commit, strip_uncommitted
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.guards.change_control import find_change_holds
from reconciler.guards.cluster_order import CODE as ORDER
from reconciler.guards.removed_clusters import CODE as GONE
from reconciler.planning.inventory_report import UNREAD as UNREAD_INVENTORY
from reconciler.planning.inventory_report import InventoryUse, find_unread_clusters, list_inventory_uses
from reconciler.planning.leaving_nodes import LeavingNode, list_leaving_nodes
from reconciler.planning.node_conditions import UNREAD, NodeCondition, judge_nodes
from reconciler.planning.plan_pass import PlanResult
from reconciler.planning.plan_summary import PlanSummary
from reconciler.ports.node_store import NodeContact
from reconciler.ports.store import ApprovalRequest, OpenOrders, RunSummary
from reconciler.text.node_names import group_by_key

_WITH_CONTENT = frozenset({NodeCondition.AS_DESIRED, NodeCondition.RESTART})
"""Conditions of a node that has the content of this revision."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node.

    Args:
        reason: why it is not as desired; empty if it is.
        remedy: what to do about it, if it could not be read and the failure shows that; else empty.
        revision: the one whose content it has: of a node as desired this revision, of another node the last
            one that it was seen with; empty if none is known.
        since: when that was first seen; None if it was not seen before.
        stamp: the revision stamp that it shows, of the revision that changed its content last.
        polls: whether it polls.
        reports: whether it reports to this host; every node that polls does.
        is_silent: whether it called before, and not for longer than it may by the fleet file.
        heard: when it last called this host by itself; None if it never did.
        label: the version that its last poll showed; empty if it showed none.
        clash: what it says of itself that does not agree with its token; empty for nothing.
        claimed: when a message on a channel that several nodes share had its name last; it proves nothing.
        files: its files, where the product has some.
        hold: the order that nothing is sent to it, of several the one that ends last; None if there is none.
        drift: that it was changed behind our back since it was last as desired; None if it was not.
    """

    node: str
    state: NodeCondition
    reason: str = ""
    revision: str = ""
    since: datetime | None = None
    stamp: str = ""
    polls: bool = False
    reports: bool = False
    is_silent: bool = False
    heard: datetime | None = None
    label: str = ""
    clash: str = ""
    claimed: datetime | None = None
    files: tuple[FileStatus, ...] = ()
    remedy: str = ""
    hold: Reservation | None = None
    drift: Drift | None = None

    @property
    def has_content(self) -> bool:
        """Whether it has the content of this revision."""
        return self.state in _WITH_CONTENT


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """One cluster.

    Args:
        findings: findings about the cluster as a whole.
        holds: the holds in force now.
        violations: other violations that would refuse a run.
        waiting: the plan that waits for an approval, if there is one.
        former_names: its earlier names, the latest last.
        unmanaged: pattern of fields that are not ours -> number of nodes that show a value there.
        left_out: how many of its nodes were not looked at, because the command was restricted to others.
        pin: its pin; None if it is not pinned.
        revision: the one that its nodes are compared with, if it is pinned to another one; else None.
        leaving: nodes that the fleet file no longer names.
        pending: how many steps are planned for it.
        inventory: the lists of instances that give its nodes.
    """

    cluster: str
    kind: str
    nodes: tuple[NodeStatus, ...]
    findings: tuple[Diagnostic, ...] = ()
    holds: tuple[Diagnostic, ...] = ()
    violations: tuple[Diagnostic, ...] = ()
    waiting: ApprovalRequest | None = None
    former_names: tuple[str, ...] = ()
    unmanaged: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0
    pin: PinState | None = None
    revision: Revision | None = None
    leaving: tuple[LeavingNode, ...] = ()
    pending: int = 0
    inventory: tuple[InventoryUse, ...] = ()

    @property
    def errors(self) -> int:
        """How many errors there are about the cluster as a whole."""
        return sum(finding.severity is Severity.ERROR for finding in self.findings)

    @property
    def is_converged(self) -> bool:
        """Whether nothing is planned, every node is as desired, and there is no error about the cluster."""
        is_idle = not self.errors and not self.pending
        return is_idle and all(node.state is NodeCondition.AS_DESIRED for node in self.nodes)


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """All clusters.

    Args:
        last_run: the newest run of this management host.
        removed_clusters: violations about clusters that the fleet file no longer names.
        summary: of the pass.
        operations: those that have not ended, oldest first.
        reservations: of nodes that somebody may stop now.
        holds: orders that nothing is sent to a node, by command or in the fleet file.
        expiries: what has expired or expires soon, the first one first.
        at: when the nodes were read; None if no cluster was.
    """

    revision: Revision
    clusters: tuple[ClusterStatus, ...]
    last_run: RunSummary | None = None
    removed_clusters: tuple[Diagnostic, ...] = ()
    operations: tuple[Operation, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    summary: PlanSummary = field(default_factory=PlanSummary)
    holds: tuple[Reservation, ...] = ()
    expiries: tuple[Expiry, ...] = ()
    at: datetime | None = None

    @property
    def is_any_different(self) -> bool:
        """Whether a node that was read and is not stalled differs, or a cluster was removed."""
        unread = {NodeCondition.UNREACHABLE, *UNREAD.values()}
        states = {node.state for cluster in self.clusters for node in cluster.nodes}
        return bool(
            self.removed_clusters
            or states - unread - {NodeCondition.AS_DESIRED, NodeCondition.STALLED}
            or any(cluster.pending for cluster in self.clusters)
        )

    @property
    def is_converged(self) -> bool:
        """Whether every cluster is converged, and none was removed without an override."""
        return not self.removed_clusters and all(cluster.is_converged for cluster in self.clusters)


def compute_status(
    plan_result: PlanResult,
    orders: OpenOrders,
    last: RunSummary | None,
    contacts: Sequence[NodeContact] = (),
) -> FleetStatus:
    """The status of the clusters of a fresh plan pass.

    Args:
        plan_result: of the pass.
        orders: open ones.
        last: the newest run.
        contacts: what is known of the calls of nodes.
    """
    heard = {(one.cluster, one.node): one for one in contacts}
    at = max((context.now for context in plan_result.guard_contexts if context.now), default=None)
    parts = _FleetParts.of(plan_result, at or datetime.now(UTC))
    return FleetStatus(
        plan_result.plan.revision,
        tuple(
            _compute_cluster_status(plan_result, context, orders, heard, parts)
            for context in plan_result.guard_contexts
        ),
        last,
        tuple(violation for violation in plan_result.violations if violation.code == GONE),
        reservations=tuple(
            one
            for context in plan_result.guard_contexts
            for _, one in sorted(context.reserved.nodes.items())
            if not one.is_hold
        ),
        summary=PlanSummary.of(plan_result),
        holds=tuple(one for context in plan_result.guard_contexts for one in context.reserved.holds),
        at=at,
    )


@dataclass(frozen=True, slots=True)
class _FleetParts:
    """What the whole fleet's lists have about each cluster; grouped once, and not searched for each cluster.

    Args:
        unread: why the nodes of a cluster are not known.
        inventory: the lists of instances that give its nodes.
        violations: of guards.
        warnings: of the fleet file about the order of clusters.
    """

    unread: Mapping[str, Diagnostic]
    inventory: Mapping[str, Sequence[InventoryUse]]
    violations: Mapping[str, Sequence[Diagnostic]]
    warnings: Mapping[str, Sequence[Diagnostic]]

    @classmethod
    def of(cls, plan_result: PlanResult, now: datetime) -> _FleetParts:
        """Group the lists of a pass."""
        fleet = plan_result.fleet
        uses = group_by_key(list_inventory_uses(fleet, now), lambda one: one.cluster)
        violations = group_by_key(plan_result.violations, lambda one: one.cluster)
        about_order = (one for one in fleet.warnings if one.code == ORDER)
        return cls(
            find_unread_clusters(fleet),
            {some[0].cluster: some for some in uses},
            {some[0].cluster: some for some in violations},
            {some[0].target: some for some in group_by_key(about_order, lambda one: one.target)},
        )


def _compute_cluster_status(
    plan_result: PlanResult,
    context: GuardContext,
    orders: OpenOrders,
    heard: Mapping[tuple[str, str], NodeContact],
    parts: _FleetParts,
) -> ClusterStatus:
    name = context.plan.cluster
    overrides, today = plan_result.fleet.overrides, (context.now.date() if context.now else None)
    held = run_guards(context, (find_change_holds,))
    held = apply_overrides(held, overrides, today).in_force if today else held
    names = [node.name for node in context.entry.members() if plan_result.is_chosen(name, node.name)]
    own = {f"{name}/{node}" for node in names} | set(names)
    violations = parts.violations.get(name, ())
    waiting = [one for one in orders.requests if one.cluster == name and one.digest == context.digest]
    return ClusterStatus(
        name,
        context.plan.kind,
        tuple(
            _add_contact(one, context, heard.get((name, one.node)))
            for one in _list_node_statuses(context, names)
        ),
        findings=(
            *(finding for finding in context.plan.findings if finding.target not in own),
            # An error: a cluster whose nodes are not known is not as desired.
            *((parts.unread[name],) if name in parts.unread else ()),
        ),
        # Also the clusters that it waits for, or would be changed after.
        holds=(*held, *(one for one in violations if one.code == ORDER), *parts.warnings.get(name, ())),
        violations=tuple(
            one for one in violations if one not in held and one.code not in {ORDER, UNREAD_INVENTORY}
        ),
        waiting=waiting[0] if waiting and context.digest not in context.cluster_memory.approved else None,
        former_names=context.cluster_memory.former_names,
        unmanaged=context.unmanaged,
        left_out=context.plan.left_out,
        pin=context.pin,
        revision=context.plan.revision,
        leaving=list_leaving_nodes(context, partial(plan_result.is_chosen, name)),
        pending=len(context.plan.steps),
        inventory=tuple(parts.inventory.get(name, ())),
    )


def _list_node_statuses(context: GuardContext, names: Sequence[str]) -> Iterator[NodeStatus]:
    conditions = judge_nodes(context, names)
    holds = {one.node: one for one in context.reserved.holds}
    for node in names:
        state, reason = conditions[node]
        if (drift := context.drift.get(node)) is not None:
            reason = drift.description if drift.is_kept else f"{reason}; {drift.description}"
        revision, since = _find_revision(context, node, has_content=state in _WITH_CONTENT)
        yield NodeStatus(
            node,
            state,
            reason,
            revision,
            since,
            context.stamps.get(node, ""),
            files=context.files.get(node, ()),
            hold=holds.get(node),
            drift=drift,
            remedy=getattr(context.observed.nodes.get(node), "remedy", ""),
        )


def _add_contact(status: NodeStatus, context: GuardContext, contact: NodeContact | None) -> NodeStatus:
    status = replace(status, polls=status.node in context.polling, reports=status.node in context.reporting)
    if contact is None:
        return status
    newest, reporting = max(contact.heard.values(), default=None), context.entry.reporting
    if newest is not None and reporting is not None and context.now is not None:
        is_silent = status.reports and (context.now - newest).total_seconds() > reporting.fresh_seconds
        status = replace(status, is_silent=is_silent)
    shown = replace(status, heard=newest, label=contact.label, clash=contact.clash)
    return replace(shown, claimed=contact.claimed)


def _find_revision(context: GuardContext, node: str, *, has_content: bool) -> tuple[str, datetime | None]:
    """The revision whose content a node has, or was last seen with, and since when."""
    seen, stamp = context.cluster_memory.shown_revisions.get(node), context.stamps.get(node, "")
    if has_content and context.revision is not None:
        # Without a record of this revision or of the node's stamp, it is unknown since when it has it.
        current = context.revision.id
        known = seen is not None and (
            seen.revision == current or shorten_commit(seen.revision) == strip_uncommitted(stamp)
        )
        return current, seen.since if seen is not None and known else None
    return (seen.revision, seen.since) if seen else ("", None)
