"""How a simulated M2 node takes settings: the wire format of the product's pages, call by call."""

from __future__ import annotations

import io
import json
import tarfile

import pytest
from support.m2_nodes import GOOD, SETTING, ask, changed, form, shown, tgz, upload, world

from reconciler.drivers.m2.choices import BackupBehaviour, Choices, PortChange, SettingAnswer
from reconciler.drivers.m2.machine import NodePackage
from reconciler.drivers.m2.simulator.world import make_factory_setting
from reconciler.errors import UsageError


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


def test_a_new_node_has_the_factory_setting_with_its_port():
    setting = shown(world(converged=False))
    assert setting == make_factory_setting(10040)
    assert setting["meta"]["version"] == "factory"
    assert [role["name"] for role in setting["env"]["management"]["roles"]] == ["admin", "user"]


@pytest.mark.parametrize("target", ["/setting/upload", "/setting/import"])
def test_a_change_is_answered_in_the_documented_form(target):
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
    nodes = world(Choices(shown=SettingAnswer.SERVICE))
    after = json.loads(json.dumps(changed()))
    after["env"]["network"]["http"] = {}
    upload(nodes, after)
    assert shown(nodes) == changed()
    nodes.start("edge-01")
    assert shown(nodes) == after


def test_a_package_delivers_the_setting_and_its_resources():
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


@pytest.mark.parametrize(("backup", "status"), [(BackupBehaviour.LOST, 404), (BackupBehaviour.DISABLED, 406)])
def test_a_download_may_not_be_there(backup, status):
    assert ask(world(Choices(backup=backup)), "GET", "/setting/download")[0] == status


def test_a_download_without_history_is_500():
    nodes = world(Choices(factory=False), converged=False)
    assert ask(nodes, "GET", "/setting/download")[0] == 500


def test_deploying_the_local_file_is_always_200():
    nodes = world(converged=False, deliver="local")
    assert json.loads(ask(nodes, "GET", "/setting/deploy/local")[2])["status"] == "OK"
    assert shown(nodes) == SETTING
    nodes.place("edge-01", NodePackage(b"{"))
    status, _, body = ask(nodes, "GET", "/setting/deploy/local")
    assert (status, json.loads(body)["status"]) == (200, "Fail")


def test_a_checkout_works_only_with_a_repository():
    nodes = world(converged=False)
    assert ask(nodes, "GET", "/setting/deploy/checkout")[0] == 500
    nodes.connect("edge-01", NodePackage(GOOD))
    assert ask(nodes, "POST", "/setting/deploy/checkout")[0] == 200
    assert shown(nodes) == SETTING


def test_a_late_node_shows_its_previous_state_for_the_chosen_requests():
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
    for choice, expected in ((PortChange.STAYS, None), (PortChange.RESTART, 10050)):
        nodes = world(Choices(port=choice))
        upload(nodes, moved)
        nodes.start("edge-01")
        assert nodes.moved("edge-01") == expected
    assert world(Choices(port=PortChange.RESTART)).moved("edge-01") is None


def test_a_node_may_be_fresh_among_converged_ones():
    nodes = world(nodes=("edge-01", "edge-02"), fresh=["edge-02"])
    versions = [nodes.state(name).running["meta"]["version"] for name in nodes.names]
    assert versions == ["A", "factory"]


def test_nodes_do_not_start_with_a_setting_they_would_refuse():
    bad = json.loads(GOOD.replace(b"127.0.0.1", b"nonsense"))
    with pytest.raises(UsageError, match="edge-01: the simulated node refuses its setting"):
        world(document=bad)
    assert shown(world(document=bad, converged=False))["meta"]["version"] == "factory"
