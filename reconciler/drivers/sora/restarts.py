"""Which nodes are restarted so that they use their changed sora.conf, and in which order; pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.sora.cluster_view import ClusterView
from reconciler.drivers.sora.membership_plan import MembershipPlan
from reconciler.drivers.sora.modes import find_mode
from reconciler.drivers.sora.schema import SoraDesired, SoraNode
from reconciler.drivers.sora.steps import BLOCKED

OUTDATED_START: Final = "outdated_start"
"""Fact of a node: text of the start of its process at the moment when its sora.conf was changed."""


def get_outdated_start(desired: SoraDesired, node: str) -> str:
    """The start of the process that still used the former sora.conf; empty if the file was never changed."""
    return desired.recalled.get(node, {}).get(OUTDATED_START, "")


def plan_restarts(membership_plan: MembershipPlan, cluster_view: ClusterView) -> Iterator[Diagnostic]:
    """Add a restart, one after the other, for each member that runs since before its sora.conf was changed.

    A node that was started since then uses the present file, whoever started it. Of one whose last start is
    not known nothing is assumed: a restart ends sessions.
    """
    desired = membership_plan.desired
    command = desired.entry.restart
    if command is None:
        return
    for node in sorted(desired.entry.nodes, key=lambda one: one.name):
        view = cluster_view.own_view(node.name)
        if view is None or not view.started or view.started != get_outdated_start(desired, node.name):
            continue
        why = _find_obstacle(membership_plan, cluster_view, node)
        if why:
            yield Diagnostic(
                Severity.ERROR,
                "restart-waits",
                f"{node.name} still uses its former sora.conf and is not restarted yet: {why}",
                "remove the cause, or restart the node by hand; the next run continues from there",
                target=f"{desired.entry.name}/{node.name}",
            )
            continue
        mode = find_mode(cluster_view, node.name)
        is_drained = mode == BLOCKED
        if desired.entry.drain and not is_drained and cluster_view.is_connected(node.name):
            membership_plan.drain(node.name, mode, reason="is restarted")
            is_drained = True
        membership_plan.restart(node.name, command, started=view.started)
        if node.temporary:
            membership_plan.register(node.name)
        wanted = node.mode or "normal"
        if is_drained and wanted != BLOCKED:
            membership_plan.set_mode(
                node.name, BLOCKED, mode=wanted, reason=f"{node.name} was drained for its restart only"
            )


def _find_obstacle(membership_plan: MembershipPlan, cluster_view: ClusterView, node: SoraNode) -> str:
    """Why the node must not be restarted now; empty if it may."""
    name = node.name
    membership = membership_plan.node_numbers.membership(membership_plan.state)
    if name not in membership.names:
        return "it is not in the cluster"
    if not cluster_view.is_connected(name):
        return "the other members do not see it connected"
    # A node blocks itself when it cannot write a file. A restart could hide that, see `modes`.
    mode, recalled = find_mode(cluster_view, name), membership_plan.desired.recalled.get(name, {})
    if mode not in {"normal", node.mode} and not (mode == BLOCKED and recalled.get("mode") == BLOCKED):
        return f"it is in {mode or 'an unknown mode'}, and no run of this host set that"
    if node.temporary:
        return membership_plan.find_register_obstacle(name)
    silent = cluster_view.list_unknown_members(but=name)
    if silent:
        return f"{', '.join(silent)} is in the cluster but does not answer this host"
    return membership_plan.find_stop_obstacle(name)
