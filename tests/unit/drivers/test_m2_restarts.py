"""M2's restart-only fields are brought in by restarts: planned, proven, in waves, taken back."""

import asyncio
import copy
import json
from dataclasses import replace

import pytest
from support.m2_wire import BASE, WorldWire, content
from support.memory_files import snapshot_of

from reconciler.core.guard import GuardContext, run_guards
from reconciler.core.observation import Observed, Present, Unreachable
from reconciler.core.plan import Effect, Plan, Risk, load_plan, restore_exact_arguments
from reconciler.core.step_status import StepStatus
from reconciler.desired.fleet import add_desired_state, load_fleet
from reconciler.drivers.m2.guards import GUARDS
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.simulator.world import M2World
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import NodeRefused, NodeUnreachable
from reconciler.file_delivery.simulated_machines import SimulatedCommands
from reconciler.guards.registry import EVERYWHERE
from reconciler.modelcheck.executor_model import ExecutorModel
from reconciler.modelcheck.explore import explore_states
from reconciler.modelcheck.state_table import StateTable
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.ports.simulated_machine import SimulatedMachine
from reconciler.ports.transport import Transports
from reconciler.rollout.apply_pass import RunContext, run_apply_pass
from reconciler.rollout.recovery import settle_open_runs
from reconciler.store.factory import open_store

MEMORY = "env.properties.memoryUsage"
RESTART = {"command": "restart-m2", "started": {"command": "m2-started"}}
NODES = ("edge-01", "edge-02", "edge-03")


def readable(version="A", memory=None, **api):
    document = copy.deepcopy(BASE)
    document["meta"]["version"] = version
    document["env"]["management"]["roles"][0]["permissions"]["enableGet"] = True
    document["env"]["management"]["api"] |= api
    if memory is not None:
        document["env"]["properties"] = {"memoryUsage": memory}
    return document


OLD, NEW = readable(), readable("B", 70)


def make_fleet(document, nodes=NODES, restart=RESTART, overrides=(), **entry):
    rows = [{"name": one, "address": f"{one}.example.com"} for one in nodes]
    cluster = {
        "name": "edge",
        "kind": "m2",
        "setting": "s.json",
        "nodes": rows,
        "timeouts": {"read": 1, "settle": 0.2, "in_flight": 0.2},
        **({"restart": restart} if restart else {}),
        **entry,
    }
    files = {"fleet.json": {"clusters": [cluster]}, "s.json": document}
    return load_fleet(snapshot_of({path: json.dumps(one) for path, one in files.items()}), DRIVERS)


class Site:
    """Simulated nodes, each on a machine whose commands restart it."""

    def __init__(self, store, document=OLD, nodes=NODES):
        self.store = store
        entry = make_fleet(document, nodes).cluster_inputs[0].entry
        self.world = M2World.from_entry(entry, dict.fromkeys(nodes, document), converged=True)
        self.restarts, self.broken, self.lost = [], set(), set()
        self.machines = {name: self._make_machine(name) for name in nodes}
        self.wire = WorldWire(self.world)
        self.transports = Transports(self.wire, SimulatedCommands(self.machines))

    def _make_machine(self, name):
        def restart(machine, values):
            self.restarts.append(name)
            assert values["host"] == f"{name}.example.com"
            self.world.kill(name)
            machine.start()
            if name in self.broken:
                raise NodeRefused(name, "the unit failed", status=1, code="COMMAND", again=True)
            self.world.start(name)
            if name in self.lost:
                raise NodeUnreachable(name, "the connection broke")
            return "restarted"

        commands = {"restart-m2": restart, "m2-started": lambda machine, values: f"start {machine.starts}"}
        made = SimulatedMachine({}, commands)
        made.start()
        return made

    def running(self, node):
        return (self.world.state(node).running or {})["env"].get("properties", {}).get("memoryUsage")

    def loaded(self, node):
        return self.world.state(node).loaded.document["meta"]["version"]

    async def plan(self, wanted):
        return await run_plan_pass(
            add_desired_state(wanted, DRIVERS),
            drivers=DRIVERS,
            transports=self.transports,
            recalled=await self.store.read_memory(),
        )

    async def run(self, wanted, seen=None):
        return await run_apply_pass(
            seen or await self.plan(wanted),
            drivers=DRIVERS,
            transports=self.transports,
            journal=self.store,
            run_context=RunContext(),
        )


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "state") as opened:
        yield opened


