"""Feeds that go silent, clusters that split, caches that are lost: what is refused, and what is near."""

from __future__ import annotations

import pytest
from support.m2_wire import BASE, cluster_input, loaded, setting

from reconciler.core.guard import GuardContext, run_guards
from reconciler.core.observation import Absent, Observed, Present, Unreachable
from reconciler.core.policy import Policy
from reconciler.core.rollout_rules import Rollout
from reconciler.core.waves import assign_waves
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.schema import M2Policy

FEED = "env__management__server__features__setting__feed"
CLUSTER = "env__management__cluster"


def found(wanted, shown, *, only="", policy=None, rollout=None, **entry):
    """Code -> verdict of a change from `shown` (node -> setting, a reason, or None) to one setting."""
    where = cluster_input(wanted, nodes=tuple(shown), **entry)
    desired = DRIVER.desire(where)
    desired = DRIVER.exclude_nodes(desired, frozenset(shown) - {only}) if only else desired
    answers = {
        node: Absent("404")
        if one is None
        else Unreachable(one)
        if isinstance(one, str)
        else Present(loaded(one))
        for node, one in shown.items()
        if only in {"", node}
    }
    observed = Observed(answers)
    plan = assign_waves(DRIVER.plan(desired, observed), where.entry, rollout)
    assert plan.steps
    case = GuardContext(plan, where.entry, desired, observed, policy=policy or Policy())
    return {one.code: one for one in run_guards(case, DRIVER.guards)}


def fed(feed=None, *, feature="setting", server=True, **more):
    """A setting whose feature hears from a feed."""
    info = {"url": "http://10.0.0.9:9000/feed", "schedule": "0 * * * * *", "timeout": 5}
    used_feed = {"type": "apiPolling", "info": info} if feed is None else feed
    return setting(
        env__management__server={
            "enable": server,
            "connection": more.pop("connection", []),
            "features": {feature: {"enable": more.pop("enable", True), "feed": used_feed}},
        },
        **more,
    )


def polled(url, kind="apiPolling"):
    return {"type": kind, "info": {"url": url, "schedule": "0 * * * * *"}}


def kafka(*brokers, topic="settings"):
    connection = [{"name": "bus", "type": "kafka", "info": {"clientId": "m2", "brokers": list(brokers)}}]
    return fed(
        {"type": "kafkaSub", "info": {"connect": "bus", "subscribe": {"topic": topic}}}, connection=connection
    )


def firestore(project, doc="settings", **more):
    connection = [{"name": "fire", "type": "firebasePubsub", "info": {"projectId": project}}]
    return fed({"type": "firestore", "info": {"connect": "fire", "doc": doc}}, connection=connection, **more)


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (fed(), fed(enable=False)),
        (fed(), fed(server=False)),
        (fed(), setting(meta__version="B")),
        (fed(), fed(polled("http://10.0.0.8:9000/feed"))),
        (fed(), fed(polled("http://10.0.0.9:9001/feed"))),
        (fed(feature="purge"), fed(feature="purge", enable=False)),
        (kafka("k1:9092"), kafka("k2:9092")),
        (kafka("k1:9092"), kafka("k1:9092", topic="other")),
        (fed(), kafka("10.0.0.9:9000")),
        (firestore("one"), firestore("two")),
    ],
)
def test_a_feed_from_another_source_is_refused(shown, wanted):
    violation = found(wanted, {"edge-01": shown})["feed-detached"]
    assert violation.target == "edge/edge-01"
    assert "feed comes from" in violation.message


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (fed(), fed(polled("http://10.0.0.9:9000/other?a=1"))),
        (fed(), fed(polled("http://10.0.0.9:9000/feed.tgz", "tgzPolling"))),
        (fed(enable=False), setting(meta__version="B")),
        (fed(server=False), fed(polled("http://10.0.0.8:9000/feed"))),
        (setting(), fed()),
        (kafka("k1:9092", "k2:9092"), kafka("k2:9092", "k3:9092")),
        (firestore("one"), firestore("one", meta__version="B")),
    ],
)
def test_a_feed_that_stays_with_its_manager_passes(shown, wanted):
    assert found(wanted, {"edge-01": shown}) == {}


def test_a_feed_may_move_to_a_named_management_host():
    there = fed(polled("http://192.0.2.7:9000/feed"))
    shown = {"edge-01": fed()}
    assert "feed-detached" in found(there, shown)
    assert "feed-detached" not in found(there, shown, management=["192.0.2.7", "127.0.0.1"])
    assert "feed-detached" in found(there, shown, management=["192.0.2.8", "127.0.0.1"])


