"""The outcomes of many nodes' steps, gathered for display."""

from __future__ import annotations

from reconciler.core.outcome import SUCCESSES, Outcome, RunReport, State
from reconciler.text.node_names import format_node_names, generalise_sentence, group_by_key
from reconciler.text.one_line import clean_line


def describe_missed_steps(report: RunReport, *, full: bool = False) -> list[tuple[State, str]]:
    """The steps without success; those with the same reason share a sentence, `a: upload b: reason`."""

    def make_key(outcome: Outcome) -> tuple[str, ...]:
        step = outcome.step
        return step.cluster, outcome.state, step.action, generalise_sentence(outcome.reason, step.node)

    missed = (outcome for outcome in report.outcomes if outcome.state not in SUCCESSES)
    result = []
    for group in group_by_key(missed, make_key):
        first, step = group[0], group[0].step
        who = format_node_names([outcome.step.node for outcome in group], full=full)
        text = f"{clean_line(step.cluster)}: {clean_line(step.action)} {who}"
        one = first.reason
        reason = generalise_sentence(one, step.node) if len(group) > 1 else clean_line(one)
        result.append((first.state, f"{text}: {reason}" if reason else text))
    return result


def describe_pending_restarts(report: RunReport, *, full: bool = False) -> list[str]:
    """The nodes that loaded a change but use all of it only after a restart, with the fields that wait."""
    waiting = [outcome for outcome in report.outcomes if outcome.waiting_for_restart]
    groups = group_by_key(waiting, lambda outcome: (outcome.step.cluster, outcome.waiting_for_restart))
    result = []
    for group in groups:
        who = format_node_names([outcome.step.node for outcome in group], full=full)
        fields = ", ".join(map(clean_line, group[0].waiting_for_restart))
        result.append(f"{clean_line(group[0].step.cluster)}: {who}: {fields}")
    return result
