"""Which node a message is of, and what it says."""

import json

import pytest
from support.memory_files import fleet_of

from reconciler.core.observation import NodeReport, ReportKind
from reconciler.drivers.m2.product import DRIVER

FLEET = {
    "fleet.json": json.dumps(
        {
            "clusters": [
                {
                    "name": "edge",
                    "kind": "m2",
                    "setting": "s.json",
                    "nodes": [
                        {"name": "n1", "address": "192.0.2.1"},
                        {"name": "n2", "address": "192.0.2.2"},
                        {"name": "n3", "address": "192.0.2.9:10041"},
                        {"name": "n4", "address": "192.0.2.9:10042"},
                    ],
                }
            ]
        }
    ),
    "s.json": '{"meta": {"version": "1"}}',
}


@pytest.fixture(scope="module")
def desired():
    return DRIVER.desire(fleet_of(FLEET).cluster_inputs[0])


def message(hostname="other", iplist=(), **more):
    return {
        "messageVer": "1",
        "node": {"hostname": hostname, "iplist": list(iplist), "settingVer": "4"},
        **more,
    }


@pytest.mark.parametrize(
    ("received", "node"),
    [
        (message("n1"), "n1"),
        (message("192.0.2.2"), "n2"),
        (message(iplist=["10.0.0.1", "192.0.2.1"]), "n1"),
        (message("n3", ["192.0.2.9"]), "n3"),
    ],
)
def test_a_node_is_recognised_by_its_name_or_an_address_of_its_own(desired, received, node):
    assert DRIVER.parse_report(desired, received) == NodeReport(node, ReportKind.HEARTBEAT, "4")


@pytest.mark.parametrize(
    "received",
    [
        {},
        {"messageVer": "1", "node": None},
        {**message("n1"), "messageVer": "2"},
        message(iplist=["192.0.2.9"]),  # two nodes have it
        message(iplist=[None, {}, 7]),
        message(hostname={}),
        message("n1", action={"api": "/command/purge"}),
    ],
)
def test_a_message_without_a_node_or_of_another_kind_is_no_report(desired, received):
    assert DRIVER.parse_report(desired, received) is None


def test_a_feedback_has_the_status_and_the_version(desired):
    result = {"version": 10, "status": "ok"}
    received = message(
        "n1", action={"api": "/setting/upload"}, parameters=[{"url": "http://x/", "result": result}]
    )
    assert DRIVER.parse_report(desired, received) == NodeReport("n1", ReportKind.FEEDBACK, 10, "ok")


def test_a_feedback_without_a_result_has_no_status(desired):
    received = message("n1", action={"api": "/setting/deploy/checkout"}, parameters=[])
    assert DRIVER.parse_report(desired, received) == NodeReport("n1", ReportKind.FEEDBACK, "4", "")
