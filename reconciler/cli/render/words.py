"""The sentences that the text and the Markdown renderings share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from reconciler.cli.render.clean import plural
from reconciler.core.outcome import OPEN, SUCCESSES, Report, State
from reconciler.core.plan import ClusterPlan, Effect, Plan, Revision, Risk, Step
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.text.one_line import clean

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


def few(warnings: Sequence[Diagnostic]) -> tuple[Sequence[Diagnostic], str]:
    """The warnings to show with a plan, and one sentence for the others; empty where there are none."""
    if len(warnings) <= _FEW:
        return warnings, ""
    shown = warnings[: _FEW - 1]
    return shown, f"{len(warnings) - len(shown):,} more warnings: `reconcile validate` shows them all"


def final(step: Step) -> bool:
    """Whether a step cannot be undone."""
    return step.inverse.final


def destructive(step: Step) -> bool:
    """Whether a step deserves the eye's attention first."""
    return final(step) or step.risk is Risk.HIGH


def weight(step: Step) -> tuple[bool, int]:
    """Sorts steps by how bad they can turn out."""
    return final(step), list(Risk).index(step.risk)


def origin(revision: Revision) -> str:
    """Which desired state this is, in one line."""
    title = f" “{clean(revision.title)}”" if revision.title else ""
    by = f", signed by {clean(revision.signer)}" if revision.signer else ""
    return f"{clean(revision.short or revision.id)}{title} from {clean(revision.source)}{by}"


def counts(cluster: ClusterPlan) -> str:
    """A cluster's nodes and steps in numbers."""
    parts = [plural(cluster.nodes, "node"), f"{cluster.unchanged:,} as desired"]
    if cluster.steps:
        parts.append(plural(len(cluster.steps), "change"))
    errors = sum(finding.severity is Severity.ERROR for finding in cluster.findings)
    if errors:
        parts.append(plural(errors, "error"))
    return ", ".join(parts)


def wave(cluster: ClusterPlan, number: int) -> str:
    """`wave 1 of 3: 2 changes`."""
    steps = [step for step in cluster.steps if step.wave == number]
    return f"wave {number} of {max(step.wave for step in cluster.steps)}: {plural(len(steps), 'change')}"


def risk(step: Step) -> str:
    """`low risk`, `high risk, cannot be undone`."""
    return f"{step.risk} risk, cannot be undone" if final(step) else f"{step.risk} risk"


def pending(plan: Plan) -> str:
    """`3 changes on 2 clusters; 1 needs a person`, without a final stop."""
    steps = list(plan.steps())
    clusters = sum(bool(cluster.steps) for cluster in plan.clusters)
    text = f"{plural(len(steps), 'change')} on {plural(clusters, 'cluster')}"
    waiting = sum(step.waits_for_person for step in steps)
    if waiting:
        text += f"; {waiting:,} {'needs' if waiting == 1 else 'need'} a person"
    ends = sum(final(step) for step in steps)
    if ends:
        text += f"; {ends:,} cannot be undone"
    return text


def summary(plan: Plan, violations: Sequence[Diagnostic] = ()) -> str:
    """The one sentence that a plan comes to."""
    trouble = _trouble(plan)
    reasons = sum(not violation.hold for violation in violations)
    if reasons:
        return f"Refused for {plural(reasons, 'reason')}, nothing is done: {pending(plan)}."
    if not plan.empty:
        return f"{'; '.join(filter(None, (pending(plan), _waiting(violations), trouble)))}."
    return f"No changes: {'; '.join(filter(None, (_as_desired(plan), trouble)))}."


def _waiting(violations: Sequence[Diagnostic]) -> str:
    """How many clusters something holds up; empty where nothing does."""
    held = len({violation.cluster for violation in violations if violation.hold})
    return f"{plural(held, 'cluster is', 'clusters are')} held up for now" if held else ""


def result(report: Report, remaining: Plan | None = None) -> str:
    """The one sentence that a run comes to, with what a second look found."""
    if report.succeeded:
        head = f"Done: {plural(len(report.outcomes), 'change')}"
    else:
        numbers = Counter(outcome.state for outcome in report.outcomes)
        told = ", ".join(f"{numbers[state]:,} {word}" for state, word in STATES.items() if numbers[state])
        head = f"{_extent(report)}: {told}"
    return f"{head}; {_verified(remaining)}."


def _extent(report: Report) -> str:
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
        parts = (f"still different: {pending(remaining)}", _trouble(remaining))
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
        return f"{unchanged:,} of {plural(nodes, 'node')} {verb} as desired"
    return f"{plural(nodes, 'node is', 'nodes are')} as desired"


def trouble(plan: Plan | None) -> tuple[Diagnostic, ...]:
    """The errors and warnings of a plan that `result` counts, to be shown with it; none without a plan."""
    findings = plan.findings() if plan is not None else ()
    return tuple(finding for finding in findings if finding.severity is not Severity.NOTE)


def _trouble(plan: Plan) -> str:
    """Errors and warnings that a person should look at, in numbers; empty where there are none."""
    weights = Counter(finding.severity for finding in plan.findings())
    named = ((Severity.ERROR, "error"), (Severity.WARNING, "warning"))
    told = " and ".join(plural(weights[severity], noun) for severity, noun in named if weights[severity])
    return f"{told} to look at" if told else ""
