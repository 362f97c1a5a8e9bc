"""The format of plan files, and the digests of observations."""

import json
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pytest

from reconciler.core.entries import Timeouts
from reconciler.core.observation import Absent, Observed, Present, Stale, Unauthorized, Unreachable
from reconciler.core.observation_digests import digest_observation, digest_observations
from reconciler.core.plan import ClusterPlan
from reconciler.core.secret import Secret
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import UsageError
from reconciler.planning.plan_file import PlanFile, PlanOrigin, parse_plan_file


@dataclass(frozen=True)
class Shown:
    value: object
    seen_on: date = field(default=date(2026, 1, 1), compare=False)


def test_a_digest_is_equal_if_and_only_if_the_compared_values_are():
    one = digest_observation(Present(Shown({"b": 1, "a": (date(2026, 1, 1), {"x", "y"})})))
    assert one == digest_observation(
        Present(Shown({"a": [date(2026, 1, 1), {"y", "x"}], "b": 1}, date(2027, 1, 1)))
    )
    others = [
        Present(Shown({"b": 2})),
        Present(Shown(Secret("s1"))),
        Present(Shown(Secret("s2"))),
        Stale(Shown({"b": 2}), "behind"),
        Absent("404"),
        Unreachable("timed out"),
        Unauthorized("401"),
    ]
    assert len({one, *map(digest_observation, others)}) == len(others) + 1


def test_the_reason_of_a_failed_reading_does_not_count_and_nodes_are_sorted():
    first = digest_observations(Observed({"b": Unreachable("timed out"), "a": Stale(1, "one reason")}))
    assert first == digest_observations(Observed({"a": Stale(1, "another"), "b": Unreachable("refused")}))
    assert list(first) == ["a", "b"]


PLAN = {"revision": {"source": "s", "id": "i", "short": "i", "title": ""}, "program": "1", "clusters": []}


def written(**more):
    plain = {
        "made": "2026-11-21T00:00:00Z",
        "origin": PlanOrigin(source="/r"),
        "files": {},
        "observed": {},
        "plan": PLAN,
        **more,
    }
    return PlanFile(**plain).seal().encode()


def test_a_plan_file_can_be_read_back():
    found = parse_plan_file(written(observed={"c": {"n": "absent"}}), "plan.json")
    assert found.observed == {"c": {"n": "absent"}}
    assert found.load_plan().revision.id == "i"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"absent"', '"unreachable"', "its digest does not match"),
        ('"digest": "', '"digest": "0', "is not a plan file: `digest`"),
        ('"version": 1', '"version": 2', "of version 2; this program reads only version 1"),
        ('"format": "reconcile-plan"', '"format": "other"', "is not a plan file: `format`"),
        ('"origin"', '"orogin"', "is not a plan file: `origin`"),
        ('"files": {}', '"files": {}, "files": {}', "an object has a key twice"),
        ("{", "[", "not plain JSON"),
        ('"id": "i"', '"id": "\\ud800"', "its digest does not match"),
    ],
)
def test_every_change_of_a_file_is_refused(old, new, said):
    data = written(observed={"c": {"n": "absent"}}).decode()
    with pytest.raises(UsageError, match=said):
        parse_plan_file(data.replace(old, new, 1).encode(), "plan.json")


def test_an_invalid_plan_is_refused_although_the_digest_matches():
    found = parse_plan_file(written(plan={"clusters": 1}), "plan.json")
    with pytest.raises(UsageError, match="is not valid"):
        found.load_plan()


def test_a_file_cannot_claim_the_id_of_its_plan():
    plan = json.loads(written())["plan"]
    plan["clusters"] = [ClusterPlan("edge", "m2", 1, 1, made_as="f" * 64).plain()]
    with pytest.raises(UsageError, match="parts that a plan cannot have"):
        parse_plan_file(written(plan=plan), "plan.json").load_plan()


def test_whitespace_and_the_order_of_keys_do_not_count():
    value = json.loads(written())
    parse_plan_file(json.dumps(dict(reversed(value.items()))).encode(), "plan.json")


def test_default_seconds_are_part_of_a_file():
    """A plan is read from its file as it was made: 30 in the one and 30.0 in the other would be two plans."""
    assert {type(seconds) for _, seconds in Timeouts()} == {float}


LEFT = Path(__file__).parents[2] / "cases/store/plan-file-1.json"
"""A plan for both products of the demonstration, as version 0.1.0 wrote it when arguments had no types."""


def test_a_file_of_the_last_version_is_read_with_the_products_types_and_written_unchanged():
    data = LEFT.read_bytes()
    found = parse_plan_file(data, LEFT.name)
    assert found.encode() == data
    plan = found.load_plan()
    assert [step.action for step in plan.steps()] == ["upload", "upload", "upload", "init"]
    for own in plan.clusters:
        for step in own.steps:
            again = DRIVERS[own.kind].load_step(step)
            assert isinstance(again.arguments, DRIVERS[own.kind].actions[step.action])
            assert again.plain() == step.plain()
