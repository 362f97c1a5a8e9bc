"""The committed sora.conf of a Sora cluster: values, what contradicts the fleet file, and overlays."""

import pytest

from reconciler.core.secret import Secret
from reconciler.desired.fleet import add_desired_state, load_fleet, read_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.drivers.sora import lints
from reconciler.drivers.sora.conf import SoraConfKeys
from tests.support.memory_files import snapshot_of

FLEET = """\
clusters:
- name: live
  kind: sora
  conf: {source: sora.conf, file: sora-conf}
  nodes:
  - {name: node01@node01.example.com, api: "http://192.0.2.1:3000/"}
  - name: node02@node02.example.com
    api: "http://192.0.2.2:3000/"
    overlays: [{merge: {external_api_url: "https://node2.example.com/api"}}]
  - {name: node03@node03.example.com, api: "http://192.0.2.3:3000/", temporary: true}
"""
CONF = """\
# of all nodes
cluster_relay = true
cluster_affinity_threshold = 20
websocket_ping_interval = 30 s
turn_secret = ${env:RECONCILE_SECRET_TURN}
"""


def find_problems(fleet=FLEET, conf=CONF):
    snapshot = snapshot_of({"fleet.yaml": fleet, "sora.conf": conf})
    reading = read_fleet(snapshot, DRIVERS)
    found = [problem for problem in reading.problems if problem.severity.value == "error"]
    for cluster_input in reading.cluster_inputs:
        found += DRIVERS["sora"].examine(cluster_input)
    return found


def load_targets(fleet=FLEET, conf=CONF):
    snapshot = snapshot_of({"fleet.yaml": fleet, "sora.conf": conf})
    (cluster,) = add_desired_state(load_fleet(snapshot, DRIVERS), DRIVERS).desired
    return cluster.state.confs


def test_each_node_gets_the_file_with_its_overlays_and_what_the_fleet_file_says():
    confs = load_targets()
    first, second, third = (confs[f"node0{n}@node0{n}.example.com"].values for n in (1, 2, 3))
    assert first["node_name"] == "node01@node01.example.com"
    assert first["cluster"] is True
    assert "cluster_temporary_node" not in first
    assert second["external_api_url"] == "https://node2.example.com/api"
    assert third["cluster_temporary_node"] is True
    assert isinstance(first["turn_secret"], Secret)


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("cluster_relay = true", "cluster_relay = yes", "sora.conf:2:17", "must be `true` or `false`"),
        ("threshold = 20", "threshold = 0", "sora.conf:3:30", "must be at least 1"),
        ("# of all nodes", "node_name = other@node.example.com", "sora.conf:1:13", "another node_name"),
        ("# of all nodes", "cluster = false", "sora.conf:1:11", "another cluster"),
        (
            "# of all nodes",
            "cluster_temporary_node = true",
            "sora.conf:1:26",
            "another cluster_temporary_node",
        ),
        ("# of all nodes", "external_api_url = node1.example.com", "sora.conf:1:20", "external_api_url"),
        (
            "# of all nodes",
            "external_signaling_url = wss://example.com/signaling",
            "sora.conf:1:26",
            "3 nodes have the same external_signaling_url",
        ),
        (
            "# of all nodes",
            "cluster_listen_min_port = 49050\ncluster_listen_max_port = 49040",
            "sora.conf:1:27",
            "cluster_listen_min_port is above cluster_listen_max_port (49050 and 49040)",
        ),
    ],
)
def test_a_wrong_value_has_its_position(old, new, place, words):
    found = find_problems(conf=CONF.replace(old, new))
    assert any(str(one.position) == place and words in f"{one.message} {one.remedy}" for one in found), found


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ('{merge: {a: "x\\nlicense_file = /etc/shadow"}}', "cannot be written to a sora.conf"),
        ('{merge: {"a = 1\\nb": 2}}', "cannot be written to a sora.conf"),
        ("{merge: {a: {b: 1}}}", "cannot be written to a sora.conf"),
        ("{merge: {a: [1]}}", "cannot be written to a sora.conf"),
        ("{merge: {a: 1.5}}", "cannot be written to a sora.conf"),
        ("{patch: [{op: replace, path: '', value: 3}]}", "must be `key = value` lines"),
    ],
)
def test_an_overlay_cannot_write_more_than_values(overlay, words):
    fleet = FLEET.replace('{merge: {external_api_url: "https://node2.example.com/api"}}', overlay)
    assert any(words in one.message for one in find_problems(fleet)), find_problems(fleet)


def test_overlays_without_a_file_are_refused():
    (problem,) = find_problems(FLEET.replace("  conf: {source: sora.conf, file: sora-conf}\n", ""))
    assert "overlays change the committed sora.conf" in problem.message


def test_the_other_end_of_the_ports_may_be_in_the_file_of_the_node():
    conf = CONF.replace("# of all nodes", "cluster_listen_min_port = 49050")
    assert find_problems(conf=conf) == []
    whole = find_problems(FLEET.replace("file: sora-conf", "file: sora-conf, own: file"), conf=conf)
    (problem,) = [one for one in whole if one.code == "bad-value"]
    assert str(problem.position) == "sora.conf:1:27"
    assert "(49050 and 49020)" in problem.message


@pytest.mark.parametrize(
    ("conf", "codes"),
    [
        ("cluster_affinity_treshold = 20\n", ["conf-similar-key"]),
        ("cluster_affinity_threshold = 20\nturn_port = 3478\n", []),
    ],
)
def test_a_slip_of_the_pen_in_a_key_is_told_once(conf, codes):
    snapshot = snapshot_of({"fleet.yaml": FLEET, "sora.conf": conf})
    (cluster_input,) = load_fleet(snapshot, DRIVERS).cluster_inputs
    assert [one.code for one in lints.lint(cluster_input) if one.code.startswith("conf-")] == codes


def test_different_values_for_relay_are_told():
    fleet = FLEET.replace("external_api_url:", "cluster_relay: false, external_api_url:", 1)
    snapshot = snapshot_of({"fleet.yaml": fleet, "sora.conf": CONF})
    (cluster_input,) = load_fleet(snapshot, DRIVERS).cluster_inputs
    assert [one.code for one in lints.lint(cluster_input) if one.code.startswith("conf-")] == ["conf-uneven"]


def test_the_lint_knows_the_keys_of_the_model():
    assert {*lints.KNOWN} == {*SoraConfKeys.model_fields}


def test_a_whole_file_needs_the_keys_of_a_clustered_node():
    fleet = FLEET.replace("file: sora-conf", "file: sora-conf, own: file")
    found = find_problems(fleet)
    assert [one.code for one in found] == ["missing-key"] * 3
    assert "lacks external_signaling_url, external_api_url" in found[0].message


def test_the_path_of_a_node_file_cannot_be_written_into_the_fleet_file():
    fleet = FLEET.replace("file: sora-conf", "file: /etc/shadow")
    assert any("file" in one.pointer for one in find_problems(fleet))


def test_the_stamp_of_the_fleet_is_no_version_of_sora():
    fleet = f"version: commit\n{FLEET}"
    snapshot = snapshot_of({"fleet.yaml": fleet, "sora.conf": CONF})
    (cluster,) = load_fleet(snapshot, DRIVERS).cluster_inputs
    assert cluster.entry.version is None
