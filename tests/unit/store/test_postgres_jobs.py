"""Which of the passes that are due a host takes first."""

import pytest

from reconciler.store.postgres.jobs import DueCluster

NOW = 1_796_000_000.0
LAST_PRIORITY = 2**31


@pytest.mark.parametrize("cause", ["commit", "webhook", "request", "start"])
@pytest.mark.parametrize("scheduled", ["interval", "retry", "offers", "hold-ends"])
def test_a_requested_pass_goes_first_but_a_scheduled_one_never_waits_without_end(cause, scheduled):
    waiting = DueCluster("edge", scheduled, NOW)
    assert DueCluster("core", cause, NOW + 29).priority > waiting.priority
    assert all(DueCluster("core", cause, NOW + later).priority < waiting.priority for later in (31, 60, 3600))


def test_what_is_due_first_is_taken_first():
    due = [DueCluster("edge", "interval", NOW + second) for second in range(100)]
    assert sorted(due, key=lambda one: -one.priority) == due


@pytest.mark.parametrize("later", [-1, 0, 60])
def test_a_priority_has_32_bits_until_2086(later):
    due = NOW + later * 31_557_600  # years
    assert abs(DueCluster("edge", "interval", due).priority) < LAST_PRIORITY
