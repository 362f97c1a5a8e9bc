"""The nodes that leave a cluster: the fleet file no longer names them, and they were its members; pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from reconciler.core.guard import GuardContext
from reconciler.core.plan import Step

_NOT_NAMED: Final = "the fleet file no longer names it"


@dataclass(frozen=True, slots=True)
class LeavingNode:
    """A node that leaves.

    Args:
        reason: what is still to do, or what becomes of it.
        steps: how many steps of the plan concern it.
        waits_for_person: whether the next of these is for an operator, such as the stop of its process.
    """

    node: str
    reason: str
    steps: int = 0
    waits_for_person: bool = False

    def plain(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "node": self.node,
            "reason": self.reason,
            "steps": self.steps,
            "waits_for_person": self.waits_for_person,
        }


def list_leaving_nodes(
    context: GuardContext, is_chosen: Callable[[str], bool] = lambda _: True
) -> tuple[LeavingNode, ...]:
    """The nodes that leave a cluster, sorted: those of steps, and those that were applied last.

    Args:
        context: of the cluster.
        is_chosen: whether the command is about a node.
    """
    if context.unread:  # an inventory that does not answer removes nobody
        return ()
    members = {node.name for node in context.entry.members()}
    steps: dict[str, list[Step]] = {}
    for step in context.plan.steps:
        for node in step.nodes:
            steps.setdefault(node, []).append(step)
    gone = (steps.keys() | context.cluster_memory.names) - members
    found: list[LeavingNode] = []
    for node in sorted(filter(is_chosen, gone)):
        own = steps.get(node, [])
        if own:
            found.append(LeavingNode(node, own[0].reason, len(own), waits_for_person=own[0].is_manual))
        else:
            gone_from = "the inventory no longer finds it" if context.has_inventory else _NOT_NAMED
            kept = f"{gone_from}; it keeps its settings and is not managed any more"
            found.append(LeavingNode(node, kept))
    return tuple(found)
