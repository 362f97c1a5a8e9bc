"""The status of a fleet: each node by its own answer, what it runs since when, and what holds changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from reconciler.core.file_state import FileStatus
from reconciler.core.guard import GuardContext, apply_overrides, run_guards
from reconciler.core.observation import Observation, Stale, Unauthorized, Unidentified, Unreachable
from reconciler.core.operations import Operation
from reconciler.core.plan import Revision, Step
from reconciler.core.reservations import HELD, Reservation
from reconciler.core.revision import shorten_commit, strip_uncommitted
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.guards.change_control import find_change_holds
from reconciler.guards.removed_clusters import CODE as GONE
from reconciler.planning.plan_pass import PlanResult
from reconciler.planning.plan_summary import PlanSummary
from reconciler.planning.withheld_steps import IN_FLIGHT, LATER, OFFERED, OVERDUE, STALLED
from reconciler.ports.node_store import NodeContact
from reconciler.ports.store import ApprovalRequest, OpenOrders, RunSummary

RESTART = "waits-for-restart"
"""Code of a product's finding that a node has a change which needs a restart to take effect."""


class NodeCondition(StrEnum):
    """The condition of a node."""

    AS_DESIRED = "as desired"
    DIFFERS = "differs"
    HELD = "held"
    """It differs, and a person ordered that nothing is sent to it."""
    STALLED = "stalled"
    """It never shows what it was sent, and nothing more is sent."""
    WAITS = "waits for a retry"
    """It does not show what it was sent, or a call is in flight; there is another attempt later."""
    OFFERED = "offered"
    """It may still take what it is offered."""
    OVERDUE = "overdue"
    """It did not show in time what it was offered."""
    RESTART = "waits for a restart"
    OPERATOR = "waits for an operator"
    DOUBTFUL = "doubtful"
    """It answered, nothing is planned for it, and there is a warning about it."""
    STALE = "stale"
    UNREACHABLE = "unreachable"
    UNIDENTIFIED = "not identified"
    UNAUTHORIZED = "unauthorized"


_UNREAD = {
    Unreachable: NodeCondition.UNREACHABLE,
    Unidentified: NodeCondition.UNIDENTIFIED,
    Unauthorized: NodeCondition.UNAUTHORIZED,
    Stale: NodeCondition.STALE,
}

