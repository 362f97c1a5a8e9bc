"""When to do something again: debounce, interval and backoff as pure functions of given times."""

from __future__ import annotations

from dataclasses import dataclass

FIRST = 10.0
"""Seconds within which the first new try falls after a failure."""

DOUBLINGS = 32
"""More than any ceiling needs; keeps the power a small number."""


@dataclass(frozen=True, slots=True)
class LoopTiming:
    """When a loop's next turn is due.

    Args:
        due: moment of the next turn, on the clock of whoever calls.
        failures: tries in a row that did not settle.
        cause: what the next turn will be for: `start`, `interval` or `again`.
    """

    due: float
    failures: int = 0
    cause: str = "start"


def start_timing(now: float) -> LoopTiming:
    """The first turn is due at once."""
    return LoopTiming(due=now)


def schedule_next(
    timing: LoopTiming, *, settled: bool, now: float, interval: float, draw: float
) -> LoopTiming:
    """The timing after a turn: the interval where all is settled, or else a new try, no later than that.

    Args:
        timing: before the turn.
        settled: whether the turn left nothing to be tried again.
        now: the moment the turn ended, on the same clock.
        interval: seconds between turns that find nothing to do, and the ceiling of the backoff.
        draw: a random number from 0 to 1.
    """
    if settled:
        return LoopTiming(due=now + interval, cause="interval")
    failures = timing.failures + 1
    wait = compute_backoff(failures, first=FIRST, ceiling=interval, draw=draw)
    return LoopTiming(due=now + wait, failures=failures, cause="again")


def reset_backoff(timing: LoopTiming, *, now: float) -> LoopTiming:
    """The timing where something new came: failures so far say nothing about it."""
    return LoopTiming(due=now, cause=timing.cause)


def compute_backoff(failures: int, *, first: float, ceiling: float, draw: float) -> float:
    """Seconds to wait after `failures` in a row: full jitter over a span that doubles up to `ceiling`.

    The lowest tenth of the span is left out, so that an unlucky draw does not try twice in one breath.
    """
    span = min(ceiling, first * 2.0 ** min(failures - 1, DOUBLINGS))
    return span * max(draw, 0.1)


def compute_debounce(first: float, last: float, *, window: float, limit: float) -> float:
    """The moment at which a burst of questions is answered.

    Args:
        first: when the first of them came.
        last: when the latest came.
        window: seconds of silence after which the burst counts as over.
        limit: seconds after the first at which it is answered even while more keep coming.
    """
    return min(last + window, first + limit)
