"""What every driver must do, driven through the same life over real HTTP: from nothing, and changed.

A product brings a `Life`: a fleet, two desired states of it, and how a stranger sees which one holds. One of
another package has it in its folder, `tests/products/NAME/life.py`.
"""

import json
from contextlib import ExitStack, asynccontextmanager
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from products import installed as products
from products.life import Life
from support.memory_files import json_files

from reconciler.core.actor import Actor
from reconciler.core.observation import Absent, Present, Stale, Unauthorized, Unidentified, Unreachable
from reconciler.core.outcome import State
from reconciler.core.plan import Plan, Revision, load_plan, restore_exact_arguments
from reconciler.core.step_status import StepStatus
from reconciler.desired.fleet import load_fleet
from reconciler.diagnostic import Severity
from reconciler.drivers.registry import DRIVERS, load_installed
from reconciler.errors import NodeError
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.ports.driver import Capabilities, Driver
from reconciler.ports.source import Snapshot
from reconciler.rollout.apply_pass import RunContext, run_apply_pass
from reconciler.rollout.recovery import settle_open_runs
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.machine_transports import add_machines
from reconciler.simulation.node_host import Simulation
from reconciler.store.factory import open_store
from reconciler.transports.bundle import open_transports

FAULTS = {
    "lost answers": ("lost", {"count": 1}),
    "cut once": ("cut", {"count": 1, "on": "changes"}),
    "half an answer": ("half", {"count": 1, "on": "changes"}),
    "an error once": ("error", {"count": 1, "on": "changes"}),
    "a web page": ("garbage", {"count": 1, "on": "changes"}),
}


def setting(version: str, mode: str) -> dict[str, Any]:
    return {
        "meta": {"version": version},
        "env": {
            "management": {
                "api": {"allowList": [{"role": "admin", "addr": "127.0.0.1"}]},
                "roles": [{"name": "admin", "permissions": {"enableSetting": True, "enableGet": True}}],
                "cluster": {"balance": {"mode": mode}},
            }
        },
    }


def m2() -> Life:
    nodes = [
        {"name": f"edge-{place.port}", "address": str(place)}
        for place in sorted(find_free_addresses(3), key=lambda place: place.port)
    ]
    fleet = {
        "clusters": [
            {
                "name": "it",
                "kind": "m2",
                "setting": "s.json",
                "nodes": nodes,
                "timeouts": {"read": 2, "settle": 2},
            }
        ]
    }
    first = {"fleet.json": fleet, "s.json": setting("1", "rr")}
    second = {"fleet.json": fleet, "s.json": setting("2", "hash")}

    def shows(world: Any, node: str) -> Any:
        return world.state(node).running["meta"]["version"]

    return Life(first, first, second, shows)


def sora() -> Life:
    nodes = [
        {"name": f"n{number}@10.0.0.{number}", "api": f"http://{place}/"}
        for number, place in enumerate(find_free_addresses(5), 1)
    ]

    def fleet(count: int) -> dict[str, Any]:
        timeouts = {"read": 2, "settle": 2}
        cluster = {
            "name": "it",
            "kind": "sora",
            "initialise": True,
            "nodes": nodes[:count],
            "timeouts": timeouts,
        }
        return {"fleet.json": {"clusters": [cluster]}}

    def shows(world: Any, node: str) -> Any:
        status, _, body = world.answer(node, "Sora_20211215.ListClusterNodes", "POST", b"")
        rows = json.loads(body) if status == 200 else []
        return sorted(row["node_name"] for row in rows if row["connected"])

    return Life(fleet(5), fleet(3), fleet(5), shows)


def collab() -> Life:
    first, second, redis, balancer = sorted(find_free_addresses(4), key=lambda place: place.port)
    timeouts = {"read": 2, "settle": 4}
    cluster = {
        "name": "it",
        "kind": "collab",
        "config": {"source": "config.json", "file": "collab-config"},
        "restart": {"command": "restart-collab"},
        "start": {"command": "start-collab"},
        "nodes": [
            {
                "name": f"server-{number}",
                "host": place.host,
                "port": place.port,
                "overlays": [{"merge": {"port": place.port}}],
            }
            for number, place in enumerate((first, second), 1)
        ],
        "redis": {"name": "redis", "host": redis.host, "port": redis.port},
        "loadBalancer": {
            "name": "balancer",
            "url": f"http://{balancer}",
            "file": "nginx-conf",
            "reload": {"command": "reload-nginx"},
        },
        "timeouts": timeouts,
    }

    def files(*, logging: bool) -> dict[str, Any]:
        config = {
            "logging": logging,
            "authorizationServerUrl": f"http://{balancer}/api",
            "scaling": "horizontal",
            "redisServerUrl": f"redis://{redis}",
        }
        return {"fleet.json": {"clusters": [cluster]}, "config.json": config}

    def shows(world: Any, node: str) -> Any:
        return [one.running and one.running.logging for one in world.state.servers]

    return Life(files(logging=True), files(logging=True), files(logging=False), shows)


