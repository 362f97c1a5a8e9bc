"""What the renderings of a plan share: its data, and the sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.core.finding_groups import FindingGroup, group_findings
from reconciler.core.guard import refuse_everything
from reconciler.core.outcome import OPEN, SUCCESSES, RunReport, State
from reconciler.core.pins import PinState
from reconciler.core.plan import ClusterPlan, Effect, Plan, Revision, Risk, Step
from reconciler.core.policy import Override
from reconciler.descriptions.values import format_count
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.planning.inventory_report import InventoryUse
from reconciler.planning.node_conditions import RESTART
from reconciler.text.node_names import group_by_key
from reconciler.text.one_line import clean_line

if TYPE_CHECKING:  # a dry run does not need them
    from reconciler.planning.model_check import CheckResult
    from reconciler.planning.status import ClusterStatus

EFFECTS = {
    Effect.NONE: "no change on the node",
    Effect.HOT: "no interruption",
    Effect.RESTART: "needs a restart",
    Effect.MEMBERSHIP: "changes the membership",
}
STATES = {
    State.DONE: "done",
    State.FOUND: "already done",
    State.FAILED: "failed",
    State.UNKNOWN: "unknown",
    State.OFFERED: "offered",
    State.SUPERSEDED: "superseded",
    State.UNDONE: "undone",
    State.CHANGED: "node changed",
    State.WAITING: "waiting",
    State.SKIPPED: "not done",
}
_FEW = 4
_UNREAD = frozenset(
    {
        "node-not-enrolled",
        "node-refuses",
        "node-silent",
        "node-unauthorized",
        "node-unidentified",
        "node-unread",
        "server-unknown",
        "node-unreachable",
        "setting-unproven",
    }
)
"""Codes of findings about a node whose state is unknown."""


@dataclass(frozen=True, slots=True)
class PlanView:
    """A plan with its violations, warnings and findings.

    Args:
        violations: why it is refused, or which cluster is on hold; empty if it may be applied.
        overridden: violations that an override of the fleet file sets aside, each with that override.
        warnings: about the files.
        findings: about the run itself, such as messages that were not delivered.
        checked: results of the model checker; empty if it did not run.
        faults: how many faults it allowed.
        all_or_nothing: whether the refusal of one cluster refuses the whole plan.
        pins: of the plan's clusters.
        inventory: the lists of instances that its clusters use.
    """

    plan: Plan
    violations: tuple[Diagnostic, ...] = ()
    overridden: tuple[tuple[Diagnostic, Override], ...] = ()
    warnings: tuple[Diagnostic, ...] = ()
    findings: tuple[Diagnostic, ...] = ()
    checked: tuple[CheckResult, ...] = ()
    faults: int = 1
    all_or_nothing: bool = False
    pins: tuple[PinState, ...] = ()
    inventory: tuple[InventoryUse, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether guards refuse all that would be done."""
        return is_refused_as_a_whole(self.plan, self.violations, all_or_nothing=self.all_or_nothing)

    @property
    def summary(self) -> str:
        """The plan in one line."""
        return summarise_plan(self.plan, self.violations, all_or_nothing=self.all_or_nothing)


def is_refused_as_a_whole(
    plan: Plan, violations: Sequence[Diagnostic], *, all_or_nothing: bool = False
) -> bool:
    """Whether guards refuse all that would be done."""
    clusters = {cluster.cluster for cluster in plan.clusters}
    if refuse_everything(violations, clusters, all_or_nothing=all_or_nothing):
        return True
    kept_back = {violation.cluster for violation in violations}
    is_rest = any(cluster.steps for cluster in plan.clusters if cluster.cluster not in kept_back)
    return not is_rest and any(not violation.hold for violation in violations)


def select_warnings(
    warnings: Sequence[Diagnostic], *, full: bool = False
) -> tuple[Sequence[Diagnostic], str]:
    """The warnings to show with a plan, and one sentence for the others; empty if there are none."""
    if full or len(warnings) <= _FEW:
        return warnings, ""
    shown = warnings[: _FEW - 1]
    left = warnings[len(shown) :]
    # Validation knows what is in the files, and nothing of nodes and orders.
    where = "--full" if any(one.target and not one.position.file for one in left) else "reconcile validate"
    return shown, f"{len(left):,} more warnings: `{where}` shows them all"


def group_overridden(
    overridden: Sequence[tuple[Diagnostic, Override]], *, full: bool = False
) -> list[tuple[Override, FindingGroup]]:
    """Equal violations that the same override sets aside, together."""
    return [
        (pairs[0][1], group)
        for pairs in group_by_key(overridden, lambda pair: pair[1])
        for group in group_findings((violation for violation, _ in pairs), full=full)
    ]


