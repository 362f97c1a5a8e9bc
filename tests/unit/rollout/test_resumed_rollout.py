"""A rollout that was stopped or killed rejects nothing, and continues with its wave and its gates."""

import asyncio
from dataclasses import replace

import pytest
from support.driver import NOWHERE, REVISION, cluster, fleet, set_of
from support.rollouts import Returning, Soak, states
from test_rollout_attempts import Bench as Clocked

from reconciler.core.actor import Actor
from reconciler.core.plan import Revision
from reconciler.core.rollout_rules import Gates, MetricGate, Rollout
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.planning.status import compute_status
from reconciler.ports.store import OpenOrders
from reconciler.rollout.apply_pass import RunContext, run_apply_pass

README = Revision("/repo", "decade" + "0" * 34, "decade0", "Mend the README")
OLD, NEW = dict.fromkeys("abcd", "old"), dict.fromkeys("abcd", "new")


class Killed(BaseException):
    """The reconciler's process ends here."""


class Bench(Clocked):
    """Passes over four nodes that are rolled out one after another."""

    def __init__(self, folder):
        super().__init__(folder, Returning)
        self.world.values = dict(OLD)
        self.soak = Soak()

    async def run(self, wanted, revision=REVISION, **more):
        seen = await self.plan_result(wanted, revision)
        run_context = RunContext(clock=lambda: self.now, rest=self.soak)
        drivers = {"fake": self.driver}
        return await run_apply_pass(
            seen, drivers=drivers, transports=NOWHERE, journal=self.store, run_context=run_context, **more
        )

    async def rejected(self):
        return [one.short for one in (await self.store.orders()).rejections]


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path / "state")
    yield bench
    bench.store.close()


def edge(nodes=NEW, *, settle=0.05, in_flight=0.0, **rollout):
    return cluster(
        "edge", nodes, settle=settle, in_flight=in_flight, rollout=Rollout(**{"waves": 1, **rollout})
    )


def codes(report):
    return [finding.code for finding in report.findings]


async def test_a_stop_while_a_node_is_slow_rejects_nothing_and_the_same_wave_continues(bench, monkeypatch):
    monkeypatch.setattr("reconciler.rollout.polling.GRACE", 0.05)
    stop, wanted = asyncio.Event(), edge(settle=2, soak=10)
    bench.world.fault("a", "ignored")
    running = asyncio.ensure_future(bench.run(wanted, stop=stop))
    await bench.world.entered.wait()
    stop.set()
    report = await running
    assert states(report) == {"a": "unknown", "b": "skipped", "c": "skipped", "d": "skipped"}
    assert await bench.rejected() == []
    bench.restart()
    again = await bench.plan_result(wanted)
    assert {one.code for one in again.plan.findings()} == {"call-in-flight", "wave-unfinished"}
    assert again.plan.is_empty
    bench.world.values["a"] = "new"  # it takes its setting late
    seen = []
    bench.soak.meanwhile = lambda: seen.append(dict(bench.world.values))
    assert (await bench.run(wanted)).is_success
    assert bench.world.values == NEW
    assert [sum(value == "new" for value in values.values()) for values in seen] == [1, 2, 3, 4]
    assert await bench.rejected() == []


async def test_after_a_stop_a_node_without_the_content_gets_it_again_in_the_same_wave(bench, monkeypatch):
    monkeypatch.setattr("reconciler.rollout.polling.GRACE", 0.05)
    stop, wanted = asyncio.Event(), edge(settle=30)
    bench.world.fault("a", "ignored")
    running = asyncio.ensure_future(bench.run(wanted, stop=stop))
    await bench.world.entered.wait()
    stop.set()
    await running
    bench.now = bench.now.replace(hour=13)
    assert (await bench.run(wanted)).is_success
    assert bench.world.acts == ["a", "b", "c", "d"]
    assert await bench.rejected() == []


@pytest.mark.parametrize("revision", [REVISION, README], ids=["the same", "one that changes no content"])
async def test_after_a_kill_in_a_soak_the_gates_of_that_wave_are_evaluated_first(bench, revision):
    def die():
        raise Killed

    bench.soak.meanwhile = die
    with pytest.raises(Killed):
        await bench.run(edge(soak=60, waves=2))
    bench.restart()
    assert bench.world.values == {**OLD, "a": "new", "b": "new"}
    bench.soak.meanwhile = lambda: bench.world.values.update(b="odd")
    report = await bench.run(edge(soak=60, waves=2), revision)
    assert codes(report)[0] == "gate-failed"
    assert "wave 1 failed its gates: b: b holds odd" in report.findings[0].message
    assert bench.world.values == {**OLD, "a": "new", "b": "odd"}
    assert await bench.rejected() == [revision.short]


