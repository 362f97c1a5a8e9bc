"""Limits of products in a fleet file: each where it is named, and no product loaded for the others."""

from support.fleet_files import DRIVERS, BellDriver, fleet, get_problem

from reconciler.core.fields import Amount
from reconciler.core.policy import Policy


class Loud(Policy):
    max_loud: Amount = 2


class Louder(BellDriver):
    policy = Loud


FLEET = "policy: {%s}\nclusters:\n  - {name: a, kind: bell%s}\n"


def test_a_limit_of_a_product_counts_from_the_fleet_and_from_the_cluster():
    drivers = {**DRIVERS, "bell": Louder()}
    whole = fleet({"fleet.yaml": FLEET % ("max_loud: 3", "")}, drivers).policy("a")
    assert isinstance(whole, Loud)
    assert whole.max_loud == "3"
    own = fleet({"fleet.yaml": FLEET % ("max_loud: 3, max_changed: 1", ", policy: {max_loud: 4}")}, drivers)
    assert (own.policy("a").max_loud, own.policy("a").max_changed) == ("4", "1")


def test_a_limit_that_no_product_has_is_unknown():
    message, remedy = get_problem({"fleet.yaml": FLEET % ("max_lou: 3", "")}, {**DRIVERS, "bell": Louder()})
    assert "max_lou" in message
    assert "max_loud" in remedy


def test_limits_of_every_cluster_need_no_product():
    class Lazy(dict):
        def __getitem__(self, kind):
            assert kind == "bell"
            return super().__getitem__(kind)

    fleet({"fleet.yaml": FLEET % ("max_changed: 1", "")}, Lazy(DRIVERS))
