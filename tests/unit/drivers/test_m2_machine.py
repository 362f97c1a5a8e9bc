"""What happens to an M2 node's setting: each rule of the product's pages as a plain assertion."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from reconciler.drivers.m2 import machine
from reconciler.drivers.m2.machine import (
    ChangeAccepted,
    ChangeRefused,
    M2NodeState,
    NodePackage,
    WaitingField,
)

RESTART_ONLY = [
    "env.properties.memoryUsage",
    "env.properties.coreWorkers",
    "env.properties.inspection",
    "env.network.passiveSockets",
    "env.network.http",
    "env.network.https",
    "env.network.http2",
    "env.network.geoip",
    "env.rt.localCacheStorage",
    "env.rt.properties",
]


def package(document, **resources):
    return NodePackage(json.dumps(document).encode(), resources)


def loaded(document, **resources):
    taken = machine.upload(M2NodeState(), package(document, **resources))
    assert isinstance(taken, ChangeAccepted)
    return taken.node


def nested(dotted, value):
    for key in reversed(dotted.split(".")):
        value = {key: value}
    return value


def test_an_upload_is_loaded_running_and_on_the_disk():
    node = loaded({"meta": {"version": 1}}, pem=b"x")
    assert node.loaded.document == node.running == {"meta": {"version": 1}}
    assert node.local == package({"meta": {"version": 1}}, pem=b"x")
    assert node.reloads == 1


@pytest.mark.parametrize("name", RESTART_ONLY)
def test_a_restart_only_field_waits_while_the_rest_applies(name):
    node = loaded(nested(name, {"size": 1}) | {"hosting": []})
    taken = machine.upload(node, package(nested(name, {"size": 2}) | {"hosting": [{"name": "a"}]}))
    assert taken.waiting == (WaitingField(name, {"size": 1}, {"size": 2}),)
    assert machine.lookup(taken.node.running, name) == {"size": 1}
    assert machine.lookup(taken.node.loaded.document, name) == {"size": 2}
    assert taken.node.running["hosting"] == [{"name": "a"}]
    restarted = machine.restart(taken.node)
    assert restarted.running == taken.node.loaded.document
    assert machine.find_waiting_fields(restarted) == ()


def test_every_other_field_applies_at_once():
    node = loaded({"env": {"management": {"api": {"port": 10040}}, "network": {"dns": 1}}})
    after = {"env": {"management": {"api": {"port": 10041}}, "network": {"dns": 2}}}
    taken = machine.upload(node, package(after))
    assert taken.waiting == ()
    assert taken.node.running == after


def test_an_added_or_removed_restart_only_field_waits():
    bare, full = {"env": {}}, nested("env.rt.properties", 5)
    came = machine.upload(loaded(bare), package(full))
    assert came.waiting == (WaitingField("env.rt.properties", None, 5),)
    assert machine.lookup(came.node.running, "env.rt.properties") is None
    gone = machine.upload(loaded(full), package(bare))
    assert gone.waiting == (WaitingField("env.rt.properties", 5, None),)
    assert gone.node.running == full


def test_going_back_before_the_restart_leaves_nothing_waiting():
    first, second = nested("env.network.http", 1), nested("env.network.http", 2)
    node = machine.upload(loaded(first), package(second)).node
    assert machine.upload(node, package(first)).waiting == ()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "E0003"),
        (b"{", "E0003"),
        (b"[]", "E0003"),
        (json.dumps(nested("env.management.api.port", "ten")).encode(), "E0004"),
        (json.dumps(nested("env.management.api.port", 70000)).encode(), "E0004"),
        (json.dumps(nested("env.management.api.allowList", {})).encode(), "E0004"),
        (json.dumps(nested("env.management.api.allowList", [{"addr": "10.0.0"}])).encode(), "E0004"),
        (json.dumps(nested("env.management.api.allowList", [{"role": "admin"}])).encode(), "E0004"),
        (json.dumps(nested("env.management.roles", [{"name": "a"}, {"name": "a"}])).encode(), "E0004"),
        (json.dumps(nested("env.management.roles", [{}])).encode(), "E0004"),
        (json.dumps(nested("env.management.server.connection", [1])).encode(), "E0004"),
    ],
)
def test_a_bad_setting_is_refused_and_changes_nothing(text, code):
    taken = machine.upload(loaded({"meta": {}}), NodePackage(text))
    assert isinstance(taken, ChangeRefused)
    assert taken.code == code


def test_deploy_local_applies_the_file_on_the_disk():
    node = replace(loaded({"meta": {"version": 1}}), local=package({"meta": {"version": 2}}))
    assert machine.deploy_local(node).node.running == {"meta": {"version": 2}}
    assert machine.deploy_local(M2NodeState()).code == "E0001"
    assert machine.deploy_local(replace(node, local=NodePackage(b"{"))).code == "E0003"


def test_checkout_works_only_where_a_repository_is_connected():
    assert machine.checkout(M2NodeState()).code == "E0001"
    taken = machine.checkout(M2NodeState(repository=package({"meta": {"version": "git"}})))
    assert taken.node.running == {"meta": {"version": "git"}}
    assert taken.node.history[-1].document == {"meta": {"version": "git"}}


def test_a_restart_reads_the_disk_and_survives_a_bad_file():
    node = loaded({"meta": {"version": 1}})
    newer = machine.restart(replace(node, local=package({"meta": {"version": 2}})))
    assert newer.running == newer.loaded.document == {"meta": {"version": 2}}
    assert machine.restart(replace(node, local=NodePackage(b"{"))).running == {"meta": {"version": 1}}
    assert machine.restart(node).reloads == 1


def test_a_stopped_node_keeps_its_disk_and_starts_with_everything_in_effect():
    node = machine.upload(loaded(nested("env.network.http", 1)), package(nested("env.network.http", 2))).node
    down = machine.kill(node)
    assert not down.up
    back = machine.restart(down)
    assert back.up
    assert back.running == nested("env.network.http", 2)


def test_a_node_that_never_loaded_anything_restarts_empty():
    assert machine.restart(M2NodeState()) == M2NodeState()


def test_the_history_is_kept_to_a_hundred_settings():
    node = M2NodeState()
    for version in range(machine.RETENTION + 1):
        node = machine.upload(node, package({"meta": {"version": version}})).node
    assert [node.history[0].document["meta"]["version"], len(node.history)] == [1, 100]
    assert node.reloads == 101
