"""The executor does what its model does: every trace up to a length leaves the journal that it predicts."""

from itertools import pairwise

import pytest
from mutation import edit, planted
from replay import Difference, all_scenes, replay, replay_all

from reconciler.core.outcome import State
from reconciler.modelcheck.explore import Transition, list_traces
from reconciler.modelcheck.journal_model import EMPTY, EventKind, follow_move
from reconciler.rollout.recovery import StepRecovery
from reconciler.rollout.run_log import RunLog
from reconciler.rollout.step_executor import _call, _call_and_read_back, _decide_state
from reconciler.rollout.step_scheduler import StepScheduler

SCENES = {scene.name: scene for scene in all_scenes()}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_every_trace_leaves_the_same_journal(scene):
    assert replay_all(scene) > 25


def test_the_traces_contain_all_that_the_executor_can_write():
    kinds, states = set(), set()
    for scene in SCENES.values():
        for trace in scene.traces():
            journal = EMPTY
            for before, after in pairwise(trace):
                journal, events = follow_move(scene.state_table, journal, before, after)
                kinds |= {event.kind for event in events}
                states |= {event.state for event in events if event.state}
    assert kinds == set(EventKind)
    # no step waits for an operator in these scenes, none is taken back, and no node asks for its steps by
    # itself, so that none is replaced before it was taken
    assert states == set(State) - {State.WAITING, State.UNDONE, State.OFFERED, State.SUPERSEDED}


PLANTED = {
    "the call comes before the intent": (
        edit(
            _call_and_read_back,
            "if not await _record_intent(step, context):\n"
            "        return await _call_and_read_back(step, context)\n"
            "    answer, error = await _call(step, context)",
            "answer, error = await _call(step, context)\n    await _record_intent(step, context)",
        ),
        "one M2 node",
    ),
    "a call without an answer is made once more": (
        edit(
            _call,
            "return None, error",
            "return (await context.driver.act(step, context.transports, context.payloads), None)"
            " if _get_lifetime(step, error, 0.0, interrupted=False) else (None, error)",
        ),
        "one M2 node",
    ),
    "an outcome is announced before it is written": (
        edit(
            RunLog._record_together,
            "await self.store.record_outcomes(",
            "[self.listener.on_step_ended(ending.outcome) for ending in endings]\n    await "
            "self.store.record_outcomes(",
        ),
        "one M2 node",
    ),
    "the answer to a call counts as its effect": (
        edit(_decide_state, "verdict.status is StepStatus.DONE", "not is_open"),
        "one M2 node",
    ),
    "a call under way is settled as failed": (
        edit(StepRecovery._settle, "READY if not in_flight", "READY if entry"),
        "two M2 nodes that do not fail, one after the other",
    ),
    "a step begins though the one before it has failed": (
        edit(StepScheduler._release_followers, "if state not in SUCCESSES:", "if False:"),
        "a dead Sora node replaced, no other fails",
    ),
}


@pytest.mark.parametrize(("fault", "name"), PLANTED.values(), ids=PLANTED)
def test_a_fault_planted_into_the_executor_is_found(fault, name):
    scene = SCENES[name]
    with planted(fault), pytest.raises(Difference, match="the executor: "):
        replay_all(scene)
    replay(scene, next(scene.traces()))  # and nothing else is


def test_traces_are_all_ways_of_so_many_moves_and_shorter_ones_that_end():
    ways = {"a": "bc", "b": "bd", "c": "", "d": "a"}

    def moves(state):
        return [Transition(f"to {one}", one) for one in ways[state]]

    assert list(list_traces("a", moves, length=0)) == [("a",)]
    assert list(list_traces("a", moves, length=1)) == [("a", "b"), ("a", "c")]
    assert ["".join(one) for one in list_traces("a", moves, length=4)] == ["abdab", "abdac", "ac"]