def actions(seen):
    return [f"{step.action} {step.node}" for step in seen.plan.steps()]


def get_states(report):
    return {f"{one.step.action} {one.step.node}": one.state.value for one in report.outcomes}


def codes(seen):
    return [one.code for cluster in seen.plan.clusters for one in cluster.findings]


async def test_each_node_is_restarted_after_its_delivery_one_at_a_time_without_waves(store):
    site = Site(store)
    wanted = make_fleet(NEW, concurrency=3)
    seen = await site.plan(wanted)
    assert actions(seen) == [f"{action} {node}" for node in NODES for action in ("upload", "restart")]
    first, second, third = [step for step in seen.plan.steps() if step.action == "restart"]
    assert first.after == ("edge/edge-01/upload",)
    assert second.after == ("edge/edge-02/upload", first.id)
    assert third.after == ("edge/edge-03/upload", second.id)
    assert (first.effect, first.risk) == (Effect.RESTART, Risk.MEDIUM)
    assert first.arguments.fields == (MEMORY,)
    report = await site.run(wanted, seen)
    assert set(get_states(report).values()) == {"done"}, get_states(report)
    assert site.restarts == [*NODES]
    assert [site.running(node) for node in NODES] == [70, 70, 70]
    again = await site.plan(wanted)
    assert not actions(again)
    assert not codes(again)


async def test_without_a_command_everything_is_as_before_and_the_finding_names_the_key(store):
    site = Site(store)
    wanted = make_fleet(NEW, restart=None)
    report = await site.run(wanted)
    assert set(get_states(report)) == {f"upload {node}" for node in NODES}
    seen = await site.plan(wanted)
    assert not actions(seen)
    assert codes(seen) == ["waits-for-restart"] * 3
    assert "`restart` command of the host" in seen.plan.clusters[0].findings[0].remedy
    assert not site.restarts


async def test_what_waits_already_is_brought_in_and_a_restart_by_hand_counts(store):
    site = Site(store)
    await site.run(make_fleet(NEW, restart=None))
    wanted = make_fleet(NEW)
    seen = await site.plan(wanted)
    assert actions(seen) == [f"restart {node}" for node in NODES]
    assert all(step.inverse.final for step in seen.plan.steps())
    # by hand, between plan and apply
    site.machines["edge-01"].start()
    site.world.kill("edge-01")
    site.world.start("edge-01")
    report = await site.run(wanted, seen)
    assert get_states(report)["restart edge-01"] == "found"
    assert site.restarts == ["edge-02", "edge-03"]
    assert not actions(await site.plan(wanted))


async def test_a_change_that_goes_back_to_what_is_in_effect_needs_no_restart(store):
    site = Site(store)
    await site.run(make_fleet(NEW, restart=None))
    seen = await site.plan(make_fleet(readable("C")))
    assert actions(seen) == [f"upload {node}" for node in NODES]


async def test_a_node_whose_start_cannot_be_read_is_left_to_a_person(store):
    site = Site(store)
    site.machines["edge-02"].commands.pop("m2-started")
    wanted = make_fleet(NEW)
    seen = await site.plan(wanted)
    assert "restart edge-02" not in actions(seen)
    (finding,) = [one for one in seen.plan.clusters[0].findings if one.code == "waits-for-restart"]
    assert finding.target == "edge/edge-02"
    assert "cannot be read by m2-started" in finding.message
    assert "person" in finding.remedy
    await site.run(wanted, seen)
    assert site.restarts == ["edge-01", "edge-03"]
    assert codes(await site.plan(wanted)) == ["waits-for-restart"]


