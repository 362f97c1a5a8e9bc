"""How often calls were answered, and how fast: bounded memory, whatever the number of calls."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

_LEAST: Final = 0.0001
"""Seconds of the first class."""

_GROWTH: Final = 1.1
"""Each class is longer than the one before by this factor, so that a quantile is exact to a tenth."""


@dataclass(slots=True)
class CallStatistics:
    """Calls of one purpose.

    Args:
        statuses: status -> number of calls; 0 for no answer.
        classes: class of duration -> number of answered calls.
        longest: duration of the longest answered call, in seconds.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    classes: Counter[int] = field(default_factory=Counter)
    longest: float = 0.0

    @property
    def count(self) -> int:
        """The number of calls."""
        return self.statuses.total()

    def add(self, status: int, seconds: float) -> None:
        """Count one call."""
        self.statuses[status] += 1
        if status:
            self.classes[max(0, math.ceil(math.log(max(seconds, _LEAST) / _LEAST, _GROWTH)))] += 1
            self.longest = max(self.longest, seconds)

    def quantile(self, share: float) -> float:
        """Seconds within which this share of the answers came; 0 without answers."""
        wanted, seen = share * self.classes.total(), 0
        for number in sorted(self.classes):
            seen += self.classes[number]
            if seen >= wanted:
                return min(_LEAST * _GROWTH**number, self.longest)
        return 0.0

    def describe(self) -> dict[str, Any]:
        """As plain data, with durations in milliseconds."""
        return {
            "calls": self.count,
            "statuses": {str(status): number for status, number in sorted(self.statuses.items())},
            "classes": {str(number): count for number, count in sorted(self.classes.items())},
            **{
                name: round(seconds * 1000, 3)
                for name, seconds in (
                    ("p50", self.quantile(0.5)),
                    ("p99", self.quantile(0.99)),
                    ("longest", self.longest),
                )
            },
        }
