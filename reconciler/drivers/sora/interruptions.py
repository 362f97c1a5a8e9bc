"""Nodes that are down because a run of this host has stopped them, and how they are brought back; pure.

A run that is killed, or that loses its connection, may leave a node down that it has stopped for an upgrade
or a restart. So may a sora.conf with which the node does not start. The store remembers from the intent on
that the stop is this program's; a node that somebody else has stopped is not started.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.sora.cluster_view import ClusterView
from reconciler.drivers.sora.membership_plan import MembershipPlan
from reconciler.drivers.sora.schema import SoraDesired, SoraNode
from reconciler.drivers.sora.steps import BLOCKED, RESTARTED, STOPPED_FOR, TRIED
from reconciler.drivers.sora.upgrades import report_upgrade, set_mode_back
from reconciler.file_delivery.steps import RESTORE, FilePlan


def is_interrupted(desired: SoraDesired, cluster_view: ClusterView, node: str) -> bool:
    """Whether the node is down because a run of this host has stopped it, and may be started by one."""
    recalled = desired.recalled.get(node, {})
    is_restarted = desired.entry.restart is not None and bool(recalled.get(RESTARTED))
    return (
        (bool(recalled.get(STOPPED_FOR)) or is_restarted)
        and True not in cluster_view.connections.get(node, ())
        and not cluster_view.answers(node)
        and node not in cluster_view.errors
    )


def list_ended_interruptions(
    desired: SoraDesired, cluster_view: ClusterView
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Nodes that are remembered as stopped and run again, whoever started them, with the facts of that."""
    for name, facts in desired.recalled.items():
        found = tuple(key for key in (STOPPED_FOR, RESTARTED) if facts.get(key))
        if found and cluster_view.answers(name):
            yield name, found


def resume_nodes(
    membership_plan: MembershipPlan,
    cluster_view: ClusterView,
    nodes: Iterable[str],
    confs: Mapping[str, FilePlan],
) -> Iterator[Diagnostic]:
    """Bring nodes back that a run of this host has stopped; before anything else."""
    desired = membership_plan.desired
    for name in nodes:
        node, recalled = desired.entry.node(name), desired.recalled[name]
        assert node is not None
        file_plan = confs.get(name, FilePlan())
        if not recalled.get(STOPPED_FOR):
            started = cluster_view.get_started(name)
            yield from _resume_restart(membership_plan, node, file_plan, started)
        elif desired.entry.start is None:
            yield report_upgrade(
                desired.entry,
                name,
                "upgrade-interrupted",
                f"{name} was stopped for its upgrade by an earlier run, and the fleet file names no `start`",
                "start it by hand, or add `start` to the cluster's entry",
            )
            continue
        else:
            membership_plan.switch_file(file_plan)
            membership_plan.upgrade(name, running=recalled[STOPPED_FOR], is_resumed=True)
        yield from file_plan.findings
        if node.temporary and not membership_plan.find_register_obstacle(name):
            membership_plan.register(name)
        what = "upgrade" if recalled.get(STOPPED_FOR) else "restart"
        set_mode_back(membership_plan, node, is_drained=recalled.get("mode") == BLOCKED, what=what)


def _resume_restart(
    membership_plan: MembershipPlan, node: SoraNode, file_plan: FilePlan, started: str
) -> Iterator[Diagnostic]:
    """Start a node that does not run since its restart: with another file, if there is one.

    First with what it has: a run that was killed in the restart proves nothing about the file. Then with its
    backup. What is committed since then comes before both. If somebody starts the node meanwhile, its file is
    left alone: a stopped node may show no start, and then one that shows any was started meanwhile.
    """
    desired = membership_plan.desired
    assert desired.entry.restart is not None
    how = "it is started"
    membership_plan.switch_file(file_plan)
    if file_plan.is_changed:
        how = "it gets what is committed now, and is started"
    elif file_plan.way_back and desired.recalled[node.name][RESTARTED] == TRIED:
        membership_plan.restore_file(file_plan)
        how = "it gets its former sora.conf again, and is started"
    membership_plan.restart(node.name, desired.entry.restart, started=started, is_resumed=True)
    yield Diagnostic(
        Severity.WARNING,
        "restart-interrupted",
        f"{node.name} does not run since an earlier run has restarted it: {how}",
        "if it does not come back, look at its log, and commit a sora.conf with which it starts",
        target=f"{desired.entry.name}/{node.name}",
    )


def is_returning(membership_plan: MembershipPlan) -> bool:
    """Whether the plan gives a node its former sora.conf again, so that the committed one goes nowhere."""
    return any(step.action == RESTORE for step in membership_plan.steps)
