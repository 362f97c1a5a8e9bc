"""What a simulated M2 node answers to whom: permissions, statuses and the calls that only read."""

from __future__ import annotations

import json
import struct
import zlib

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support.m2_nodes import GOOD, SETTING, ask, changed, shown, upload, world

from reconciler.drivers.m2.choices import Choices, UnlistedAnswer
from reconciler.drivers.m2.simulator.answers import CLOSED
from reconciler.ports.simulator import NodeRequest

CALLS = {
    "enableSetting": ("GET", "/setting/setting.json"),
    "enablePurge": ("GET", "/command/purge?url=a.com/b"),
    "enableMetric": ("GET", "/metrics"),
    "enableGraph": ("GET", "/graph/day.png"),
    "enableMonitoring": ("GET", "/monitoring/realtime"),
    "enableGet": ("GET", "/get/setting"),
}


@pytest.mark.parametrize("permission", CALLS)
def test_a_call_without_its_permission_is_answered_401(permission):
    nodes = world()
    user = {"enableMetric", "enableGraph", "enableMonitoring", "enableGet"}
    assert ask(nodes, *CALLS[permission])[0] == 200
    assert ask(nodes, *CALLS[permission], peer="127.0.0.2")[0] == (200 if permission in user else 401)
    assert ask(nodes, *CALLS[permission], peer="127.0.0.3")[0] == 401
    assert ask(nodes, *CALLS[permission], peer="127.0.0.4")[0] == 401


def test_an_unlisted_caller_gets_401_or_a_closed_connection():
    assert ask(world(), "GET", "/nowhere", peer="10.0.0.1")[0] == 401
    nodes = world(Choices(unlisted=UnlistedAnswer.CLOSED))
    answer = nodes.answer("edge-01", NodeRequest("GET", "/metrics", {}, b"", "10.0.0.1"))
    assert answer == CLOSED
    assert ask(nodes, "GET", "/setting/setting.json", peer="127.0.0.2")[0] == 401


def test_an_upload_can_remove_the_access_of_its_sender():
    nodes = world()
    upload(nodes, json.loads(GOOD.replace(b"127.0.0.1", b"127.0.0.9")))
    assert ask(nodes, "GET", "/setting/setting.json")[0] == 401


def test_every_request_can_be_made_to_come_from_one_address():
    nodes = world(Choices(caller="127.0.0.1"))
    assert ask(nodes, "GET", "/setting/setting.json", peer="::1")[0] == 200
    assert "10.9.9.9" in [
        entry["addr"]
        for entry in shown(world(Choices(caller="10.9.9.9"), converged=False))["env"]["management"]["api"][
            "allowList"
        ]
    ]


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/setting", 404),
        ("GET", "/setting/setting.yaml", 404),
        ("GET", "/graph/hour.png", 404),
        ("GET", "/command/format", 404),
        ("GET", "/monitoring/fileinfo?url=a.com/b", 404),
        ("GET", "/monitoring/fileinfo", 400),
        ("GET", "/setting/upload", 405),
        ("POST", "/setting/setting.json", 405),
        ("DELETE", "/metrics", 405),
        ("GET", "/command/purge", 400),
        ("GET", "/get/setting[", 400),
        ("GET", "/get/setting/elsewhere", 400),
        ("GET", "/get/setting.nothing", 404),
        ("GET", "/get/setting.hosting[c.com]", 404),
        ("GET", "/get/hosting[c.com]", 404),
        ("GET", "/get/hosting[7]", 404),
    ],
)
def test_what_does_not_exist_or_makes_no_sense_has_its_status(method, target, status):
    assert ask(world(), method, target)[0] == status


@pytest.mark.parametrize(
    ("target", "value"),
    [
        ("/get/setting", SETTING),
        ("/get/setting/running", SETTING),
        ("/get/setting/artifact", SETTING),
        ("/get/setting.meta", {"version": "A"}),
        ("/get/setting.hosting[example.com]", SETTING["hosting"][0]),
        ("/get/setting.hosting[name=example.com]", SETTING["hosting"][0]),
        ("/get/setting.hosting%5B1%5D", SETTING["hosting"][1]),
        ("/get/setting[example.com]/artifact", SETTING["hosting"][0]),
        ("/get/setting.hosting[0].listen", "*:80"),
    ],
)
def test_a_part_of_the_setting_is_selected_as_the_page_shows(target, value):
    assert json.loads(ask(world(), "GET", target)[2]) == value


def test_hosting_is_summed_up():
    body = json.loads(ask(world(), "GET", "/get/hosting")[2])
    assert [(host["name"], host["enable"]) for host in body["result"]] == [
        ("example.com", True),
        ("b.com", False),
    ]
    assert json.loads(ask(world(), "GET", "/get/hosting[1]")[2])["result"][0]["name"] == "b.com"
    assert json.loads(ask(world(), "GET", "/monitoring/vhostslist")[2])["result"] == ["example.com", "b.com"]


def test_an_expired_licence_is_500():
    assert ask(world(), "GET", "/get/license")[0] == 200
    assert ask(world(Choices(licence_valid=False)), "GET", "/get/license")[0] == 500


@pytest.mark.parametrize("method", ["GET", "POST", "PURGE"])
def test_a_purge_is_answered_with_capital_names(method):
    status, _, body = ask(world(Choices(cached_files=12)), method, "/command/purge?url=b.com/2.jpg|b.com/1*")
    assert status == 200
    assert json.loads(body) == {
        "version": "1.1.0",
        "method": "purge",
        "status": "OK",
        "result": {"Count": 5, "Size": 5120, "Time": 0},
    }


def test_a_purge_accepts_a_form_and_async_is_201():
    nodes = world()
    assert ask(nodes, "POST", "/command/hardpurge", b"url=a.com/b")[0] == 200
    assert ask(nodes, "GET", "/command/async/expire?url=a.com/b")[0] == 201


def test_metrics_are_openmetrics_and_count_reloads():
    nodes = world()
    upload(nodes, changed())
    status, kind, body = ask(nodes, "GET", "/metrics")
    assert status == 200
    assert kind.startswith("application/openmetrics-text")
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
    assert samples["m2_sys_setting_reload_total"] == 2
    assert samples["m2_sys_setting_retentions"] == 2
    assert samples["m2_sys_setting_reload_timestamp"] > 0


def test_graphs_are_real_pictures():
    status, kind, body = ask(world(), "GET", "/graph/year.png")
    assert (status, kind, body[:8]) == (200, "image/png", b"\x89PNG\r\n\x1a\n")
    length, name = struct.unpack(">I4s", body[8:16])
    assert name == b"IHDR"
    assert struct.unpack(">I", body[16 + length : 20 + length])[0] == zlib.crc32(body[12 : 16 + length])
