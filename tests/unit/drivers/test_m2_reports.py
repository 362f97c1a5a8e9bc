"""What a stored message of a node says."""

import pytest

from reconciler.core.observation import NodeReport, ReportKind
from reconciler.drivers.m2.product import DRIVER


def message(**more):
    return {"messageVer": "1", "node": {"hostname": "h", "iplist": [], "settingVer": "4"}, **more}


def test_a_message_without_an_action_is_a_heartbeat():
    assert DRIVER.parse_report("n1", message()) == NodeReport("n1", ReportKind.HEARTBEAT, "4")


@pytest.mark.parametrize(
    "received",
    [
        {},
        {**message(), "messageVer": "2"},
        message(action={"api": "/command/purge"}),
        message(action={"api": 7}),
    ],
)
def test_a_message_of_another_kind_is_no_report(received):
    assert DRIVER.parse_report("n1", received) is None


def test_a_feedback_has_the_status_and_the_version():
    result = {"version": 10, "status": "ok"}
    received = message(action={"api": "/setting/upload"}, parameters=[{"url": "http://x/", "result": result}])
    assert DRIVER.parse_report("n1", received) == NodeReport("n1", ReportKind.FEEDBACK, 10, "ok")


def test_a_feedback_without_a_result_has_no_status():
    received = message(action={"api": "/setting/deploy/checkout"}, parameters=[])
    assert DRIVER.parse_report("n1", received) == NodeReport("n1", ReportKind.FEEDBACK, "4", "")
