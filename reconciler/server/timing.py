"""When a loop runs next: debounce, interval and backoff as pure functions of given times."""

from __future__ import annotations

from dataclasses import dataclass

FIRST = 10.0
"""Upper bound in seconds of the wait before the first retry."""

HOLD_ENDS = "hold-ends"
"""Trigger of a run at the end of a hold: a change window opens, or a freeze is over."""

LONGEST_SLEEP = 30.0
"""Seconds after which a wait for a moment of the wall clock looks at this clock again: it may be set."""

DOUBLINGS = 32
"""Beyond this the ceiling applies in any case; a larger exponent would overflow a float."""


@dataclass(frozen=True, slots=True)
class LoopTiming:
    """When a loop runs next.

    Args:
        due: moment of the next run, on the caller's clock.
        failures: runs in a row that need a retry.
        cause: trigger of the next run if nothing else fires: `start`, `interval` or `retry`.
        hold_end: when a hold on changes ends by itself, in seconds since 1970: the next run is due then, if
            it is not due before.
    """

    due: float
    failures: int = 0
    cause: str = "start"
    hold_end: float | None = None

    def compute_wait(self, *, now: float, wall: float) -> float:
        """Seconds until the next run, 0 if it is due; `wall`: the present moment since 1970."""
        left = self.due - now if self.hold_end is None else min(self.due - now, self.hold_end - wall)
        return max(left, 0.0)

    def find_cause(self, *, wall: float) -> str:
        """The trigger of a run that is due."""
        return HOLD_ENDS if self.hold_end is not None and self.hold_end <= wall else self.cause


def schedule_next(
    timing: LoopTiming, *, settled: bool, now: float, interval: float, draw: float
) -> LoopTiming:
    """The timing after a run: the interval if it is settled, else a retry, no later than the interval.

    Args:
        timing: before the run.
        settled: whether the run needs no retry.
        now: end of the run, on the same clock.
        interval: seconds between runs without changes, and the ceiling of the backoff.
        draw: a random number from 0 to 1.
    """
    if settled:
        return LoopTiming(due=now + interval, cause="interval")
    failures = timing.failures + 1
    wait = compute_backoff(failures, first=FIRST, ceiling=interval, draw=draw)
    return LoopTiming(due=now + wait, failures=failures, cause="retry")


def reset_backoff(timing: LoopTiming, *, now: float) -> LoopTiming:
    """The timing after a trigger: earlier failures say nothing about new input."""
    return LoopTiming(due=now, cause=timing.cause)


def compute_backoff(failures: int, *, first: float, ceiling: float, draw: float) -> float:
    """Seconds to wait after `failures` in a row: full jitter over a span that doubles up to `ceiling`."""
    # Full jitter spreads the retries of many clusters that failed together, as after an outage. The lowest
    # tenth is left out, or a small draw would retry at once.
    span = min(ceiling, first * 2.0 ** min(failures - 1, DOUBLINGS))
    return span * max(draw, 0.1)


def compute_debounce(first: float, last: float, *, window: float, limit: float) -> float:
    """The moment at which a burst of triggers is over.

    Args:
        first: time of the first trigger.
        last: time of the latest trigger.
        window: seconds without a trigger that end a burst.
        limit: longest duration of a burst in seconds: a constant stream must not delay the pass without end.
    """
    return min(last + window, first + limit)