async def test_a_node_that_hides_what_waits_is_not_restarted(store):
    hidden, wanted = copy.deepcopy(OLD), copy.deepcopy(NEW)
    for document in (hidden, wanted):
        document["env"]["management"]["roles"][0]["permissions"]["enableGet"] = False
    seen = await Site(store, hidden).plan(make_fleet(wanted))
    assert actions(seen) == [f"upload {node}" for node in NODES]
    assert "waiting-unknown" in codes(seen)
    assert "so it is not restarted" in " ".join(one.message for one in seen.plan.clusters[0].findings)


async def test_only_nodes_with_something_to_bring_in_are_asked_for_their_start(store):
    site = Site(store)
    asked = []
    for name, machine in site.machines.items():
        machine.commands["m2-started"] = lambda machine, values, name=name: asked.append(name) or "x"
    await site.plan(make_fleet(readable("B")))
    assert not asked


@pytest.mark.parametrize("waves", [1, 2])
async def test_delivery_and_restart_of_a_node_are_in_one_wave(store, waves):
    site = Site(store)
    wanted = make_fleet(NEW, rollout={"waves": waves})
    seen = await site.plan(wanted)
    by_node = {}
    for step in seen.plan.steps():
        by_node.setdefault(step.node, set()).add(step.wave)
    assert all(len(numbers) == 1 for numbers in by_node.values())
    # within a wave the concurrency counts, as for deliveries
    assert all(not step.after[1:] for step in seen.plan.steps())
    report = await site.run(wanted, seen)
    assert set(get_states(report).values()) == {"done"}


async def test_a_node_that_does_not_come_back_stops_everything_behind_it(store):
    site = Site(store)
    site.broken.add("edge-01")
    wanted = make_fleet(NEW, rollout={"waves": 1, "on_failure": "return"})
    report = await site.run(wanted)
    states = get_states(report)
    assert states["restart edge-01"] == "failed"
    assert site.restarts == ["edge-01"]
    assert [site.loaded(node) for node in NODES[1:]] == ["A", "A"]
    # it is down: nothing can be delivered to it, and that is said
    assert "not-undone" in [one.code for one in report.findings]
    assert "gate-failed" in [one.code for one in report.findings]


async def test_a_failed_wave_gets_its_former_setting_back_and_is_restarted_with_it(store):
    site = Site(store, nodes=NODES)
    wanted = make_fleet(NEW, concurrency=2, rollout={"waves": 2, "on_failure": "return"})
    site.broken.add("edge-02")
    report = await site.run(wanted)
    states = get_states(report)
    assert states["upload edge-01"] == states["restart edge-01"] == "undone", (states, report.findings)
    assert site.loaded("edge-01") == "A"
    assert site.running("edge-01") is None
    assert site.restarts.count("edge-01") == 2
    assert "edge-03" not in site.restarts
    undo = [one async for one in _list_undo_steps(store)]
    assert undo.index("edge/edge-01/upload/undo") < undo.index("edge/edge-01/restart/undo")


async def _list_undo_steps(store):
    for summary in await store.runs():
        record = await store.run(summary.id)
        for entry in record.entries:
            if entry.step.is_undo:
                yield entry.step.id


async def test_a_restart_whose_answer_is_lost_is_settled_by_reading_and_never_repeated(store):
    site = Site(store)
    site.lost.update(NODES)
    report = await site.run(make_fleet(NEW))
    assert set(get_states(report).values()) == {"done"}
    assert site.restarts == [*NODES]


async def test_a_command_that_does_nothing_fails_and_is_not_taken_for_a_restart(store):
    site = Site(store)
    site.machines["edge-01"].commands["restart-m2"] = lambda machine, values: "ok"
    report = await site.run(make_fleet(NEW))
    states = get_states(report)
    assert states["restart edge-01"] == "failed"
    assert states["restart edge-02"] == states["restart edge-03"] == "skipped"
    assert not site.restarts


