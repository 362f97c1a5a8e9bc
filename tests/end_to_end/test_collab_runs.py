"""The collab driver against a simulated cluster: it converges, and what must never happen does not."""

import asyncio
import json
from contextlib import suppress
from dataclasses import replace

import pytest
from support.collab_runs import (
    Faults,
    Killed,
    Site,
    make_config,
    make_entry,
    make_former,
    make_input,
    make_site,
    with_password,
)
from support.collab_worlds import AT_ONCE

from reconciler.drivers.collab.choices import NeedlessPassword, RedisLoss, StartShown
from reconciler.drivers.collab.cluster_state import hash_password, is_balanced, list_locked_out, list_serving
from reconciler.drivers.collab.machine import finish_waiting

CONFIG = json.loads(make_config())


def quiet(config=None, redis=None):
    """The desired state of `c1`, `c2` and `c3`."""
    return make_input(make_entry(("c1", "c2", "c3")), config or CONFIG | {"logging": False}, redis)


def settled(count=3, **values):
    """A cluster that is as desired: logging is on."""
    names = tuple(f"c{number}" for number in range(1, count + 1))
    site = Site(make_site(count, **values), make_input(make_entry(names), CONFIG))
    assert site.converge().steps == ()
    return site


def codes(plan):
    return sorted({finding.code for finding in plan.findings})


def actions(plan):
    return [f"{step.node}/{step.action}" for step in plan.steps]


class Watch:
    """What must hold after every step, whatever happened."""

    def __init__(self, site, *, least=1):
        self.site, self.least, self.seen = site, least, []

    def __call__(self, step=None):
        state = self.site.world.state
        serving = [number for number in list_serving(state) if is_balanced(state, number)]
        self.seen.append((step.id if step else "", len(serving)))
        assert len(serving) >= self.least, f"{self.seen[-1]}: {len(serving)} serve"
        locked = list(list_locked_out(state))
        assert not locked, f"{step.id if step else 'start'}: {locked} would not be let in again"
        assert not self.site.world.loaded_invalid


def test_a_settled_cluster_needs_nothing():
    site = settled()
    assert site.plan().findings == ()
    assert site.plan().unchanged == 5


def test_a_changed_file_restarts_one_server_after_the_other():
    site = settled()
    site.cluster_input = quiet()
    site.watch = Watch(site, least=3)
    plan = site.plan()
    assert [step.node for step in plan.steps if step.action == "restart-server"] == ["c1", "c2", "c3"]
    assert all(
        step.after == (before.id,) or before.id in step.after
        for before, step in zip(plan.steps, plan.steps[1:], strict=False)
    )
    assert set(site.run().values()) == {"done"}
    assert site.plan().steps == ()


def test_a_changed_password_is_valid_at_every_moment_and_alone_at_the_end():
    site = settled()
    config, redis = with_password("new")
    site.cluster_input = quiet(config, redis)
    site.watch = Watch(site, least=3)
    assert actions(site.plan())[0] == "redis/add-redis-password"
    assert actions(site.plan())[-1] == "redis/drop-redis-password"
    assert set(site.run().values()) == {"done"}
    assert site.plan().steps == ()
    assert site.world.redis.passwords == {hash_password("new")}
    site.world.restart("redis")
    assert site.world.redis.passwords == {hash_password("new")}
    assert len(list_serving(site.world.state)) == 3


@pytest.mark.parametrize("fault", ["before", "after", "lost", "nothing"])
@pytest.mark.parametrize("number", range(1, 12))
def test_a_change_of_the_password_survives_a_fault_at_every_call(fault, number):
    """A kill, a lost answer or a lost call; then Redis restarts, and the next runs go on."""
    site = settled()
    config, redis = with_password("new")
    site.cluster_input = quiet(config, redis)
    watch = site.watch = Watch(site, least=2)
    site.faults = Faults({number: fault})
    with suppress(Killed):
        site.run()
    watch()
    # Redis forgets what it was not told to write down: nobody may be locked out by that.
    site.world.restart("redis")
    site.world.state = finish_waiting(site.world.state)
    watch()
    site.faults = Faults()
    site.converge()
    assert site.plan().steps == (), actions(site.plan())
    assert site.world.redis.passwords == {hash_password("new")}
    site.world.restart("redis")
    assert len(list_serving(site.world.state)) == 3


