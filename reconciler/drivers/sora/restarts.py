"""Which nodes are restarted so that they use their changed sora.conf, and in which order; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.sora.cluster_view import ClusterView
from reconciler.drivers.sora.conf_delivery import OUTDATED_START
from reconciler.drivers.sora.membership_plan import MembershipPlan
from reconciler.drivers.sora.modes import find_mode
from reconciler.drivers.sora.schema import SoraDesired, SoraNode
from reconciler.drivers.sora.steps import BLOCKED
from reconciler.file_delivery.steps import FilePlan


def get_outdated_start(desired: SoraDesired, node: str) -> str:
    """The start of the process that still used the former sora.conf; empty if the file was never changed."""
    return desired.recalled.get(node, {}).get(OUTDATED_START, "")


def plan_restarts(
    membership_plan: MembershipPlan, cluster_view: ClusterView, confs: Mapping[str, FilePlan]
) -> Iterator[Diagnostic]:
    """Deliver each sora.conf and restart its node, one node after the other.

    A member is restarted that runs since before its file was changed. A node that was started since then uses
    the present file, whoever started it. Of one whose last start is not known nothing is assumed: a restart
    ends sessions.
    """
    desired = membership_plan.desired
    for node in sorted(desired.entry.nodes, key=lambda one: one.name):
        file_plan = confs.get(node.name, FilePlan())
        membership_plan.switch_file(file_plan)
        yield from file_plan.findings
        view = cluster_view.own_view(node.name)
        started = view.started if view is not None else ""
        is_outdated = bool(started) and started == get_outdated_start(desired, node.name)
        if desired.entry.restart is None or not (file_plan.is_changed or is_outdated):
            continue
        why = _find_obstacle(membership_plan, cluster_view, node)
        if not started:
            why = why or f"when it was started last cannot be read by {desired.entry.restart.started.command}"
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
        membership_plan.restart(node.name, desired.entry.restart, started=started)
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
