"""How a fleet stands: each node by its own answer, what it runs since when, and what holds up changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from reconciler.core.guard import GuardContext, apply_overrides, run_guards
from reconciler.core.observation import (
    Absent,
    Observation,
    Present,
    Stale,
    Unauthorized,
    Unidentified,
    Unreachable,
)
from reconciler.core.plan import Revision, Step
from reconciler.core.revision import get_base_commit, shorten_commit
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.guards.change_control import find_all_holds
from reconciler.guards.removed_clusters import CODE as GONE
from reconciler.planning.plan_pass import PlanResult
from reconciler.planning.withheld_steps import IN_FLIGHT, LATER, STALLED
from reconciler.ports.store import ApprovalRequest, OpenOrders, RunSummary

RESTART = "waits-for-restart"
"""Code of a product's finding that a node has a change which only a restart puts into effect."""


class NodeCondition(StrEnum):
    """One word for how a node stands."""

    AS_DESIRED = "as desired"
    DIFFERS = "differs"
    STALLED = "stalled"
    """It never shows what it was sent, and nothing is sent any more."""
    WAITS = "waits for a retry"
    """What it was sent does not show, or may be under way; it is tried again later."""
    RESTART = "waits for restart"
    PERSON = "waits for a person"
    DOUBTFUL = "doubtful"
    """It answered, nothing is planned for it, and there is a warning about it."""
    STALE = "stale"
    UNREACHABLE = "unreachable"
    UNIDENTIFIED = "not identified"
    UNAUTHORIZED = "unauthorised"


_WITH_CONTENT = frozenset({NodeCondition.AS_DESIRED, NodeCondition.RESTART})
"""States of a node that has what the revision at hand gives it."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node.

    Args:
        reason: why it is not as desired; empty where it is.
        revision: the one whose content it has: of a node as desired the one at hand, of another one the
            last that it was seen with; empty where none is known.
        since: since when that was seen; none where it was not seen before.
        stamp: the stamp of a revision that it shows: of the one that changed its content last.
    """

    node: str
    state: NodeCondition
    reason: str = ""
    revision: str = ""
    since: datetime | None = None
    stamp: str = ""

    @property
    def has_content(self) -> bool:
        """Whether it has what the revision at hand gives it."""
        return self.state in _WITH_CONTENT


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """One cluster.

    Args:
        findings: what a person should know of the cluster as a whole.
        held: what holds up changes of it now, set aside by no override.
        refused: what else a run would be refused for.
        waiting: the plan that waits for an approval, if one does.
        former: the names that it had before, the latest last.
    """

    cluster: str
    kind: str
    nodes: tuple[NodeStatus, ...]
    findings: tuple[Diagnostic, ...] = ()
    held: tuple[Diagnostic, ...] = ()
    refused: tuple[Diagnostic, ...] = ()
    waiting: ApprovalRequest | None = None
    former: tuple[str, ...] = ()

    @property
    def converged(self) -> bool:
        """Whether every node shows what is desired, and nothing is said against it."""
        calm = all(finding.severity is not Severity.ERROR for finding in self.findings)
        return calm and all(node.state is NodeCondition.AS_DESIRED for node in self.nodes)


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """All clusters.

    Args:
        last: the newest run of this management host.
        gone: clusters that the fleet file no longer names, each as the verdict about it.
    """

    revision: Revision
    clusters: tuple[ClusterStatus, ...]
    last: RunSummary | None = None
    gone: tuple[Diagnostic, ...] = ()

    @property
    def converged(self) -> bool:
        """Whether every cluster is, and none is left behind."""
        return not self.gone and all(cluster.converged for cluster in self.clusters)


def compute_status(seen: PlanResult, orders: OpenOrders, last: RunSummary | None) -> FleetStatus:
    """How the surveyed clusters stand.

    Args:
        seen: a fresh survey.
        orders: what people ordered.
        last: the newest run.
    """
    return FleetStatus(
        seen.plan.revision,
        tuple(_cluster(seen, case, orders) for case in seen.cases),
        last,
        tuple(violation for violation in seen.violations if violation.code == GONE),
    )