def gocluster() -> Life:
    nodes = [
        {"name": f"node{number}", "addr": f"10.0.0.{number}:9654", "api": f"http://{place}"}
        for number, place in enumerate(find_free_addresses(4), 1)
    ]

    def fleet(count: int) -> dict[str, Any]:
        delays = {"join_delay": "20ms", "connect_interval": "20ms", "connect_timeout": "1s"}
        cluster = {
            "name": "it",
            "kind": "gocluster",
            "observe": True,
            "config": {"template": "app.tmpl", "file": "app"},
            "restart": {"command": "restart-app", "started": {"command": "app-started"}},
            "start": {"command": "start-app"},
            "stop": {"command": "stop-app"},
            "settings": delays,
            "nodes": nodes[:count],
            "timeouts": {"read": 2, "settle": 2},
        }
        template = '{"name": {{node.name}}, "peers": {{peers}}}\n'
        return {"fleet.json": {"clusters": [cluster]}, "app.tmpl": template}

    def shows(world: Any, node: str) -> Any:
        rows = world.list_rows(node) if world.running(node) else ()
        return sorted([node, *(row.name for row in rows if row.is_online)])

    return Life(fleet(4), fleet(3), fleet(4), shows)


BROUGHT = sorted(file.parent.name for file in products.HERE.glob("*/life.py"))
LIVES = {
    "collab": collab,
    "gocluster": gocluster,
    "m2": m2,
    "sora": sora,
    **{name: import_module(f"products.{name}.life").life for name in BROUGHT},
}


@pytest.fixture(scope="module", autouse=True)
def packages(tmp_path_factory):
    with ExitStack() as stack:
        for name in BROUGHT:
            stack.enter_context(products.installed(name, tmp_path_factory.mktemp(name)))
        yield


def test_every_driver_has_a_sequence_of_changes():
    assert set(LIVES) == set(load_installed())


HOOKS = {
    "single_node": {"exclude_nodes"},
    "metrics": {"health"},
    "reports": {"parse_report"},
    "imports": {"read_cluster_entry", "build_live_state"},
    "model_check": {"list_model_setups"},
    "history": {"derive_facts"},
    "simulation": {"simulator"},
}
"""Capability -> the hooks that a product with it has of its own, and one without it has not."""


def test_every_capability_is_held_against_its_hooks():
    assert HOOKS.keys() == {field.name for field in fields(Capabilities)} - {"transports"}


@pytest.mark.parametrize("kind", sorted(LIVES))
def test_capabilities_say_which_hooks_a_driver_has(kind):
    driver = DRIVERS[kind]
    for capability, hooks in HOOKS.items():
        own = {name for name in hooks if getattr(type(driver), name) is not getattr(Driver, name)}
        assert own == (hooks if getattr(driver.capabilities, capability) else set()), capability
    if type(driver).has_stamps is not Driver.has_stamps:
        assert driver.capabilities.single_node, "nodes that somebody else changed are left as they are"


