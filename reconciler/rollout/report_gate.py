"""The gate of reports: whether changed nodes report what they run now, by heartbeat and feedback; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.core.observation import NodeReport, ReportKind
from reconciler.core.rollout_rules import ReportGate
from reconciler.rollout.metric_comparison import GOOD, GateResult, GateStatus

OK = "ok"
"""Status of a feedback that reports success (M2 manual, `setting.feedback`)."""


@dataclass(slots=True)
class ReceivedReports:
    """The newest report of each kind and node of one cluster, since the wave."""

    newest: dict[tuple[str, ReportKind], NodeReport] = field(default_factory=dict)

    def take(self, report: NodeReport) -> None:
        """Keep a report in place of the node's earlier one of this kind."""
        self.newest[report.node, report.kind] = report


def evaluate_reports(gate: ReportGate, given: Mapping[str, Any], heard: ReceivedReports) -> GateResult:
    """The gate's result by the reports so far: good, bad, or unclear as long as some are missing.

    Args:
        gate: which reports are required.
        given: changed node -> the version it was given; None if it has none to recognise.
        heard: the reports since the wave.
    """
    required = ((ReportKind.FEEDBACK, gate.feedback), (ReportKind.HEARTBEAT, gate.heartbeat))
    missing = []
    for node, version in sorted(given.items()):
        for kind in (kind for kind, is_required in required if is_required):
            report = heard.newest.get((node, kind))
            if report is None or not _has_version(report, version):
                missing.append(_explain_missing(node, kind, version, report))
            elif kind is ReportKind.FEEDBACK and report.status.casefold() != OK:
                why = report.status or "no status"
                return GateResult(GateStatus.BAD, f"{node} reports a failure of its new setting: {why}")
    if not missing:
        return GOOD
    more = f"; and {len(missing) - 3} more" if len(missing) > 3 else ""  # noqa: PLR2004  (enough to begin with)
    return GateResult(GateStatus.UNCLEAR, "; ".join(missing[:3]) + more)


def _has_version(report: NodeReport, given: Any) -> bool:
    """Whether a report is of the version that was given; one of the two may be a number."""
    # A feedback is sent because of the change, so it may leave the version out. A heartbeat is sent anyway:
    # without a version it says nothing of the change.
    if given is None or (report.version is None and report.kind is ReportKind.FEEDBACK):
        return True
    return report.version is not None and str(report.version) == str(given)


def _explain_missing(node: str, kind: ReportKind, version: Any, report: NodeReport | None) -> str:
    if report is None:
        return f"{node} has sent no {kind} since it was changed"
    if report.version is None:
        return f"the {kind} of {node} has no version"
    return f"the {kind} of {node} still has version {report.version} instead of {version}"
