"""What a pass found, as a pipeline needs it: pending changes, unread nodes, errors, refusals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from reconciler.core.guard import GuardContext
from reconciler.core.observation import Absent, Present
from reconciler.diagnostic import Severity
from reconciler.guards.removed_clusters import CODE as VANISHED
from reconciler.planning.node_conditions import WAITING, NodeCondition, judge_nodes
from reconciler.planning.plan_pass import PlanResult
from reconciler.planning.unread_limit import UnreadLimit


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What a pass found.

    Args:
        nodes: how many nodes it read, or tried to read.
        pending: how many steps are planned.
        waiting: nodes that differ and that nothing is sent to now, because they wait for something.
        unread: nodes without a readable answer, as `cluster/node`, with an error about each.
        errors: how many other errors the plan has.
        refused: how many violations refuse the plan, or a part of it.
        held: clusters on hold.
        refused_clusters: clusters whose plans are refused.
        needed: the unread nodes that the plan of their cluster depends on, each with the reason.
    """

    nodes: int = 0
    pending: int = 0
    waiting: int = 0
    unread: tuple[str, ...] = ()
    errors: int = 0
    refused: int = 0
    held: tuple[str, ...] = ()
    refused_clusters: tuple[str, ...] = ()
    needed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, result: PlanResult) -> PlanSummary:
        """The summary of a pass."""
        contexts = result.guard_contexts
        unread = [node for context in contexts for node in _list_unread(context)]
        errors = [one for one in result.plan.findings() if one.severity is Severity.ERROR]
        failed = {one.target for one in errors}
        # A note about a node that this host is not to know, such as one that polls another host, is no error.
        unread = [node for node in unread if node in failed]
        known = frozenset(unread)
        return cls(
            nodes=sum(len(context.observed.nodes) for context in contexts),
            pending=sum(len(cluster.steps) for cluster in result.plan.clusters),
            waiting=sum(_count_waiting(context) for context in contexts),
            unread=tuple(unread),
            errors=sum(one.target not in known for one in errors),
            # A hold (window, approval) is no refusal of a plan that nobody applies. A vanished cluster is:
            # neither time nor approval resolves it, the fleet file must say what happens to its nodes.
            refused=sum(not one.hold or one.code == VANISHED for one in result.violations),
            held=tuple(sorted({violation.cluster for violation in result.violations if violation.hold})),
            refused_clusters=tuple(sorted(result.refused_clusters)),
            needed=dict(_find_needed(contexts, known)),
        )

    def find_tolerated(self, limit: UnreadLimit) -> tuple[str, ...]:
        """The unread nodes that a limit tolerates: all that nothing depends on, or none if there are more."""
        if len(self.unread) > limit.resolve(self.nodes):
            return ()
        return tuple(node for node in self.unread if node not in self.needed)


def _list_unread(context: GuardContext) -> Iterator[str]:
    for node, answer in context.observed.nodes.items():
        if not isinstance(answer, Present | Absent):
            yield f"{context.plan.cluster}/{node}"


def _count_waiting(context: GuardContext) -> int:
    conditions = judge_nodes(context, context.observed.nodes)
    only_reported = {node for node, drift in context.drift.items() if drift.is_kept}
    return sum(
        state in WAITING
        or state is NodeCondition.RESTART
        or (state is NodeCondition.DIFFERS and node in context.withheld_nodes)
        or (state is NodeCondition.DRIFTED and node in only_reported)
        for node, (state, _) in conditions.items()
    )


def _find_needed(contexts: Iterable[GuardContext], unread: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Unread nodes that must not be tolerated."""
    for context in contexts:
        plan, names = context.plan, list(context.observed.nodes)
        missing = [name for name in names if f"{plan.cluster}/{name}" in unread]
        reason = ""
        if missing and len(missing) == len(names):
            reason = f"no node of {plan.cluster} could be read"
        elif not context.can_select_node and plan.unchanged + len(missing) < plan.nodes:
            # Its guards and the order of its steps depend on every node: an unread one may hide changes.
            reason = f"{plan.cluster} is planned as a whole, and its other nodes are not all as desired"
        if reason:
            for name in missing:
                yield f"{plan.cluster}/{name}", reason
