"""The rules of Sora's documents, each stated once more as a plain assertion about the machine."""

from __future__ import annotations

import pytest

from reconciler.drivers.sora import machine
from reconciler.drivers.sora.choices import (
    Choices,
    MinorityListing,
    RepeatedInit,
    ReturnedListing,
    UndocumentedCall,
    UninitialisedListing,
)
from reconciler.drivers.sora.cluster_state import (
    ClusterLog,
    Mode,
    SoraNodeState,
    compute_margin,
    compute_quorum,
    find_groups,
    get_alive,
    get_registered,
    has_majority,
    list_members,
    make_formed_state,
    make_fresh_state,
)
from reconciler.drivers.sora.machine import CallRefusal

A, B, C, D, E, T = range(6)
REGULAR, TEMPORARY = False, True


def mask(*nodes):
    return sum(1 << node for node in nodes)


def cluster(regular, *, outside=0, temporary=0):
    """A healthy cluster of so many regular and temporary nodes, and regular ones beside it."""
    kinds = [REGULAR] * (regular + outside) + [TEMPORARY] * temporary
    return make_formed_state(kinds, outside=mask(*range(regular, regular + outside)))


def stopped(state, *nodes):
    for node in nodes:
        state = machine.stop(state, node)
    return state


def lines(state, node, choices=None):
    shown = machine.list_nodes(state, node, choices or Choices())
    assert not isinstance(shown, CallRefusal), shown
    return {row.node: row.connected for row in shown}


def connected(state, node):
    return {other for other, there in lines(state, node).items() if there}


@pytest.mark.parametrize(("nodes", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)])
def test_a_majority_is_more_than_half(nodes, needed):
    assert compute_quorum(nodes) == needed


@pytest.mark.parametrize(
    ("nodes", "down", "usable"),
    [(3, 1, True), (3, 2, False), (4, 1, True), (4, 2, False), (5, 2, True), (5, 3, False), (2, 1, False)],
)
def test_a_cluster_serves_only_while_more_than_half_of_its_regular_nodes_are_up(nodes, down, usable):
    assert has_majority(stopped(cluster(nodes), *range(down))) is usable


def test_four_nodes_survive_no_more_failures_than_three():
    assert compute_margin(cluster(3)) == compute_margin(cluster(4)) == 1
    assert compute_margin(cluster(5)) == 2
    assert compute_margin(stopped(cluster(4), A, B)) == -1


def test_temporary_nodes_never_count_for_the_majority():
    state = stopped(cluster(3, temporary=3), A, B)
    assert get_registered(state) == mask(A, B, C)
    assert get_alive(state) == mask(C)
    assert not has_majority(state)


def test_a_node_serves_no_cluster_before_init():
    state = make_fresh_state([REGULAR] * 3)
    assert find_groups(state) == ()
    assert not has_majority(state)


class TestInit:
    def test_the_cluster_consists_of_the_listed_nodes(self):
        state = machine.init(make_fresh_state([REGULAR] * 4), A, mask(A, B, C))
        assert connected(state, B) == {A, B, C}
        assert find_groups(state) == ((mask(A, B, C), ClusterLog(0, 0, mask(A, B, C), 0)),)

    def test_the_list_includes_the_executing_node(self):
        assert machine.init(make_fresh_state([REGULAR] * 3), A, mask(B, C)) is machine.BAD_LIST

    def test_no_temporary_node_is_initialised(self):
        assert (
            machine.init(make_fresh_state([REGULAR, REGULAR, TEMPORARY]), A, mask(A, B, C))
            is machine.BAD_LIST
        )

    def test_a_stopped_node_answers_nothing(self):
        assert machine.init(stopped(make_fresh_state([REGULAR]), A), A, mask(A)) is machine.NOT_RUNNING

    def test_again_after_a_collapse(self):
        collapsed = stopped(cluster(3, outside=2), B, C)
        state = machine.init(collapsed, A, mask(A, D, E))
        assert connected(state, D) == {A, D, E}
        assert has_majority(state)

    @pytest.mark.parametrize("choice", list(RepeatedInit))
    def test_on_a_live_cluster_it_is_a_choice(self, choice):
        state, choices = cluster(3), Choices(repeated_init=choice)
        same, other = (machine.init(state, A, names, choices) for names in (mask(A, B, C), mask(A, B)))
        if choice is RepeatedInit.REFUSE:
            assert same is other is machine.ALREADY_INITIALISED
        elif choice is RepeatedInit.ACCEPT_SAME:
            assert same == state
            assert other is machine.ALREADY_INITIALISED
        else:
            assert same != state
            assert connected(other, A) == {A, B}

    def test_with_a_node_away_it_is_a_choice(self):
        state = stopped(make_fresh_state([REGULAR] * 3), C)
        assert machine.init(state, A, mask(A, B, C)) is machine.MEMBER_AWAY
        accepted = machine.init(state, A, mask(A, B, C), Choices(init_with_away=UndocumentedCall.ACCEPT))
        assert lines(accepted, A) == {A: True, B: True, C: False}