@pytest.mark.parametrize("number", range(1, 12))
def test_a_change_of_the_password_can_be_taken_back_at_every_moment(number):
    site = settled()
    config, redis = with_password("new")
    site.cluster_input = quiet(config, redis)
    watch = site.watch = Watch(site, least=2)
    site.faults = Faults({number: "after"})
    with pytest.raises(Killed):
        site.run()
    watch()
    site.faults = Faults()
    config, redis = with_password("old")
    site.cluster_input = quiet(config, redis)
    site.converge()
    assert site.plan().steps == (), (actions(site.plan()), site.plan().findings)
    assert site.world.redis.passwords == {hash_password("old")}
    site.world.restart("redis")
    assert len(list_serving(site.world.state)) == 3


def test_a_server_that_does_not_come_back_stops_the_rollout_and_the_next_run_does_not_go_on():
    site = settled()
    bad = CONFIG | {"dataSource": {"username": "nobody", "password": "xxx"}}
    site.cluster_input = quiet(bad)
    found = site.run()
    assert "failed" in found["collab/c1/restart-server"]
    assert "collab/c2/stage-file/config" not in found
    plan = site.plan()
    assert plan.steps == ()
    assert "server-restart-waits" in codes(plan)
    assert len(list_serving(site.world.state)) == 2
    # The fix: the paused one first, then nobody else has to be restarted.
    site.cluster_input = quiet(CONFIG)
    assert [one for one in actions(site.plan()) if "restart" in one] == ["c1/restart-server"]
    site.converge()
    assert len(list_serving(site.world.state)) == 3


def test_while_redis_is_away_no_serving_server_is_restarted():
    site = settled()
    site.cluster_input = quiet()
    site.hidden = {}
    site.world.kill("redis")
    plan = site.plan()
    assert not [one for one in actions(plan) if one.startswith("c")]
    assert "redis-away" in codes(plan) or "redis/restart-redis" in actions(plan)


def test_while_the_database_is_away_no_serving_server_is_restarted():
    site = settled()
    site.cluster_input = quiet()
    site.world.fail_database()
    plan = site.plan()
    assert actions(plan) == []
    assert codes(plan) == ["server-restart-waits"]


def test_a_paused_server_whose_file_changes_the_way_is_restarted_first():
    site = settled()
    broken = make_config(redisServerUrl="redis://:old@192.0.2.99:6379")
    site.world.machines["c2"].files["config"].content = broken
    site.world.restart("c2")
    site.world.state = finish_waiting(site.world.state)
    site.cluster_input = quiet()
    restarts = [step.node for step in site.plan().steps if step.action == "restart-server"]
    assert restarts == ["c2", "c1", "c3"]
    site.watch = Watch(site, least=2)
    site.converge()
    assert site.plan().steps == ()


def test_a_new_server_serves_before_it_gets_clients():
    site = Site(
        make_site(3, upstream=("c1", "c2"), down=("c3",)), make_input(make_entry(("c1", "c2", "c3")), CONFIG)
    )
    site.watch = Watch(site, least=2)
    plan = site.plan()
    assert actions(plan) == [
        "c3/start-server",
        "lb/stage-file",
        "lb/switch-file",
        "lb/reload-balancer",
    ]
    site.converge()
    assert len(site.world.state.balancer.running.servers) == 3
    assert len(list_serving(site.world.state)) == 3


def test_a_new_server_that_does_not_start_gets_no_clients():
    site = Site(
        make_site(3, upstream=("c1", "c2"), down=("c3",)), make_input(make_entry(("c1", "c2", "c3")), CONFIG)
    )
    site.world.machines["c3"].commands["start"] = lambda machine, values: "started"
    for _ in range(3):
        site.run()
    assert site.world.names.servers["c3"] not in site.world.state.balancer.running.servers


def test_a_second_server_lets_the_first_one_be_restarted():
    alone = json.loads(make_config(scaling="none"))
    site = Site(
        make_site(2, config=make_config(scaling="none"), upstream=("c1",), down=("c2",)),
        make_input(make_entry(("c1",)), alone),
    )
    site.converge()
    site.cluster_input = make_input(make_entry(("c1", "c2")), CONFIG)
    site.watch = Watch(site)
    order = actions(site.plan())
    assert (
        order.index("c2/start-server") < order.index("lb/reload-balancer") < order.index("c1/restart-server")
    )
    site.converge()
    assert site.plan().steps == ()
    assert len(list_serving(site.world.state)) == 2


