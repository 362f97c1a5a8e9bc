"""Held nodes of a Collaboration Server cluster: nothing is done to them, and everybody is served."""

import json
from datetime import timedelta
from functools import partial

import pytest
from support.collab_runs import Site, make_config, make_entry, make_input, make_site, with_password
from support.driver import NOON

from reconciler.core.actor import Actor
from reconciler.core.memory import FleetMemory
from reconciler.core.policy import Policy
from reconciler.core.reservations import Reservation
from reconciler.drivers.collab.cluster_state import hash_password, list_serving
from reconciler.planning.reserved_steps import describe_reserved, find_reservation_hold
from reconciler.planning.withheld_steps import withhold_steps

CONFIG = json.loads(make_config())
SERVERS = ("c1", "c2", "c3")


class HeldSite(Site):
    """Passes that leave out what holds keep back, as the planning of a pass does."""

    def plan(self):
        plan = super().plan()
        desired, entry = self.desired, self.cluster_input.entry
        observed = self.observe(desired)
        held = {
            name: Reservation(
                id=name,
                cluster=entry.name,
                node=name,
                actor=Actor("kim", why="the card is replaced"),
                at=NOON,
                until=NOON + timedelta(hours=4),
                is_hold=True,
            )
            for name in self.reserved
        }
        find_hold = partial(
            find_reservation_hold,
            reserved=held,
            reasons=describe_reserved(held),
            driver=self.driver,
            entry=entry,
            desired=desired,
            observed=observed,
            policy=Policy(),
        )
        memory = FleetMemory(at=NOON)
        return withhold_steps(
            plan,
            desired,
            observed,
            self.driver,
            memory=memory,
            content="",
            in_waves=False,
            find_hold=find_hold,
        ).plan


def settled():
    site = HeldSite(make_site(3), make_input(make_entry(SERVERS), CONFIG))
    assert site.converge().steps == ()
    return site


def run_passes(site, most=6):
    """Passes until nothing is planned; everybody is served after each step."""

    def watch(step):
        assert len(list_serving(site.world.state)) >= 2, step.id

    site.watch = watch
    for _ in range(most):
        if not site.plan().steps:
            return
        site.run()
    raise AssertionError("there was always something to do")


@pytest.mark.parametrize("held", [*SERVERS, "redis", "lb"])
@pytest.mark.parametrize("change", ["logging", "password"])
def test_nothing_is_done_to_a_held_node_and_all_is_done_after_its_release(held, change):
    site = settled()
    if change == "logging":
        site.cluster_input = make_input(make_entry(SERVERS), CONFIG | {"logging": False})
    else:
        config, redis = with_password("new")
        site.cluster_input = make_input(make_entry(SERVERS), config, redis)
    site.reserved = frozenset({held})
    before = len(site.faults.calls)
    run_passes(site)
    assert [one for one in site.faults.calls[before:] if one.split()[-1] == held] == []
    assert len(list_serving(site.world.state)) == 3
    site.reserved = frozenset()
    run_passes(site)
    assert site.plan().findings == ()
    assert len(list_serving(site.world.state)) == 3
    if change == "password":
        assert site.world.redis.passwords == {hash_password("new")}


def test_of_two_servers_the_other_one_is_not_restarted_beside_a_held_one():
    site = HeldSite(make_site(2), make_input(make_entry(("c1", "c2")), CONFIG))
    site.converge()
    site.cluster_input = make_input(make_entry(("c1", "c2")), CONFIG | {"logging": False})
    site.reserved = frozenset({"c1"})
    assert [step for step in site.plan().steps if step.action == "restart-server"] == []
