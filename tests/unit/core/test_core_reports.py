"""What nodes say of themselves, weighed against what they were given."""

import pytest

from reconciler.core.reports import Kind, Report
from reconciler.core.rollout import ReportGate
from reconciler.rollout.health import Weight
from reconciler.rollout.report_gate import Heard, weighed

BEATS = ReportGate(listen="127.0.0.1:9600")
BOTH = ReportGate(listen="127.0.0.1:9600", feedback=True)
GIVEN = {"n1": "7", "n2": "7"}


def heard(*reports):
    found = Heard()
    for report in reports:
        found.take(report)
    return found


def beat(node, version="7"):
    return Report(node, Kind.HEARTBEAT, version)


def test_heartbeats_of_every_changed_node_with_its_version_are_good():
    assert weighed(BEATS, GIVEN, heard(beat("n1"), beat("n2"))).weight is Weight.GOOD


def test_a_version_may_be_a_number_on_one_side():
    assert weighed(BEATS, {"n1": 7}, heard(beat("n1", "7"))).weight is Weight.GOOD


def test_a_silent_node_leaves_it_unclear_and_is_named():
    found = weighed(BEATS, GIVEN, heard(beat("n1")))
    assert (found.weight, found.reason) == (
        Weight.UNCLEAR,
        "n2 has sent no heartbeat since it was changed",
    )


def test_a_heartbeat_of_the_old_version_does_not_count():
    found = weighed(BEATS, GIVEN, heard(beat("n1"), beat("n2", "6")))
    assert (found.weight, found.reason) == (
        Weight.UNCLEAR,
        "n2 still names version 6 in its heartbeat, not 7",
    )


@pytest.mark.parametrize(
    ("status", "weight"), [("ok", Weight.GOOD), ("OK", Weight.GOOD), ("E0004", Weight.BAD)]
)
def test_a_feedback_counts_by_its_status(status, weight):
    told = heard(beat("n1"), Report("n1", Kind.FEEDBACK, "7", status))
    assert weighed(BOTH, {"n1": "7"}, told).weight is weight


def test_what_was_forgotten_counts_no_more():
    told = heard(beat("n1"), Report("n1", Kind.FEEDBACK, "7", "ok"))
    told.forget(Kind.HEARTBEAT)
    assert weighed(BOTH, {"n1": "7"}, told).reason == "n1 has sent no heartbeat since it was changed"
    told.take(beat("n1"))
    assert weighed(BOTH, {"n1": "7"}, told).weight is Weight.GOOD


def test_a_heartbeat_without_a_version_says_nothing_of_the_change():
    found = weighed(BEATS, {"n1": "7"}, heard(beat("n1", None)))
    assert (found.weight, found.reason) == (Weight.UNCLEAR, "n1 names no version in its heartbeat")


def test_a_late_failure_of_an_earlier_version_is_not_this_ones():
    told = heard(beat("n1"), Report("n1", Kind.FEEDBACK, "6", "E0004"))
    assert weighed(BOTH, {"n1": "7"}, told).weight is Weight.UNCLEAR