def test_a_server_that_leaves_is_forgotten_by_the_balancer_drained_and_stopped():
    site = settled()
    site.cluster_input = make_input(make_entry(("c1", "c2")), CONFIG | {"logging": False})
    site.prior = make_former(("c1", "192.0.2.1"), ("c2", "192.0.2.2"), ("c3", "192.0.2.3"))
    number = site.world.servers.index("c3")
    state = site.world.state
    site.world.state = state.replace_server(number, state.servers[number]._replace(connections=2))
    order = actions(site.plan())
    assert (
        order.index("c2/restart-server") < order.index("lb/reload-balancer") < order.index("c3/stop-server")
    )
    found = site.run()
    assert set(found.values()) == {"done"}
    assert site.world.state.servers[number].running is None
    assert site.plan().steps == ()


def test_a_killed_removal_is_completed_by_the_next_run():
    for number in range(1, 20):
        site = settled()
        site.cluster_input = make_input(make_entry(("c1", "c2")), CONFIG)
        site.prior = make_former(("c3", "192.0.2.3"))
        site.faults = Faults({number: "after"})
        watch = site.watch = Watch(site, least=2)
        try:
            site.run()
        except Killed:
            watch()
            site.faults = Faults()
            site.converge()
        else:
            break
        assert site.plan().steps == ()
        assert site.world.state.servers[site.world.servers.index("c3")].running is None, number
    assert number > 3


def test_a_server_that_a_run_has_stopped_is_started_when_the_fleet_file_names_it_again():
    site = settled()
    removed = make_input(make_entry(("c1", "c2")), CONFIG)
    site.cluster_input, site.prior, whole = removed, make_former(("c3", "192.0.2.3")), site.cluster_input
    site.converge()
    site.cluster_input, site.prior = whole, make_former()
    assert actions(site.plan()) == [
        "c3/start-server",
        "lb/stage-file",
        "lb/switch-file",
        "lb/reload-balancer",
    ]
    site.converge()
    assert len(list_serving(site.world.state)) == 3
    # Somebody else stops it: silence proves nothing any more.
    site.world.kill("c3")
    plan = site.plan()
    assert (actions(plan), codes(plan)) == ([], ["server-waits"])


def test_a_server_of_another_cluster_at_a_former_address_is_never_stopped():
    site = settled()
    site.cluster_input = make_input(make_entry(("c1", "c2")), CONFIG)
    site.prior = make_former(("c3", "192.0.2.3"))
    site.converge()
    site.world.start("c3")
    assert "stop-server" not in " ".join(actions(site.plan()))


def test_the_last_server_that_serves_is_not_restarted():
    site = settled(2)
    site.cluster_input = make_input(make_entry(("c1", "c2")), CONFIG | {"logging": False})
    site.hidden = {"c2": "alive"}
    plan = site.plan()
    assert actions(plan) == []
    assert codes(plan) == ["server-restart-waits", "server-unknown"]


def test_a_reserved_server_counts_as_away():
    site = settled(2)
    site.cluster_input = make_input(make_entry(("c1", "c2")), CONFIG | {"logging": False})
    site.reserved = frozenset({"c1"})
    assert [one for one in actions(site.plan()) if "restart" in one] == []


def test_a_server_started_between_plan_and_switch_keeps_its_file():
    site = settled()
    site.cluster_input = quiet()
    desired = site.desired
    plan = site.driver.plan(desired, site.observe(desired))
    switch = next(step for step in plan.steps if step.action == "switch-file")
    stage = next(step for step in plan.steps if step.action == "stage-file")
    asyncio.run(site.driver.act(stage, site.transports, plan.payloads))
    site.world.restart(switch.node)
    assert site._judge(switch).status.value == "changed"


def test_the_nginx_file_that_somebody_broke_is_not_loaded():
    site = settled()
    site.cluster_input = make_input(make_entry(("c1", "c2")), CONFIG)
    plan = site.plan()
    reload = next(step for step in plan.steps if step.action == "reload-balancer")
    site.world.machines["lb"].files["nginx"].content = b"http {"
    assert site._judge(reload).status.value == "changed"


