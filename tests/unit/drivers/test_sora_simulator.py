"""The simulated cluster speaks the wire format of Sora's documents, and refuses what is not in it."""

from __future__ import annotations

import json

import pytest
from support.sora_clusters import entry, full

from reconciler.drivers.sora.choices import Choices, UninitialisedListing
from reconciler.drivers.sora.simulator.world import SoraWorld

LIST, REGISTER = "Sora_20211215.ListClusterNodes", "Sora_20211215.RegisterClusterNode"
INIT, PURGE = "Sora_20221221.InitCluster", "Sora_20220629.PurgeClusterNode"
CHANNELS, CHANGE_MODE, GET_MODE = (
    f"Sora_20211215.{name}" for name in ("ListClusterChannels", "ChangeMode", "GetMode")
)


def world(words="a b c", *, converged=True, **more):
    return SoraWorld.from_entry(entry(words), converged, **more)


def ask(cluster, letter, target, value=None, *, method="POST"):
    body = b"" if value is None else value if isinstance(value, bytes) else json.dumps(value).encode()
    status, headers, answer = cluster.answer(full(letter), target, method, body)
    assert headers["content-type"] == "application/json"
    return status, json.loads(answer) if answer else None


def listed(cluster, letter):
    status, rows = ask(cluster, letter, LIST)
    assert status == 200
    return {row["node_name"].partition("@")[0]: row["connected"] for row in rows}


def test_headers_are_as_in_the_documents():
    _, headers, _ = world().answer(full("a"), LIST, "POST", b"")
    assert headers["server"] == "Cowboy"
    assert headers["access-control-allow-methods"] == "POST, OPTIONS"
    assert "x-sora-target" in headers["access-control-allow-headers"]


def test_purge_answers_in_the_documents_very_bytes():
    cluster = world("a b c d")
    cluster.kill(full("d"))
    body = json.dumps({"target_node_name": full("d")}).encode()
    status, _, answer = cluster.answer(full("a"), PURGE, "POST", body)
    assert (status, answer) == (200, b'{"target_node_name":"d@d.example.com"}')
    assert listed(cluster, "b") == {"a": True, "b": True, "c": True}


def test_purge_of_a_running_node_answers_the_documented_error():
    status, answer = ask(world(), "a", PURGE, {"target_node_name": full("c")})
    assert status == 400
    assert answer == {"error_type": "NODE-IS-ALIVE", "error_reason": {"target_node": full("c")}}


def test_a_connected_node_is_listed_with_everything_and_one_that_is_away_without():
    cluster = world()
    cluster.kill(full("c"))
    _, rows = ask(cluster, "a", LIST)
    here, away = rows[0], rows[2]
    common = {"node_name", "connected", "temporary_node"} | {
        f"license_{one}" for one in ("max_nodes", "max_connections", "serial_code", "type")
    }
    assert set(away) == common
    assert set(here) == common | {"external_api_url", "external_signaling_url", "version", "mode"}
    assert (here["external_api_url"], here["mode"]) == ("http://a.example.com:3000/", "normal")


def test_init_and_register_answer_the_list_of_names():
    cluster = world("a b c d", converged=False)
    names = [full(one) for one in "cab"]
    assert ask(cluster, "a", INIT, {"node_name_list": names}) == (200, {"node_name_list": names})
    answer = ask(cluster, "d", REGISTER, {"contact_node_name": full("b")})
    assert answer == (200, {"node_name_list": [full(one) for one in "abcd"]})
    assert listed(cluster, "d") == dict.fromkeys("abcd", True)


@pytest.mark.parametrize(
    ("method", "target", "body", "error"),
    [
        ("GET", LIST, None, "UnexpectedMethod"),
        ("POST", "", None, "MissingHeaderName"),
        ("POST", "Sora_20211215.JoinCluster", None, "MissingTarget"),
        ("POST", "Sora_20211215.JoinCluster", {"contact_node_name": "x"}, "SchemaNotFound"),
        ("POST", "nonsense", {"x": 1}, "MissingTarget"),
        ("POST", INIT, b"{", "InvalidJSON"),
        ("POST", INIT, b"[" * 100_000, "InvalidJSON"),
        ("POST", INIT, b"\xff", "InvalidJSON"),
        ("POST", INIT, [], "InvalidJSON"),
        ("POST", INIT, None, "InvalidJSON"),
        ("POST", INIT, {"node_name_list": []}, "InvalidJSON"),
        ("POST", INIT, {"node_name_list": "a"}, "InvalidJSON"),
        ("POST", INIT, {"node_name_list": [1]}, "InvalidJSON"),
        ("POST", INIT, {"node_name_list": ["a", "a"]}, "InvalidJSON"),
        ("POST", REGISTER, {"contact_node_name": 1}, "InvalidJSON"),
        ("POST", PURGE, {}, "InvalidJSON"),
        ("POST", CHANGE_MODE, {"mode": "open"}, "InvalidJSON"),
    ],
)
def test_what_the_framework_refuses_changes_nothing(method, target, body, error):
    cluster = world()
    before = cluster.state
    status, answer = ask(cluster, "a", target, body, method=method)
    assert (status, answer["error_type"]) == (400, error)
    assert cluster.state == before


