"""What holds in every state that any walk of calls and faults can reach, under every choice."""

from __future__ import annotations

from hypothesis import given, settings
from support.sora_executions import REGULAR, choices, walks, world_after

from reconciler.drivers.sora import machine
from reconciler.drivers.sora.cluster_state import (
    compute_margin,
    find_groups,
    has_majority,
    list_members,
    synchronise,
)
from reconciler.drivers.sora.machine import CallRefusal

quick = settings(deadline=None)


def reached(walk, taken):
    return world_after(walk, taken).state


@quick
@given(walk=walks, taken=choices)
def test_no_two_groups_of_one_cluster_serve_at_once(walk, taken):
    usable = [group.log.epoch for group in find_groups(reached(walk, taken)) if group.usable]
    assert len(usable) == len(set(usable))


@quick
@given(walk=walks, taken=choices)
def test_groups_part_the_running_members_and_those_that_serve_know_the_same(walk, taken):
    state = reached(walk, taken)
    found = find_groups(state)
    assert sorted(node for group in found for node in list_members(group.nodes)) == [
        number for number, node in enumerate(state) if node.up and node.log is not None
    ]
    for group in found:
        assert group.usable is (group.alive * 2 > group.log.regular.bit_count())
        if group.usable:
            assert {state[node].log for node in list_members(group.nodes)} == {group.log}
            stopped = [node for node in list_members(group.log.temporary) if not state[node].up]
            here = state[list_members(group.nodes)[0]].side
            assert [node for node in stopped if state[node].side == here] == []


@quick
@given(walk=walks, taken=choices)
def test_settling_is_done_once_and_for_all(walk, taken):
    state = reached(walk, taken)
    assert synchronise(state) == state


@quick
@given(walk=walks, taken=choices)
def test_a_view_lists_the_node_itself_and_its_whole_group(walk, taken):
    state = reached(walk, taken)
    for number, node in enumerate(state):
        rows = machine.list_nodes(state, number, taken)
        if isinstance(rows, CallRefusal) or not rows:
            continue
        seen = {row.node: row.connected for row in rows}
        assert seen[number]
        assert all(
            state[other].up and state[other].side == node.side for other, there in seen.items() if there
        )


@quick
@given(walk=walks, taken=choices)
def test_a_whole_registration_and_a_purge_never_lose_a_majority(walk, taken):
    state = reached(walk, taken)
    for one in range(len(state)):
        for other in range(len(state)):
            for after in (
                machine.register(state, one, other, taken),
                machine.purge(state, one, other, taken),
            ):
                if not isinstance(after, CallRefusal) and has_majority(state):
                    assert has_majority(after)


@quick
@given(walk=walks, taken=choices)
def test_temporary_nodes_never_make_a_difference_to_the_majority(walk, taken):
    state = reached(walk, taken)
    for number in range(REGULAR, len(state)):
        after = machine.stop(state, number)
        assert (has_majority(after), compute_margin(after)) == (has_majority(state), compute_margin(state))


@quick
@given(walk=walks, taken=choices)
def test_what_went_away_and_came_back_is_as_before_but_for_modes(walk, taken):
    """A regular node that restarts is where it was; and a cut that heals leaves no trace."""
    state = machine.heal(reached(walk, taken))
    for number in range(REGULAR):
        if state[number].up:
            back = machine.start(machine.stop(state, number), number)
            assert [node.log for node in back] == [node.log for node in state]
    if all(node.up for node in state):
        assert machine.heal(machine.partition(state, range(len(state)))) == state
