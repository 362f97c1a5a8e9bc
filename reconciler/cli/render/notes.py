"""Findings and outcomes that say the same of many nodes, gathered and made fit to show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from reconciler.cli.render.group import about, alike, names
from reconciler.core.outcome import SUCCESSES, Outcome, Report, State
from reconciler.diagnostic import NOWHERE, Diagnostic, Severity
from reconciler.text.one_line import clean

_WEIGHTS = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


@dataclass(frozen=True, slots=True)
class Note:
    """One finding about one target or several; `who` is empty where the message names its target.

    Args:
        finding: the first of those that say the same; its message and remedy fit to show.
    """

    finding: Diagnostic
    who: str

    @property
    def text(self) -> str:
        """Who and what, as one sentence."""
        return f"{self.who}: {self.finding.message}" if self.who else self.finding.message


@dataclass(frozen=True, slots=True)
class Missed:
    """Steps that did not come to their effect, for one reason."""

    state: State
    cluster: str
    action: str
    who: str
    reason: str


@dataclass(frozen=True, slots=True)
class Restart:
    """Nodes that took a change but wait for a restart to use all of it."""

    cluster: str
    who: str
    fields: str


def notes(findings: Iterable[Diagnostic]) -> list[Note]:
    """Findings gathered by what they say, errors first."""

    def said(finding: Diagnostic) -> tuple[str, ...]:
        node = _last(finding.target)
        return finding.severity, finding.code, about(finding.located, node), about(finding.remedy, node)

    result = []
    for group in alike(findings, said):
        first = group[0]
        node = _last(first.target)
        named = len(group) == 1 and about(first.located, node) != clean(first.located)
        shown = replace(
            first,
            code=clean(first.code),
            message=_said(first.located, node, len(group)),
            remedy=_said(first.remedy, node, len(group)),
            position=NOWHERE,
            target="",
        )
        result.append(Note(shown, "" if named else names([_last(finding.target) for finding in group])))
    return sorted(result, key=lambda note: _WEIGHTS[note.finding.severity])


def missed(report: Report) -> list[Missed]:
    """What a run did not bring about, gathered by reason."""

    def said(outcome: Outcome) -> tuple[str, ...]:
        step = outcome.step
        return step.cluster, outcome.state, step.action, about(outcome.reason, step.node)

    result = []
    for group in alike((outcome for outcome in report.outcomes if outcome.state not in SUCCESSES), said):
        first, step = group[0], group[0].step
        who = names([outcome.step.node for outcome in group])
        reason = _said(first.reason, step.node, len(group))
        result.append(Missed(first.state, clean(step.cluster), clean(step.action), who, reason))
    return result


def restarts(report: Report) -> list[Restart]:
    """The nodes that wait for a restart, gathered by what for."""
    waiting = [outcome for outcome in report.outcomes if outcome.waiting_for_restart]
    return [
        Restart(
            cluster=clean(group[0].step.cluster),
            who=names([outcome.step.node for outcome in group]),
            fields=", ".join(clean(name) for name in group[0].waiting_for_restart),
        )
        for group in alike(waiting, lambda outcome: (outcome.step.cluster, outcome.waiting_for_restart))
    ]


def _said(text: str, node: str, number: int) -> str:
    return about(text, node) if number > 1 else clean(text)


def _last(target: str) -> str:
    """The node of `cluster/node`; a target of another form as it is."""
    return target if "://" in target else target.partition("/")[2] or target
