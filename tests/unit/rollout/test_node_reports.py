"""What nodes say of themselves, weighed against what they were given."""

import pytest

from reconciler.core.observation import NodeReport, ReportKind
from reconciler.core.rollout import ReportGate
from reconciler.rollout.metric_comparison import GateStatus
from reconciler.rollout.report_gate import ReceivedReports, evaluate_reports

BEATS = ReportGate(listen="127.0.0.1:9600")
BOTH = ReportGate(listen="127.0.0.1:9600", feedback=True)
GIVEN = {"n1": "7", "n2": "7"}


def heard(*reports):
    found = ReceivedReports()
    for report in reports:
        found.take(report)
    return found


def beat(node, version="7"):
    return NodeReport(node, ReportKind.HEARTBEAT, version)


def test_heartbeats_of_every_changed_node_with_its_version_are_good():
    assert evaluate_reports(BEATS, GIVEN, heard(beat("n1"), beat("n2"))).status is GateStatus.GOOD


def test_a_version_may_be_a_number_on_one_side():
    assert evaluate_reports(BEATS, {"n1": 7}, heard(beat("n1", "7"))).status is GateStatus.GOOD


def test_a_node_without_a_report_makes_the_gate_unclear_and_is_named():
    found = evaluate_reports(BEATS, GIVEN, heard(beat("n1")))
    assert (found.status, found.reason) == (
        GateStatus.UNCLEAR,
        "n2 has sent no heartbeat since it was changed",
    )


def test_a_heartbeat_of_the_old_version_does_not_count():
    found = evaluate_reports(BEATS, GIVEN, heard(beat("n1"), beat("n2", "6")))
    assert (found.status, found.reason) == (
        GateStatus.UNCLEAR,
        "the heartbeat of n2 still has version 6 instead of 7",
    )


@pytest.mark.parametrize(
    ("status", "weight"), [("ok", GateStatus.GOOD), ("OK", GateStatus.GOOD), ("E0004", GateStatus.BAD)]
)
def test_a_feedback_counts_by_its_status(status, weight):
    told = heard(beat("n1"), NodeReport("n1", ReportKind.FEEDBACK, "7", status))
    assert evaluate_reports(BOTH, {"n1": "7"}, told).status is weight


def test_a_forgotten_report_does_not_count():
    told = heard(beat("n1"), NodeReport("n1", ReportKind.FEEDBACK, "7", "ok"))
    told.forget(ReportKind.HEARTBEAT)
    assert evaluate_reports(BOTH, {"n1": "7"}, told).reason == "n1 has sent no heartbeat since it was changed"
    told.take(beat("n1"))
    assert evaluate_reports(BOTH, {"n1": "7"}, told).status is GateStatus.GOOD


def test_a_heartbeat_without_a_version_does_not_count():
    found = evaluate_reports(BEATS, {"n1": "7"}, heard(beat("n1", None)))
    assert (found.status, found.reason) == (GateStatus.UNCLEAR, "the heartbeat of n1 has no version")


def test_a_late_failure_of_an_earlier_version_does_not_count():
    told = heard(beat("n1"), NodeReport("n1", ReportKind.FEEDBACK, "6", "E0004"))
    assert evaluate_reports(BOTH, {"n1": "7"}, told).status is GateStatus.UNCLEAR