async def test_after_a_kill_in_the_last_soak_the_gates_are_evaluated_without_steps(bench):
    bench.soak.meanwhile = lambda: (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        await bench.run(edge(soak=60, waves="100%"))
    bench.restart()
    assert (await bench.plan_result(edge(soak=60, waves="100%"))).plan.is_empty
    bench.soak.meanwhile = lambda: bench.world.values.update(d="odd")
    report = await bench.run(edge(soak=60, waves="100%"))
    assert codes(report)[0] == "gate-failed"
    assert report.exit_status == 5
    assert await bench.rejected() == [REVISION.short]


async def test_an_interrupted_soak_continues_and_ends_the_rollout(bench):
    bench.soak.meanwhile = lambda: (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        await bench.run(edge(soak=300, waves="100%"))
    bench.now = bench.now.replace(minute=4)
    bench.soak.meanwhile = lambda: None
    assert (await bench.run(edge(soak=300, waves="100%"))).is_success
    assert bench.soak.waited == [300, 60]
    report = await bench.run(edge(soak=300, waves="100%"))
    assert (report.run, bench.soak.waited) == ("", [300, 60])


async def test_a_gate_that_compares_growth_soaks_in_full_again(bench):
    bench.driver.errors = dict.fromkeys("abcd", 1.0)
    wanted = edge(soak=300, canary=1, waves="100%", gates=Gates(metrics=(MetricGate(name="errors_total"),)))
    bench.soak.meanwhile = lambda: (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        await bench.run(wanted)
    bench.now = bench.now.replace(minute=4)
    bench.soak.meanwhile = lambda: None
    await bench.run(wanted)
    assert bench.soak.waited[:2] == [300, 300]


async def test_other_content_begins_a_rollout_of_its_own(bench):
    bench.soak.meanwhile = lambda: (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        await bench.run(edge(soak=60, waves=2))
    seen = []
    bench.soak.meanwhile = lambda: seen.append(dict(bench.world.values))
    newer = dict.fromkeys("abcd", "newer")
    assert (await bench.run(edge(newer, soak=60, canary=1, waves=2), README)).is_success
    assert [sum(value == "newer" for value in values.values()) for values in seen] == [1, 3, 4]


async def test_an_interrupted_wave_is_completed_before_its_gates_are_evaluated(bench):
    died = []

    def die(step, value, fault, act=bench.driver._act):
        if step.node == "b" and not died:
            died.append(step.node)
            raise Killed
        return act(step, value, fault)

    bench.driver._act = die
    wanted = edge(canary=3, soak=10)
    with pytest.raises(Killed):
        await bench.run(wanted)
    seen = []
    bench.soak.meanwhile = lambda: seen.append(sorted(n for n, v in bench.world.values.items() if v == "new"))
    bench.now = bench.now.replace(minute=10)
    assert (await bench.run(wanted)).is_success
    assert seen == [["a", "b", "c"], ["a", "b", "c", "d"]]


async def test_a_suspension_stops_an_open_wave_which_continues_later(bench):
    bench.soak.meanwhile = lambda: (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        await bench.run(edge(soak=60))
    await bench.store.suspend("edge", "look first", Actor("kim"))
    held = await bench.plan_result(edge(soak=60))
    assert [one.code for one in held.violations] == ["suspended"]
    await bench.store.resume("edge", Actor("kim"))
    bench.soak.meanwhile = lambda: None
    assert (await bench.run(edge(soak=60))).is_success
    assert await bench.rejected() == []


async def test_a_lost_answer_stops_its_wave_and_rejects_nothing(bench):
    wanted = edge(in_flight=300.0)
    bench.world.fault("a", "nothing")
    report = await bench.run(wanted)
    assert states(report) == {"a": "unknown", "b": "skipped", "c": "skipped", "d": "skipped"}
    assert codes(report) == ["wave-incomplete"]
    assert await bench.rejected() == []
    assert (await bench.run(wanted)).outcomes == (), "nothing else of the rollout goes on meanwhile"
    bench.now = bench.now.replace(minute=6)
    assert (await bench.run(wanted)).is_success


async def test_nodes_that_wait_for_a_call_in_flight_differ_and_run_no_revision(bench):
    await bench.run(edge(OLD))
    before = (await bench.store.read_memory()).get_cluster_memory("edge").shown_revisions
    wanted = edge(in_flight=300.0)
    bench.world.fault("a", "nothing")
    await bench.run(wanted, README)
    await bench.run(wanted, README)
    seen = await bench.plan_result(wanted, README)
    (shown,) = compute_status(seen, OpenOrders(), None).clusters
    assert [node.state.value for node in shown.nodes] == ["waits for a retry", *["differs"] * 3]
    assert shown.nodes[1].reason == "b holds old; nothing is sent to it while another node is pending"
    assert (await bench.store.read_memory()).get_cluster_memory("edge").shown_revisions == before
    (cluster_memory,) = (await bench.store.read_memory()).cluster_memory.values()
    assert cluster_memory.applied == REVISION


async def test_a_node_of_the_wave_that_stalls_rejects_the_revision(bench):
    wanted = edge(in_flight=300.0)
    bench.world.fault("a", *["nothing"] * 9)
    for hour in range(13, 20):
        bench.now = bench.now.replace(hour=hour)
        if await bench.rejected():
            break
        await bench.run(wanted)
    assert await bench.rejected() == [REVISION.short]
    (one,) = (await bench.store.orders()).rejections
    assert "wave 1 failed its gates: a:" in one.reason
    assert bench.world.acts == []


class Partly(Returning):
    """A product that tells which part of a step shows, and can take that back."""

    def undo_part(self, step, observed, payloads, shown):
        if shown.nodes[step.node].value != "halfway":
            return None
        back, carried = self.undo(step, observed, payloads)
        return replace(back, arguments=replace(set_of(back), before="halfway")), carried


async def test_a_failed_step_with_an_effect_is_undone_with_its_wave(bench):
    bench.driver = Partly(bench.world)
    bench.world.fault("b", "half")
    report = await bench.run(edge(waves="100%", on_failure="return"))
    assert bench.world.values == OLD
    assert states(report) == dict.fromkeys("abcd", "undone")


async def test_a_change_by_somebody_else_is_named_and_not_overwritten(bench):
    bench.driver = Partly(bench.world)

    def foreign(step, value, fault, act=bench.driver._act):
        done = act(step, value, "ignored" if step.node == "b" else fault)
        if step.node == "b":
            bench.world.values["b"] = "of somebody else"
        return done

    bench.driver._act = foreign
    report = await bench.run(edge(waves="100%", on_failure="return"))
    assert bench.world.values == {**OLD, "b": "of somebody else"}
    assert codes(report) == ["gate-failed", "not-undone"]


async def test_a_step_that_may_still_take_effect_is_named(bench):
    bench.world.fault("b", "ignored")
    report = await bench.run(edge(waves="100%", on_failure="return"))
    assert states(report) == {"a": "undone", "b": "failed", "c": "undone", "d": "undone"}
    assert codes(report) == ["gate-failed", "effect-uncertain"]
    assert report.findings[1].target == "edge/b"


async def test_after_a_definite_refusal_there_is_nothing_to_undo_or_to_name(bench):
    bench.world.fault("b", "refused")
    report = await bench.run(edge(waves="100%", on_failure="return"))
    assert codes(report) == ["gate-failed"]
    assert bench.world.values == OLD


async def test_a_step_of_an_earlier_run_that_cannot_be_undone_is_named(bench):
    bench.soak.meanwhile = lambda: (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        await bench.run(edge(soak=60, waves=2, on_failure="return"))
    bench.soak.meanwhile = lambda: bench.world.values.update(b="odd")
    report = await bench.run(edge(soak=60, waves=2, on_failure="return"))
    assert codes(report) == ["gate-failed", "not-undone", "not-undone"]
    assert "the previous content of the node is not stored" in report.findings[1].message


async def test_a_run_of_one_node_leaves_an_open_rollout_as_it_is(bench):
    bench.soak.meanwhile = lambda: (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        await bench.run(edge(soak=60, waves=2))
    before = (await bench.store.read_memory()).get_cluster_memory("edge").progress
    recalled = await bench.store.read_memory()
    drivers = {"fake": bench.driver}
    only = await run_plan_pass(
        fleet(edge(soak=0)), drivers=drivers, transports=NOWHERE, recalled=recalled, only="d"
    )
    bench.soak.meanwhile = lambda: None
    run_context = RunContext(clock=lambda: bench.now, rest=bench.soak)
    await run_apply_pass(
        only, drivers=drivers, transports=NOWHERE, journal=bench.store, run_context=run_context
    )
    assert bench.world.values["d"] == "new"
    assert (await bench.store.read_memory()).get_cluster_memory("edge").progress == before


async def test_an_undo_keeps_the_count_of_attempts(bench):
    bench.driver = Partly(bench.world)
    bench.world.fault("b", "half")
    await bench.run(edge(waves="100%", on_failure="return"))
    facts = (await bench.store.read_memory()).facts["edge"]["b"]
    assert [key for key in facts if key == "attempt/set"]
