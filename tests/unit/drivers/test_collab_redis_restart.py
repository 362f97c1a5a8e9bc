"""A restart of Redis needs a window or an approval, unless no server that serves works with it."""

import pytest
from support.collab_guard_cases import CONFIG, NAMES, case, first_redis_restart, settled
from support.collab_runs import make_entry, make_input

from reconciler.core.plan import Risk
from reconciler.drivers.collab.guards import refuse_unannounced_redis_restart


@pytest.mark.parametrize("scaling", [("none",) * 3, ("vertical", "none", "none")])
def test_servers_that_show_that_they_work_alone_are_not_paused(scaling):
    assert not list(refuse_unannounced_redis_restart(first_redis_restart(scaling)))


@pytest.mark.parametrize("other", ["horizontal", "Horizontal", "clustered", "", None])
def test_one_server_that_may_work_with_it_is_enough_for_a_refusal(other):
    (refusal,) = refuse_unannounced_redis_restart(first_redis_restart(("none", other, "none")))
    assert refusal.code == "redis-restart"
    assert "c2" in refusal.message
    assert "c1" not in refusal.message


def test_the_plan_tells_a_restart_that_pauses_servers_by_its_risk():
    site = settled()
    site.cluster_input = make_input(make_entry(NAMES), CONFIG, {"bind": "127.0.0.1 ::1"})
    (step,) = case(site, keep=lambda step: step.action == "restart-redis").plan.steps
    assert step.risk is Risk.HIGH