@pytest.mark.parametrize(
    ("letter", "target", "body", "error"),
    [
        ("a", INIT, {"node_name_list": [full("a"), full("b")]}, "CLUSTER-ALREADY-INITIALIZED"),
        ("a", INIT, {"node_name_list": [full("a"), "stranger@h.example"]}, "NODE-NOT-CONNECTED"),
        ("d", REGISTER, {"contact_node_name": "stranger@h.example"}, "CONTACT-NODE-NOT-CONNECTED"),
        ("a", PURGE, {"target_node_name": "stranger@h.example"}, "NODE-NOT-FOUND"),
        ("a", PURGE, {"target_node_name": full("t")}, "NODE-IS-TEMPORARY"),
    ],
)
def test_what_the_cluster_refuses_has_a_code_of_its_own(letter, target, body, error):
    cluster = world("a b c d t~", outside=[full("d")])
    status, answer = ask(cluster, letter, target, body)
    assert (status, answer["error_type"]) == (400, error)
    assert error == error.upper()


def test_a_registration_that_fails_halfway_answers_500_and_lists_the_node():
    cluster = world("a b c d", outside=[full("d")])
    cluster.join_halfway()
    body = json.dumps({"contact_node_name": full("a")}).encode()
    assert cluster.answer(full("d"), REGISTER, "POST", body)[0] == 500
    assert listed(cluster, "a") == {"a": True, "b": True, "c": True, "d": False}
    assert listed(cluster, "d") == {}
    assert ask(cluster, "d", REGISTER, {"contact_node_name": full("a")})[0] == 200
    assert listed(cluster, "a") == dict.fromkeys("abcd", True)


def test_before_init_a_node_lists_by_choice():
    assert listed(world(converged=False), "a") == {}
    alone = world(converged=False, choices=Choices(list_uninitialised=UninitialisedListing.SELF))
    assert listed(alone, "a") == {"a": True}
    refusing = world(converged=False, choices=Choices(list_uninitialised=UninitialisedListing.ERROR))
    assert ask(refusing, "a", LIST)[1]["error_type"] == "CLUSTER-NOT-INITIALIZED"


def test_faults_of_nodes_and_network():
    cluster = world("a b c t~")
    cluster.kill(full("b"))
    assert not cluster.running(full("b"))
    assert listed(cluster, "a") == {"a": True, "b": False, "c": True, "t": True}
    cluster.start(full("b"))
    cluster.restart(full("t"))
    assert listed(cluster, "a") == {"a": True, "b": True, "c": True}
    cluster.partition([full("a")])
    assert listed(cluster, "a") == {"a": True, "b": False, "c": False}
    assert listed(cluster, "b") == {"a": False, "b": True, "c": True}
    cluster.heal()
    assert listed(cluster, "b") == {"a": True, "b": True, "c": True}


def test_channels_stay_until_their_node_takes_no_more_and_then_end_one_by_one():
    cluster = world()
    for channel, letter in (("sora", "a"), ("lemon", "b"), ("hisui", "b")):
        cluster.place(channel, full(letter))
    _, rows = ask(cluster, "a", CHANNELS)
    assert rows[2] == {"channel_id": "sora", "owners": [{"node_name": full("a"), "connected": True}]}
    assert len(ask(cluster, "a", CHANNELS)[1]) == 3
    assert ask(cluster, "b", CHANGE_MODE, {"mode": "block_new_session"}) == (
        200,
        {"mode": "block_new_session"},
    )
    assert [len(ask(cluster, "c", CHANNELS)[1]) for _ in range(4)] == [3, 2, 1, 1]
    cluster.kill(full("a"))
    assert ask(cluster, "c", CHANNELS)[1] == []


def test_modes_are_shown_by_the_node_and_by_its_peers():
    cluster = SoraWorld.from_entry(entry("a b", modes={"b": "block_new_connection"}), converged=True)
    assert ask(cluster, "b", GET_MODE) == (200, {"mode": "block_new_connection"})
    assert ask(cluster, "a", LIST)[1][1]["mode"] == "block_new_connection"


def test_licence_and_report():
    cluster = world()
    licence = ask(cluster, "b", "Sora_20171218.GetLicense")[1]
    assert licence["license_max_nodes"] == 10
    renewed = ask(cluster, "b", "Sora_20171218.UpdateLicense")[1]
    assert renewed == {"old_license": licence, "new_license": licence}
    states = [ask(cluster, one, "Sora_20171010.GetStatsReport")[1]["cluster"]["raft_state"] for one in "abc"]
    assert states == ["leader", "follower", "follower"]
    assert "cluster" not in ask(world(converged=False), "a", "Sora_20171010.GetStatsReport")[1]
