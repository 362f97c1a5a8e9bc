"""What a pass has read and planned of one cluster, kept for those who look at it until the next pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from reconciler.core.plan import ClusterPlan, Revision
from reconciler.core.policy import Override
from reconciler.core.rollout_rules import RolloutProgress
from reconciler.core.wave_state import WaveState
from reconciler.diagnostic import Diagnostic
from reconciler.planning.plan_pass import PlanResult
from reconciler.planning.status import ClusterStatus, FleetStatus, NodeStatus


@dataclass(frozen=True, slots=True, repr=False)
class PassReading:
    """What one pass has read and planned of its cluster.

    Args:
        revision: of the desired state.
        at: when the nodes were read; None if none was.
        status: each node by its own answer.
        plan: without what would be uploaded.
        violations: why the plan is refused or on hold, also those about the whole fleet.
        overridden: violations that an override of the fleet file sets aside.
        digest: the id of the plan that an approval is bound to; empty if it needs none.
        progress: of the rollout that the plan continues; None if none is open.
        wave_state: of the open wave, if its nodes poll; None otherwise.
        polling: nodes that poll.
    """

    revision: Revision
    at: datetime | None
    status: ClusterStatus
    plan: ClusterPlan
    violations: tuple[Diagnostic, ...] = ()
    overridden: tuple[tuple[Diagnostic, Override], ...] = ()
    digest: str = ""
    progress: RolloutProgress | None = None
    wave_state: WaveState | None = None
    polling: frozenset[str] = frozenset()

    def find_node(self, name: str) -> NodeStatus | None:
        """One node; None if the cluster has none of that name."""
        return next((one for one in self.status.nodes if one.node == name), None)


def make_pass_reading(plan_result: PlanResult, status: FleetStatus) -> PassReading:
    """What is kept of a pass over one cluster.

    Args:
        plan_result: of the pass.
        status: of the same pass.
    """
    (context,), (cluster_status,) = plan_result.guard_contexts, status.clusters
    return PassReading(
        context.revision or plan_result.plan.revision,
        status.at,
        cluster_status,
        # The payloads are whole settings with their secrets: nobody who looks at a plan needs them.
        replace(context.plan, payloads={}),
        plan_result.violations,
        plan_result.overridden,
        context.digest,
        context.progress,
        context.wave_state,
        context.polling,
    )
