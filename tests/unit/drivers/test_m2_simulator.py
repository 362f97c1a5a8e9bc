"""What a simulated M2 node answers: the wire format of the product's pages, call by call."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zlib

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from reconciler.core.spec import ClusterEntry, NodeEntry
from reconciler.drivers.m2.machine import Package
from reconciler.drivers.m2.simulator import (
    CLOSED,
    Backup,
    Choices,
    M2World,
    Port,
    Shown,
    Unlisted,
    factory_setting,
)
from reconciler.errors import UsageError

SETTING = {
    "meta": {"version": "A"},
    "env": {
        "management": {
            "api": {
                "port": 10040,
                "allowList": [
                    {"role": "admin", "addr": "127.0.0.1"},
                    {"role": "user", "addr": "127.0.0.2"},
                    {"role": "ghost", "addr": "127.0.0.3"},
                ],
            },
        },
        "network": {"http": {"recvBufferSize": 8192}},
    },
    "functions": {},
    "hosting": [{"name": "example.com", "listen": "*:80"}, {"name": "b.com", "enable": False}],
}


class Cluster(ClusterEntry):
    deliver: str = "upload"
    nodes: tuple[NodeEntry, ...] = (NodeEntry(name="edge-01"),)


def world(choices=Choices(), *, converged=True, document=SETTING, deliver="upload", resources=None):  # noqa: B008
    entry = Cluster(name="edge", kind="m2", deliver=deliver)
    return M2World.from_entry(
        entry, {"edge-01": document}, converged=converged, choices=choices, resources=resources
    )


def ask(nodes, method, target, body=b"", *, peer="127.0.0.1", **headers):
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    status, said, content = nodes.answer("edge-01", method, target, headers=sent, body=body, peer=peer)
    return status, said.get("Content-Type", ""), content


def upload(nodes, document, target="/setting/upload", **where):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return ask(nodes, "POST", target, body, content_type="application/json", **where)


def form(content, part="settingFile"):
    head = f'--XX\r\nContent-Disposition: form-data; name="{part}"; filename="p.tgz"\r\n'
    body = head.encode() + b"Content-Type: application/gzip\r\n\r\n" + content + b"\r\n--XX--\r\n"
    return {
        "body": body,
        "content_type": "multipart/form-data; boundary=XX",
        "content_length": str(len(body)),
    }


def tgz(**files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name.replace("__", "/").replace("_", "."))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def changed(**meta):
    return SETTING | {"meta": {"version": "B", **meta}}


def shown(nodes):
    return json.loads(ask(nodes, "GET", "/setting/setting.json")[2])


def test_the_loaded_setting_is_given_as_it_was_delivered():
    nodes = world()
    text = b'{ "meta": {"version": "x"},\n "hosting": [] }'
    upload(nodes, text)
    assert ask(nodes, "GET", "/setting/setting.json") == (200, "application/json", text)


def test_before_the_first_setting_the_answer_is_404():
    nodes = world(Choices(factory=False), converged=False)
    assert ask(nodes, "GET", "/setting/setting.json")[0] == 404
    assert ask(nodes, "GET", "/get/setting")[0] == 500
    assert upload(nodes, SETTING)[0] == 200
    assert shown(nodes) == SETTING


def test_a_fresh_node_has_the_factorys_setting_on_its_own_port():
    setting = shown(world(converged=False))
    assert setting == factory_setting(10040)
    assert setting["meta"]["version"] == "factory"
    assert [role["name"] for role in setting["env"]["management"]["roles"]] == ["admin", "user"]


@pytest.mark.parametrize("target", ["/setting/upload", "/setting/import"])
def test_a_change_is_answered_in_the_documented_words(target):
    nodes = world()
    status, kind, body = upload(nodes, changed(), target)
    assert (status, kind) == (200, "application/json")
    assert json.loads(body) == {
        "version": "1.1.0",
        "method": "reloadall",
        "status": "OK",
        "result": "accepted",
    }
    assert shown(nodes) == changed()


def test_what_waits_for_a_restart_is_listed_and_shown_apart():
    nodes = world()
    after = json.loads(json.dumps(changed()))
    after["env"]["network"]["http"] = {"recvBufferSize": 16384}
    body = json.loads(upload(nodes, after)[2])
    assert body["notupdated"] == [
        {"field": "env.network.http", "cur": {"recvBufferSize": 8192}, "new": {"recvBufferSize": 16384}}
    ]

    def http(target):
        return json.loads(ask(nodes, "GET", target)[2])["recvBufferSize"]

    assert shown(nodes) == after
    assert http("/get/setting.env.network.http") == 8192
    assert http("/get/setting.env.network.http/running") == 8192
    assert http("/get/setting.env.network.http/artifact") == 16384
    nodes.start("edge-01")
    assert http("/get/setting.env.network.http/running") == 16384


def test_a_node_may_show_the_setting_in_service_instead_of_the_file():
    nodes = world(Choices(shown=Shown.SERVICE))
    after = json.loads(json.dumps(changed()))
    after["env"]["network"]["http"] = {}
    upload(nodes, after)
    assert shown(nodes) == changed()
    nodes.start("edge-01")
    assert shown(nodes) == after


def test_a_package_brings_the_setting_and_its_resources():
    nodes = world()
    package = tgz(setting_json=json.dumps(changed()).encode(), certs__site_pem=b"\r\n--X\x00PEM")
    assert ask(nodes, "POST", "/setting/upload", **form(package))[0] == 200
    assert shown(nodes) == changed()
    status, kind, body = ask(nodes, "GET", "/setting/download")
    assert (status, kind) == (200, "application/x-compressed")
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}
    assert json.loads(files.pop("setting.json")) == changed()
    assert files == {"certs/site.pem": b"\r\n--X\x00PEM"}


def test_a_setting_alone_leaves_the_resources_on_the_node():
    nodes = world(resources={"site.pem": b"PEM"})
    upload(nodes, changed())
    assert nodes.state("edge-01").loaded.package.resources == {"site.pem": b"PEM"}


def test_the_part_has_to_have_the_name_that_is_set_now():
    nodes = world()
    renamed = json.loads(json.dumps(changed()))
    renamed["env"]["management"]["api"]["multipartName"] = "other"
    package = tgz(setting_json=json.dumps(renamed).encode())
    assert ask(nodes, "POST", "/setting/upload", **form(package))[0] == 200
    assert ask(nodes, "POST", "/setting/upload", **form(package))[0] == 500
    assert ask(nodes, "POST", "/setting/upload", **form(package, "other"))[0] == 200


GOOD = json.dumps(SETTING).encode()
WITHOUT_LENGTH = {**form(tgz(setting_json=GOOD))}
del WITHOUT_LENGTH["content_length"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"body": GOOD, "content_type": "text/plain"}, "E0001"),
        ({"body": GOOD}, "E0001"),
        (form(tgz(setting_json=GOOD), part="wrong"), "E0001"),
        (WITHOUT_LENGTH, "E0001"),
        (form(b"not a tgz"), "E0002"),
        (form(tgz(setting_json=GOOD)[:-20]), "E0002"),
        (form(tgz(other_json=GOOD)), "E0003"),
        (form(tgz(setting_json=b"{")), "E0003"),
        ({"body": b"[]", "content_type": "application/json"}, "E0003"),
        (
            {"body": GOOD.replace(b"127.0.0.1", b"127.0.0"), "content_type": "application/json"},
            "E0004",
        ),
    ],
)
def test_a_bad_upload_is_answered_500_with_its_code_and_changes_nothing(request_, code):
    nodes = world()
    before = nodes.state("edge-01")
    status, _, body = ask(nodes, "POST", "/setting/upload", **request_)
    assert status == 500
    assert json.loads(body)["status"] == "Fail"
    assert json.loads(body)["result"].startswith(code)
    assert nodes.state("edge-01") is before


@pytest.mark.parametrize(("backup", "status"), [(Backup.LOST, 404), (Backup.DISABLED, 406)])
def test_a_download_may_not_be_there(backup, status):
    assert ask(world(Choices(backup=backup)), "GET", "/setting/download")[0] == status


def test_a_download_without_history_is_500():
    nodes = world(Choices(factory=False), converged=False)
    assert ask(nodes, "GET", "/setting/download")[0] == 500


def test_deploying_the_local_file_is_always_200():
    nodes = world(converged=False, deliver="local")
    assert json.loads(ask(nodes, "GET", "/setting/deploy/local")[2])["status"] == "OK"
    assert shown(nodes) == SETTING
    nodes.place("edge-01", Package(b"{"))
    status, _, body = ask(nodes, "GET", "/setting/deploy/local")
    assert (status, json.loads(body)["status"]) == (200, "Fail")


def test_a_checkout_works_only_with_a_repository():
    nodes = world(converged=False)
    assert ask(nodes, "GET", "/setting/deploy/checkout")[0] == 500
    nodes.connect("edge-01", Package(GOOD))
    assert ask(nodes, "POST", "/setting/deploy/checkout")[0] == 200
    assert shown(nodes) == SETTING


CALLS = {
    "enableSetting": ("GET", "/setting/setting.json"),
    "enablePurge": ("GET", "/command/purge?url=a.com/b"),
    "enableMetric": ("GET", "/metrics"),
    "enableGraph": ("GET", "/graph/day.png"),
    "enableMonitoring": ("GET", "/monitoring/realtime"),
    "enableGet": ("GET", "/get/setting"),
}


@pytest.mark.parametrize("permission", CALLS)
def test_a_role_may_do_what_its_permission_says_and_else_is_answered_401(permission):
    nodes = world()
    user = {"enableMetric", "enableGraph", "enableMonitoring", "enableGet"}
    assert ask(nodes, *CALLS[permission])[0] == 200
    assert ask(nodes, *CALLS[permission], peer="127.0.0.2")[0] == (200 if permission in user else 401)
    assert ask(nodes, *CALLS[permission], peer="127.0.0.3")[0] == 401
    assert ask(nodes, *CALLS[permission], peer="127.0.0.4")[0] == 401


def test_a_stranger_is_answered_401_or_cut_off():
    assert ask(world(), "GET", "/nowhere", peer="10.0.0.1")[0] == 401
    nodes = world(Choices(unlisted=Unlisted.CLOSED))
    answer = nodes.answer("edge-01", "GET", "/metrics", headers={}, body=b"", peer="10.0.0.1")
    assert answer == CLOSED
    assert ask(nodes, "GET", "/setting/setting.json", peer="127.0.0.2")[0] == 401


def test_an_upload_can_lock_its_own_sender_out():
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
    status, _, body = ask(world(), method, "/command/purge?url=a.com/b|/c*")
    assert status == 200
    assert json.loads(body) == {
        "version": "1.1.0",
        "method": "purge",
        "status": "OK",
        "result": {"Count": 2, "Size": 0, "Time": 0},
    }


def test_a_purge_takes_its_targets_from_a_form_too_and_async_is_201():
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


def test_a_late_node_shows_its_former_state_for_so_many_requests():
    nodes = world(Choices(late=2))
    assert upload(nodes, changed())[0] == 200
    assert [shown(nodes)["meta"]["version"] for _ in range(4)] == ["A", "A", "B", "B"]


def test_a_killed_node_answers_nothing():
    nodes = world()
    nodes.kill("edge-01")
    assert not nodes.running("edge-01")
    assert ask(nodes, "GET", "/metrics")[0] == 0


def test_a_changed_port_counts_from_the_restart_where_that_is_chosen():
    moved = json.loads(GOOD.replace(b"10040", b"10050"))
    for choice, expected in ((Port.STAYS, None), (Port.RESTART, 10050)):
        nodes = world(Choices(port=choice))
        upload(nodes, moved)
        nodes.start("edge-01")
        assert nodes.moved("edge-01") == expected
    assert world(Choices(port=Port.RESTART)).moved("edge-01") is None


def test_a_node_may_be_fresh_among_converged_ones():
    entry = Cluster(name="edge", kind="m2", nodes=(NodeEntry(name="edge-01"), NodeEntry(name="edge-02")))
    documents = dict.fromkeys(("edge-01", "edge-02"), SETTING)
    nodes = M2World.from_entry(entry, documents, converged=True, fresh=["edge-02"])
    versions = [nodes.state(name).running["meta"]["version"] for name in nodes.names]
    assert versions == ["A", "factory"]


def test_nodes_do_not_start_with_a_setting_they_would_refuse():
    bad = json.loads(GOOD.replace(b"127.0.0.1", b"nonsense"))
    with pytest.raises(UsageError, match="edge-01: the simulated node refuses its setting"):
        world(document=bad)
    assert shown(world(document=bad, converged=False))["meta"]["version"] == "factory"