def is_final(step: Step) -> bool:
    """Whether a step cannot be undone."""
    return step.inverse.final


def is_destructive(step: Step) -> bool:
    """Whether a step cannot be undone or has high risk."""
    return is_final(step) or step.risk is Risk.HIGH


def rank_step_risk(step: Step) -> tuple[bool, int]:
    """Sort key of steps: the most dangerous one is the greatest."""
    return is_final(step), list(Risk).index(step.risk)


def describe_revision(revision: Revision) -> str:
    """A revision in one line: its id, title, source and signer."""
    title = f" “{clean_line(revision.title)}”" if revision.title else ""
    by = f", signed by {clean_line(revision.signer)}" if revision.signer else ""
    return f"{clean_line(revision.short or revision.id)}{title} from {clean_line(revision.source)}{by}"


def describe_counts(cluster: ClusterPlan) -> str:
    """`43 nodes, 1 as desired, 40 changes, 2 errors`."""
    number = format_count(cluster.nodes, "node")
    parts = [
        f"{cluster.seen:,} of {number} looked at" if cluster.left_out else number,
        f"{cluster.unchanged:,} as desired",
    ]
    if cluster.steps:
        parts.append(format_count(len(cluster.steps), "change"))
    errors = sum(finding.severity is Severity.ERROR for finding in cluster.findings)
    if errors:
        parts.append(format_count(errors, "error"))
    return ", ".join(parts)


def describe_wave(cluster: ClusterPlan, number: int) -> str:
    """`wave 1 of 3: 2 changes`."""
    steps = [step for step in cluster.steps if step.wave == number]
    return (
        f"wave {number} of {max(step.wave for step in cluster.steps)}: {format_count(len(steps), 'change')}"
    )


def describe_risk(step: Step) -> str:
    """`low risk`, `high risk, cannot be undone`."""
    return f"{step.risk} risk, cannot be undone" if is_final(step) else f"{step.risk} risk"


def describe_effect(step: Step, risk: str, reason: str) -> str:
    """`no interruption; low risk: reason`; the effect is not repeated where it is the reason.

    Args:
        step: gives the effect.
        risk: from `describe_risk`, perhaps with marks of the format.
        reason: why the risk is what it is; may be empty.
    """
    effect = EFFECTS[step.effect]
    if reason == effect:
        return f"{risk}: {reason}"
    return f"{effect}; {risk}{f': {reason}' if reason else ''}"


def describe_pending(plan: Plan) -> str:
    """`3 changes on 2 clusters; 1 manual step`, without a final stop."""
    steps = list(plan.steps())
    clusters = sum(bool(cluster.steps) for cluster in plan.clusters)
    text = f"{format_count(len(steps), 'change')} on {format_count(clusters, 'cluster')}"
    if manual := sum(step.is_manual for step in steps):
        text += f"; {format_count(manual, 'manual step')}"
    if final := sum(is_final(step) for step in steps):
        text += f"; {final:,} cannot be undone"
    return text


def summarise_plan(plan: Plan, violations: Sequence[Diagnostic] = (), *, all_or_nothing: bool = False) -> str:
    """The summary of a plan in one line."""
    problems = _count_problems(plan.findings())
    reasons = len(group_findings(violation for violation in violations if not violation.hold))
    if reasons and is_refused_as_a_whole(plan, violations, all_or_nothing=all_or_nothing):
        count = format_count(reasons, "reason")
        return f"Refused for {count}; nothing is applied. Planned: {describe_pending(plan)}."
    refused = {violation.cluster for violation in violations if not violation.hold}
    held = {violation.cluster for violation in violations} - refused
    not_done = f"{format_count(len(refused), 'cluster is', 'clusters are')} refused" if refused else ""
    on_hold = f"{format_count(len(held), 'cluster is', 'clusters are')} on hold" if held else ""
    if plan.is_empty:
        head = "Nothing planned" if _find_unread(plan) else "No changes"
        return f"{head}: {'; '.join(filter(None, (_describe_condition(plan), not_done, on_hold)))}."
    return f"{'; '.join(filter(None, (describe_pending(plan), not_done, on_hold, problems)))}."


def summarise_run(report: RunReport, remaining: Plan | None = None) -> str:
    """The summary of a run in one line, with the changes that remain."""
    if report.is_success:
        found = sum(outcome.state is State.FOUND for outcome in report.outcomes)
        done = format_count(len(report.outcomes) - found, "change")
        head = f"Done: {done}{f', {found:,} already done' if found else ''}"
    else:
        numbers = Counter(outcome.state for outcome in report.outcomes)
        counts = ", ".join(f"{numbers[state]:,} {word}" for state, word in STATES.items() if numbers[state])
        head = f"{_describe_extent(report)}: {counts}"
    return f"{head}; {_describe_remaining(remaining)}."


