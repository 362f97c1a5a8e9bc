"""When the notices of an address are sent: grouped, limited, and again after a failure; pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from reconciler.host.notification_rules import Recipient
from reconciler.ports.notification_store import AddressState

FIRST_PAUSE: Final = timedelta(seconds=30)
LONGEST_PAUSE: Final = timedelta(hours=1)
"""Pauses after failed attempts: the first, and the longest; each is twice as long as the one before."""

_MOST_DOUBLED: Final = 20


def is_due(recipient: Recipient, state: AddressState, now: datetime) -> bool:
    """Whether what waits for an address is sent now."""
    if not state.waiting or state.oldest is None or (state.next_try is not None and now < state.next_try):
        return False
    if find_limit_end(recipient, state.sent, now) is not None:
        return False
    return state.is_urgent or now - state.oldest >= timedelta(seconds=recipient.group)


def find_limit_end(recipient: Recipient, sent: tuple[datetime, ...], now: datetime) -> datetime | None:
    """Until when the limit of a recipient holds further messages back; None if it does not."""
    span = timedelta(seconds=recipient.per)
    recent = [at for at in sent if now - at < span]
    return recent[-recipient.limit] + span if len(recent) >= recipient.limit else None


def compute_next_try(failures: int, now: datetime) -> datetime:
    """When to try again.

    Args:
        failures: attempts in a row that had failed before this one.
        now: the time of this attempt.
    """
    factor: int = 2 ** min(failures, _MOST_DOUBLED)
    return now + min(FIRST_PAUSE * factor, LONGEST_PAUSE)
