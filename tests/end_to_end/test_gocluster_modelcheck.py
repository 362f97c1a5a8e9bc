"""The model checker explores every execution of a Go cluster's plans: the quorum holds in every view."""

from dataclasses import replace

import pytest
from support.gocluster import COMMANDS, changed, desired, entry, observe, seen, views

from reconciler.core.guard import GuardContext, run_guards
from reconciler.drivers.gocluster import modelcheck, planner
from reconciler.drivers.gocluster.choices import CAUTIOUS, DEFAULTS
from reconciler.drivers.gocluster.guards import GUARDS, refuse_quorum_loss
from reconciler.modelcheck.executor_model import ExecutorModel
from reconciler.modelcheck.explore import explore_states
from reconciler.modelcheck.state_table import StateTable


def explored(wanted, observed, *, faults=1, choices=DEFAULTS, guards=GUARDS):
    (setup,) = modelcheck.make_setups(wanted, observed, planner.plan(wanted, observed))
    setup.model.choices = choices

    def weigh(plan, shown):
        return not run_guards(GuardContext(plan, wanted.entry, setup.desired, shown), guards)

    model = ExecutorModel(StateTable(setup.model, weigh, single_node=False))
    return explore_states([model.begin(world, faults=faults) for world in setup.worlds], model.moves)


def settings_change(count):
    before = desired(entry(count, **COMMANDS))
    wanted = seen(desired(entry(count, settings={"ping_interval": "6s"}, **COMMANDS)))
    return wanted, changed(before, wanted, views(count))


def members(count, other):
    before, after = desired(entry(count, **COMMANDS)), desired(entry(other, **COMMANDS))
    wanted = replace(after, recalled=seen(before).recalled)
    return wanted, changed(before, wanted, views(count))


@pytest.mark.parametrize("choices", [DEFAULTS, CAUTIOUS], ids=["join", "refuse"])
@pytest.mark.parametrize("count", [3, 4])
def test_a_rolling_restart_holds(count, choices):
    result = explored(*settings_change(count), choices=choices)
    assert result.complete
    assert not result.broken, result.story
    assert result.states > 10


@pytest.mark.parametrize(("count", "other"), [(2, 3), (3, 4), (4, 3), (3, 2)])
def test_one_more_or_less_holds(count, other):
    result = explored(*members(count, other))
    assert result.complete
    assert not result.broken, result.story


def test_five_nodes_survive_a_failure_at_any_moment():
    """Between the last reading and the call, too: every view has a reserve."""
    result = explored(*settings_change(5))
    assert result.complete
    assert not result.broken, result.story


def test_a_plan_without_arithmetic_is_found(monkeypatch):
    """A restart while another node is down, which planner, guard and judge each refuse."""
    for place in ("machine", "judge"):
        monkeypatch.setattr(f"reconciler.drivers.gocluster.{place}.find_stop_obstacle", lambda *_: "")
    before = desired(entry(3, **COMMANDS))
    wanted = seen(desired(entry(3, settings={"ping_interval": "6s"}, **COMMANDS)))
    observed = changed(before, wanted, views(3, away=["node3"]))
    lax = tuple(guard for guard in GUARDS if guard is not refuse_quorum_loss)
    result = explored(wanted, observed, faults=0, guards=lax)
    assert "takes the quorum" in result.broken
    monkeypatch.undo()
    assert not explored(wanted, observed, faults=0).broken


def test_what_cannot_be_explored_is_said():
    wanted = seen(desired(entry(observe=False)))
    observed = observe(wanted, {})
    assert "observe" in modelcheck.make_setups(wanted, observed, planner.plan(wanted, observed))
