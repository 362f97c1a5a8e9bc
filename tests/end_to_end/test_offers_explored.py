"""Every execution of offers to M2 nodes that poll, within bounds: no invariant breaks."""

from types import SimpleNamespace

import pytest
from scenes import polled, polled_setup

from reconciler.core.guard import GuardContext
from reconciler.core.observation import Observed, Present
from reconciler.core.polled_model import FOREIGN
from reconciler.core.rollout_rules import Rollout
from reconciler.drivers.m2.product import DRIVER
from reconciler.modelcheck.offer_model import OfferModel
from reconciler.modelcheck.offer_state import NO_DATE, OfferRules
from reconciler.planning.model_check import check_plans

AT_ONCE = OfferRules(interleaves=False)


@pytest.mark.parametrize("stamped", [False, True])
@pytest.mark.parametrize(
    "bounds",
    [
        {"faults": 1},
        {"kills": 1, "commits": 1, "suspensions": 1},
        {"kills": 1, "rules": OfferRules((1,), returns=True)},
        {"faults": 1, "rules": AT_ONCE},
        {"nodes": 2},
    ],
    ids=str,
)
def test_no_invariant_breaks_whatever_nodes_people_and_kills_do(bounds, stamped):
    found = polled(stamped=stamped, **bounds)()
    assert (found.broken, found.story) == ("", ())
    assert found.complete
    assert found.states > 200


def test_the_dates_of_a_node_keep_their_order_when_they_are_renumbered():
    setup, _ = polled_setup(nodes=1)
    model = OfferModel(setup.model, AT_ONCE)
    state = model.begin()
    assert state.nodes[0].asked == NO_DATE
    for _ in range(12):
        for move in model.moves(state):
            node = move.state.nodes[0]
            dates = sorted({one.date for one in (node.mail.newest, node.mail.last) if one})
            assert dates == sorted(set(dates))
            assert all(0 < date <= 3 for date in dates)
        state = move.state


def test_what_somebody_else_gives_a_node_is_none_of_the_settings_of_commits():
    setup, _ = polled_setup(nodes=1, stamped=True)
    prints = [content.fingerprint for content in setup.model._contents[0]]
    assert len(set(prints)) == len(prints) > FOREIGN


def test_check_explores_the_offers_of_a_plan():
    setup, _ = polled_setup(nodes=2)
    desired, model = setup.desired, setup.model
    observed = Observed({name: Present(model.before[place]) for place, name in enumerate(model.names)})
    plan = DRIVER.plan(desired, observed)
    rollout = Rollout(canary=1, on_failure="return")
    rules = SimpleNamespace(rollout=rollout)
    context = GuardContext(plan, desired.entry, desired, observed, change_rules=rules)
    result = SimpleNamespace(
        is_refused=False, refused_clusters=frozenset(), guard_contexts=[context], stale={}
    )
    (found,) = check_plans(result, {"m2": DRIVER}, faults=0, most=1_000_000)
    assert (found.reason, found.explored.broken, found.explored.complete) == ("", "", True)
    assert found.explored.states > 20_000
    (bounded,) = check_plans(result, {"m2": DRIVER}, faults=0, most=500)
    assert not bounded.explored.complete
