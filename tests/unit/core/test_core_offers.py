"""Offers: what a poll is answered, and the times that tell one offer from the next."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.offers import NOON, make_offer

from reconciler.core.offers import SECOND, PollAnswer, choose_last_modified, decide_poll, spread

HOUR = timedelta(hours=1)
LATER = make_offer(id="o2", last_modified=NOON + HOUR, opens=NOON + HOUR, closes=NOON + 2 * HOUR)
TAKEN = make_offer(taken=NOON)


@pytest.mark.parametrize(
    ("case", "poll", "expected"),
    [
        ("nothing recorded, first poll", (None, None, None, NOON, False), ("unavailable", None)),
        ("nothing recorded", (None, None, NOON, NOON, False), ("unchanged", None)),
        ("first poll", (make_offer(), None, None, NOON, False), ("offer", "o1")),
        ("an older version", (make_offer(), None, NOON - SECOND, NOON, False), ("offer", "o1")),
        ("it has it", (TAKEN, TAKEN, NOON, NOON + HOUR, False), ("unchanged", None)),
        ("it lost it", (TAKEN, TAKEN, None, NOON + 9 * HOUR, False), ("offer", "o1")),
        ("held back until it opens", (LATER, TAKEN, NOON, NOON, False), ("unchanged", None)),
        ("held back, first poll: what it had", (LATER, TAKEN, None, NOON, False), ("offer", "o1")),
        ("open", (LATER, TAKEN, NOON, NOON + HOUR, False), ("offer", "o2")),
        ("closed", (LATER, TAKEN, NOON, NOON + 2 * HOUR, False), ("unchanged", None)),
        ("suspended", (make_offer(), None, NOON - SECOND, NOON, True), ("unchanged", None)),
        ("suspended, first poll", (make_offer(), None, None, NOON, True), ("unavailable", None)),
        (
            "suspended, but taken: a download that failed",
            (TAKEN, TAKEN, NOON - SECOND, NOON, True),
            ("offer", "o1"),
        ),
        ("withdrawn", (make_offer(withdrawn=True), None, NOON - SECOND, NOON, False), ("unchanged", None)),
        (
            "withdrawn, but taken",
            (make_offer(withdrawn=True, taken=NOON), None, None, NOON, False),
            ("offer", "o1"),
        ),
        (
            "absurd time, not taken",
            (make_offer(), None, NOON + timedelta(days=400), NOON, False),
            ("offer", "o1"),
        ),
        ("absurd time, taken", (TAKEN, TAKEN, NOON + timedelta(days=400), NOON, False), ("unchanged", None)),
    ],
)
def test_a_poll_gets_a_recorded_offer_or_nothing(case, poll, expected):
    *facts, is_held = poll
    decision = decide_poll(*facts, is_held=is_held)
    assert (decision.answer.value, decision.offer and decision.offer.id) == expected, case
    assert decision.is_absurd == case.startswith("absurd"), case


@given(
    st.integers(0, 10**8), st.none() | st.integers(-(10**8), 10**8), st.none() | st.integers(-(10**8), 10**9)
)
def test_each_offer_is_later_than_all_that_the_node_knows(now, earlier, asked):
    at, before, seen = (
        one if one is None else NOON + timedelta(seconds=one) for one in (now, earlier, asked)
    )
    chosen = choose_last_modified(at + timedelta(microseconds=7), before, seen)
    assert chosen.microsecond == 0
    assert chosen >= at
    assert before is None or chosen > before
    if seen is not None and seen <= at + timedelta(days=1):
        assert chosen > seen
        visible = make_offer(last_modified=chosen, opens=at, closes=at + HOUR)
        assert decide_poll(visible, None, seen, at, is_held=False).answer is PollAnswer.OFFER


def test_offers_are_spread_evenly_over_one_period_and_always_alike():
    period = 15.0
    shares = [(spread("o1", f"n{index}", NOON, period) - NOON).total_seconds() for index in range(2_000)]
    assert all(0 <= share < period for share in shares)
    counts = [sum(low <= share < low + 1.5 for share in shares) for low in (0, 3, 6, 9, 12)]
    assert min(counts) > 120
    assert max(counts) < 280
    assert shares[7] == (spread("o1", "n7", NOON, period) - NOON).total_seconds()