def _cluster(seen: PlanResult, case: GuardContext, orders: OpenOrders) -> ClusterStatus:
    name = case.plan.cluster
    overrides, today = seen.fleet.overrides, (case.at.date() if case.at else None)
    held = run_guards(case, (find_all_holds,))
    held = apply_overrides(held, overrides, today).in_force if today else held
    names = [node.name for node in case.entry.members() if seen.node in {"", node.name}]
    own = {f"{name}/{node}" for node in names} | set(names)
    waiting = [one for one in orders.requests if one.cluster == name and one.digest == case.digest]
    return ClusterStatus(
        name,
        case.plan.kind,
        tuple(_nodes(case, names)),
        findings=tuple(finding for finding in case.plan.findings if finding.target not in own),
        held=held,
        refused=tuple(
            one for one in seen.violations if one.target.partition("/")[0] == name and one not in held
        ),
        waiting=waiting[0] if waiting and case.digest not in case.cluster_memory.approved else None,
        former=case.cluster_memory.former,
    )


def _nodes(case: GuardContext, names: Sequence[str]) -> Iterator[NodeStatus]:
    """How each of some nodes stands; steps and findings are grouped once, however many nodes there are."""
    steps: dict[str, list[Step]] = defaultdict(list)
    for step in case.plan.steps:
        for node in step.nodes:
            steps[node].append(step)
    said: dict[str, list[Diagnostic]] = defaultdict(list)
    for finding in case.plan.findings:
        said[finding.target.removeprefix(f"{case.plan.cluster}/")].append(finding)
    for node in names:
        kept_back = case.kept_back.get(node, "")
        state, reason = _state(case.observed.nodes.get(node), steps[node], said[node], kept_back)
        revision, since = _content(case, node, has_content=state in _WITH_CONTENT)
        yield NodeStatus(node, state, reason, revision, since, case.stamps.get(node, ""))


def _content(case: GuardContext, node: str, *, has_content: bool) -> tuple[str, datetime | None]:
    """The revision whose content a node has or was last seen to have, and since when that was seen."""
    seen, stamp = case.cluster_memory.runs.get(node), case.stamps.get(node, "")
    if has_content and case.revision is not None:
        current = case.revision.id
        known = seen is not None and (
            seen.revision == current or shorten_commit(seen.revision) == get_base_commit(stamp)
        )
        return current, seen.since if seen is not None and known else None
    return (seen.revision, seen.since) if seen else ("", None)


def _state(
    answer: Observation[Any] | None, steps: list[Step], said: list[Diagnostic], kept_back: str = ""
) -> tuple[NodeCondition, str]:
    match answer:
        case None:
            return NodeCondition.UNREACHABLE, "it was not asked"
        case Unreachable(reason):
            return NodeCondition.UNREACHABLE, reason
        case Unidentified(reason=reason):
            return NodeCondition.UNIDENTIFIED, reason
        case Unauthorized(reason):
            return NodeCondition.UNAUTHORIZED, reason
        case Stale(reason=reason):
            return NodeCondition.STALE, reason
        case Present() | Absent():
            return _answered(steps, said, kept_back)


def _answered(steps: list[Step], said: list[Diagnostic], differs: str) -> tuple[NodeCondition, str]:
    if steps:
        person = all(step.waits_for_person for step in steps)
        return NodeCondition.PERSON if person else NodeCondition.DIFFERS, steps[0].reason
    own = {STALLED: NodeCondition.STALLED, LATER: NodeCondition.WAITS, IN_FLIGHT: NodeCondition.WAITS}
    for finding in said:
        if finding.code in own:
            return own[finding.code], finding.located
    if differs:
        return NodeCondition.DIFFERS, f"{differs}; nothing is sent to it while another node is waited for"
    restart = [finding for finding in said if finding.code == RESTART]
    doubts = [finding for finding in said if finding.severity is not Severity.NOTE]
    if doubts:
        return NodeCondition.DOUBTFUL, doubts[0].message
    return (NodeCondition.RESTART, restart[0].message) if restart else (NodeCondition.AS_DESIRED, "")
