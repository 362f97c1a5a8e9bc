"""A plan pass reads every cluster, runs every guard, and gives the same plan for the same answers."""

import inspect
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from support.driver import NOON, NOWHERE, FakeDriver, World, cluster, fleet

from reconciler import __version__
from reconciler.core.memory import ClusterMemory, FleetMemory
from reconciler.core.policy import Override, Policy
from reconciler.errors import InputError, UsageError
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.ports.driver import Capabilities
from reconciler.ports.listener import PassListener

WORLD = {"a1": "old", "a2": "new", "b1": "old"}
CLUSTERS = (cluster("beta", {"b1": "new"}), cluster("alpha", {"a1": "new", "a2": "new"}))


class RecordingListener(PassListener):
    """Records its calls."""

    def __init__(self):
        self.heard = []

    def on_observing(self, cluster, nodes):
        self.heard.append(("observing", cluster, nodes))

    def on_observed(self, cluster, observed):
        self.heard.append(("observed", cluster, len(observed.nodes)))

    def on_planned(self, plan):
        self.heard.append(("planned", len(list(plan.steps()))))


async def look(*clusters, world=None, **more):
    driver = FakeDriver(world or World(dict(WORLD)))
    return await run_plan_pass(
        fleet(*(clusters or CLUSTERS)), drivers={"fake": driver}, transports=NOWHERE, **more
    )


async def test_the_plan_names_every_cluster_sorted_and_the_program():
    seen = await look()
    assert [plan.cluster for plan in seen.plan.clusters] == ["alpha", "beta"]
    assert [step.id for step in seen.plan.steps()] == ["alpha/a1/set", "beta/b1/set"]
    assert seen.plan.program == __version__
    assert [case.plan.cluster for case in seen.guard_contexts] == ["alpha", "beta"]
    assert not seen.violations


async def test_problems_of_all_clusters_are_reported_together_before_a_node_is_read():
    report_listener = RecordingListener()
    with pytest.raises(InputError) as caught:
        await look(
            cluster("beta", {"b": "bad"}),
            cluster("alpha", {"a": "bad", "c": "bad"}),
            listener=report_listener,
        )
    assert len(caught.value.problems) == 3
    assert report_listener.heard == []


async def test_one_violation_refuses_the_whole_plan():
    seen = await look(cluster("alpha", {"a1": "new"}), cluster("beta", {"b1": "forbidden"}))
    assert [(violation.code, violation.target) for violation in seen.violations] == [("forbidden", "beta/b1")]


async def test_guards_of_every_product_get_the_memory():
    memory = FleetMemory(cluster_memory={"alpha": ClusterMemory(nodes=100)}, at=NOON)
    seen = await look(recalled=memory)
    assert [(violation.code, violation.target) for violation in seen.violations] == [
        ("desired-shrank", "alpha")
    ]


async def test_a_policy_of_the_fleet_file_reaches_the_guards():
    policies = {"alpha": Policy(max_changed="0")}
    driver = FakeDriver(World(dict(WORLD)))
    seen = await run_plan_pass(
        fleet(*CLUSTERS, policies=policies), drivers={"fake": driver}, transports=NOWHERE
    )
    assert [(violation.code, violation.target) for violation in seen.violations] == [
        ("blast-radius", "alpha")
    ]


@pytest.mark.parametrize(("days", "stands"), [(0, False), (-1, True)])
async def test_an_override_disables_a_guard_until_it_expires(days, stands):
    until = NOON.date() + timedelta(days=days)
    override = Override(guard="forbidden", target="alpha", until=until, reason="agreed with everybody")
    driver = FakeDriver(World(dict(WORLD)))
    seen = await run_plan_pass(
        fleet(cluster("alpha", {"a1": "forbidden"}), overrides=(override,)),
        drivers={"fake": driver},
        transports=NOWHERE,
        recalled=FleetMemory(at=NOON),
    )
    assert bool(seen.violations) is stands
    assert [held for _, held in seen.overridden] == ([] if stands else [override])


