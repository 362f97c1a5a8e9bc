"""What waits only because a person holds a node that others depend on: no error of a run; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reconciler.core.observation import Observed
from reconciler.core.plan import ClusterPlan
from reconciler.core.reservations import HELD, Reservation, ReservedNodes
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.planning.withheld_steps import WithheldSteps
from reconciler.ports.driver import Driver


def soften_held_waits(
    kept: WithheldSteps, observed: Observed[Any], driver: Driver[Any, Any], reserved: ReservedNodes
) -> WithheldSteps:
    """The same with a warning in place of each error that there is only because of holds.

    Where nodes are independent, holds keep back the steps of their own nodes alone: nothing else waits.

    Args:
        kept: what may be sent now.
        observed: what it was planned from.
        driver: the product.
        reserved: who holds which nodes of the cluster.
    """
    holds = {node: one for node, one in reserved.nodes.items() if one.is_hold}
    errors = [one for one in kept.plan.findings if one.severity is Severity.ERROR]
    if not holds or not errors or driver.capabilities.single_node:
        return kept
    # Nobody but the product knows why it waits: it is asked what it would say if nobody held a node.
    free = driver.plan(kept.desired, replace(observed, reserved=observed.reserved - holds.keys()))
    remaining = {(one.code, one.target) for one in free.findings if one.severity is Severity.ERROR}
    waits = [one for one in errors if (one.code, one.target) not in remaining]
    cluster = kept.plan.cluster
    known = {one.target for one in kept.plan.findings if one.code == HELD}
    findings = [one for one in kept.plan.findings if one not in waits]
    withheld: dict[str, str] = {}
    for wait in waits:
        node = wait.target.removeprefix(f"{cluster}/")
        if wait.target != cluster:
            withheld[node] = wait.message
        if node not in holds:
            findings.append(_soften(wait, holds))
        elif wait.target not in known:
            findings.append(_report_held(wait.target, holds[node]))
            known.add(wait.target)
    plan: ClusterPlan = replace(kept.plan, findings=tuple(findings))
    return replace(kept, plan=plan, withheld_nodes={**withheld, **kept.withheld_nodes})


def _soften(wait: Diagnostic, holds: Mapping[str, Reservation]) -> Diagnostic:
    remedies = "; ".join(one.remedy for _, one in sorted(holds.items()))
    return replace(
        wait,
        severity=Severity.WARNING,
        remedy=f"the next run after the hold continues from there; {remedies}",
        ends=min(one.until for one in holds.values()),
    )


def _report_held(target: str, hold: Reservation) -> Diagnostic:
    return Diagnostic(
        Severity.WARNING,
        HELD,
        f"{hold.node} differs, and nothing is sent to it: it is {hold.description}",
        hold.remedy,
        target=target,
        ends=hold.until,
    )
