"""Operations as data: waves, states, totals, and what an approval is bound to."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from reconciler.core.actor import Actor
from reconciler.core.operations import (
    Operation,
    OperationResult,
    OperationState,
    divide_into_waves,
    load_operation,
)
from reconciler.core.rollout_rules import Rollout

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
NODES = tuple(f"n{number:02}" for number in range(10))


def operation(*waves):
    return Operation(
        id="o1",
        kind="purge",
        cluster="edge",
        targets=("a.com/*",),
        actor=Actor("kim"),
        at=NOON,
        deadline=NOON,
        waves=waves,
    )


def with_states(own, **states):
    return replace(
        own, results={node: OperationResult(node, OperationState(state)) for node, state in states.items()}
    )


def sizes(rollout, nodes=NODES):
    return [len(wave) for wave in divide_into_waves(nodes, rollout, is_high_risk=True)]


def test_low_risk_is_one_wave():
    assert divide_into_waves(NODES, Rollout(canary="1"), is_high_risk=False) == (NODES,)
    assert divide_into_waves((), None, is_high_risk=False) == ()


@pytest.mark.parametrize(
    ("rollout", "expected"),
    [
        (None, [1, 2, 2, 2, 2, 1]),
        (Rollout(), [1, 2, 2, 2, 2, 1]),
        (Rollout(canary="3", waves=["50%"]), [3, 5, 2]),
        (Rollout(canary="1", waves=["1", "100%"]), [1, 1, 8]),
    ],
)
def test_high_risk_goes_in_waves(rollout, expected):
    assert sizes(rollout) == expected
    waves = divide_into_waves(NODES, rollout, is_high_risk=True)
    assert tuple(node for wave in waves for node in wave) == NODES


def test_a_later_wave_waits_for_the_one_before():
    own = operation(("a", "b"), ("c",))
    assert own.next_wave == ("a", "b")
    assert with_states(own, a="done", b="sent").next_wave == ("a", "b")
    assert with_states(own, a="done", b="overdue").next_wave == ("c",)
    assert with_states(own, a="done", b="failed", c="skipped").next_wave == ()


def test_it_is_over_when_no_node_is_open():
    own = operation(("a", "b"))
    assert not own.is_over
    assert not with_states(own, a="done", b="offered").is_over
    assert not with_states(own, a="done").is_over
    assert with_states(own, a="done", b="overdue").is_over


def test_each_node_counts_once():
    own = replace(
        operation(("a", "b")),
        results={
            "a": OperationResult("a", OperationState.DONE, totals={"count": 2}),
            "b": OperationResult("b", OperationState.FAILED, totals={"count": 1, "size": 5}),
        },
    )
    assert own.add_totals() == {"count": 3, "size": 5}
    assert own.count_states() == {OperationState.DONE: 1, OperationState.FAILED: 1}


def test_absurd_reports_do_not_count_and_are_bounded():
    absurd = {"count": 3, "size": float("inf"), "time": float("nan"), "x": 1e300}
    found = OperationResult("a", OperationState.FAILED, "no " * 100_000, absurd)
    assert dict(found.totals) == {"count": 3}
    assert len(found.reason) <= 2000


def test_an_operation_is_read_as_it_was_written():
    own = with_states(operation(("a", "b"), ("c",)), a="done", b="overdue")
    again = load_operation(json.loads(json.dumps(own.plain())))
    assert again.plain() == own.plain()
    assert again.digest == own.digest


def test_an_approval_is_for_the_same_request_only():
    own = operation(("a",))
    assert own.digest == replace(own, id="o2", at=NOON.replace(hour=13), actor=Actor("lee")).digest
    assert own.digest != replace(own, waves=(("a", "b"),)).digest
    assert own.digest != replace(own, targets=("*",)).digest
    assert own.digest != replace(own, cluster="other").digest