async def test_drivers_get_the_facts_of_earlier_runs():
    class Curious(FakeDriver):
        def add_history(self, desired, facts, prior):
            received[desired.entry.name] = facts
            return super().add_history(desired, facts, prior)

    received = {}
    memory = FleetMemory(facts={"alpha": {"a1": {"mode": "block"}}}, at=NOON)
    await run_plan_pass(
        fleet(*CLUSTERS), drivers={"fake": Curious(World(dict(WORLD)))}, transports=NOWHERE, recalled=memory
    )
    assert received == {"alpha": {"a1": {"mode": "block"}}, "beta": {}}


async def test_clusters_are_read_concurrently():
    report_listener = RecordingListener()
    await look(listener=report_listener)
    assert [what for what, *_ in report_listener.heard] == ["observing"] * 2 + ["observed"] * 2 + ["planned"]
    assert ("observing", "alpha", 2) in report_listener.heard
    assert report_listener.heard[-1] == ("planned", 2)


@pytest.mark.parametrize(
    ("only", "steps", "node"),
    [
        ("alpha", ["alpha/a1/set"], ""),
        ("a1", ["alpha/a1/set"], "a1"),
        ("alpha/a1", ["alpha/a1/set"], "a1"),
        ("a2", [], "a2"),
    ],
)
async def test_only_restricts_to_a_cluster_or_a_node(only, steps, node):
    seen = await look(only=only)
    assert [plan.cluster for plan in seen.plan.clusters] == ["alpha"]
    assert [step.id for step in seen.plan.steps()] == steps
    assert seen.chosen == ({"alpha": frozenset({node})} if node else {})


async def test_only_with_an_unknown_name_suggests_a_similar_one():
    with pytest.raises(UsageError, match="no cluster and no node is named `alpah`") as caught:
        await look(only="alpah")
    assert "alpha" in caught.value.remedy
    with pytest.raises(UsageError) as caught:
        await look(only="zzz")
    assert caught.value.remedy == "the clusters are: alpha, beta"


async def test_only_with_a_node_of_a_cluster_that_is_planned_as_a_whole_is_refused():
    driver = FakeDriver(World(dict(WORLD)))
    driver.capabilities = Capabilities()
    with pytest.raises(UsageError, match="a1 cannot be planned alone: a fake cluster is planned") as caught:
        await run_plan_pass(fleet(*CLUSTERS), drivers={"fake": driver}, transports=NOWHERE, only="a1")
    assert caught.value.remedy == "use --only alpha"


async def test_files_of_other_clusters_are_checked_even_with_only():
    with pytest.raises(InputError):
        await look(cluster("alpha", {"a1": "new"}), cluster("beta", {"b1": "bad"}), only="alpha")


async def test_a_plan_pass_writes_nothing_and_has_no_means_to_write():
    world = World(dict(WORLD))
    await look(world=world)
    assert world.values == WORLD
    assert world.acts == []
    assert not {"journal", "store", "outbox"} & set(inspect.signature(run_plan_pass).parameters)


async def test_a_node_that_does_not_answer_does_not_stop_the_others():
    world = World(dict(WORLD), silent={"a1"})
    seen = await look(world=world)
    assert [step.id for step in seen.plan.steps()] == ["beta/b1/set"]
    assert [finding.target for finding in seen.plan.findings()] == ["alpha/a1"]


PROGRAM = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from support.driver import FakeDriver, NOWHERE, World, cluster, fleet
from reconciler.planning.plan_pass import run_plan_pass
names = [f"n{number:02}" for number in range(40)]
clusters = [cluster(name, {f"{name}-{node}": "new" for node in names}) for name in ("c", "a", "b")]
world = World({f"{entry.name}-{node}": "old" for entry in clusters for node in names})
seen = asyncio.run(run_plan_pass(fleet(*clusters), drivers={"fake": FakeDriver(world)}, transports=NOWHERE))
print(seen.plan.digest, len(seen.plan.encode()))
"""


def test_the_plan_is_the_same_byte_for_byte_under_any_hash_seed():
    here = str(Path(inspect.getfile(World)).parents[1])
    said = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, here],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(said) == 1