def _describe_extent(report: RunReport) -> str:
    """How much of a run took effect."""
    if any(outcome.state in SUCCESSES for outcome in report.outcomes):
        return "Applied in part"
    states = {outcome.state for outcome in report.outcomes}
    if State.UNDONE in states:
        return "Sent and undone"
    # A call that was sent may have had an effect, whatever its answer was.
    is_sent = bool(states & OPEN) or any(outcome.sent for outcome in report.outcomes)
    return "Sent without the intended effect" if is_sent else "Nothing was applied"


def _describe_remaining(remaining: Plan | None) -> str:
    if remaining is None:
        return "not verified"
    problems, restarts = _count_problems(remaining.findings()), _describe_restarts(remaining)
    if not remaining.is_empty:
        return "; ".join(filter(None, (f"still to do: {describe_pending(remaining)}", problems)))
    if not problems:
        return "; ".join(
            filter(None, ("verified: no changes remain", describe_left_out(remaining.clusters), restarts))
        )
    is_complete = all(cluster.unchanged == cluster.seen for cluster in remaining.clusters)
    left = "no changes remain" if is_complete else "no further changes are planned now"
    return f"{left}, {_describe_condition(remaining)}"


def describe_kept_back(violations: Iterable[Diagnostic]) -> Iterator[str]:
    """`refused: live was left out of this run [cluster-size, quorum-margin]`, for each cluster."""
    # In short: the plan before the run has each reason, with what to do about it.
    by_cluster: dict[str, list[Diagnostic]] = {}
    for one in violations:
        by_cluster.setdefault(one.cluster, []).append(one)
    for cluster, own in sorted(by_cluster.items()):
        word = "on hold" if all(one.hold for one in own) else "refused"
        codes = ", ".join(sorted({one.code for one in own}))
        yield f"{word}: {clean_line(cluster)} was left out of this run [{codes}]"


def describe_left_out(clusters: Iterable[ClusterPlan | ClusterStatus]) -> str:
    """`2 other nodes were not looked at`; empty if the command was not restricted to some nodes."""
    number = sum(cluster.left_out for cluster in clusters)
    return f"{format_count(number, 'other node was', 'other nodes were')} not looked at" if number else ""


def _describe_condition(plan: Plan) -> str:
    """`1 of 6 nodes could not be read; 5 of 6 nodes are as desired; 1 warning`."""
    nodes = sum(cluster.seen for cluster in plan.clusters)
    unchanged = sum(cluster.unchanged for cluster in plan.clusters)
    unread = _find_unread(plan)
    number = len({finding.target for finding in unread})
    parts = [f"{number:,} of {format_count(nodes, 'node')} could not be read"] if unread else []
    if unchanged == nodes:
        parts.append(f"{format_count(nodes, 'node is', 'nodes are')} as desired")
    elif number < nodes:
        verb = "is" if 1 in {unchanged, nodes} else "are"
        parts.append(f"{unchanged:,} of {format_count(nodes, 'node')} {verb} as desired")
    parts += [describe_left_out(plan.clusters), _describe_restarts(plan)]
    # An unread node is an error, and is not counted twice.
    parts.append(_count_problems([finding for finding in plan.findings() if finding.code not in _UNREAD]))
    return "; ".join(filter(None, parts))


def _describe_restarts(plan: Plan) -> str:
    """`2 nodes wait for a restart`; empty if none does."""
    waiting = {finding.target for finding in plan.findings() if finding.code == RESTART}
    return f"{format_count(len(waiting), 'node waits', 'nodes wait')} for a restart" if waiting else ""


def _find_unread(plan: Plan) -> list[Diagnostic]:
    return [finding for finding in plan.findings() if finding.code in _UNREAD]


def select_findings(plan: Plan | None) -> tuple[Diagnostic, ...]:
    """The errors and warnings of a plan, which `summarise_run` counts; none without a plan."""
    findings = plan.findings() if plan is not None else ()
    return tuple(finding for finding in findings if finding.severity is not Severity.NOTE)


def _count_problems(findings: Iterable[Diagnostic]) -> str:
    """`2 errors and 1 warning`; empty if there are none."""
    weights = Counter(finding.severity for finding in findings)
    named = ((Severity.ERROR, "error"), (Severity.WARNING, "warning"))
    return " and ".join(
        format_count(weights[severity], noun) for severity, noun in named if weights[severity]
    )
