"""Attempts are counted in the store, they end, and the count starts again after a success."""

from datetime import UTC, datetime, timedelta

import pytest
from support.driver import NOWHERE, REVISION, FakeDriver, World, cluster, fleet
from support.rollouts import states

from reconciler.core.plan import Revision
from reconciler.planning.node_conditions import NodeCondition
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.planning.status import compute_status
from reconciler.ports.driver import Capabilities
from reconciler.ports.store import OpenOrders
from reconciler.rollout.apply_pass import RunContext, run_apply_pass
from reconciler.rollout.recovery import settle_open_runs
from reconciler.store.factory import open_store

README = Revision("/repo", "decade" + "0" * 34, "decade0", "Mend the README")


class Bench:
    """A world, a store with a clock that tests move, and passes as a watch or a person makes them."""

    def __init__(self, folder, driver=FakeDriver):
        self.now = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
        self.folder = folder
        self.world = World({"a": "old", "b": "old"})
        self.driver = driver(self.world)
        self.store = open_store(folder, clock=lambda: self.now)

    def restart(self):
        self.store.close()
        self.store = open_store(self.folder, clock=lambda: self.now)

    async def plan_result(self, wanted, revision=REVISION):
        await settle_open_runs(self.store, {"fake": self.driver}, NOWHERE, clock=lambda: self.now)
        return await run_plan_pass(
            fleet(wanted, revision=revision),
            drivers={"fake": self.driver},
            transports=NOWHERE,
            recalled=await self.store.read_memory(),
        )

    async def run(self, wanted, revision=REVISION):
        seen = await self.plan_result(wanted, revision)
        run_context = RunContext(clock=lambda: self.now)
        drivers = {"fake": self.driver}
        return await run_apply_pass(
            seen, drivers=drivers, transports=NOWHERE, journal=self.store, run_context=run_context
        )

    async def codes(self, wanted, revision=REVISION):
        return [one.code for one in (await self.plan_result(wanted, revision)).plan.findings()]


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path / "state")
    yield bench
    bench.store.close()


def hall(value="new", **more):
    return cluster("hall", {"a": value, "b": "old"}, settle=0.01, **more)


@pytest.fixture
def counted(bench):
    """The calls that reach each node, whatever comes of them."""
    calls, act = [], bench.driver._act

    def counting(step, value, fault):
        calls.append(step.node)
        return act(step, value, fault)

    bench.driver._act = counting
    return calls


async def test_a_node_that_keeps_its_old_setting_gets_three_attempts_over_restarts_and_is_stalled(
    bench, counted
):
    bench.world.fault("a", *["ignored"] * 100)
    for minute in range(200):
        await bench.run(hall())
        if minute % 7 == 0:
            bench.restart()
        bench.now += timedelta(minutes=1)
    assert counted == ["a", "a", "a"]
    seen = await bench.plan_result(hall())
    (finding,) = seen.plan.findings()
    assert (finding.code, finding.target, finding.severity.value) == ("node-stalled", "hall/a", "error")
    assert "was sent 3 times with no effect" in finding.message
    assert seen.plan.is_empty
    shown = compute_status(seen, OpenOrders(), None).clusters[0].nodes[0]
    assert (shown.state, shown.node) == (NodeCondition.STALLED, "a")


async def test_attempts_wait_for_each_other_and_the_finding_names_the_time(bench, counted):
    bench.world.fault("a", *["ignored"] * 100)
    await bench.run(hall())
    seen = await bench.plan_result(hall())
    (finding,) = seen.plan.findings()
    assert finding.code == "retry-later"
    assert "attempt 2 of 3 is due after 2026-11-29 12:01:00 UTC" in finding.message
    for seconds, number in ((59, 1), (1, 2), (599, 2), (1, 3), (100_000, 3)):
        bench.now += timedelta(seconds=seconds)
        await bench.run(hall())
        assert len(counted) == number


async def test_a_definite_refusal_ends_the_attempts_at_once(bench, counted):
    bench.world.fault("a", "refused")
    await bench.run(hall())
    bench.now += timedelta(days=1)
    report = await bench.run(hall())
    assert counted == ["a"]
    assert report.run == "", "nothing is written into the history"
    assert await bench.codes(hall()) == ["node-stalled"]


async def test_a_commit_that_changes_no_content_sends_nothing_and_one_that_does_sends_again(bench, counted):
    bench.world.fault("a", "refused")
    await bench.run(hall())
    await bench.run(hall(), README)
    assert counted == ["a"]
    assert states(await bench.run(hall("newer"), README)) == {"a": "done"}
    assert bench.world.values["a"] == "newer"