async def test_a_node_that_keeps_its_old_values_is_restarted_once_in_a_run(store):
    site = Site(store)
    calls = []

    def restart(machine, values):
        calls.append(1)
        machine.start()
        return "ok"

    site.machines["edge-01"].commands["restart-m2"] = restart
    report = await site.run(make_fleet(NEW))
    failed = next(one for one in report.outcomes if one.step.id == "edge/edge-01/restart")
    assert failed.state.value == "failed"
    assert f"{MEMORY} still waits for a restart" in failed.reason
    assert calls == [1]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_run_killed_around_the_restart_is_continued_without_a_second_one(store, when):
    site = Site(store, nodes=NODES[:1])
    own = site.machines["edge-01"].commands["restart-m2"]

    def killed(machine, values):
        if when == "after":
            own(machine, values)
        raise Killed

    site.machines["edge-01"].commands["restart-m2"] = killed
    wanted = make_fleet(NEW, nodes=NODES[:1])
    with pytest.raises((Killed, BaseExceptionGroup)):
        await site.run(wanted)
    site.machines["edge-01"].commands["restart-m2"] = own
    await asyncio.sleep(0.3)
    await settle_open_runs(store, DRIVERS, site.transports)
    seen = await site.plan(wanted)
    assert actions(seen) == ([] if when == "after" else ["restart edge-01"])
    await site.run(wanted, seen)
    assert site.restarts == ["edge-01"]
    assert site.running("edge-01") == 70


async def planned_step(store, document=NEW, nodes=NODES[:1]):
    site = Site(store, nodes=nodes)
    wanted = make_fleet(document, nodes=nodes)
    seen = await site.plan(wanted)
    step = next(one for one in seen.plan.steps() if one.action == "restart")
    return site, seen, step


async def test_the_judge_wants_a_new_start_and_the_setting_and_nothing_that_waits(store):
    site, seen, step = await planned_step(store)
    upload = next(one for one in seen.plan.steps() if one.action == "upload")
    (context,) = seen.guard_contexts

    async def status():
        return DRIVER.judge(step, await DRIVER.observe_step(step, site.transports))

    assert (await status()).status is StepStatus.CHANGED  # the setting is not there yet
    await DRIVER.act(upload, site.transports, context.plan.payloads)
    assert (await status()).status is StepStatus.READY
    site.machines["edge-01"].start()  # a new text alone
    assert (await status()).status is StepStatus.CHANGED
    site.world.kill("edge-01")
    down = await status()
    assert down.status is StepStatus.CHANGED
    assert "does not come back" in down.reason
    site.world.start("edge-01")
    assert (await status()).status is StepStatus.DONE
    site.machines["edge-01"].commands.pop("m2-started")
    assert (await status()).status is StepStatus.UNKNOWN  # it merely answers


async def test_silence_without_a_new_start_is_unknown(store):
    _, _, step = await planned_step(store)
    seen = Observed({"edge-01": Unreachable("no route")}, starts={})
    assert DRIVER.judge(step, seen).status is StepStatus.UNKNOWN
    seen = Observed({"edge-01": Unreachable("no route")}, starts={"edge-01": step.arguments.started})
    assert DRIVER.judge(step, seen).status is StepStatus.UNKNOWN


async def test_a_restart_survives_the_journal_and_its_plan_shows_no_exact_fingerprint(store):
    _, seen, step = await planned_step(store)
    cluster = seen.plan.clusters[0]
    text = Plan(cluster and seen.plan.revision, "0", (cluster,)).encode()
    assert step.arguments.after not in text.decode()
    back = restore_exact_arguments(
        load_plan(json.loads(text)), {one.id: one.arguments.exact_values() for one in cluster.steps}
    )
    (stored,) = [one for one in back.clusters[0].steps if one.action == "restart"]
    assert DRIVER.load_step(stored).arguments.after == step.arguments.after
    bare = DRIVER.load_step(next(one for one in load_plan(json.loads(text)).steps() if one.id == step.id))
    completed = DRIVER.complete_step(bare, seen.guard_contexts[0].desired)
    assert completed.arguments.after == step.arguments.after
    assert completed.plain() == step.plain()


