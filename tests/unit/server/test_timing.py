"""Debounce, interval and backoff, with given times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.server.timing import (
    FIRST,
    LoopTiming,
    compute_backoff,
    compute_debounce,
    reset_backoff,
    schedule_next,
)


def test_a_settled_pass_waits_for_the_interval():
    timing = schedule_next(LoopTiming(due=0), settled=True, now=7, interval=300, draw=0.9)
    assert (timing.due, timing.failures, timing.cause) == (307, 0, "interval")


def test_failures_back_off_and_success_resets_them():
    timing = LoopTiming(due=0)
    waits = []
    for _ in range(8):
        timing = schedule_next(timing, settled=False, now=0, interval=300, draw=1.0)
        waits.append(timing.due)
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    assert (timing.failures, timing.cause) == (8, "retry")
    assert schedule_next(timing, settled=True, now=0, interval=300, draw=1.0).failures == 0


def test_a_trigger_resets_the_backoff_and_is_due_now():
    failed = schedule_next(LoopTiming(due=0), settled=False, now=0, interval=300, draw=1.0)
    assert (reset_backoff(failed, now=3).failures, reset_backoff(failed, now=3).due) == (0, 3)


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0.1, 1e6))
def test_backoff_is_jittered_within_its_span_and_never_beyond_the_ceiling(failures, draw, ceiling):
    wait = compute_backoff(failures, first=FIRST, ceiling=ceiling, draw=draw)
    assert 0 < wait <= ceiling
    assert wait <= FIRST * 2 ** min(failures - 1, 64)


def test_the_draw_moves_the_wait_over_the_whole_span():
    assert compute_backoff(3, first=10, ceiling=1000, draw=0.0) == pytest.approx(4)
    assert compute_backoff(3, first=10, ceiling=1000, draw=0.5) == 20
    assert compute_backoff(3, first=10, ceiling=1000, draw=1.0) == 40


def test_a_burst_ends_without_triggers_or_at_its_limit():
    assert compute_debounce(0, 0, window=0.5, limit=5) == 0.5
    assert compute_debounce(0, 3, window=0.5, limit=5) == 3.5
    assert compute_debounce(0, 4.9, window=0.5, limit=5) == 5


def test_the_end_of_a_hold_comes_before_the_interval_and_never_after_it():
    timing = LoopTiming(due=300, cause="interval", hold_end=1_000.0)
    assert timing.compute_wait(now=0, wall=990) == 10
    assert timing.compute_wait(now=0, wall=0) == 300
    assert timing.compute_wait(now=0, wall=1_001) == 0
    assert (timing.find_cause(wall=999), timing.find_cause(wall=1_000)) == ("interval", "hold-ends")
    assert LoopTiming(due=300).compute_wait(now=100, wall=0) == 200