class Stage:
    """A life under way: simulated nodes, a store, and passes over them."""

    def __init__(self, life: Life, folder: Path) -> None:
        self.life = life
        self.ahead = timedelta()
        self.store = open_store(folder, clock=self.clock)
        self.simulation = Simulation(self.fleet(life.machines), DRIVERS)

    def fleet(self, files: dict[str, Any]):
        revision = Revision("memory", f"{len(json.dumps(files)):040}", "r")
        return load_fleet(Snapshot(revision, json_files(files)), DRIVERS)

    def clock(self):
        return datetime.now(UTC) + self.ahead

    @asynccontextmanager
    async def transports(self):
        """The ways to the nodes; commands of a host do what the simulated nodes make of them."""
        async with open_transports() as ways:
            yield add_machines(ways, self.simulation.machines_url, timeout=5)

    async def look(self, files: dict[str, Any]):
        async with self.transports() as transports:
            return await run_plan_pass(
                self.fleet(files),
                drivers=DRIVERS,
                transports=transports,
                recalled=await self.store.read_memory(),
            )

    async def run(self, files: dict[str, Any]):
        async with self.transports() as transports:
            await settle_open_runs(self.store, DRIVERS, transports, clock=self.clock)
            seen = await self.look(files)
            run_context = RunContext(clock=self.clock)
            return await run_apply_pass(
                seen, drivers=DRIVERS, transports=transports, journal=self.store, run_context=run_context
            )

    def nodes(self, files: dict[str, Any]) -> list[str]:
        return [
            node.name
            for cluster_input in self.fleet(files).cluster_inputs
            for node in cluster_input.entry.members()
        ]

    def touched(self, node: str) -> list[Any]:
        """What was done to a node and its machine, in order."""
        return [(call.node, call.asked) for call in self.simulation.calls(node, changes=True)]

    def shown(self, files: dict[str, Any]) -> list[Any]:
        world = self.simulation.world("it")
        return [self.life.shows(world, node) for node in self.nodes(files)]


@pytest.fixture(params=sorted(LIVES))
async def stage(request, tmp_path):
    stage = Stage(LIVES[request.param](), tmp_path)
    async with stage.simulation:
        with stage.store:
            yield stage


async def settle(stage: Stage, files: dict[str, Any], *, most: int = 4) -> Plan:
    """Passes, an hour apart, until one finds nothing to do, as the watch does; gives the last plan."""
    for _ in range(most):
        await stage.run(files)
        plan = (await stage.look(files)).plan
        if plan.is_empty and not list(plan.findings()):
            return plan
        stage.ahead += timedelta(hours=1)
    return plan


async def test_it_converges_and_a_second_pass_finds_nothing(stage):
    for files in (stage.life.first, stage.life.second):
        report = await stage.run(files)
        assert report.outcomes
        assert {outcome.state for outcome in report.outcomes} == {State.DONE}
        again = await stage.look(files)
        assert again.plan.is_empty
        assert again.plan.clusters[0].unchanged == len(stage.nodes(files))
        shown = stage.shown(files)
        assert [one for one in shown if one != shown[0]] == [], "the nodes agree, by their own state"


async def test_a_dry_run_asks_for_no_change(stage):
    seen = await stage.look(stage.life.first)
    assert not seen.plan.is_empty
    assert stage.simulation.calls()
    assert not stage.simulation.calls(changes=True)


@pytest.mark.parametrize("fault", FAULTS)
async def test_it_converges_with_each_fault(stage, fault):
    kind, options = FAULTS[fault]
    await settle(stage, stage.life.first)
    await stage.simulation.fault("it", kind, **options)
    plan = await settle(stage, stage.life.second)
    assert plan.is_empty, "it converged"
    shown = stage.shown(stage.life.second)
    assert [one for one in shown if one != shown[0]] == []


async def test_a_lost_answer_is_settled_by_reading_and_nothing_is_done_twice(stage):
    await settle(stage, stage.life.first)
    before = len(stage.simulation.calls(changes=True))
    await stage.simulation.fault("it", "lost", count=1)
    report = await stage.run(stage.life.second)
    assert {outcome.state for outcome in report.outcomes} == {State.DONE}
    assert len(stage.simulation.calls(changes=True)) - before == len(report.outcomes)


async def test_the_same_world_gives_the_same_plan_byte_for_byte(stage):
    first, second = [(await stage.look(stage.life.first)).plan for _ in range(2)]
    assert first.encode() == second.encode()
    assert load_plan(json.loads(first.encode())).encode() == first.encode()


def reveal_arguments(step):
    """A step in its plain form with the values that a plan masks."""
    plain = step.plain()
    return plain | {"arguments": plain["arguments"] | step.arguments.exact_values()}


async def test_a_step_read_back_from_a_stored_plan_is_judged_alike(stage):
    driver = DRIVERS[stage.fleet(stage.life.first).cluster_inputs[0].entry.kind]
    plan = (await stage.look(stage.life.first)).plan
    exact = json.loads(json.dumps({step.id: step.arguments.exact_values() for step in plan.steps()}))
    stored = restore_exact_arguments(load_plan(json.loads(plan.encode())), exact)
    for step, read in zip(plan.steps(), stored.steps(), strict=True):
        assert type(step.arguments) is driver.actions[step.action], "each action has its own type"
        again = driver.load_step(read)
        # Some types mask what a plan must not show, others show all that the journal has.
        assert reveal_arguments(again) == reveal_arguments(step)
    first = next(stored.steps())
    async with stage.transports() as transports:
        assert driver.judge(first, await driver.observe_step(first, transports)).status is StepStatus.READY
        await stage.run(stage.life.first)
        assert driver.judge(first, await driver.observe_step(first, transports)).status is StepStatus.DONE


@pytest.mark.parametrize("which", ["first", "last"])
async def test_a_held_node_is_left_as_it_is_and_gets_its_content_after_the_release(stage, which):
    await settle(stage, stage.life.first)
    names = stage.nodes(stage.life.second)
    node = names[0 if which == "first" else -1]
    before = stage.touched(node)
    until = stage.clock() + timedelta(hours=9)
    await stage.store.hold(0, "it", node, until, Actor("kim", why="the card is replaced"))
    for _ in range(2):
        await stage.run(stage.life.second)
        stage.ahead += timedelta(hours=1)
    assert stage.touched(node) == before, "nothing was sent to it, and its machine ran nothing"
    seen = await stage.look(stage.life.second)
    assert [step for step in seen.plan.steps() if node in step.nodes] == []
    assert seen.guard_contexts[0].reserved.held == {node}
    assert [one.code for one in seen.plan.findings() if one.severity is Severity.ERROR] == []

    held = (await stage.store.orders()).holds
    await stage.store.end_holds([one.id for one in held], Actor("kim"))
    plan = await settle(stage, stage.life.second)
    assert plan.is_empty
    shown = stage.shown(stage.life.second)
    assert [one for one in shown if one != shown[0]] == []
    if which == "first" and len(names) == len(stage.nodes(stage.life.first)):
        assert stage.touched(node) != before, "it was the hold that kept it as it was"


@pytest.mark.parametrize("fault", ["killed", "silent", "cut", "half", "error", "garbage"])
async def test_a_failed_node_never_counts_as_absent(stage, fault):
    await settle(stage, stage.life.first)
    node = stage.nodes(stage.life.first)[0]
    await stage.simulation.fault(node, fault)
    seen = await stage.look(stage.life.first)
    answer = seen.guard_contexts[0].observed.nodes[node]
    assert isinstance(answer, Unreachable | Unidentified | Unauthorized | Stale)
    assert not isinstance(answer, Present | Absent)
    assert [step for step in seen.plan.steps() if step.node == node] == []
    assert any(node in finding.target for finding in seen.plan.findings())


async def test_a_refusal_is_a_node_error_with_the_nodes_name(stage):
    seen = await stage.look(stage.life.first)
    step = next(seen.plan.steps())
    driver = DRIVERS[seen.guard_contexts[0].entry.kind]
    await stage.simulation.fault(step.node, "refuse", count=1)
    async with stage.transports() as transports:
        with pytest.raises(NodeError, match=step.node.replace(".", r"\.")):
            await driver.act(step, transports, seen.plan.clusters[0].payloads)


async def test_every_step_has_a_reason_an_effect_and_an_inverse(stage):
    for files in (stage.life.first, stage.life.second):
        for step in (await stage.look(files)).plan.steps():
            entry = step.arguments.plain().get("entry", "") if step.action.endswith("-file") else ""
            assert step.id == f"{step.cluster}/{step.node}/{step.action}" + (f"/{entry}" if entry else "")
            assert all((step.reason, step.risk_reason, step.needs, step.inverse.words))
            assert (
                step.inverse.action
                or "point of no return" in step.inverse.words
                or "again" in step.inverse.words
            )
        await settle(stage, files)


@pytest.mark.parametrize("kind", DRIVERS)
def test_operations_are_found_by_their_kind_and_read_targets_once(kind):
    for name, operation in DRIVERS[kind].operations().items():
        assert operation.kind == name
        targets = operation.read_targets(["www.example.com/a", "www.example.com/a", "*"])
        texts = [target.text for target in targets]
        assert len(texts) == len(set(texts)) == 2
        assert [bool(target.extent) for target in targets] == [False, True], "everything is of high risk"
        assert operation.read_targets(texts) == targets, "the normal form of a normal form is itself"
        assert operation.pack(texts) == operation.pack(texts)
