"""Hostile answers, the question whether a node may be stopped, former servers, and import."""

import asyncio
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.collab_guard_cases import CONFIG, settled
from support.collab_runs import make_entry, make_former, make_input

from reconciler.core.observation import Liveness, Present, Unauthorized, Unidentified, Unreachable
from reconciler.core.reservations import StopAnswer, StopQuestion
from reconciler.drivers.collab.former import find_former_servers
from reconciler.drivers.collab.schema import CollabCluster
from reconciler.errors import NodeError

AWAY = [
    Unreachable("timed out", Liveness.UNASKED),
    Unreachable("cut", Liveness.ALIVE),
    Unreachable("refused", Liveness.SILENT),
    Unauthorized("403"),
    Unidentified("a web page"),
]


def ask(site, node, away=None, **answers):
    observed = site.observe()
    observed = replace(observed, nodes={**observed.nodes, **answers})
    entry = site.cluster_input.entry
    question = StopQuestion(node, entry, site.desired, observed, away=away or {})
    return site.driver.decide_stop(question).answer


def paused(site, node, services="Redis Server"):
    status = site.observe().nodes[node].value
    reason = f"The following dependent services are unavailable: {services}"
    return Present(replace(status, state="paused", reason=reason))


@pytest.fixture(scope="module")
def site():
    return settled()


def test_a_server_may_be_stopped_while_another_one_serves(site):
    assert ask(site, "c1") is StopAnswer.YES
    assert ask(site, "c1", away={"c2": "is reserved"}) is StopAnswer.YES
    assert ask(site, "c1", away={"c2": "is reserved", "c3": "is reserved"}) is StopAnswer.NO


@pytest.mark.parametrize("answer", AWAY)
def test_what_is_not_known_never_counts_as_serving(site, answer):
    expected = StopAnswer.NO if "refused" in answer.reason else StopAnswer.UNKNOWN
    assert ask(site, "c1", c2=answer, c3=answer) is expected


def test_while_a_service_is_away_no_server_may_be_stopped(site):
    assert ask(site, "c1", c2=paused(site, "c2")) is StopAnswer.NO
    assert ask(site, "c2", c2=paused(site, "c2")) is StopAnswer.YES


def test_redis_and_the_load_balancer_are_needed(site):
    assert ask(site, "redis") is StopAnswer.NO
    assert ask(site, "lb") is StopAnswer.NO


@pytest.mark.parametrize("answer", AWAY)
@pytest.mark.parametrize("node", ["c1", "c2", "redis", "lb"])
def test_an_answer_that_shows_nothing_interrupts_nobody(site, node, answer):
    """Whatever is not known of one node, no server that serves is restarted and nothing is stopped."""
    changed = replace(
        site.desired, configs={name: CONFIG | {"logging": False} for name in ("c1", "c2", "c3")}
    )
    observed = site.observe()
    plan = site.driver.plan(changed, replace(observed, nodes={**observed.nodes, node: answer}))
    interrupted = [step.node for step in plan.steps if step.arguments.interrupts]
    if node == "lb":
        assert "reload-balancer" not in [step.action for step in plan.steps]
    else:
        assert interrupted == []
    assert plan.findings


words = st.text(max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | words, lambda inner: st.dictionaries(words, inner, max_size=3)
)


@settings(max_examples=60, deadline=None)
@given(
    state=words,
    reason=words,
    pid=st.integers(1, 10**6),
    start=st.text("0123456789-: ", min_size=1, max_size=20),
)
def test_whatever_servers_say_of_themselves_never_all_are_restarted_without_a_peer(state, reason, pid, start):
    site = SHARED
    observed = site.observe()
    nodes = dict(observed.nodes)
    for name in ("c2", "c3"):
        nodes[name] = Present(replace(nodes[name].value, state=state, reason=reason, pid=pid, up_since=start))
    changed = replace(
        site.desired, configs={name: CONFIG | {"logging": False} for name in ("c1", "c2", "c3")}
    )
    seen = replace(observed, nodes=nodes)
    plan = site.driver.plan(changed, seen)
    healthy = {name for name in ("c1", "c2", "c3") if nodes[name].value.is_healthy}
    for step in plan.steps:
        if step.action == "restart-server" and step.node in healthy:
            assert set(step.arguments.peers) & (healthy | {one.node for one in plan.steps}) - {step.node}


SHARED = settled()


def test_a_former_server_is_known_by_name_and_address():
    entry = CollabCluster.model_validate(make_entry(("c1", "c2")))
    prior = make_former(("c1", "192.0.2.1"), ("gone", "192.0.2.9"), ("renamed", "192.0.2.2"), ("odd", "a b"))
    assert [one.name for one in find_former_servers(entry, prior)] == ["gone"]


def test_a_server_that_has_run_before_is_not_started_when_it_is_silent():
    site = settled()
    site.plan()
    site.world.kill("c2")
    plan = site.plan()
    assert [step.action for step in plan.steps] == []
    assert {one.code for one in plan.findings} == {"server-waits"}


def test_import_of_a_new_cluster():
    site = settled()
    entry = asyncio.run(
        site.driver.read_cluster_entry("collab", ["192.0.2.1", "192.0.2.2:3000"], site.transports)
    )
    assert entry["nodes"] == [
        {"name": "collab-1", "host": "192.0.2.1"},
        {"name": "collab-2", "host": "192.0.2.2"},
    ]
    CollabCluster.model_validate(entry)
    with pytest.raises(NodeError):
        asyncio.run(site.driver.read_cluster_entry("collab", ["192.0.2.77"], site.transports))


def test_import_of_the_files():
    site = settled()
    site.world.machines["c2"].files["config"].content = json.dumps(
        CONFIG | {"logging": False, "x": 1}
    ).encode()
    live = site.driver.build_live_state(site.desired, site.observe())
    assert live.documents["c2"] == CONFIG | {"logging": False}
    assert live.documents["redis"] == {"bind": "127.0.0.1"}
    assert live.missing == ()


def test_a_status_of_the_files():
    site = settled()
    statuses = site.driver.list_file_statuses(site.desired, site.observe())
    assert {name: [(one.match, one.use) for one in own] for name, own in statuses.items()} == {
        name: [("as desired", "used")] for name in ("c1", "c2", "c3", "redis", "lb")
    }
    site.cluster_input = make_input(make_entry(("c1", "c2", "c3")), CONFIG | {"logging": False})
    (own,) = site.driver.list_file_statuses(site.desired, site.observe())["c1"]
    assert own.match == "differs"