@pytest.mark.parametrize("choice", [RedisLoss.RESUME, RedisLoss.STAY_PAUSED, RedisLoss.EXIT])
def test_a_restart_of_redis_ends_with_every_server_serving(choice):
    site = settled(choices=replace(AT_ONCE, redis_loss=choice))
    site.cluster_input = quiet(CONFIG, {"bind": "127.0.0.1 ::1"})
    plan = site.plan()
    assert actions(plan) == ["redis/stage-file", "redis/switch-file", "redis/restart-redis"]
    assert plan.steps[-1].risk.value == "high"
    site.converge()
    assert site.plan().steps == ()
    assert len(list_serving(site.world.state)) == 3


@pytest.mark.parametrize("needless", NeedlessPassword)
@pytest.mark.parametrize("shown", StartShown)
def test_from_no_password_to_one(needless, shown):
    open_file = b"bind 127.0.0.1\nport 6379\n"
    open_config = make_config(password="")
    site = Site(
        make_site(
            3,
            config=open_config,
            redis_file=open_file,
            choices=replace(AT_ONCE, needless_password=needless, start_shown=shown),
        ),
        quiet(json.loads(open_config)),
    )
    site.converge()
    config, redis = with_password("new")
    site.cluster_input = quiet(config, redis)
    plan = site.plan()
    assert plan.steps[0].action == "add-redis-password"
    assert plan.steps[0].risk.value == "high"
    site.converge()
    assert site.plan().steps == (), (actions(site.plan()), site.plan().findings)
    assert len(list_serving(site.world.state)) == 3


def test_passwords_stand_in_no_plan_and_no_answer():
    site = settled()
    config, redis = with_password("very-new-password")
    site.cluster_input = quiet(config, redis)
    plan = site.plan()
    text = json.dumps(plan.plain()) + repr(plan.steps)
    assert "very-new-password" not in text
    assert ":old@" not in text
    assert ': "old"' not in text


def test_a_redis_that_nobody_uses_yet_is_restarted_with_its_whole_file_first():
    alone = make_config(password="", scaling="none")
    site = Site(
        make_site(3, config=alone, redis_file=b"bind 127.0.0.1\nport 6379\n", upstream=("c1",)), quiet()
    )
    config, redis = with_password("new")
    site.cluster_input = quiet(config, redis | {"bind": "127.0.0.1 ::1"})
    site.watch = Watch(site)
    order = [one for one in actions(site.plan()) if not one.endswith("-file")]
    assert order[0] == "redis/restart-redis"
    assert (
        order.index("c3/restart-server")
        < order.index("lb/reload-balancer")
        < order.index("c1/restart-server")
    )
    assert "redis/add-redis-password" not in order
    site.converge()
    assert site.plan().steps == ()
    assert len(list_serving(site.world.state)) == 3
    assert site.world.redis.passwords == {hash_password("new")}


def test_a_server_that_is_about_to_join_gets_its_file_before_it_gets_clients():
    site = settled()
    site.world.machines["c3"].files["config"].content = make_config(logging=False)
    site.world.restart("c3")
    nginx = site.world.machines["lb"].files["nginx"]
    nginx.content = nginx.content.replace(b"        server 192.0.2.3:3000;\n", b"")
    site.world.reload("lb")
    order = [one for one in actions(site.plan()) if not one.endswith("-file")]
    assert order == ["c3/restart-server", "lb/reload-balancer"]
    site.watch = Watch(site, least=2)
    assert set(site.run().values()) == {"done"}
    assert site.plan().steps == ()


def test_other_keys_of_redis_come_after_the_password_and_the_plan_says_so():
    site = settled()
    config, redis = with_password("new")
    site.cluster_input = quiet(config, {**redis, "bind": "127.0.0.1 ::1"})
    plan = site.plan()
    assert "redis/restart-redis" not in actions(plan)
    (said,) = [one for one in plan.findings if one.code == "redis-conf-waits"]
    assert "redis gets the other changes" in said.message
    site.run()
    plan = site.plan()
    assert "redis/restart-redis" in actions(plan)
    assert "redis-conf-waits" not in codes(plan)
    assert site.converge().steps == ()
    assert b"bind 127.0.0.1 ::1" in site.world.content("redis")


def test_a_password_alone_has_no_further_changes_of_redis_to_wait_for():
    site = settled()
    site.cluster_input = quiet(*with_password("new"))
    assert "redis-conf-waits" not in codes(site.plan())
