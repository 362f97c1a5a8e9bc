"""The sentences that the text and the Markdown renderings share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from reconciler.cli.render.values import format_count
from reconciler.core.outcome import OPEN, SUCCESSES, RunReport, State
from reconciler.core.plan import ClusterPlan, Effect, Plan, Revision, Risk, Step
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.text.one_line import clean_line

EFFECTS = {
    Effect.NONE: "nothing on the node changes",
    Effect.HOT: "applies without interruption",
    Effect.RESTART: "needs a restart",
    Effect.MEMBERSHIP: "changes the membership",
}
STATES = {
    State.DONE: "done",
    State.FOUND: "already so",
    State.FAILED: "failed",
    State.UNKNOWN: "not known",
    State.OFFERED: "offered",
    State.UNDONE: "undone",
    State.CHANGED: "world changed",
    State.WAITING: "waiting",
    State.SKIPPED: "not done",
}


_FEW = 4


def select_warnings(warnings: Sequence[Diagnostic]) -> tuple[Sequence[Diagnostic], str]:
    """The warnings to show with a plan, and one sentence for the others; empty where there are none."""
    if len(warnings) <= _FEW:
        return warnings, ""
    shown = warnings[: _FEW - 1]
    return shown, f"{len(warnings) - len(shown):,} more warnings: `reconcile validate` shows them all"


def is_final(step: Step) -> bool:
    """Whether a step cannot be undone."""
    return step.inverse.final


def is_destructive(step: Step) -> bool:
    """Whether a step deserves the eye's attention first."""
    return is_final(step) or step.risk is Risk.HIGH


def rank_step_risk(step: Step) -> tuple[bool, int]:
    """Sorts steps by how bad they can turn out."""
    return is_final(step), list(Risk).index(step.risk)


def describe_revision(revision: Revision) -> str:
    """Which desired state this is, in one line."""
    title = f" “{clean_line(revision.title)}”" if revision.title else ""
    by = f", signed by {clean_line(revision.signer)}" if revision.signer else ""
    return f"{clean_line(revision.short or revision.id)}{title} from {clean_line(revision.source)}{by}"


def describe_counts(cluster: ClusterPlan) -> str:
    """A cluster's nodes and steps in numbers."""
    parts = [format_count(cluster.nodes, "node"), f"{cluster.unchanged:,} as desired"]
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


def describe_pending(plan: Plan) -> str:
    """`3 changes on 2 clusters; 1 needs a person`, without a final stop."""
    steps = list(plan.steps())
    clusters = sum(bool(cluster.steps) for cluster in plan.clusters)
    text = f"{format_count(len(steps), 'change')} on {format_count(clusters, 'cluster')}"
    waiting = sum(step.waits_for_person for step in steps)
    if waiting:
        text += f"; {waiting:,} {'needs' if waiting == 1 else 'need'} a person"
    ends = sum(is_final(step) for step in steps)
    if ends:
        text += f"; {ends:,} cannot be undone"
    return text


def summarise_plan(plan: Plan, violations: Sequence[Diagnostic] = ()) -> str:
    """The one sentence that a plan comes to."""
    trouble = _trouble(plan)
    reasons = sum(not violation.hold for violation in violations)
    if reasons:
        return f"Refused for {format_count(reasons, 'reason')}, nothing is done: {describe_pending(plan)}."
    if not plan.empty:
        return f"{'; '.join(filter(None, (describe_pending(plan), _waiting(violations), trouble)))}."
    return f"No changes: {'; '.join(filter(None, (_as_desired(plan), trouble)))}."


def _waiting(violations: Sequence[Diagnostic]) -> str:
    """How many clusters something holds up; empty where nothing does."""
    held = len({violation.cluster for violation in violations if violation.hold})
    return f"{format_count(held, 'cluster is', 'clusters are')} held up for now" if held else ""


def summarise_run(report: RunReport, remaining: Plan | None = None) -> str:
    """The one sentence that a run comes to, with what a second look found."""
    if report.succeeded:
        head = f"Done: {format_count(len(report.outcomes), 'change')}"
    else:
        numbers = Counter(outcome.state for outcome in report.outcomes)
        told = ", ".join(f"{numbers[state]:,} {word}" for state, word in STATES.items() if numbers[state])
        head = f"{_extent(report)}: {told}"
    return f"{head}; {_verified(remaining)}."


def _extent(report: RunReport) -> str:
    """How much of a run took effect; a call that was sent may have had one, whatever it was answered."""
    if any(outcome.state in SUCCESSES for outcome in report.outcomes):
        return "Applied in part"
    states = {outcome.state for outcome in report.outcomes}
    if State.UNDONE in states:
        return "Sent and taken back"
    is_sent = bool(states & OPEN) or any(outcome.sent for outcome in report.outcomes)
    return "Sent without the intended effect" if is_sent else "Nothing was applied"


def _verified(remaining: Plan | None) -> str:
    if remaining is None:
        return "not looked at again"
    if not remaining.empty:
        parts = (f"still different: {describe_pending(remaining)}", _trouble(remaining))
    elif _trouble(remaining):
        is_whole = all(cluster.unchanged == cluster.nodes for cluster in remaining.clusters)
        left = "no changes remain" if is_whole else "nothing more is planned now"
        parts = (f"{left}, {_as_desired(remaining)}", _trouble(remaining))
    else:
        parts = ("verified: no changes", "")
    return "; ".join(filter(None, parts))


def _as_desired(plan: Plan) -> str:
    nodes = sum(cluster.nodes for cluster in plan.clusters)
    unchanged = sum(cluster.unchanged for cluster in plan.clusters)
    if unchanged < nodes:
        verb = "is" if 1 in {unchanged, nodes} else "are"
        return f"{unchanged:,} of {format_count(nodes, 'node')} {verb} as desired"
    return f"{format_count(nodes, 'node is', 'nodes are')} as desired"


def select_findings(plan: Plan | None) -> tuple[Diagnostic, ...]:
    """The errors and warnings of a plan that `summarise_run` counts, shown with it; none without a plan."""
    findings = plan.findings() if plan is not None else ()
    return tuple(finding for finding in findings if finding.severity is not Severity.NOTE)


def _trouble(plan: Plan) -> str:
    """Errors and warnings that a person should look at, in numbers; empty where there are none."""
    weights = Counter(finding.severity for finding in plan.findings())
    named = ((Severity.ERROR, "error"), (Severity.WARNING, "warning"))
    told = " and ".join(
        format_count(weights[severity], noun) for severity, noun in named if weights[severity]
    )
    return f"{told} to look at" if told else ""
