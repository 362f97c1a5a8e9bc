"""Equal findings and outcomes of many nodes, gathered for display."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from reconciler.cli.render.step_groups import format_node_names, generalise_sentence, group_by_key
from reconciler.core.outcome import SUCCESSES, Outcome, RunReport, State
from reconciler.diagnostic import NOWHERE, Diagnostic, Severity
from reconciler.text.one_line import clean_line

_SAME_FOR_MANY = re.compile(r"each node (?=(?:can|cannot|could|must|may|did) )")
_WEIGHTS = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """One finding about one target or several; `who` is empty if the message names its target.

    Args:
        finding: the first of the equal findings; its message and remedy can be shown as they are.
    """

    finding: Diagnostic
    who: str

    @property
    def text(self) -> str:
        """Targets and message as one sentence."""
        message = self.finding.message
        if not self.who:
            return message
        # These verbs have one form: "edge-01, edge-02 (2 nodes) could not be read".
        if found := _SAME_FOR_MANY.match(message):
            return f"{self.who} {message[found.end() :]}"
        return f"{self.who}: {message}"


def group_findings(findings: Iterable[Diagnostic]) -> list[FindingGroup]:
    """Equal findings together, errors first."""

    def make_key(finding: Diagnostic) -> tuple[str, ...]:
        node = _get_node(finding.target)
        return (
            finding.severity,
            finding.code,
            generalise_sentence(finding.located, node),
            generalise_sentence(finding.remedy, node),
        )

    result = []
    for group in group_by_key(findings, make_key):
        first = group[0]
        node = _get_node(first.target)
        is_named = len(group) == 1 and generalise_sentence(first.located, node) != clean_line(first.located)
        shown = replace(
            first,
            code=clean_line(first.code),
            message=_generalise(first.located, node, len(group)),
            remedy=_generalise(first.remedy, node, len(group)),
            position=NOWHERE,
            target="",
        )
        result.append(
            FindingGroup(
                shown, "" if is_named else format_node_names([_get_node(finding.target) for finding in group])
            )
        )
    return sorted(result, key=lambda note: _WEIGHTS[note.finding.severity])


def describe_missed_steps(report: RunReport) -> list[tuple[State, str]]:
    """The steps without success; those with the same reason share a sentence, `a: upload b: reason`."""

    def make_key(outcome: Outcome) -> tuple[str, ...]:
        step = outcome.step
        return step.cluster, outcome.state, step.action, generalise_sentence(outcome.reason, step.node)

    missed = (outcome for outcome in report.outcomes if outcome.state not in SUCCESSES)
    result = []
    for group in group_by_key(missed, make_key):
        first, step = group[0], group[0].step
        who = format_node_names([outcome.step.node for outcome in group])
        text = f"{clean_line(step.cluster)}: {clean_line(step.action)} {who}"
        reason = _generalise(first.reason, step.node, len(group))
        result.append((first.state, f"{text}: {reason}" if reason else text))
    return result


def describe_pending_restarts(report: RunReport) -> list[str]:
    """The nodes that loaded a change but use all of it only after a restart, with the fields that wait."""
    waiting = [outcome for outcome in report.outcomes if outcome.waiting_for_restart]
    groups = group_by_key(waiting, lambda outcome: (outcome.step.cluster, outcome.waiting_for_restart))
    result = []
    for group in groups:
        who = format_node_names([outcome.step.node for outcome in group])
        fields = ", ".join(map(clean_line, group[0].waiting_for_restart))
        result.append(f"{clean_line(group[0].step.cluster)}: {who}: {fields}")
    return result


def _generalise(text: str, node: str, number: int) -> str:
    return generalise_sentence(text, node) if number > 1 else clean_line(text)


def _get_node(target: str) -> str:
    """The node of `cluster/node`; a target of another form as it is."""
    return target if "://" in target else target.partition("/")[2] or target