def test_an_address_of_a_feed_may_be_written_in_any_form():
    there = fed(polled("http://[2001:DB8:0::7]:9000/feed"))
    shown = {"edge-01": fed(polled("http://[2001:db8::7]:9000/feed"))}
    assert found(there, shown) == {}
    assert "feed-detached" in found(there, {"edge-01": fed()})
    assert "feed-detached" not in found(there, {"edge-01": fed()}, management=["2001:0db8::7", "127.0.0.1"])


def test_a_lost_feed_of_nodes_that_check_out_names_the_consequence():
    wanted = fed(enable=False)
    assert (
        "check out its repository"
        in found(wanted, {"edge-01": fed()}, deliver="checkout")["feed-detached"].message
    )
    assert "repository" not in found(wanted, {"edge-01": fed()})["feed-detached"].message


def test_a_secret_in_a_feed_stays_one():
    """A user in a URL is a secret, and so is the whole of it."""
    violation = found(fed(enable=False), {"edge-01": fed(polled("http://kim:hush@10.0.0.9:9000/feed"))})
    assert "hush" not in violation["feed-detached"].message


def ring(port=9900, members=None, base=9000, *, enable=True, **more):
    meta = {"enable": enable, "baseHostingPort": base}
    return setting(**{CLUSTER: {"meta": meta, "discover": {"port": port, "members": members}}}, **more)


THREE = dict.fromkeys(("edge-01", "edge-02", "edge-03"), ring())
SOME = [{"functions": None, "nodes": ["10.0.0.1", "10.0.0.2"]}]


@pytest.mark.parametrize("wanted", [ring(9901), ring(base=9500), ring(members=["10.0.0.1"])])
def test_a_rolling_change_of_the_discovery_is_refused(wanted):
    assert "one after the other" in found(wanted, THREE, concurrency=2)["uniformity"].message
    in_waves = found(wanted, THREE, rollout=Rollout(canary="1"))["uniformity"]
    assert "concurrency of at least 3" in in_waves.remedy
    assert found(wanted, THREE, concurrency=3) == {}


def test_a_change_that_leaves_a_node_behind_is_refused_even_at_once():
    left = found(ring(9901), THREE | {"edge-04": "connection refused"}, concurrency=9)["uniformity"]
    assert "edge-04 would no longer find them" in left.message
    alone = found(ring(9901), THREE, only="edge-01", concurrency=9)["uniformity"]
    assert "edge-02, edge-03 would no longer find them" in alone.message
    assert found(ring(9901), THREE | {"edge-04": None}, concurrency=9) == {}


@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        (["a", "b"], ["a", "b", "c"], False),
        (["a", "b", "c"], ["a", "b"], False),
        (["a", "b"], ["a", "c"], True),
        (["a", "b"], [], True),
        (None, ["a"], True),
        (["10.0.0.1", "10.0.0.2"], SOME, False),
        (["10.0.0.3"], SOME, True),
    ],
)
def test_one_of_two_lists_of_members_must_contain_the_other(old, new, refused):
    shown = dict.fromkeys(("edge-01", "edge-02"), ring(members=old))
    assert ("uniformity" in found(ring(members=new), shown, concurrency=1)) is refused


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ring(enable=False), ring(9901)),
        (ring(), ring(9901, enable=False)),
        (ring(), ring(meta__version="B")),
    ],
)
def test_what_is_in_no_cluster_is_not_split(old, new):
    assert found(new, dict.fromkeys(("edge-01", "edge-02"), old), concurrency=1) == {}


def test_a_node_alone_in_its_cluster_may_change_it():
    assert found(ring(9901), {"edge-01": ring()}, concurrency=1) == {}
    assert found(ring(9901), {"edge-01": ring(), "edge-02": ring(9902)}, concurrency=2) == {}


LESS = setting(hosting=[])


@pytest.mark.parametrize(
    ("limit", "refused"), [("1", True), ("2", True), ("3", False), ("67%", True), ("100%", False)]
)
def test_caches_are_lost_on_no_more_nodes_than_the_policy_allows(limit, refused):
    shown = dict.fromkeys(("edge-01", "edge-02", "edge-03"), BASE)
    verdict = found(LESS, shown, policy=M2Policy(max_cache_lost=limit))
    assert list(verdict) == (["hosting-deleted"] if refused else [])
    if refused:
        assert "3 of 3 nodes would lose the cache of www.example.com" in verdict["hosting-deleted"].message


@pytest.mark.parametrize(
    ("wanted", "refused"),
    [
        (setting(hosting=[{"name": "other.example.com", "listen": "*:80"}]), True),
        (setting(hosting=[{"name": "www.example.com", "listen": "*:80", "enable": False}]), False),
        (setting(meta__version="B"), False),
    ],
)
def test_a_hosting_that_is_only_switched_off_keeps_its_cache(wanted, refused):
    assert (
        "hosting-deleted" in found(wanted, {"edge-01": BASE}, policy=M2Policy(max_cache_lost="0"))
    ) is refused
