"""Every course that offers to M2 nodes that poll can take, explored: polls, reports, kills, commits, faults.

    python benchmarks/states_offers.py [PROCESSES]

Nodes with and without a stamp in their setting, in waves that are taken back and without waves; PROCESSES (2)
parts at the same time. One node may call between any two writes of a pass; with faults, and of two nodes,
calls come between two passes. Two faults are explored without waves only. Exit status 1 and the story where
an invariant breaks.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import scenes

from reconciler.modelcheck.explore import Exploration
from reconciler.modelcheck.offer_state import OfferRules

MOST = 1_000_000


class Part(NamedTuple):
    """One exploration."""

    words: str
    bounds: dict[str, Any]
    interleaves: bool
    is_stamped: bool
    in_waves: bool

    def __str__(self) -> str:
        stamps = "with stamps" if self.is_stamped else "without stamps"
        return f"{self.words}, {stamps}, {'in waves' if self.in_waves else 'at once'}"


KINDS: tuple[tuple[str, dict[str, Any], bool], ...] = (
    ("one node, a fault, a kill, a commit", {"nodes": 1, "faults": 1, "kills": 1, "commits": 1}, False),
    ("one node, calls at any time, a kill, a commit", {"nodes": 1, "kills": 1, "commits": 1}, True),
    ("one node, calls at any time, a kill, a suspension", {"nodes": 1, "kills": 1, "suspensions": 1}, True),
    ("one node, two faults", {"nodes": 1, "faults": 2}, False),
    ("two nodes", {"nodes": 2}, False),
)

PARTS = tuple(
    Part(words, bounds, interleaves, is_stamped, in_waves)
    for words, bounds, interleaves in KINDS
    for is_stamped in (True, False)
    for in_waves in (True, False)
    if not (in_waves and bounds.get("faults") == 2)
)


def explore(part: Part) -> tuple[Exploration, float]:
    """What one part shows, and how long it took."""
    started = time.perf_counter()
    rules = OfferRules((1,) if part.in_waves else (), returns=True, interleaves=part.interleaves)
    result = scenes.polled(stamped=part.is_stamped, rules=rules, most=MOST, **part.bounds)()
    return result, time.perf_counter() - started


def main() -> None:
    """A row for each part, the total at the end."""
    processes = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    began, total = time.perf_counter(), 0
    with ProcessPoolExecutor(processes) as pool:
        for part, (result, seconds) in zip(PARTS, pool.map(explore, PARTS), strict=True):
            total += result.states
            print(f"{part}: {result.states:9,} states, {seconds:5.1f} s", flush=True)
            if result.broken or not result.complete:
                print(result.broken or "too many states")
                print("\n".join(f"  {number}. {line}" for number, line in enumerate(result.story, 1)))
                pool.shutdown(cancel_futures=True)
                sys.exit(1)
    print(f"all: {total:,} states, no violation; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