_WITH_CONTENT = frozenset({NodeCondition.AS_DESIRED, NodeCondition.RESTART})
"""Conditions of a node that has the content of this revision."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node.

    Args:
        reason: why it is not as desired; empty if it is.
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
        files: its files, where the product has some.
        hold: the order that nothing is sent to it, of several the one that ends last; None if there is none.
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
    files: tuple[FileStatus, ...] = ()
    hold: Reservation | None = None

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
    """

    cluster: str
    kind: str
    nodes: tuple[NodeStatus, ...]
    findings: tuple[Diagnostic, ...] = ()
    holds: tuple[Diagnostic, ...] = ()
    violations: tuple[Diagnostic, ...] = ()
    waiting: ApprovalRequest | None = None
    former_names: tuple[str, ...] = ()

    @property
    def is_converged(self) -> bool:
        """Whether every node is as desired, and there is no error about the cluster."""
        has_error = any(finding.severity is Severity.ERROR for finding in self.findings)
        return not has_error and all(node.state is NodeCondition.AS_DESIRED for node in self.nodes)


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
    """

    revision: Revision
    clusters: tuple[ClusterStatus, ...]
    last_run: RunSummary | None = None
    removed_clusters: tuple[Diagnostic, ...] = ()
    operations: tuple[Operation, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    summary: PlanSummary = field(default_factory=PlanSummary)
    holds: tuple[Reservation, ...] = ()

    @property
    def is_any_different(self) -> bool:
        """Whether a node that could be read is not as desired, or a cluster was removed."""
        unread = {NodeCondition.UNREACHABLE, *_UNREAD.values()}
        states = {node.state for cluster in self.clusters for node in cluster.nodes}
        return bool(self.removed_clusters or states - unread - {NodeCondition.AS_DESIRED})

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
    return FleetStatus(
        plan_result.plan.revision,
        tuple(
            _compute_cluster_status(plan_result, context, orders, heard)
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
    )


def _compute_cluster_status(
    plan_result: PlanResult,
    context: GuardContext,
    orders: OpenOrders,
    heard: Mapping[tuple[str, str], NodeContact],
) -> ClusterStatus:
    name = context.plan.cluster
    overrides, today = plan_result.fleet.overrides, (context.now.date() if context.now else None)
    held = run_guards(context, (find_change_holds,))
    held = apply_overrides(held, overrides, today).in_force if today else held
    names = [node.name for node in context.entry.members() if plan_result.node in {"", node.name}]
    own = {f"{name}/{node}" for node in names} | set(names)
    waiting = [one for one in orders.requests if one.cluster == name and one.digest == context.digest]
    return ClusterStatus(
        name,
        context.plan.kind,
        tuple(
            _add_contact(one, context, heard.get((name, one.node)))
            for one in _list_node_statuses(context, names)
        ),
        findings=tuple(finding for finding in context.plan.findings if finding.target not in own),
        holds=held,
        violations=tuple(one for one in plan_result.violations if one.cluster == name and one not in held),
        waiting=waiting[0] if waiting and context.digest not in context.cluster_memory.approved else None,
        former_names=context.cluster_memory.former_names,
    )


def _list_node_statuses(context: GuardContext, names: Sequence[str]) -> Iterator[NodeStatus]:
    # Steps and findings are grouped once: searched for each node, a fleet of thousands would take minutes.
    steps: dict[str, list[Step]] = defaultdict(list)
    for step in context.plan.steps:
        for node in step.nodes:
            steps[node].append(step)
    findings: dict[str, list[Diagnostic]] = defaultdict(list)
    for finding in context.plan.findings:
        findings[finding.target.removeprefix(f"{context.plan.cluster}/")].append(finding)
    holds = {one.node: one for one in context.reserved.holds}
    for node in names:
        answer, differs = context.observed.nodes.get(node), context.withheld_nodes.get(node, "")
        state, reason = _judge_node(answer, steps[node], findings[node], differs)
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
        )


def _add_contact(status: NodeStatus, context: GuardContext, contact: NodeContact | None) -> NodeStatus:
    status = replace(status, polls=status.node in context.polling, reports=status.node in context.reporting)
    if contact is None:
        return status
    newest, reporting = max(contact.heard.values(), default=None), context.entry.reporting
    if newest is not None and reporting is not None and context.now is not None:
        is_silent = status.reports and (context.now - newest).total_seconds() > reporting.fresh_seconds
        status = replace(status, is_silent=is_silent)
    return replace(status, heard=newest, label=contact.label, clash=contact.clash)


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


def _judge_node(
    answer: Observation[Any] | None, steps: list[Step], findings: list[Diagnostic], differs: str
) -> tuple[NodeCondition, str]:
    match answer:
        case None:
            return NodeCondition.UNREACHABLE, "it was not read"
        case Unreachable() | Unidentified() | Unauthorized() | Stale():
            return _UNREAD[type(answer)], answer.reason
    if steps:
        needs_operator = all(step.is_manual for step in steps)
        return NodeCondition.OPERATOR if needs_operator else NodeCondition.DIFFERS, steps[0].reason
    # These explain why nothing is sent to a node that differs, so they come before doubts about it.
    own = {
        HELD: NodeCondition.HELD,
        STALLED: NodeCondition.STALLED,
        LATER: NodeCondition.WAITS,
        IN_FLIGHT: NodeCondition.WAITS,
        OFFERED: NodeCondition.OFFERED,
        OVERDUE: NodeCondition.OVERDUE,
    }
    for finding in findings:
        if finding.code in own:
            return own[finding.code], finding.located
    if differs:
        return NodeCondition.DIFFERS, f"{differs}; nothing is sent to it while another node is pending"
    marks = [(NodeCondition.DOUBTFUL, one.message) for one in findings if one.severity is not Severity.NOTE]
    marks += [(NodeCondition.RESTART, one.message) for one in findings if one.code == RESTART]
    return marks[0] if marks else (NodeCondition.AS_DESIRED, "")