class TestRegister:
    def test_it_adds_one_node_that_is_connected_at_once(self):
        state = machine.register(cluster(3, outside=1), D, A)
        assert get_registered(state) == get_alive(state) == mask(A, B, C, D)
        assert connected(state, D) == connected(state, A) == {A, B, C, D}

    def test_any_member_may_be_the_contact_and_a_stranger_may_not(self):
        state = cluster(3, outside=2)
        assert machine.register(state, D, A) == machine.register(state, D, C)
        assert machine.register(state, D, E) is machine.NOT_INITIALISED

    def test_the_contact_must_be_in_reach(self):
        assert machine.register(stopped(cluster(3, outside=1), A), D, A) is machine.CONTACT_AWAY

    def test_the_cluster_must_hold_its_majority(self):
        assert machine.register(stopped(cluster(3, outside=1), B, C), D, A) is machine.NO_MAJORITY

    def test_half_failed_it_raises_the_needed_number_alone(self):
        state = machine.register(cluster(3, outside=1), D, A, half=True)
        assert get_registered(state) == mask(A, B, C, D)
        assert get_alive(state) == mask(A, B, C)
        assert lines(state, A) == {A: True, B: True, C: True, D: False}
        assert lines(state, D) == {}

    def test_half_failed_with_one_of_three_down_it_loses_the_majority(self):
        state = stopped(cluster(3, outside=1), C)
        assert has_majority(state)
        assert not has_majority(machine.register(state, D, A, half=True))

    def test_again_after_a_half_failed_one_it_is_a_choice(self):
        state = machine.register(cluster(3, outside=1), D, A, half=True)
        assert connected(machine.register(state, D, A), A) == {A, B, C, D}
        refused = machine.register(state, D, A, Choices(repeated_register=UndocumentedCall.REFUSE))
        assert refused is machine.ALREADY_REGISTERED

    def test_again_on_a_connected_node_it_is_a_choice(self):
        state = cluster(3)
        assert machine.register(state, C, A) == state
        assert (
            machine.register(state, C, A, Choices(repeated_register=UndocumentedCall.REFUSE))
            is machine.ALREADY_REGISTERED
        )

    def test_a_temporary_node_registers_the_same_way_and_does_not_count(self):
        state = machine.register(make_formed_state([REGULAR] * 3 + [TEMPORARY], outside=mask(D)), D, A)
        assert get_registered(state) == mask(A, B, C)
        assert connected(state, A) == {A, B, C, D}


class TestPurge:
    def test_a_stopped_node_is_forgotten_by_every_member(self):
        state = machine.purge(stopped(cluster(4), D), A, D)
        assert get_registered(state) == mask(A, B, C)
        assert set(lines(state, C)) == {A, B, C}

    def test_a_running_node_is_refused_as_documented(self):
        refusal = machine.purge(cluster(3), A, C)
        assert refusal.error_type == "NODE-IS-ALIVE"

    def test_the_majority_must_hold_without_the_target(self):
        assert machine.purge(stopped(cluster(4), C, D), A, D) is machine.NO_MAJORITY

    def test_two_cannot_become_one(self):
        assert machine.purge(stopped(cluster(2), B), A, B) is machine.NO_MAJORITY

    def test_a_temporary_node_cannot_be_purged(self):
        assert machine.purge(cluster(3, temporary=1), A, D) is machine.IS_TEMPORARY

    def test_a_stranger_cannot_be_purged(self):
        assert machine.purge(cluster(3, outside=1), A, D) is machine.UNKNOWN_TARGET

    def test_of_a_node_that_runs_but_is_cut_off_it_is_a_choice(self):
        state = machine.partition(cluster(3), [0, 0, 1])
        assert get_registered(machine.purge(state, A, C)) == mask(A, B)
        assert machine.purge(state, A, C, Choices(purge_cut_off=UndocumentedCall.REFUSE)) is machine.IS_ALIVE

    def test_a_purged_node_that_comes_back_is_alone_with_what_it_knew(self):
        state = machine.start(machine.purge(stopped(cluster(4), D), A, D), D)
        assert connected(state, A) == {A, B, C}
        assert lines(state, D) == {A: False, B: False, C: False, D: True}
        assert lines(state, D, Choices(list_after_purge=ReturnedListing.EMPTY)) == {}
        assert (
            machine.list_nodes(state, D, Choices(list_after_purge=ReturnedListing.ERROR)) is machine.IS_PURGED
        )

    def test_whether_it_may_register_again_is_a_choice(self):
        state = machine.start(machine.purge(stopped(cluster(4), D), A, D), D)
        assert connected(machine.register(state, D, A), D) == {A, B, C, D}
        refused = machine.register(state, D, A, Choices(returned_register=UndocumentedCall.REFUSE))
        assert refused is machine.IN_ANOTHER_CLUSTER


