"""The result of one pass over one cluster, with its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from reconciler.core.drift import DRIFT, Drift
from reconciler.core.expiry import Expiry
from reconciler.core.finding_groups import group_findings
from reconciler.core.missing_secrets import CODE as SECRET_UNAVAILABLE
from reconciler.core.observation import Absent, Observed, Present
from reconciler.core.outcome import OPEN, SUCCESSES, RunReport, State
from reconciler.core.pins import PinState
from reconciler.core.plan import ClusterPlan, Revision
from reconciler.core.wave_state import WAVE_WAITS
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.guards.cluster_order import CODE as ORDER
from reconciler.planning.node_conditions import NodeCondition
from reconciler.planning.withheld_findings import OFFERED, STALLED
from reconciler.server.pass_reading import PassReading
from reconciler.text.node_names import format_node_names


class PassResult(StrEnum):
    """How a pass ended."""

    CONVERGED = "converged"
    """Nothing to do: every node answered and is as desired."""

    INCOMPLETE = "incomplete"
    """Nothing to do as far as known: some nodes did not answer, or show too little."""

    HELD = "held"
    """Nothing to send now: nodes differ, and a person holds them, or one that they depend on."""

    RESTART = "restart"
    """Nothing to send: nodes wait for a restart, at which some of their content takes effect."""

    DOUBTFUL = "doubtful"
    """Nothing to send, and a warning about a node leaves open whether it is as desired."""

    STALLED = "stalled"
    """Nothing to send: nodes never show what they were sent; a change of content or node is needed."""

    DRIFT = "drift"
    """Steps are pending in a dry run, or nodes were changed behind our back and that is only reported."""

    REFUSED = "refused"
    """A guard refused the plan; nothing was done."""

    APPLIED = "applied"
    """Every step has its effect; the next pass checks again."""

    PARTIAL = "partial"
    """Some steps have their effect; others failed or are unknown."""

    FAILED = "failed"
    """No step has its effect."""

    CHANGED = "changed"
    """The nodes changed between plan and step; the next pass makes a new plan."""

    WAITING = "waiting"
    """The remaining steps wait for an operator, or nodes may still take what they are offered."""

    STOPPED = "stopped"
    """No further steps were started: the watch stops, or there is a newer revision."""

    INVALID = "invalid"
    """The desired state is inconsistent or lacks a secret; nothing was done."""

    BUSY = "busy"
    """Another run holds the lock of the cluster."""

    DEFECT = "defect"
    """An unexpected error ended this pass; other clusters continue."""


SETTLED = frozenset(
    {
        PassResult.CONVERGED,
        PassResult.DRIFT,
        PassResult.REFUSED,
        PassResult.STALLED,
        PassResult.HELD,
        PassResult.RESTART,
        PassResult.DOUBTFUL,
    }
)
"""After these the next pass comes after the interval; after the others it comes sooner, with backoff."""

GOOD = frozenset({PassResult.CONVERGED, PassResult.APPLIED})
"""These count as success if every node answered."""


@dataclass(frozen=True, slots=True)
class PassSummary:
    """The result of one pass over one cluster.

    Args:
        message: one sentence beyond the result; may be empty.
        run: id of the run in the history; empty if nothing was applied.
        steps: number of planned steps.
        pending: number of planned steps without their effect.
        unread_nodes: nodes without a fresh answer, sorted.
        waiting_for_restart: nodes that need a restart before a change takes effect, sorted.
        hold_end: the next moment at which a hold on changes ends by itself; None if there is none.
        recheck: seconds after which nodes that poll may have taken what they are offered; 0 if none is waited
            for.
        held_nodes: nodes that nothing is sent to by order of a person, sorted.
        pin: of the cluster; None if it is not pinned.
        unmanaged: pattern of fields that are not ours -> number of nodes that show a value there.
        drift: of nodes that were changed behind our back, as the pass found them.
        expiries: what has expired or expires soon.
        left_nodes: nodes that answered and are not as desired, although no step is planned for them, sorted.
        reading: what the pass has read and planned; None if it did not get so far.
    """

    result: PassResult
    message: str = ""
    run: str = ""
    steps: int = 0
    pending: int = 0
    unread_nodes: tuple[str, ...] = ()
    waiting_for_restart: tuple[str, ...] = ()
    violations: tuple[Diagnostic, ...] = ()
    findings: tuple[Diagnostic, ...] = ()
    hold_end: datetime | None = None
    recheck: float = 0.0
    held_nodes: tuple[str, ...] = ()
    pin: PinState | None = None
    drift: tuple[Drift, ...] = ()
    unmanaged: Mapping[str, int] = field(default_factory=dict)
    expiries: tuple[Expiry, ...] = ()
    left_nodes: tuple[str, ...] = ()
    reading: PassReading | None = field(default=None, repr=False, compare=False)

    @property
    def pinned_revision(self) -> Revision | None:
        """The revision that its nodes were compared with, if it is pinned to one; else None."""
        return self.pin.revision if self.pin is not None else None

    @property
    def waits_for_others(self) -> bool:
        """Whether clusters that come before this one in the fleet file hold it back."""
        return any(one.code == ORDER for one in self.violations)

    @property
    def is_settled(self) -> bool:
        """Whether a retry before the end of the interval would be useless."""
        return self.result in SETTLED and not self.unread_nodes

    @property
    def is_good(self) -> bool:
        """Whether the cluster is known to be as desired."""
        return self.result in GOOD and not self.unread_nodes and not self.left_nodes


def list_unheard_nodes(observed: Observed[Any]) -> tuple[str, ...]:
    """Names of the nodes without a fresh answer, sorted."""
    return tuple(
        sorted(name for name, seen in observed.nodes.items() if not isinstance(seen, Present | Absent))
    )


_LEFT: Final = {
    NodeCondition.HELD: PassResult.HELD,
    NodeCondition.DIFFERS: PassResult.DOUBTFUL,
    NodeCondition.RESTART: PassResult.RESTART,
    NodeCondition.DOUBTFUL: PassResult.DOUBTFUL,
}
"""Condition of a node that nothing is sent to -> result of its pass; of several the first counts."""


def add_left_nodes(pass_summary: PassSummary, left: Mapping[NodeCondition, tuple[str, ...]]) -> PassSummary:
    """The summary with the nodes that the pass leaves as they are, by the same judgement as a status."""
    if not left:
        return pass_summary
    result, message = pass_summary.result, pass_summary.message
    if result is PassResult.CONVERGED:
        result = next(_LEFT[condition] for condition in _LEFT if condition in left)
        message = "; ".join(f"{format_node_names(nodes)}: {condition}" for condition, nodes in left.items())
    names = tuple(sorted(node for nodes in left.values() for node in nodes))
    return replace(pass_summary, result=result, message=message, left_nodes=names)


def summarise_plan_pass(
    plan: ClusterPlan, observed: Observed[Any], violations: Iterable[Diagnostic] = ()
) -> PassSummary:
    """Summary of a pass that only planned."""
    refused, unheard, steps = tuple(violations), list_unheard_nodes(observed), len(plan.steps)
    serious = [finding for finding in plan.findings if finding.severity is Severity.ERROR]
    waits = _describe_waits(plan)
    # A cluster that left the fleet file is told of in the passes of the others, and keeps back only itself.
    if any(not one.hold or one.cluster == plan.cluster for one in refused):
        result = PassResult.REFUSED
    elif steps or any(finding.code == DRIFT for finding in plan.findings):
        result = PassResult.DRIFT
    elif _list_missing_secrets(plan):
        result = PassResult.INVALID
    # Only if nothing else is wrong: STALLED waits for the interval, INCOMPLETE is retried sooner.
    elif waits and not serious:
        result = PassResult.WAITING
    elif serious and all(finding.code == STALLED for finding in serious):
        result = PassResult.STALLED
    else:
        result = PassResult.INCOMPLETE if unheard or serious else PassResult.CONVERGED
    return PassSummary(
        result,
        message="; ".join(_list_texts(refused)) or "; ".join(_list_texts(serious)) or waits,
        steps=steps,
        pending=steps,
        unread_nodes=unheard,
        violations=refused,
        findings=plan.findings,
        hold_end=_find_hold_end((*refused, *plan.findings)),
    )


def _list_missing_secrets(plan: ClusterPlan) -> list[Diagnostic]:
    """Why nodes are left out that need a secret; a secret that is only not compared leaves out none."""
    return [
        finding
        for finding in plan.findings
        if finding.code == SECRET_UNAVAILABLE and finding.severity is Severity.ERROR
    ]


def _find_hold_end(found: Iterable[Diagnostic]) -> datetime | None:
    """The next moment at which something of it ends by itself."""
    return min((each.ends for each in found if each.ends is not None), default=None)


def _list_texts(findings: Iterable[Diagnostic]) -> list[str]:
    return [group.text for group in group_findings(findings)]


def _describe_waits(plan: ClusterPlan) -> str:
    """What offers the pass waits for, in words; empty if there are none."""
    waves = [finding.message for finding in plan.findings if finding.code == WAVE_WAITS]
    offered = sum(finding.code == OFFERED for finding in plan.findings)
    return "; ".join(waves) or (f"{offered} nodes may still take what they are offered" if offered else "")


def summarise_apply_pass(plan: ClusterPlan, observed: Observed[Any], report: RunReport) -> PassSummary:
    """Summary of a pass that applied its plan."""
    states = {outcome.state for outcome in report.outcomes}
    open_ends = [outcome for outcome in report.outcomes if outcome.state not in SUCCESSES]
    restarts = {outcome.step.node for outcome in report.outcomes if outcome.waiting_for_restart}
    reasons = sorted({f"{outcome.step.id}: {outcome.reason}" for outcome in open_ends if outcome.reason})
    result, missing = _choose_result(states, report), _list_missing_secrets(plan)
    if missing and result is PassResult.APPLIED:
        result = PassResult.PARTIAL
    return PassSummary(
        result,
        message="; ".join((*reasons, *_list_texts(missing))),
        run=report.run,
        steps=len(plan.steps),
        pending=len(open_ends),
        unread_nodes=list_unheard_nodes(observed),
        waiting_for_restart=tuple(sorted(restarts)),
        findings=plan.findings,
        hold_end=_find_hold_end(plan.findings),
    )


def _choose_result(states: set[State], report: RunReport) -> PassResult:
    if states <= SUCCESSES:
        return PassResult.APPLIED if report.is_success else PassResult.PARTIAL
    # An unknown step may have had its effect, so it makes the result PARTIAL, not FAILED.
    if states & {State.FAILED, State.UNKNOWN, State.UNDONE}:
        return PassResult.PARTIAL if states & (SUCCESSES | OPEN) else PassResult.FAILED
    if State.CHANGED in states:
        return PassResult.CHANGED
    waits = any(finding.code == WAVE_WAITS for finding in report.findings)
    return PassResult.WAITING if waits or states & {State.WAITING, State.OFFERED} else PassResult.STOPPED
