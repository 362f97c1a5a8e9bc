"""Counts of the node server; plain numbers, because a poll must cost little."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields


@dataclass(slots=True)
class CallCounters:
    """What was answered since the start.

    Args:
        polls: all of them.
        unchanged: polls answered with 304.
        unavailable: first polls answered with 503.
        offers: offers delivered.
        withheld: offers that a pass withdrew, or the store could not note, while the node polled.
        downloads: contents delivered, also in parts.
        reports: kind -> stored reports.
        invalid: reports that match no schema.
        refused: status -> refused requests.
        dropped: reason -> connections ended early.
        absurd: polls with an absurd date.
        unreadable: contents that could not be read.
        clashes: reports that do not agree with their token.
        stored: calls that were stored.
        groups: writes in which they were stored.
        bus_published: bus -> offers that it has.
        bus_failed: bus -> attempts to publish an offer that failed.
        bus_received: bus -> messages, also those that were skipped.
        bus_claims: bus -> messages that prove nothing but name a node.
        bus_skipped: why -> messages that were skipped.
    """

    polls: int = 0
    unchanged: int = 0
    unavailable: int = 0
    offers: int = 0
    withheld: int = 0
    downloads: int = 0
    reports: Counter[str] = field(default_factory=Counter)
    invalid: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    absurd: int = 0
    unreadable: int = 0
    clashes: int = 0
    stored: int = 0
    groups: int = 0
    bus_published: Counter[str] = field(default_factory=Counter)
    bus_failed: Counter[str] = field(default_factory=Counter)
    bus_received: Counter[str] = field(default_factory=Counter)
    bus_claims: Counter[str] = field(default_factory=Counter)
    bus_skipped: Counter[str] = field(default_factory=Counter)

    def copy(self) -> CallCounters:
        """The counts at this moment."""
        return self.add(CallCounters())

    def add(self, other: CallCounters) -> CallCounters:
        """The sums of both."""
        return CallCounters(
            **{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)}
        )