class TestFailures:
    def test_a_stopped_regular_node_stays_registered_and_comes_back_by_itself(self):
        down = stopped(cluster(3), C)
        assert lines(down, A) == {A: True, B: True, C: False}
        assert connected(machine.start(down, C), C) == {A, B, C}

    def test_a_node_that_was_away_learns_what_changed_meanwhile(self):
        state = stopped(cluster(4, outside=1), D)
        state = machine.start(machine.register(state, E, A), D)
        assert connected(state, D) == {A, B, C, D, E}

    def test_a_stopped_temporary_node_is_erased_and_does_not_come_back_by_itself(self):
        down = stopped(cluster(3, temporary=1), D)
        assert set(lines(down, A)) == {A, B, C}
        up = machine.start(down, D)
        assert set(lines(up, A)) == {A, B, C}
        assert connected(machine.register(up, D, A), D) == {A, B, C, D}

    def test_a_temporary_node_that_was_only_cut_off_comes_back_by_itself(self):
        cut = machine.partition(cluster(3, temporary=1), [0, 0, 0, 1])
        assert lines(cut, A) == {A: True, B: True, C: True, D: False}
        assert connected(machine.heal(cut), A) == {A, B, C, D}

    def test_of_a_split_cluster_only_the_larger_part_serves(self):
        state = machine.partition(cluster(5), [0, 0, 0, 1, 1])
        assert connected(state, A) == {A, B, C}
        assert connected(state, D) == {D, E}
        assert [group.usable for group in find_groups(state)] == [True, False]

    def test_of_an_even_split_no_part_serves(self):
        assert not has_majority(machine.partition(cluster(4), [0, 0, 1, 1]))

    def test_a_part_without_majority_learns_nothing_until_the_network_heals(self):
        state = machine.partition(cluster(5, outside=1), [0, 0, 0, 1, 1, 0])
        state = machine.register(state, T, A)
        assert set(lines(state, D)) == {A, B, C, D, E}
        assert set(lines(machine.heal(state), D)) == {A, B, C, D, E, T}

    def test_what_a_part_without_majority_lists_is_a_choice(self):
        state = machine.partition(cluster(3), [0, 0, 1])
        assert (
            machine.list_nodes(state, C, Choices(list_without_majority=MinorityListing.ERROR))
            is machine.NO_MAJORITY
        )
        assert connected(state, C) == {C}

    def test_two_parts_never_serve_at_once_through_a_half_failed_registration(self):
        state = stopped(cluster(3, outside=1), C)
        state = machine.start(machine.register(state, D, A, half=True), C)
        for sides in ([0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 0, 1]):
            assert sum(group.usable for group in find_groups(machine.partition(state, sides))) <= 1


def test_what_a_node_lists_before_any_cluster_is_a_choice():
    state = make_fresh_state([REGULAR])
    assert lines(state, A) == {}
    assert lines(state, A, Choices(list_uninitialised=UninitialisedListing.SELF)) == {A: True}
    assert (
        machine.list_nodes(state, A, Choices(list_uninitialised=UninitialisedListing.ERROR))
        is machine.NOT_INITIALISED
    )


def test_the_mode_is_the_nodes_own_and_a_restart_forgets_it():
    state = machine.change_mode(cluster(3), B, Mode.BLOCK_NEW_SESSION)
    assert [node.mode for node in state] == [Mode.NORMAL, Mode.BLOCK_NEW_SESSION, Mode.NORMAL]
    assert machine.start(stopped(state, B), B)[B].mode is Mode.NORMAL
    assert machine.change_mode(stopped(state, B), B, Mode.NORMAL) is machine.NOT_RUNNING


def test_states_are_hashable_values_without_a_history():
    assert stopped(cluster(3), A, B) == stopped(cluster(3), B, A)
    assert len({cluster(3), machine.start(stopped(cluster(3), B), B), machine.heal(cluster(3))}) == 1
    assert isinstance(cluster(1)[A], SoraNodeState)
    assert list_members(mask(C, A)) == (A, C)