def judged(context):
    return sorted({one.code for one in run_guards(context, GUARDS)})


async def test_guards_count_a_restart_as_an_interruption(store):
    site = Site(store)
    await site.run(make_fleet(NEW, restart=None))
    (context,) = (await site.plan(make_fleet(NEW, concurrency=3, rollout={"waves": 3}))).guard_contexts
    assert judged(context) == ["hosting-interrupted"]
    (context,) = (await site.plan(make_fleet(NEW, concurrency=3, rollout={"waves": 2}))).guard_contexts
    assert judged(context) == []
    (context,) = (await site.plan(make_fleet(NEW, concurrency=3))).guard_contexts
    assert judged(context) == []
    (context,) = (await site.plan(make_fleet(NEW, concurrency=2, rollout={"waves": 3}))).guard_contexts
    assert judged(context) == []


async def test_the_only_node_that_serves_a_host_is_of_high_risk_and_one_that_serves_none_of_low(store):
    site, _, step = await planned_step(store)
    assert step.risk is Risk.HIGH
    assert "no other node of the cluster serves www.example.com" in step.risk_reason
    idle = copy.deepcopy(OLD)
    idle["hosting"][0]["enable"] = False
    site = Site(store, idle, nodes=NODES[:1])
    then = copy.deepcopy(NEW)
    then["hosting"][0]["enable"] = False
    seen = await site.plan(make_fleet(then, nodes=NODES[:1]))
    assert [step.risk for step in seen.plan.steps() if step.action == "restart"] == [Risk.LOW]


async def test_a_command_that_this_host_lacks_is_refused_before_anything_is_sent(store):
    (context,) = (await Site(store).plan(make_fleet(NEW))).guard_contexts
    refused = run_guards(replace(context, commands=frozenset({"restart-m2"})), EVERYWHERE)
    assert "unknown-command" in [one.code for one in refused]


async def test_waiting_access_is_judged_as_if_it_were_in_force(store):
    """What is in effect still lets this host in; what waits would not."""
    site = Site(store, nodes=NODES[:1])
    locked = readable("B", 70, allowList=[{"role": "admin", "addr": "10.0.0.1"}])
    seen = await site.plan(make_fleet(NEW, nodes=NODES[:1]))
    (context,) = seen.guard_contexts
    loaded = context.observed.nodes["edge-01"].value
    waits = replace(
        loaded, content=content(locked), running=content(NEW), waiting=(MEMORY,), caller="127.0.0.1"
    )
    wanted = make_fleet(locked, nodes=NODES[:1])
    desired = DRIVER.desire(wanted.cluster_inputs[0])
    observed = Observed({"edge-01": Present(waits)}, starts={"edge-01": "x"})
    plan = DRIVER.plan(desired, observed)
    assert [step.action for step in plan.steps] == ["restart"]
    found = run_guards(GuardContext(plan, desired.entry, desired, observed), GUARDS)
    assert "lock-out" in [one.code for one in found]


def explore(desired, observed, plan):
    found = []
    for stage in DRIVER.list_model_setups(desired, observed, plan):

        def weigh(plan, observed, part=stage.desired):
            return not run_guards(GuardContext(plan, part.entry, part, observed), GUARDS)

        model = ExecutorModel(StateTable(stage.model, weigh, single_node=True))
        starts = [model.under(stage.plan, model.begin(one, faults=1)) for one in stage.worlds]
        found.append(explore_states(starts, model.moves))
    return found


@pytest.mark.parametrize("waits", [False, True])
async def test_every_course_of_restarts_is_explored_and_nothing_breaks(store, waits):
    site = Site(store, nodes=NODES[:2])
    if waits:
        await site.run(make_fleet(NEW, nodes=NODES[:2], restart=None))
    (context,) = (await site.plan(make_fleet(NEW, nodes=NODES[:2]))).guard_contexts
    for seen in explore(context.desired, context.observed, context.plan):
        assert seen.complete
        assert not seen.broken, (seen.broken, seen.story)
        assert seen.states > 100
