"""What nodes say of themselves, weighed against what they were given."""

import pytest

from reconciler.core.observation import NodeReport, ReportKind
from reconciler.core.rollout_rules import ReportGate
from reconciler.rollout.metric_comparison import GateStatus
from reconciler.rollout.report_gate import ReceivedReports, evaluate_reports

BEATS = ReportGate()
BOTH = ReportGate(feedback=True)
GIVEN = {"n1": "7", "n2": "7"}


def receive(*reports):
    found = ReceivedReports()
    for report in reports:
        found.take(report)
    return found


def heartbeat(node, version="7"):
    return NodeReport(node, ReportKind.HEARTBEAT, version)


def test_heartbeats_of_every_changed_node_with_its_version_also_as_a_number_are_good():
    assert evaluate_reports(BEATS, GIVEN, receive(heartbeat("n1"), heartbeat("n2"))).status is GateStatus.GOOD
    assert evaluate_reports(BEATS, {"n1": 7}, receive(heartbeat("n1", "7"))).status is GateStatus.GOOD


@pytest.mark.parametrize(
    ("reports", "reason"),
    [
        ([], "n2 has sent no heartbeat since it was changed"),
        ([("n2", "6")], "the heartbeat of n2 still has version 6 instead of 7"),
        ([("n2", None)], "the heartbeat of n2 has no version"),
    ],
)
def test_a_missing_old_or_unversioned_heartbeat_makes_the_gate_unclear_and_its_node_is_named(reports, reason):
    found = evaluate_reports(BEATS, GIVEN, receive(heartbeat("n1"), *(heartbeat(*one) for one in reports)))
    assert (found.status, found.reason) == (GateStatus.UNCLEAR, reason)


@pytest.mark.parametrize(
    ("status", "status_of_gate"),
    [("ok", GateStatus.GOOD), ("OK", GateStatus.GOOD), ("E0004", GateStatus.BAD)],
)
def test_a_feedback_counts_by_its_status(status, status_of_gate):
    received = receive(heartbeat("n1"), NodeReport("n1", ReportKind.FEEDBACK, "7", status))
    assert evaluate_reports(BOTH, {"n1": "7"}, received).status is status_of_gate


def test_a_late_failure_of_an_earlier_version_does_not_count():
    received = receive(heartbeat("n1"), NodeReport("n1", ReportKind.FEEDBACK, "6", "E0004"))
    assert evaluate_reports(BOTH, {"n1": "7"}, received).status is GateStatus.UNCLEAR
