"""A fault planted into any guard, judgement or rule of the executor is found by the model checker.

Those in offers to nodes that poll take seconds each: `tests/end_to_end/test_planted_faults_in_offers.py`.
"""

import pytest
from mutants import CATALOGUE
from mutants_collab import COLLAB
from mutants_offers import OFFERS
from mutation import Edit, planted, tried

from reconciler.drivers.collab import guards as collab_guards
from reconciler.drivers.m2 import guards as m2_guards
from reconciler.drivers.m2 import lock_out
from reconciler.drivers.sora import guards, preconditions

QUICK = [one for one in CATALOGUE if one not in OFFERS]


@pytest.mark.parametrize("mutant", QUICK, ids=lambda one: f"{one.what}, {one.fault}")
def test_a_planted_fault_is_found_and_nothing_else(mutant):
    result = tried(mutant)
    assert not result.held.broken
    assert result.held.complete
    assert result.found.broken
    assert result.found.story


def test_a_fault_that_another_layer_catches_names_that_layer():
    backed = {one.what for one in CATALOGUE if one.off}
    kinds = {"quorum", "membership", "purge-alive", "double-init"}
    collab = {one.what for one in COLLAB if one.off}
    assert {"guard last-healthy-server", "guard service-away", "guard balancer-order"} <= collab
    assert backed - collab == {
        *(f"guard {kind}" for kind in kinds),
        *("guard lost-polling", "guard upgrade-overlap", "judgement of upgrading", "nodes of earlier"),
    }
    for one in CATALOGUE:
        assert bool(one.off) == bool(one.backing)


def test_every_guard_of_the_state_machines_has_a_mutant():
    """Left out are guards that hold no state of a machine, but an entry of the fleet file or of git."""
    policy = {
        guards.refuse_capacity_loss,
        guards.refuse_connection_loss,
        guards.refuse_init_of_renamed_cluster,
        guards.refuse_init_with_unread_past,
        guards.refuse_downgrade,
        m2_guards.refuse_feed_detachment,
        m2_guards.refuse_hosting_deletion,
        m2_guards.refuse_shared_feed,
        m2_guards.refuse_interruption_of_hosting,
        collab_guards.refuse_together,
        collab_guards.refuse_unannounced_redis_restart,
        collab_guards.GUARDS[-1],
    }
    parts = {
        guards.refuse_repeated_init: guards._find_init_objection,
        m2_guards.refuse_lockout_of_this_host: lock_out.Callers.losing,
    }
    faulty = {one.edit.function for one in CATALOGUE}
    for guard in {*guards.GUARDS, *m2_guards.GUARDS, *collab_guards.GUARDS} - policy:
        assert {guard.rule, parts.get(guard)} & faulty


def test_a_fault_is_planted_for_a_while_only():
    whole = preconditions.find_purge_obstacle.__code__
    with planted(Edit(preconditions.find_purge_obstacle, "majority(after)", "True")):
        assert preconditions.find_purge_obstacle.__code__ is not whole
    assert preconditions.find_purge_obstacle.__code__ is whole


def test_a_text_that_does_not_stand_there_is_refused():
    with (
        pytest.raises(ValueError, match="exactly once"),
        planted(Edit(preconditions.find_purge_obstacle, "nonsense", "")),
    ):
        pass
