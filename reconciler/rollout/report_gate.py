"""Whether changed nodes have said by themselves, by heartbeat and feedback, what they run now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.core.node_reports import NodeReport, ReportKind
from reconciler.core.rollout import ReportGate
from reconciler.rollout.metric_comparison import GOOD, GateResult, GateStatus

OK = "ok"
"""The status of a feedback that reports success (facts: M2, `setting.feedback`)."""


@dataclass(slots=True)
class ReceivedReports:
    """The reports of one cluster's nodes since `forget`, the newest of each kind by node."""

    newest: dict[tuple[str, ReportKind], NodeReport] = field(default_factory=dict)

    def take(self, report: NodeReport) -> None:
        """Keep a report in place of the node's earlier one of its kind."""
        self.newest[report.node, report.kind] = report

    def forget(self, *kinds: ReportKind) -> None:
        """Reports of these kinds that came so far count no more."""
        self.newest = {key: report for key, report in self.newest.items() if key[1] not in kinds}


def evaluate_reports(
    gate: ReportGate, given: Mapping[str, Any], heard: ReceivedReports, silent: frozenset[str] = frozenset()
) -> GateResult:
    """What the reports so far amount to: good, bad for good, or unclear as long as some are missing.

    Args:
        gate: which reports are asked for.
        given: changed node -> the version it was given; None where it has none to be told by.
        heard: the reports since the wave.
        silent: nodes whose feedback went to an earlier run, so that a missing one says nothing.
    """
    missing = []
    for node, version in sorted(given.items()):
        for kind in _asked(gate):
            report = heard.newest.get((node, kind))
            if report is None or not _fits(report, version):
                if kind is ReportKind.FEEDBACK and node in silent:
                    continue
                missing.append(_missing(node, kind, version, report))
            elif kind is ReportKind.FEEDBACK and report.status.casefold() != OK:
                return GateResult(
                    GateStatus.BAD, f"{node} reports of its new setting: {report.status or 'no status'}"
                )
    if not missing:
        return GOOD
    more = f"; and {len(missing) - 3} more" if len(missing) > 3 else ""  # noqa: PLR2004  (enough to begin with)
    return GateResult(GateStatus.UNCLEAR, "; ".join(missing[:3]) + more)


def _asked(gate: ReportGate) -> Iterable[ReportKind]:
    if gate.feedback:
        yield ReportKind.FEEDBACK
    if gate.heartbeat:
        yield ReportKind.HEARTBEAT


def _fits(report: NodeReport, given: Any) -> bool:
    """Whether a report is of the version that was given; one of the two may be a number.

    A feedback may leave it out, a heartbeat may not: it would say nothing of the change.
    """
    if given is None or (report.version is None and report.kind is ReportKind.FEEDBACK):
        return True
    return report.version is not None and str(report.version) == str(given)


def _missing(node: str, kind: ReportKind, version: Any, report: NodeReport | None) -> str:
    if report is None:
        return f"{node} has sent no {kind} since it was changed"
    if report.version is None:
        return f"{node} names no version in its {kind}"
    return f"{node} still names version {report.version} in its {kind}, not {version}"
