"""The status of a fleet: the condition of each node, its revision since when, and the holds."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from support.cli_samples import ENDED
from support.driver import NOON, NOWHERE, REVISION, FakeDriver, FakeNode, World, cluster, fleet

from reconciler.cli.render.status import render_status, render_status_json
from reconciler.core.change_windows import Suspend, Window
from reconciler.core.entries import ClusterEntry, Reporting
from reconciler.core.memory import AppliedRevision, ClusterMemory, FleetMemory
from reconciler.core.observation import Absent, Present, Stale, Unauthorized
from reconciler.core.policy import ChangeRules, Override, Policy
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.planning.leaving_nodes import LeavingNode
from reconciler.planning.node_conditions import NodeCondition, judge_node
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.planning.status import compute_status
from reconciler.ports.node_store import NodeContact
from reconciler.ports.store import ApprovalRequest, OpenOrders, RunSummary

SINCE = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)


async def look(*clusters, world=None, runs=None, orders=None, memory=None, last=None, **more):
    drivers = {"fake": FakeDriver(world or World())}
    found = fleet(*clusters, **more)
    seen = await run_plan_pass(
        found,
        drivers=drivers,
        transports=NOWHERE,
        recalled=memory
        or FleetMemory(cluster_memory={"edge": ClusterMemory(shown_revisions=runs or {})}, at=NOON),
    )
    return compute_status(seen, orders or OpenOrders(), last)


async def test_each_node_has_its_condition_its_revision_and_since_when():
    world = World({"a": "new", "b": "old", "d": "old"}, silent={"c"})
    nodes = {**dict.fromkeys("abc", "new"), "d": FakeNode(name="d", value="new", person=True)}
    found = await look(cluster("edge", nodes), world=world, runs={"a": AppliedRevision(REVISION.id, SINCE)})
    (edge,) = found.clusters
    assert [(node.node, node.state.value) for node in edge.nodes] == [
        ("a", "as desired"),
        ("b", "differs"),
        ("c", "unreachable"),
        ("d", "waits for an operator"),
    ]
    assert (edge.nodes[0].revision, edge.nodes[0].since) == (REVISION.id, SINCE)
    assert (edge.nodes[1].reason, edge.nodes[1].revision) == ("b holds old", "")
    assert not found.is_converged
    shown = render_status(found)
    assert "edge (fake): 1 of 4 nodes as desired" in shown
    assert "a  as desired          content of c0ffee0 since 2026-11-20 08:30 UTC" in shown
    assert shown.endswith("Not converged: 1 as desired, 1 differs, 1 waits for an operator, 1 unreachable.\n")


def finding(severity, code):
    return Diagnostic(severity, code, f"it says {code}", target="edge/a")


@pytest.mark.parametrize(
    ("answer", "findings", "condition"),
    [
        (Present("x"), [], NodeCondition.AS_DESIRED),
        (Absent("empty"), [], NodeCondition.AS_DESIRED),
        (Present("x"), [finding(Severity.NOTE, "a-remark")], NodeCondition.AS_DESIRED),
        (Present("x"), [finding(Severity.NOTE, "waits-for-restart")], NodeCondition.RESTART),
        (Present("x"), [finding(Severity.WARNING, "odd")], NodeCondition.DOUBTFUL),
        (Stale("x", "behind"), [], NodeCondition.STALE),
        (Unauthorized("no"), [], NodeCondition.UNAUTHORIZED),
        (None, [], NodeCondition.UNREACHABLE),
    ],
)
def test_no_failure_is_read_as_converged(answer, findings, condition):
    assert judge_node(answer, [], findings, "")[0] is condition


async def test_a_converged_fleet_of_a_thousand_nodes_takes_one_line():
    names = [f"n{number:04d}" for number in range(1000)]
    world = World(dict.fromkeys(names, "new"))
    runs = {name: AppliedRevision(REVISION.id, SINCE) for name in names}
    found = await look(cluster("edge", dict.fromkeys(names, "new")), world=world, runs=runs)
    assert found.is_converged
    shown = render_status(found)
    assert "n0000 … n0999 (1,000 nodes)" in shown
    assert len(shown.splitlines()) == 6
    assert len(json.loads(render_status_json(found, ENDED))["clusters"][0]["nodes"]) == 1000


async def test_holds_are_shown_also_if_there_is_nothing_to_change():
    change_rules = ChangeRules(
        windows=(Window(cron="0 2 * * *", duration="1h"),), suspend=Suspend(reason="moving")
    )
    memory = FleetMemory(
        cluster_memory={"edge": ClusterMemory(rejected={REVISION.id: "wave 1 failed"})}, at=NOON
    )
    found = await look(
        cluster("edge", {"a": "new"}), world=World({"a": "new"}), change_rules=change_rules, memory=memory
    )
    assert found.is_converged
    assert [one.code for one in found.clusters[0].holds] == [
        "outside-window",
        "revision-rejected",
        "suspended",
    ]
    shown = render_status(found)
    assert "on hold: edge: no change window is open" in shown
    assert json.loads(render_status_json(found, ENDED))["clusters"][0]["held"][2]["code"] == "suspended"


async def test_an_override_removes_the_holds_that_it_covers():
    change_rules = ChangeRules(suspend=Suspend(reason="moving"))
    aside = Override(guard="suspended", until=NOON.date(), reason="only this once")
    found = await look(
        cluster("edge", {"a": "new"}),
        world=World({"a": "new"}),
        change_rules=change_rules,
        overrides=(aside,),
    )
    assert found.clusters[0].holds == ()


async def test_a_plan_that_waits_for_an_approval_is_named():
    nodes = {"a": FakeNode(name="a", value="new", membership=True)}
    policies = {"edge": Policy(approve=("membership",))}
    plain = await look(cluster("edge", nodes), policies=policies)
    (refused,) = plain.clusters[0].violations
    digest = refused.remedy.partition("approve ")[2].partition("`")[0]
    waits = OpenOrders(requests=(ApprovalRequest("edge", digest, "c0ffee0", "1 step", SINCE),))
    found = await look(cluster("edge", nodes), policies=policies, orders=waits)
    assert found.clusters[0].waiting is waits.requests[0]
    other = OpenOrders(requests=(ApprovalRequest("edge", "f" * 64, "c0ffee0", "1 step", SINCE),))
    assert (await look(cluster("edge", nodes), policies=policies, orders=other)).clusters[0].waiting is None


async def test_the_last_run_is_part_of_the_status():
    last = RunSummary(
        id="20261121-034455-k7fm",
        trigger="command",
        source="/repo",
        revision=REVISION.id,
        short="c0ffee0",
        title="",
        program="0.1.0",
        digest="d" * 64,
        started=SINCE,
        finished=SINCE,
        exit_status=0,
        note="",
        counts={"done": 3},
    )
    found = await look(cluster("edge", {"a": "new"}), last=last)
    assert "Last run 20261121-034455-k7fm, 2026-11-20 08:30 UTC: done: 3 changes" in render_status(found)
    assert json.loads(render_status_json(found, ENDED))["last_run"]["exit_status"] == 0


async def test_nodes_that_poll_are_shown_with_when_they_were_heard_and_who_is_silent(monkeypatch):
    monkeypatch.setattr(ClusterEntry, "reporting", Reporting(server="https://c"))
    contacts = [
        NodeContact("edge", "a", {"poll": NOON, "heartbeat.feedback": SINCE}, label="7"),
        NodeContact("edge", "b", {"poll": SINCE}, clash="it calls itself c"),
    ]
    driver = FakeDriver(World(dict.fromkeys("abc", "new")))
    driver.list_polling_nodes = lambda desired: tuple("abc")
    seen = await run_plan_pass(
        fleet(cluster("edge", dict.fromkeys("abc", "new"))),
        drivers={"fake": driver},
        transports=NOWHERE,
        recalled=FleetMemory(at=NOON),
    )
    found = compute_status(seen, OpenOrders(), None, contacts)
    assert (
        "2 of 3 nodes that poll heard; last at 2026-11-21 12:00:00 UTC; silent: b (since "
        "2026-11-20 08:30:00 UTC); never: c; b: it calls itself c"
    ) in " ".join(render_status(found).split())
    nodes = json.loads(render_status_json(found, ENDED))["clusters"][0]["nodes"]
    assert [(node["polls"], node["version"], node["clash"]) for node in nodes] == [
        (True, "7", ""),
        (True, "", "it calls itself c"),
        (True, "", ""),
    ]
    assert nodes[2]["heard"] is None
    assert [node["silent"] for node in nodes] == [False, True, False]


async def test_versions_of_nodes_that_only_report_are_counted(monkeypatch):
    monkeypatch.setattr(ClusterEntry, "reporting", Reporting(server="https://c"))
    contacts = [
        NodeContact("edge", node, {"heartbeat.feedback": at}, label=label)
        for node, at, label in (("a", SINCE, "v1"), ("b", SINCE, "v2"), ("c", NOON, "v2"))
    ]
    driver = FakeDriver(World(dict.fromkeys("abc", "new")))
    driver.list_reporting_nodes = lambda desired: tuple("abc")
    seen = await run_plan_pass(
        fleet(cluster("edge", dict.fromkeys("abc", "new"))),
        drivers={"fake": driver},
        transports=NOWHERE,
        recalled=FleetMemory(at=NOON),
    )
    found = compute_status(seen, OpenOrders(), None, contacts)
    assert (
        "3 of 3 nodes that report heard; last at 2026-11-21 12:00:00 UTC; silent: a, b (a longest, since "
        "2026-11-20 08:30:00 UTC); versions: v2 on 2, v1 on 1"
    ) in " ".join(render_status(found).split())


async def test_nodes_that_leave_are_listed_and_a_change_that_waits_for_one_is_not_converged():
    known = {"edge": ClusterMemory(names=frozenset({"a", "b"}), nodes=2)}
    found = await look(
        cluster("edge", {"a": "new"}),
        world=World({"a": "new", "b": "new"}),
        memory=FleetMemory(cluster_memory=known, at=NOON),
    )
    (edge,) = found.clusters
    assert [(one.node, one.steps) for one in edge.leaving] == [("b", 0)]
    assert found.is_converged, "nothing is planned for it"
    assert render_status(found).endswith("Converged: 1 node is as desired; 1 node leaves.\n")
    assert json.loads(render_status_json(found, ENDED))["clusters"][0]["leaving"][0]["node"] == "b"
    waits = replace(edge, pending=1, leaving=(LeavingNode("b", "b is to be stopped", 1, True),))
    found = replace(found, clusters=(waits,))
    assert (found.is_converged, found.is_any_different) == (False, True)
    shown = render_status(found)
    assert "leaving: b: waits for an operator\n      b is to be stopped\n" in shown
    assert shown.endswith("Not converged: 1 as desired, 1 change is pending; 1 node leaves.\n")
