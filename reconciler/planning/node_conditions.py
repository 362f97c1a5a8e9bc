"""The condition of each node: by its answer, by what is planned for it, and by what is known of it; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

from reconciler.core.drift import DRIFT
from reconciler.core.guard import GuardContext
from reconciler.core.missing_secrets import CODE as SECRET_UNAVAILABLE
from reconciler.core.observation import Observation, Stale, Unauthorized, Unidentified, Unreachable
from reconciler.core.plan import Step
from reconciler.core.reservations import HELD
from reconciler.core.unmanaged import UNFILLED
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.planning.withheld_findings import IN_FLIGHT, LATER, OFFERED, OVERDUE, STALLED

RESTART: Final = "waits-for-restart"
"""Code of a product's finding that a node has a change which needs a restart to take effect."""


class NodeCondition(StrEnum):
    """The condition of a node."""

    AS_DESIRED = "as desired"
    DIFFERS = "differs"
    DRIFTED = "drifted"
    """It differs only because it was changed behind our back since it was last as desired."""
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


UNREAD: Final = {
    Unreachable: NodeCondition.UNREACHABLE,
    Unidentified: NodeCondition.UNIDENTIFIED,
    Unauthorized: NodeCondition.UNAUTHORIZED,
    Stale: NodeCondition.STALE,
}
"""Types of answers that show nothing of a node -> its condition."""

WAITING: Final = frozenset(
    {
        NodeCondition.HELD,
        NodeCondition.WAITS,
        NodeCondition.OFFERED,
        NodeCondition.OVERDUE,
    }
)
"""Conditions of a node that differs, and that nothing is sent to now."""


def judge_nodes(context: GuardContext, names: Iterable[str]) -> dict[str, tuple[NodeCondition, str]]:
    """Node -> its condition, and why it is not as desired; empty if it is."""
    # Steps and findings are grouped once: searched for each node, a fleet of thousands would take minutes.
    steps: dict[str, list[Step]] = defaultdict(list)
    for step in context.plan.steps:
        for node in step.nodes:
            steps[node].append(step)
    findings: dict[str, list[Diagnostic]] = defaultdict(list)
    for finding in context.plan.findings:
        findings[finding.target.removeprefix(f"{context.plan.cluster}/")].append(finding)
    found: dict[str, tuple[NodeCondition, str]] = {}
    for node in names:
        condition, reason = judge_node(
            context.observed.nodes.get(node),
            steps[node],
            findings[node],
            context.withheld_nodes.get(node, ""),
        )
        drift = context.drift.get(node)
        if condition is NodeCondition.DIFFERS and drift is not None and not drift.has_commit:
            condition = NodeCondition.DRIFTED
        found[node] = condition, reason
    return found


def judge_node(
    answer: Observation[Any] | None, steps: list[Step], findings: list[Diagnostic], differs: str
) -> tuple[NodeCondition, str]:
    """The condition of one node.

    Args:
        answer: None if it was not asked.
        steps: that change it.
        findings: about it.
        differs: how it differs, if nothing is sent to it now.
    """
    match answer:
        case None:
            return NodeCondition.UNREACHABLE, "it was not read"
        case Unreachable() | Unidentified() | Unauthorized() | Stale():
            return UNREAD[type(answer)], answer.reason
    if steps:
        needs_operator = all(step.is_manual for step in steps)
        return NodeCondition.OPERATOR if needs_operator else NodeCondition.DIFFERS, steps[0].reason
    # These explain why nothing is sent to a node that differs, so they come before doubts about it.
    own = {
        HELD: NodeCondition.HELD,
        DRIFT: NodeCondition.DRIFTED,
        STALLED: NodeCondition.STALLED,
        LATER: NodeCondition.WAITS,
        IN_FLIGHT: NodeCondition.WAITS,
        OFFERED: NodeCondition.OFFERED,
        OVERDUE: NodeCondition.OVERDUE,
        UNFILLED: NodeCondition.DIFFERS,
        SECRET_UNAVAILABLE: NodeCondition.DIFFERS,
    }
    for finding in findings:
        if finding.code in own:
            return own[finding.code], finding.located
    if differs:
        return NodeCondition.DIFFERS, f"{differs}; nothing is sent to it while another node is pending"
    marks = [(NodeCondition.DOUBTFUL, one.message) for one in findings if one.severity is not Severity.NOTE]
    marks += [(NodeCondition.RESTART, one.message) for one in findings if one.code == RESTART]
    return marks[0] if marks else (NodeCondition.AS_DESIRED, "")


LEFT: Final = (
    NodeCondition.HELD,
    NodeCondition.DIFFERS,
    NodeCondition.RESTART,
    NodeCondition.DOUBTFUL,
)
"""Conditions of nodes that answered, are not as desired, and that no other sign of a pass tells about."""


def list_left_nodes(context: GuardContext) -> dict[NodeCondition, tuple[str, ...]]:
    """Condition of `LEFT` -> the nodes in it that no step is planned for, sorted; without empty ones."""
    planned = {node for step in context.plan.steps for node in step.nodes}
    conditions = judge_nodes(context, context.observed.nodes)
    found = {
        left: tuple(
            sorted(node for node, (own, _) in conditions.items() if own is left and node not in planned)
        )
        for left in LEFT
    }
    return {left: nodes for left, nodes in found.items() if nodes}
