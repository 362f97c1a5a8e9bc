"""When notices are sent: together, not too often, and again after a failure."""

from datetime import timedelta

import pytest
from support.driver import NOON

from reconciler.host.notification_rules import Recipient
from reconciler.notifications.schedule import LONGEST_PAUSE, compute_next_try, find_limit_end, is_due
from reconciler.ports.notification_store import AddressState

RECIPIENT = Recipient.model_validate({"addresses": ["/a"], "group": 60, "limit": 2, "per": 3600})


def minutes(count):
    return timedelta(minutes=count)


@pytest.mark.parametrize(
    ("state", "due"),
    [
        ({"waiting": 0, "oldest": None}, False),
        ({"oldest": NOON - minutes(0.9)}, False),
        ({"oldest": NOON - minutes(1)}, True),
        ({"oldest": NOON, "is_urgent": True}, True),
        ({"oldest": NOON - minutes(9), "next_try": NOON + minutes(1)}, False),
        ({"oldest": NOON - minutes(9), "next_try": NOON}, True),
        ({"oldest": NOON, "is_urgent": True, "next_try": NOON + minutes(1)}, False),
        ({"oldest": NOON - minutes(9), "sent": (NOON - minutes(61), NOON - minutes(2))}, True),
        ({"oldest": NOON - minutes(9), "sent": (NOON - minutes(59), NOON - minutes(2))}, False),
        ({"oldest": NOON - minutes(9), "is_urgent": True, "sent": (NOON, NOON)}, False),
    ],
)
def test_what_is_due(state, due):
    assert is_due(RECIPIENT, AddressState("a", **{"waiting": 1, **state}), NOON) is due


def test_the_limit_ends_when_the_oldest_that_counts_is_old_enough():
    sent = (NOON - minutes(50), NOON - minutes(30), NOON - minutes(10))
    assert find_limit_end(RECIPIENT, sent, NOON) == NOON + minutes(30)
    assert find_limit_end(RECIPIENT, sent[:1], NOON) is None


def test_pauses_grow_up_to_a_bound():
    pauses = [compute_next_try(failures, NOON) - NOON for failures in range(100)]
    assert pauses[:3] == [timedelta(seconds=30), minutes(1), minutes(2)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE
