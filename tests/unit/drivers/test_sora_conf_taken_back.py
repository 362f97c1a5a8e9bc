"""A sora.conf with which a node does not start is taken back, also after a kill and about every start."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from support.sora_clusters import short
from support.sora_conf_sites import BEFORE, Site, get_states, list_steps, make_fleet, refuse

from reconciler.desired.fleet import add_desired_state
from reconciler.drivers.sora.conf_delivery import plan_confs
from reconciler.drivers.sora.product import DRIVER
from reconciler.drivers.sora.steps import RESTARTED, STOPPED_FOR
from reconciler.rollout.recovery import settle_open_runs
from reconciler.store.factory import open_store


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "state") as opened:
        yield opened


BAD, GOOD = "feature = broken\n", "feature = mended\n"


def get_codes(report):
    return [one.code for one in report.findings]


async def set_down_with_bad_file(site):
    """A node that was restarted with a file with which it does not start, by a run that was killed then."""
    machine = site.machines["a@a.example.com"]
    restart = machine.commands["restart-sora"]

    def restart_and_kill(machine, values):
        restart(machine, values)
        raise Killed

    machine.commands["restart-sora"] = restart_and_kill
    with pytest.raises((Killed, BaseExceptionGroup)):
        await site.run(make_fleet("abc", BAD))
    machine.commands["restart-sora"] = restart
    assert not site.world.running("a@a.example.com")
    assert "broken" in site.content("a")
    site.restarts.clear()
    await asyncio.sleep(0.25)  # the call may still take effect


async def settle(site):
    await settle_open_runs(site.store, site.drivers, site.transports)


class Killed(BaseException):
    """The run ends at once, and writes nothing more."""


@pytest.mark.parametrize("rollout", ["", "{canary: 1, waves: [100%]}"])
async def test_a_node_that_is_down_with_its_new_file_gets_the_former_one_whatever_the_rollout_says(
    store, rollout
):
    site = Site(store)
    keys = {"rollout": rollout} if rollout else {}
    report = await site.run(make_fleet("abc", BAD, **keys))
    states = dict(get_states(report))
    assert [states[f"{action} a"] for action in ("stage-file", "switch-file", "restart")] == ["undone"] * 3
    assert report.exit_status == (1 if rollout else 5)  # the file of the next node was staged already
    (finding,) = (one for one in report.findings if one.code == "node-taken-back")
    assert "a@a.example.com has what it had before, and runs with it" in finding.message
    assert site.restarts == ["a", "a"]
    assert site.world.running("a@a.example.com")
    assert [site.content(letter) for letter in "abc"] == [BEFORE] * 3
    # The same file goes to no node again; another one does, at once.
    for _ in range(2):
        plan_result = await site.plan(make_fleet("abc", BAD, **keys))
        assert not list(plan_result.plan.steps())
        if rollout:
            assert "revision-rejected" in str(plan_result.violations)
        else:
            (found,) = plan_result.plan.clusters[0].findings
            assert (found.code, found.target) == ("node-stalled", "live/a@a.example.com")
    report = await site.run(make_fleet("abc", GOOD, **keys))
    assert {state for _, state in get_states(report)} == {"done"}, get_states(report)
    assert all("mended" in site.content(letter) for letter in "abc")


async def test_a_restart_that_had_no_effect_takes_nothing_back(store):
    site = Site(store)
    site.machines["a@a.example.com"].commands["restart-sora"] = refuse
    report = await site.run(make_fleet("abc", GOOD))
    assert dict(get_states(report))["switch-file a"] == "done"
    assert "node-taken-back" not in get_codes(report)
    assert "mended" in site.content("a")


async def test_a_node_that_stays_down_with_its_former_file_is_told_and_startable(store):
    site = Site(store)
    machine = site.machines["a@a.example.com"]
    restart, calls = machine.commands["restart-sora"], []

    def fail_twice(machine, values):
        calls.append(1)
        site.bad = "" if len(calls) <= 2 else "broken"
        return restart(machine, values)

    machine.commands["restart-sora"] = fail_twice
    report = await site.run(make_fleet("abc", GOOD))
    assert "not-undone" in get_codes(report)
    assert site.content("a") == BEFORE
    assert not site.world.running("a@a.example.com")
    (plan,) = (await site.plan(make_fleet("abc", GOOD))).plan.clusters
    assert list_steps(plan)[:3] == ["stage-file a", "switch-file a", "restart a"]
    await asyncio.sleep(0.25)
    report = await site.run(make_fleet("abc", GOOD))
    assert {state for _, state in get_states(report)} <= {"done", "found"}, get_states(report)


async def test_after_a_kill_the_node_is_started_with_the_fix(store):
    site = Site(store)
    await set_down_with_bad_file(site)
    await settle(site)
    wanted = make_fleet("abc", GOOD)
    (plan,) = (await site.plan(wanted)).plan.clusters
    assert list_steps(plan)[:4] == ["stage-file a", "switch-file a", "restart a", "stage-file b"]
    assert "it gets what is committed now, and is started" in plan.findings[0].message
    assert "it does not run; this starts it" in plan.steps[2].reason
    report = await site.run(wanted)
    assert {state for _, state in get_states(report)} == {"done"}, get_states(report)
    assert site.restarts == ["a", "b", "c"]
    assert all("mended" in site.content(letter) for letter in "abc")


async def test_after_a_kill_the_node_is_started_again_and_then_gets_its_former_file(store):
    site = Site(store)
    await set_down_with_bad_file(site)
    await settle(site)
    (plan,) = (await site.plan(make_fleet("abc", BAD))).plan.clusters
    assert list_steps(plan)[0] == "restart a"
    report = await site.run(make_fleet("abc", BAD))
    assert dict(get_states(report))["restart a"] == "failed"
    assert not site.world.running("a@a.example.com")
    await store.forget_attempts()  # the pause before the next attempt is over
    (plan,) = (await site.plan(make_fleet("abc", BAD))).plan.clusters
    assert list_steps(plan) == ["restore-file a", "restart a"]
    assert "gets its former sora.conf again" in plan.findings[0].message
    report = await site.run(make_fleet("abc", BAD))
    assert {state for _, state in get_states(report)} == {"done"}, get_states(report)
    assert site.world.running("a@a.example.com")
    assert [site.content(letter) for letter in "abc"] == [BEFORE] * 3
    # One more try, which is taken back at once, and then no other.
    report = await site.run(make_fleet("abc", BAD))
    assert "node-taken-back" in get_codes(report)
    assert not list((await site.plan(make_fleet("abc", BAD))).plan.steps())
    assert [site.content(letter) for letter in "bc"] == [BEFORE] * 2


async def test_the_node_comes_back_also_without_a_majority_and_with_the_start_command(store):
    site = Site(store)
    await set_down_with_bad_file(site)
    await settle(site)
    site.world.kill("b@b.example.com")
    started = []

    def start(machine, values):
        started.append(values)
        machine.start()
        site.world.start("a@a.example.com")
        return "started"

    site.machines["a@a.example.com"].commands["start-sora"] = start
    wanted = make_fleet("abc", GOOD, start="{command: start-sora}")
    (plan,) = (await site.plan(wanted)).plan.clusters
    assert list_steps(plan)[:3] == ["stage-file a", "switch-file a", "restart a"]
    report = await site.run(wanted)
    assert dict(get_states(report))["restart a"] == "done"
    assert started
    assert site.restarts == []


async def test_a_node_that_somebody_stopped_is_not_started_for_its_file(store):
    site = Site(store)
    await site.run(make_fleet("abc", "cluster_relay = false\n"))
    site.world.kill("a@a.example.com")
    site.restarts.clear()
    await site.run(make_fleet("abc", GOOD))
    assert site.restarts == []
    assert not site.world.running("a@a.example.com")


@pytest.mark.parametrize("moment", range(1, 10))
async def test_a_kill_between_any_two_calls_of_the_way_back_ends_well(store, moment):
    site = Site(store)
    calls, is_killing = [], True

    def count(call):
        def counted(*given, **more):
            calls.append(call.__name__)
            if len(calls) == moment and is_killing:
                raise Killed
            return call(*given, **more)

        return counted

    for name in ("stage", "switch", "restore", "discard"):
        setattr(site.transports.files, name, count(getattr(site.transports.files, name)))
    machine = site.machines["a@a.example.com"]
    machine.commands["restart-sora"] = count(machine.commands["restart-sora"])
    for _ in range(12):
        with suppress(Killed, BaseExceptionGroup):
            await site.run(make_fleet("abc", BAD))
        await asyncio.sleep(0.25)
        await settle(site)
        kept = (await store.read_memory()).facts
        # As if time had passed: attempts that failed for good stay.
        for cluster, nodes in kept.items():
            for node, facts in nodes.items():
                late = {
                    key: text.replace('"last": "2', '"last": "1')
                    for key, text in facts.items()
                    if key.startswith("attempt/")
                }
                await store.store_facts(cluster, {node: late})
        assert [site.content(letter) for letter in "bc"] == [BEFORE] * 2
        plan_result = await site.plan(make_fleet("abc", BAD))
        if not list(plan_result.plan.steps()):
            break
    assert site.world.running("a@a.example.com"), calls
    assert site.content("a") == BEFORE
    is_killing = False
    report = await site.run(make_fleet("abc", GOOD))
    assert {state for _, state in get_states(report)} == {"done"}, get_states(report)


async def test_a_node_that_was_started_between_plan_and_switch_gets_its_file_with_the_next_plan(store):
    site = Site(store)
    wanted = make_fleet("abc", GOOD)
    plan_result = await site.plan(wanted)
    site.machines["a@a.example.com"].start()
    report = await site.apply(plan_result)
    states = dict(get_states(report))
    assert (states["switch-file a"], states["restart a"]) == ("changed", "skipped")
    assert site.content("a") == BEFORE
    report = await site.run(wanted)
    assert {state for _, state in get_states(report)} <= {"done", "found"}, get_states(report)
    assert site.restarts == ["a", "b", "c"]


async def test_a_start_in_the_moment_of_the_switch_counts_as_one_with_the_former_file(store):
    site = Site(store)
    wanted, machine = make_fleet("abc", GOOD), site.machines["a@a.example.com"]
    switch = site.transports.files.switch

    async def switch_and_start(place, **more):
        words = await switch(place, **more)
        if place.node.startswith("a@"):
            machine.start()
        return words

    site.transports.files.switch = switch_and_start
    await site.run(wanted)
    site.transports.files.switch = switch
    (plan,) = (await site.plan(wanted)).plan.clusters
    assert "restart a" in list_steps(plan)


async def test_a_node_that_somebody_starts_before_its_file_is_changed_keeps_it(store):
    site = Site(store)
    await set_down_with_bad_file(site)
    await settle(site)
    plan_result = await site.plan(make_fleet("abc", GOOD))
    site.bad = "something else"
    site.machines["a@a.example.com"].start()
    site.world.start("a@a.example.com")
    report = await site.apply(plan_result)
    states = dict(get_states(report))
    assert (states["switch-file a"], states["restart a"]) == ("changed", "skipped")
    assert "broken" in site.content("a")
    assert site.restarts == []


def show_start_while_running(site):
    """As a supervisor does that shows the number of a process."""

    def show(machine, values):
        if not site.world.running(values["node"]):
            return refuse(machine, values)
        return f"start {machine.starts}"

    for machine in site.machines.values():
        machine.commands["sora-started"] = show


async def test_a_node_that_shows_no_start_while_it_is_down_starts_with_the_fix(store):
    site = Site(store)
    await set_down_with_bad_file(site)
    show_start_while_running(site)
    await settle(site)
    report = await site.run(make_fleet("abc", GOOD))
    assert {state for _, state in get_states(report)} <= {"done", "found"}, get_states(report)
    assert site.restarts == ["a", "b", "c"]
    assert "broken" not in site.content("a")


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_node_that_showed_no_start_and_is_started_about_the_switch_is_restarted_later(store, is_late):
    site = Site(store)
    await set_down_with_bad_file(site)
    show_start_while_running(site)
    await settle(site)
    wanted, switch = make_fleet("abc", GOOD), site.transports.files.switch
    plan_result = await site.plan(wanted)
    site.bad = "something else"

    def start():
        site.machines["a@a.example.com"].start()
        site.world.start("a@a.example.com")

    async def switch_and_start(place, **more):
        words = await switch(place, **more)
        if place.node.startswith("a@"):
            start()
        return words

    if is_late:
        site.transports.files.switch = switch_and_start
    else:
        start()
    await site.apply(plan_result)
    site.transports.files.switch = switch
    await settle(site)
    assert ("broken" in site.content("a")) is not is_late
    (plan,) = (await site.plan(wanted)).plan.clusters
    assert "restart a" in list_steps(plan)


@pytest.mark.parametrize("fact", [STOPPED_FOR, RESTARTED])
async def test_the_start_of_a_node_that_a_run_has_stopped_is_read_for_the_plan(store, fact):
    """Otherwise the reading before the switch would look like a new start, at every pass."""
    site = Site(store)
    (name,) = [name for name in site.world.names if short(name) == "c"]
    site.world.kill(name)
    (wanted,) = add_desired_state(make_fleet("abc", "cluster_relay = false\n"), site.drivers).desired
    desired = replace(wanted.state, recalled={name: {fact: "2024.1.0"}})
    observed = await DRIVER.observe(desired, site.transports)
    (switch,) = [one for one in plan_confs(desired, observed)[name].steps if one.action == "switch-file"]
    seen = await DRIVER.observe_step(switch, site.transports)
    assert DRIVER.judge(switch, seen).reason != "the node was started again since the plan was made"
