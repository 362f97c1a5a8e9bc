"""What licences allow after one more failure, by the documented figures, and the guard about it."""

import pytest
from support.sora_clusters import TODAY, WorldWire, agreeing, entry, full, planned, seen

from reconciler.core.guard import GuardContext, run_guards
from reconciler.drivers.sora.capacity import Capacity, LicensedMember, compute_capacity_after_failure
from reconciler.drivers.sora.guards import GUARDS
from reconciler.drivers.sora.product import SoraDriver
from reconciler.drivers.sora.schema import SoraDesired
from reconciler.drivers.sora.simulator.world import SoraWorld
from reconciler.ports.transport import Transports

STOP = {"stop": {"command": "stop"}, "drain": 0}


def of(*limits, temporary=()):
    regular = [LicensedMember(f"r{number}", limit) for number, limit in enumerate(limits)]
    return (
        *regular,
        *(LicensedMember(f"t{number}", limit, temporary=True) for number, limit in enumerate(temporary)),
    )


@pytest.mark.parametrize(
    ("carriers", "made_up", "left"),
    [
        (of(100, 100, 100), True, 2 * 150),
        (of(100, 100, 100), False, 200),
        (of(100, 100, 100, temporary=[100]), True, 300),
        (of(100, 100, 100, 100), True, 3 * 134),
        (of(100, 100, 50), True, 150),
        (of(100), True, 0),
        ((), True, 0),
    ],
)
def test_the_worst_failure_counts(carriers, made_up, left):
    """Three of 100 carry 150 each once one is down; of three with a temporary one the temporary is worst."""
    assert compute_capacity_after_failure(carriers, is_compensated=made_up).connections == left


def test_an_unknown_licence_counts_for_nothing_and_is_named():
    capacity = compute_capacity_after_failure(of(100, 100, None), is_compensated=True)
    assert capacity == Capacity(100, "r0", ("r2",))


def found(cluster, answers, limits):
    observed = seen(answers, limits=limits)
    plan = planned(cluster, observed)
    case = GuardContext(plan, cluster, SoraDesired(cluster), observed)
    return {one.code: one for one in run_guards(case, GUARDS)}


FOUR = dict.fromkeys("abcde", 100)


@pytest.mark.parametrize(("needed", "refused"), [(300, False), (301, True), (None, False)])
def test_a_stop_leaves_enough_after_one_more_failure(needed, refused):
    """Five of 100: one is stopped, one fails, and nothing is counted as made up for."""
    cluster = entry("a b c d", connections=needed, **STOP)
    verdict = found(cluster, agreeing("a b c d e", *"abcde"), FOUR)
    assert list(verdict) == (["capacity"] if refused else [])
    if refused:
        assert verdict["capacity"].target == f"live/{full('e')}"
        assert "the licences allow 300 connections, but 301 are needed" in verdict["capacity"].message


@pytest.mark.parametrize(("needed", "refused"), [(300, False), (301, True)])
def test_the_stop_of_a_temporary_node_leaves_one_failure_that_is_made_up_for(needed, refused):
    cluster = entry("a b c", connections=needed, **STOP)
    verdict = found(cluster, agreeing("a b c t~", *"abct"), dict.fromkeys("abct", 100))
    assert list(verdict) == (["capacity"] if refused else [])


def test_unknown_licences_are_named():
    cluster = entry("a b c d", connections=300, **STOP)
    message = found(cluster, agreeing("a b c d e", *"abcde"), {})["capacity"].message
    assert "allow 0 connections" in message
    assert "unknown licence: " in message


def test_nothing_is_checked_where_nothing_is_stopped():
    cluster = entry("a b c d", connections=10_000, **STOP)
    assert found(cluster, agreeing("a b c", *"abc", d=""), {}) == {}
    assert found(cluster, agreeing("a b c d e!", *"abcd", e=None), {}) == {}


@pytest.mark.parametrize(
    ("wanted", "needed", "refused"),
    [
        ("a b c", 300, False),
        ("a b c", 301, True),
        ("a b c", 400, True),
        ("a b c", 401, False),  # not enough while it is registered, either
        ("a b c", None, False),
        ("a b c e", 400, False),
    ],
)
def test_a_purge_does_not_remove_connections_that_are_needed(wanted, needed, refused):
    answers = agreeing("a b c d!", *"abc", d=None, e="")
    verdict = found(entry(wanted, connections=needed), answers, FOUR)
    assert list(verdict) == (["capacity"] if refused else [])
    if refused:
        assert f"they allow 300, but {needed} are needed" in verdict["capacity"].message


@pytest.mark.parametrize(("needed", "refused"), [(1500, False), (1501, True)])
async def test_licences_are_taken_from_the_nodes_own_answers(needed, refused):
    """The simulated nodes have licences for 500 connections each."""
    wanted = entry("a b c d", connections=needed, **STOP)
    wire = WorldWire(SoraWorld.from_entry(entry("a b c d e"), converged=True))
    driver = SoraDriver(today=lambda: TODAY)
    desired = SoraDesired(wanted)
    observed = await driver.observe(desired, Transports(wire))
    plan = driver.plan(desired, observed)
    found = run_guards(GuardContext(plan, wanted, desired, observed), driver.guards)
    assert [one.code for one in found] == (["capacity"] if refused else [])
