"""Which nodes are restarted or upgraded, to use their changed sora.conf or another version; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.sora.cluster_view import ClusterView
from reconciler.drivers.sora.conf_delivery import OUTDATED_START
from reconciler.drivers.sora.conf_drift import find_unused_keys, report_unused_keys, was_restarted_for
from reconciler.drivers.sora.interruptions import is_returning
from reconciler.drivers.sora.membership_plan import MembershipPlan
from reconciler.drivers.sora.modes import find_mode
from reconciler.drivers.sora.schema import SoraDesired, SoraNode
from reconciler.drivers.sora.steps import BLOCKED
from reconciler.drivers.sora.upgrades import (
    find_failed_upgrade,
    find_running_version,
    find_upgrade_obstacle,
    note_versions,
    report_waiting_upgrade,
    set_mode_back,
)
from reconciler.file_delivery.steps import FilePlan
from reconciler.text.one_line import join_some

_MOST_NAMED: Final = 4


def get_outdated_start(desired: SoraDesired, node: str) -> str:
    """The start of the process that still used the former sora.conf; empty if the file was never changed."""
    return desired.recalled.get(node, {}).get(OUTDATED_START, "")


def plan_restarts(
    membership_plan: MembershipPlan,
    cluster_view: ClusterView,
    confs: Mapping[str, FilePlan],
    resumed: frozenset[str] = frozenset(),
    joining: frozenset[str] = frozenset(),
) -> Iterator[Diagnostic]:
    """Deliver each sora.conf, and restart or upgrade its node, one node after the other.

    A member is restarted that runs since before its file was changed. A node that was started since then uses
    the present file, whoever started it. Of one whose last start is not known nothing is assumed: a restart
    ends sessions.

    Args:
        membership_plan: to which the steps are added.
        cluster_view: the nodes' answers.
        confs: node -> what is to be done about its sora.conf.
        resumed: nodes that are down, and whose start is planned already.
        joining: nodes that are about to join, whose file and restart are planned already.
    """
    desired = membership_plan.desired
    running = {
        node.name: find_running_version(desired, cluster_view, node.name) for node in desired.entry.nodes
    }
    # Upgrades follow each other, so that the time with two versions is short. What temporary nodes show comes
    # last: their version is seen only when they are registered again.
    order = sorted(desired.entry.nodes, key=lambda one: (bool(running[one.name]), one.temporary, one.name))
    upgraded = {step.node for step in membership_plan.steps if step.action == "upgrade"}
    for node in () if is_returning(membership_plan) else order:
        if node.name in resumed | joining:
            continue
        file_plan = confs.get(node.name, FilePlan())
        if not (file_plan.is_changed and _is_file_held(membership_plan, cluster_view, node)):
            membership_plan.switch_file(file_plan)
        yield from file_plan.findings
        if running[node.name]:
            finding = _plan_upgrade(membership_plan, cluster_view, node, running[node.name])
            if finding is None:
                upgraded.add(node.name)
                continue
            yield finding
        yield from _plan_restart(membership_plan, cluster_view, node, is_changed=file_plan.is_changed)
    yield from note_versions(desired, cluster_view, upgraded)
    yield from _note_restarts_by_hand(membership_plan, confs)


def _note_restarts_by_hand(
    membership_plan: MembershipPlan, confs: Mapping[str, FilePlan]
) -> Iterator[Diagnostic]:
    """What nobody would see afterwards: a file is in place, and no process uses it yet."""
    entry = membership_plan.entry
    upgraded = {step.node for step in membership_plan.steps if step.action == "upgrade"}
    changed = [name for name, plan in sorted(confs.items()) if plan.is_changed and name not in upgraded]
    if entry.restart is None and changed:
        yield Diagnostic(
            Severity.NOTE,
            "conf-restart-by-hand",
            f"the sora.conf of {join_some(changed, _MOST_NAMED)} is put in place, and used only after the "
            "next start of the node: the fleet file names no `restart`",
            "restart one node after the other by hand; `reconcile allow-stop NODE` says when each may be",
            target=entry.name,
        )


def _plan_upgrade(
    membership_plan: MembershipPlan, cluster_view: ClusterView, node: SoraNode, running: str
) -> Diagnostic | None:
    """Add the upgrade of a node; the finding if it cannot be upgraded now."""
    desired, name = membership_plan.desired, node.name
    failed = find_failed_upgrade(desired, name, running)
    if failed is not None:
        return failed
    why = "the fleet file names no `upgrade`"
    if desired.entry.upgrade is not None:
        why = _find_obstacle(membership_plan, cluster_view, node) or find_upgrade_obstacle(membership_plan)
    if why:
        return report_waiting_upgrade(desired.entry, name, running, why)
    is_drained = _drain(membership_plan, cluster_view, node, reason="is upgraded")
    membership_plan.upgrade(name, running=running)
    if node.temporary:
        membership_plan.register(name)
    set_mode_back(membership_plan, node, is_drained=is_drained)
    return None


def _plan_restart(
    membership_plan: MembershipPlan, cluster_view: ClusterView, node: SoraNode, *, is_changed: bool
) -> Iterator[Diagnostic]:
    desired, name = membership_plan.desired, node.name
    started = cluster_view.get_started(name)
    is_outdated = bool(started) and started == get_outdated_start(desired, name)
    # Before the new file is there, only that matters: afterwards the node is restarted anyway.
    unused = "" if is_changed else "; ".join(find_unused_keys(desired, cluster_view, name))
    if unused and not is_outdated and (desired.entry.restart is None or was_restarted_for(desired, name)):
        yield report_unused_keys(desired, name, unused)
        return
    if desired.entry.restart is None or not (is_changed or is_outdated or unused):
        return
    why = _find_obstacle(membership_plan, cluster_view, node)
    if not started:
        why = why or f"when it was started last cannot be read by {desired.entry.restart.started.command}"
    if why:
        yield _report_waiting(desired, name, why)
        return
    is_drained = _drain(membership_plan, cluster_view, node, reason="is restarted")
    membership_plan.restart(name, desired.entry.restart, started=started, unused=unused)
    if node.temporary:
        membership_plan.register(name)
    set_mode_back(membership_plan, node, is_drained=is_drained, what="restart")


def _is_file_held(membership_plan: MembershipPlan, cluster_view: ClusterView, node: SoraNode) -> bool:
    """Whether the file of a running node has to wait.

    Because its last start cannot be read: nothing could tell later that its process is older than the file,
    so that it would keep to the former one for good. Or because another member is away, for which the file
    may be the reason. If no node starts with it, each that gets it stays down after its next start, whatever
    the reason for that, and with the second one the majority is lost.
    """
    if membership_plan.entry.restart is None or not cluster_view.is_connected(node.name):
        return False
    if not cluster_view.get_started(node.name):
        return True
    members = membership_plan.node_numbers.membership(membership_plan.state).names
    others = [name for name in members if name != node.name]
    reserved = cluster_view.observed.reserved
    return not all(cluster_view.is_connected(name) and name not in reserved for name in others) and bool(
        _find_obstacle(membership_plan, cluster_view, node)
    )


def restart_outsiders(
    membership_plan: MembershipPlan,
    cluster_view: ClusterView,
    nodes: Iterable[str],
    confs: Mapping[str, FilePlan],
) -> Iterator[Diagnostic]:
    """Deliver the sora.conf of nodes that are about to join, and restart them: no majority depends on them.

    A node whose start cannot be read joins with what it has, as the finding tells, and gets its file later.
    """
    desired = membership_plan.desired
    for name in nodes:
        file_plan, started = confs.get(name, FilePlan()), cluster_view.get_started(name)
        if started or desired.entry.restart is None:
            membership_plan.switch_file(file_plan)
        yield from file_plan.findings
        is_outdated = bool(started) and started == get_outdated_start(desired, name)
        if desired.entry.restart is None or not (file_plan.is_changed or is_outdated):
            continue
        if started:
            membership_plan.restart(name, desired.entry.restart, started=started, is_outside=True)
        else:
            command = desired.entry.restart.started.command
            yield _report_waiting(desired, name, f"when it was started last cannot be read by {command}")


def _report_waiting(desired: SoraDesired, name: str, why: str) -> Diagnostic:
    return Diagnostic(
        Severity.ERROR,
        "restart-waits",
        f"{name} still uses its former sora.conf and is not restarted yet: {why}",
        f"remove the cause; the next run continues from there; before you restart it by hand, ask `reconcile "
        f"allow-stop {name}`",
        target=f"{desired.entry.name}/{name}",
    )


def _drain(
    membership_plan: MembershipPlan, cluster_view: ClusterView, node: SoraNode, *, reason: str
) -> bool:
    """Add the drain of a node, if it is to be drained; whether it takes no new sessions then."""
    mode = find_mode(cluster_view, node.name)
    is_drained = mode == BLOCKED
    if membership_plan.entry.drain and not is_drained and cluster_view.is_connected(node.name):
        membership_plan.drain(node.name, mode, reason=reason)
        is_drained = True
    return is_drained


def _find_obstacle(membership_plan: MembershipPlan, cluster_view: ClusterView, node: SoraNode) -> str:
    """Why the node must not be stopped now; empty if it may."""
    name = node.name
    if name in cluster_view.observed.reserved:
        # Planned all the same, it would count as back afterwards, and the plan would go on to the next node.
        return "it is reserved or held: somebody may stop it"
    membership = membership_plan.node_numbers.membership(membership_plan.state)
    if name not in membership.names or not cluster_view.is_connected(name):
        is_member = name in membership.names
        return "the other members do not see it connected" if is_member else "it is not in the cluster"
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
