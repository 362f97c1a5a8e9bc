"""What waits only because a person holds a node is no error of the run."""

from dataclasses import replace
from datetime import timedelta

from support.driver import NOON, NOWHERE, FakeDriver, World, cluster, fleet

from reconciler.core.actor import Actor
from reconciler.core.memory import ClusterMemory, FleetMemory
from reconciler.core.reservations import Reservation
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.planning.node_conditions import NodeCondition, judge_nodes
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.planning.plan_summary import PlanSummary
from reconciler.ports.driver import Capabilities

NODES = {"a": "new", "b": "new", "c": "new"}


class QuorumDriver(FakeDriver):
    """Nodes that change only while all of them are there; `broken` ones never do."""

    capabilities = Capabilities(single_node=False)
    broken = frozenset()

    def plan(self, desired, observed):
        plan = super().plan(desired, observed)
        reasons = dict.fromkeys(self.broken, "it is broken")
        if observed.reserved:
            reasons = {step.node: "somebody counts as away" for step in plan.steps} | reasons
        findings = [
            Diagnostic(Severity.ERROR, "quorum-waits", f"{node} waits: {why}", target=f"edge/{node}")
            for node, why in reasons.items()
        ]
        steps = tuple(step for step in plan.steps if step.node not in reasons)
        return replace(plan, steps=steps, findings=(*plan.findings, *findings))


async def look(driver_type=QuorumDriver, *, is_hold=True, broken=()):
    driver = driver_type(World(dict.fromkeys("abc", "old")))
    driver.broken = frozenset(broken)
    held = Reservation(
        id="1",
        cluster="edge",
        node="b",
        actor=Actor(user="kim", why="a card"),
        at=NOON,
        until=NOON + timedelta(hours=1),
        is_hold=is_hold,
    )
    memory = FleetMemory(at=NOON, cluster_memory={"edge": ClusterMemory(reservations=(held,))})
    seen = await run_plan_pass(
        fleet(cluster("edge", NODES)), drivers={"fake": driver}, transports=NOWHERE, recalled=memory
    )
    (context,) = seen.guard_contexts
    return seen, context


def told(context):
    return {(one.severity.value, one.code, one.target) for one in context.plan.findings}


async def test_a_hold_makes_warnings_of_what_waits_for_it_and_the_changes_stay_pending():
    seen, context = await look()
    assert told(context) == {
        ("warning", "quorum-waits", "edge/a"),
        ("warning", "node-held", "edge/b"),
        ("warning", "quorum-waits", "edge/c"),
    }
    assert all("`reconcile release b` ends it" in one.remedy for one in context.plan.findings)
    summary = PlanSummary.of(seen)
    assert (summary.errors, summary.waiting) == (0, 3)
    conditions = judge_nodes(context, NODES)
    assert [one.value for one, _ in conditions.values()] == ["differs", "held", "differs"]
    assert conditions["a"][0] is NodeCondition.DIFFERS


async def test_what_waits_for_another_reason_too_stays_an_error():
    _, context = await look(broken="c")
    assert ("error", "quorum-waits", "edge/c") in told(context)
    assert ("warning", "quorum-waits", "edge/a") in told(context)


async def test_a_reservation_excuses_nothing():
    _, context = await look(is_hold=False)
    assert {severity for severity, code, _ in told(context) if code == "quorum-waits"} == {"error"}


class SharingDriver(FakeDriver):
    """Independent nodes, none of which may be away while another one is."""

    def find_reservation_conflict(self, step, question):
        return "two nodes would be away" if question.away else ""


async def test_an_independent_node_that_must_stay_available_waits_for_a_hold_without_an_error():
    for is_hold, severity in ((True, "warning"), (False, "error")):
        _, context = await look(SharingDriver, is_hold=is_hold)
        assert (severity, "node-reserved", "edge/a") in told(context)
        assert context.withheld_nodes.keys() >= {"a", "c"}
