"""The model of a collab cluster: every execution of its plans keeps the invariants; planted faults do not."""

import pytest
from states_collab import explore, make_case

from reconciler.drivers.collab import judge, machine, planner, preconditions, redis_plan
from reconciler.drivers.collab.choices import Choices, NeedlessPassword, RedisLoss
from reconciler.drivers.collab.modelcheck.setups import make_setups
from reconciler.drivers.collab.schema import CollabDesired
from reconciler.modelcheck.executor_model import StepStatus

CASES = {
    "another key": {"changes": {"logging": False}},
    "another password": {"passwords": ("old", "new")},
    "another redis.conf": {"redis_changes": {"protected-mode": "no"}},
    "another database": {"changes": {"dataSource": {"host": "db2"}}},
    "a server more": {"count": 3, "balanced": 2},
    "a server less": {"count": 3, "leaving": 1},
}


@pytest.mark.parametrize("case", CASES)
def test_every_execution_with_a_fault_and_a_kill_keeps_the_invariants(case):
    model, world = make_case(**CASES[case])
    model.has_file_faults = case in {"another redis.conf", "a server more"}
    plan, found = explore(model, world)
    assert plan.steps
    assert found.broken == "", "\n".join(found.story)
    assert found.complete


@pytest.mark.parametrize("loss", RedisLoss)
@pytest.mark.parametrize("needless", NeedlessPassword)
def test_the_plan_is_safe_whatever_the_documents_leave_open(loss, needless):
    choices = Choices(healthy_state="", redis_loss=loss, needless_password=needless)
    for case in ("another password", "another redis.conf"):
        model, world = make_case(choices=choices, **CASES[case])
        model.has_file_faults = False
        _, found = explore(model, world, passes=1)
        assert found.broken == "", "\n".join(found.story)
        assert found.complete


@pytest.mark.parametrize("case", CASES)
def test_without_faults_the_plan_reaches_what_is_desired(case):
    model, world = make_case(**CASES[case])
    for _ in range(40):
        plan = model.plan(world)
        ready = [step for step in plan.steps if model.judge_step(world, step) is StepStatus.READY]
        if not ready:
            break
        world = model.perform(world, ready[0])
        while returns := list(model.list_returns(world)):
            world = returns[0][1]
    assert model.plan(world).steps == ()
    assert [one.severity for one in model.plan(world).findings] == []
    assert all(one.running for one in world.state.servers[: len(model.desired.entry.nodes)])
    assert model.load_balancer(world.files) == world.state.balancer.running


def test_a_password_that_was_not_written_is_a_fault_of_the_model():
    model, world = make_case(passwords=("old", "new"))
    step = model.plan(world).steps[0]
    (story, half), *_ = model.list_partial_effects(world, step)
    assert "breaks off" in story
    assert not model.is_effective(half, step)
    assert model.is_effective(model.perform(world, step), step)


PLANTED = {
    "a serving server is restarted whatever the others do": (
        {"changes": {"logging": False}},
        [
            (preconditions, "_find_serving_obstacle", lambda case: ""),
            (judge, "_list_serving", lambda seen, names: list(names)),
        ],
        "the last server that serves",
    ),
    "a password is dropped while servers use it": (
        {"passwords": ("old", "new")},
        [
            (planner._Chain, "_uses_new_file", lambda self, server: True),
            (planner._Chain, "_plan_serving", lambda self, server, password: None),
            (judge, "_judge_delivered_passwords", lambda own, seen: judge._READY),
        ],
        "locks out",
    ),
    "Redis is started with the new password alone": (
        {"passwords": ("old", "new")},
        [(redis_plan, "_changes_passwords", lambda desired, view: False)],
        "locks out",
    ),
    "a server that is away gets clients": (
        {"count": 3, "balanced": 2},
        [(judge, "_list_serving", lambda seen, names: list(names))],
        "which does not serve",
    ),
}
"""Name -> the case, what is planted, and words of the invariant that it breaks."""


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name, monkeypatch):
    case, planted, words = PLANTED[name]
    model, world = make_case(**case)
    model.has_file_faults = False
    for module, attribute, value in planted:
        monkeypatch.setattr(module, attribute, value)
    _, found = explore(model, world)
    assert words in found.broken


def test_former_servers_are_stopped_only_after_the_load_balancer_has_dropped_them(monkeypatch):
    model, world = make_case(3, leaving=1)
    steps = [step.action for step in model.plan(world).steps]
    assert steps.index("reload-balancer") < steps.index("stop-server")
    stop = next(step for step in model.plan(world).steps if step.action == "stop-server")
    assert "load balancer uses" in model.find_obstacle(world, stop)


def test_the_world_is_that_which_the_answers_show():
    model, world = make_case(passwords=("old", "new"))
    observed, plan = model.observe(world), model.plan(world)
    (setup,) = make_setups(model.desired, observed, plan)
    (shown,) = setup.worlds
    assert [one.running for one in shown.state.servers] == [one.running for one in world.state.servers]
    assert shown.state.redis.running == world.state.redis.running
    assert shown.state.balancer.running == world.state.balancer.running
    assert shown.files == world.files
    assert isinstance(setup.desired, CollabDesired)
    assert setup.model.plan(shown).steps[0].id == plan.steps[0].id


def test_without_a_reading_there_is_no_world():
    model, world = make_case()
    observed, plan = model.observe(world), model.plan(world)
    for files in ({}, {"s0": {}}):
        words = make_setups(model.desired, type(observed)(observed.nodes, files=files), plan)
        assert "cannot be read" in words
    gone = type(observed)({}, files=observed.files)
    assert "not known" in make_setups(model.desired, gone, plan)


def test_a_stopped_server_and_a_stopped_redis_are_seen_as_stopped():
    model, world = make_case(3, stopped=(2,))
    down = world._replace(state=machine.stop_redis(world.state))
    (setup,) = make_setups(model.desired, model.observe(down), model.plan(down))
    assert setup.worlds[0].state.servers[2].running is None
    assert setup.worlds[0].state.redis.running is None
