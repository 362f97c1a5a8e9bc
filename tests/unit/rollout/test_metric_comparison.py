"""Metrics of changed nodes compared with those of unchanged ones."""

import pytest

from reconciler.core.rollout_rules import MetricGate
from reconciler.rollout.metric_comparison import GOOD, GateStatus, SoakReadings, compare_metric


def after(**values):
    return {node: {"m": value} for node, value in values.items() if value is not None}


def judged(changed, unchanged, before=None, seconds=10.0, **gate):
    soaked = SoakReadings(before or {}, after(**changed, **unchanged), seconds)
    return compare_metric(MetricGate(name="m", **gate), tuple(changed), tuple(unchanged), soaked)


@pytest.mark.parametrize(
    ("value", "weight"),
    [(1.0, GateStatus.GOOD), (4.0, GateStatus.GOOD), (4.01, GateStatus.BAD), (0.0, GateStatus.GOOD)],
)
def test_a_value_is_limited_by_a_factor_of_the_median_of_unchanged_nodes(value, weight):
    found = judged({"a": value}, {"x": 1.0, "y": 2.0, "z": 90.0}, compare="value", factor=2)
    assert found.status is weight


@pytest.mark.parametrize(
    ("value", "weight"), [(50.0, GateStatus.GOOD), (49.0, GateStatus.BAD), (500.0, GateStatus.GOOD)]
)
def test_a_metric_may_be_bad_if_it_is_lower(value, weight):
    found = judged({"a": value}, {"x": 100.0}, compare="value", factor=2, worse="lower")
    assert found.status is weight


def test_any_value_is_bad_where_the_median_is_zero_unless_it_is_small_enough_to_ignore():
    assert judged({"a": 3.0}, {"x": 0.0}, compare="value").status is GateStatus.BAD
    assert judged({"a": 3.0}, {"x": 0.0}, compare="value", ignore=3) == GOOD


def test_a_rate_is_the_growth_per_second_also_after_a_counter_reset():
    before = {"a": {"m": 100.0}, "x": {"m": 0.0}, "b": {"m": 100.0}}
    grown = judged({"a": 130.0}, {"x": 10.0}, before, factor=2)
    assert grown.status is GateStatus.BAD
    assert "the rate of m of a is 3, on unchanged nodes it is 1" in grown.reason
    assert judged({"b": 15.0}, {"x": 10.0}, before, factor=2) == GOOD


@pytest.mark.parametrize(("now", "status"), [(20.0, "good"), (20.5, "bad"), (99.0, "bad")])
def test_after_a_reset_a_counter_grew_by_its_present_value(now, status):
    """As a difference it would have fallen, which looks healthier than any node that kept counting."""
    before = {"a": {"m": 100.0}, "x": {"m": 0.0}}
    assert judged({"a": now}, {"x": 10.0}, before, factor=2).status == status


def test_resets_of_unchanged_nodes_do_not_lower_the_median():
    before = {"a": {"m": 0.0}, "x": {"m": 900.0}, "y": {"m": 900.0}}
    assert judged({"a": 20.0}, {"x": 10.0, "y": 10.0}, before, factor=2) == GOOD
    usual = judged({"a": 21.0}, {"x": 10.0, "y": 10.0}, before, factor=2)
    assert "of a is 2.1, on unchanged nodes it is 1" in usual.reason


def test_if_lower_is_worse_a_reset_counter_counts_for_its_present_value():
    before = {"a": {"m": 100.0}, "x": {"m": 0.0}}
    assert judged({"a": 4.0}, {"x": 10.0}, before, factor=2, worse="lower").status is GateStatus.BAD


def test_the_worst_of_several_nodes_is_named():
    found = judged({"a": 5.0, "b": 9.0, "c": 1.0}, {"x": 1.0}, compare="value")
    assert "of b (and of 1 more) is 9" in found.reason


@pytest.mark.parametrize(
    ("changed", "unchanged", "more", "words"),
    [
        ({"a": None}, {"x": 1.0}, {"compare": "value"}, "m is missing from a"),
        ({"a": 1.0}, {"x": None}, {"compare": "value"}, "no unchanged node"),
        ({"a": 1.0}, {}, {"compare": "value"}, "no unchanged node"),
        ({"a": 1.0}, {"x": 1.0}, {"seconds": 0.0}, "needs a soak time"),
        ({"a": 1.0}, {"x": 1.0}, {}, "m is missing from a"),
    ],
)
def test_a_missing_value_is_not_good(changed, unchanged, more, words):
    found = judged(changed, unchanged, **more)
    assert found.status is GateStatus.UNCLEAR
    assert words in found.reason
