"""How often a node may call: a bucket of calls that refills steadily."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class CallBudget:
    """Calls that one node may still make.

    Args:
        left: calls at the time `at`.
        at: monotonic seconds.
    """

    left: float
    at: float

    def take(self, now: float, rate: float) -> float:
        """Take one call; gives 0 if there was one, else the seconds until there is.

        Args:
            now: monotonic seconds.
            rate: calls per minute; also the most that gather.
        """
        self.left = min(rate, self.left + (now - self.at) * rate / 60)
        self.at = now
        if self.left >= 1:
            self.left -= 1
            return 0.0
        return (1 - self.left) * 60 / rate