async def test_other_nodes_and_clusters_continue(bench, counted):
    bench.world.fault("a", "refused")
    await bench.run(cluster("hall", {"a": "new", "b": "old"}, settle=0.01))
    report = await bench.run(cluster("hall", {"a": "new", "b": "new"}, settle=0.01))
    assert states(report) == {"b": "done"}


async def test_a_change_of_the_node_counts_after_two_readings(bench, counted):
    bench.world.fault("a", "refused")
    await bench.run(hall())
    await bench.run(hall())
    bench.world.values["a"] = "mended by hand"
    await bench.run(hall())
    assert counted == ["a"]
    await bench.run(hall())
    assert counted == ["a", "a"]
    assert bench.world.values["a"] == "new"


async def test_a_drift_after_success_starts_new_attempts(bench, counted):
    bench.world.fault("a", "ignored")
    await bench.run(hall())
    bench.world.values["a"] = "new"
    await bench.run(hall())
    bench.world.values["a"] = "drifted"
    assert states(await bench.run(hall())) == {"a": "done"}
    facts = (await bench.store.read_memory()).facts.get("hall", {}).get("a", {})
    assert [key for key in facts if key.startswith("attempt/")] == []


async def test_an_operator_can_allow_an_attempt_at_once(bench, counted):
    bench.world.fault("a", "refused")
    await bench.run(hall())
    assert await bench.store.forget_attempts("hall") == ("hall/a",)
    assert states(await bench.run(hall())) == {"a": "done"}


async def test_a_call_that_was_not_sent_is_no_attempt(bench, counted):
    from reconciler.errors import NodeUnreachable  # noqa: PLC0415

    def refused(step, value, fault):
        counted.append("tried")
        raise NodeUnreachable(step.node, "connection refused", sent=False)

    bench.driver._act = refused
    for _ in range(5):
        assert states(await bench.run(hall())) == {"a": "failed"}
    assert counted == ["tried"] * 5


async def test_nothing_is_sent_while_a_call_is_in_flight_and_a_reading_settles_it(bench, counted):
    wanted = hall(in_flight=300.0)
    bench.world.fault("a", "nothing")
    assert states(await bench.run(wanted)) == {"a": "unknown"}
    for _ in range(9):
        bench.now += timedelta(seconds=30)
        bench.restart()
        seen = await bench.plan_result(wanted)
        assert [one.code for one in seen.plan.findings()] == ["call-in-flight"]
        assert seen.plan.is_empty
    assert counted == ["a"]
    bench.world.values["a"] = "new"  # the slow node takes it after four and a half minutes
    assert await bench.codes(wanted) == []
    (line,) = await bench.store.runs()
    assert line.counts == {"done": 1}
    assert counted == ["a"]


async def test_after_its_time_a_call_without_effect_has_failed_and_is_attempted_again(bench, counted):
    wanted = hall(in_flight=300.0)
    bench.world.fault("a", "nothing")
    await bench.run(wanted)
    bench.now += timedelta(seconds=301)
    assert states(await bench.run(wanted)) == {"a": "done"}
    newer, first = await bench.store.runs()
    assert first.counts == {"failed": 1}
    assert newer.counts == {"done": 1}


async def test_a_dry_run_names_a_call_in_flight(bench):
    wanted = hall(in_flight=300.0)
    bench.world.fault("a", "nothing")
    await bench.run(wanted)
    seen = await run_plan_pass(
        fleet(wanted),
        drivers={"fake": bench.driver},
        transports=NOWHERE,
        recalled=await bench.store.read_memory(),
    )
    (finding,) = seen.plan.findings()
    assert "hall/a/set of run" in finding.message
    assert "nothing is sent before 2026-11-29 12:05:00 UTC" in finding.message


class Joined(FakeDriver):
    """A product whose nodes hang together: none can be left out."""

    capabilities = Capabilities()


async def test_if_nodes_depend_on_each_other_the_whole_cluster_waits_for_a_call(tmp_path):
    bench = Bench(tmp_path / "state", Joined)
    try:
        bench.world.fault("a", "nothing")
        await bench.run(cluster("hall", {"a": "new", "b": "old"}, settle=0.01, in_flight=300.0))
        report = await bench.run(cluster("hall", {"a": "new", "b": "new"}, settle=0.01, in_flight=300.0))
        assert report.outcomes == ()
        bench.now += timedelta(seconds=301)
        both = cluster("hall", {"a": "new", "b": "new"}, settle=0.01, in_flight=300.0)
        assert states(await bench.run(both)) == {"a": "done", "b": "done"}
    finally:
        bench.store.close()
