"""Results of the model checker, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reconciler.cli.render.json import format_json
from reconciler.cli.render.text import PLAIN, TerminalLayout, Tone
from reconciler.core.diagnostic_json import to_plain_finding, to_plain_violation
from reconciler.core.finding_groups import group_findings
from reconciler.descriptions.values import format_count
from reconciler.diagnostic import Diagnostic
from reconciler.planning.model_check import CheckResult
from reconciler.text.one_line import clean_line


def render_check_text(
    checked: Sequence[CheckResult],
    faults: int,
    violations: Sequence[Diagnostic] = (),
    *,
    layout: TerminalLayout = PLAIN,
) -> str:
    """A line for each cluster, the counterexample if an invariant is violated, and why nothing was explored.

    Args:
        checked: the result for each cluster.
        faults: how many faults an execution may have.
        violations: the guards' violations of the plan.
        layout: width and colour.
    """
    lines: list[str] = []
    for one in checked:
        lines.append(clean_line(f"{one.cluster}: {describe_check(one, faults)}"))
        if one.explored is not None and one.explored.broken:
            lines += [f"  {number}. {clean_line(move)}" for number, move in enumerate(one.explored.story, 1)]
        for group in group_findings(one.findings):
            lines += layout.problem(group.finding.severity, group.text, group.finding, Tone.CHANGE, 2)
    for group in group_findings(violations):
        lines += layout.violation(group)
    return "".join(f"{line}\n" for line in lines)


def render_check_json(
    checked: Sequence[CheckResult], faults: int, violations: Sequence[Diagnostic] = ()
) -> str:
    """The results as one JSON object."""
    return format_json(
        {
            "faults": faults,
            "clusters": [_to_plain_check(one) for one in checked],
            "violations": [to_plain_violation(one) for one in violations],
        }
    )


def describe_check(one: CheckResult, faults: int) -> str:
    """The result for one cluster in a sentence."""
    if one.explored is None:
        return f"not explored: {one.reason}"
    bounds = f"up to {format_count(faults, 'fault')} and one kill of the reconciler"
    states = format_count(one.explored.states, "state")
    part = f"; {one.words}" if one.words else ""
    if one.explored.broken:
        return f"violation after {format_count(len(one.explored.story), 'transition')}: {one.explored.broken}"
    if not one.explored.complete:
        return f"no violation in {states}, {bounds}; not exhaustive: the limit of states was reached{part}"
    return f"all invariants hold in all {states}, {bounds}{part}"


def _to_plain_check(one: CheckResult) -> dict[str, Any]:
    found = one.explored
    if found is None:
        findings = [to_plain_finding(finding) for finding in one.findings]
        return {"cluster": one.cluster, "reason": one.reason, "findings": findings}
    return {
        "cluster": one.cluster,
        "states": found.states,
        "complete": found.complete,
        "broken": found.broken,
        "stands_for": one.words,
        "story": list(found.story),
    }
