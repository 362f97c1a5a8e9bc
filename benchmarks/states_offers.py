"""Every course that offers to M2 nodes that poll can take, explored: polls, reports, kills, commits, faults.

    python benchmarks/states_offers.py

Nodes with and without a stamp in their setting, in waves that are taken back and without waves. One node may
call between any two writes of a pass; of two nodes, calls come between two passes. Exit status 1 and the
story where an invariant breaks.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import scenes

from reconciler.modelcheck.offer_model import OfferRules

MOST = 1_000_000

PARTS: tuple[tuple[str, dict[str, Any], bool], ...] = (
    ("one node, calls at any time, a kill, a commit", {"nodes": 1, "kills": 1, "commits": 1}, True),
    ("one node, calls at any time, a kill, a suspension", {"nodes": 1, "kills": 1, "suspensions": 1}, True),
    ("one node, a fault, a kill, a commit", {"nodes": 1, "faults": 1, "kills": 1, "commits": 1}, False),
    ("one node, two faults", {"nodes": 1, "faults": 2}, False),
    ("two nodes", {"nodes": 2}, False),
)


def main() -> None:
    """A row for each part, the total at the end."""
    began, total = time.perf_counter(), 0
    for words, bounds, interleaves in PARTS:
        for stamped in (False, True):
            for sizes in ((1,), ()):
                started = time.perf_counter()
                rules = OfferRules(sizes, returns=True, interleaves=interleaves)
                result = scenes.polled(stamped=stamped, rules=rules, most=MOST, **bounds)()
                total += result.states
                how = f"{'with' if stamped else 'without'} stamps, {'in waves' if sizes else 'at once'}"
                print(
                    f"{words}, {how}: {result.states:9,} states, {time.perf_counter() - started:5.1f} s",
                    flush=True,
                )
                if result.broken or not result.complete:
                    print(result.broken or "too many states")
                    print("\n".join(f"  {number}. {line}" for number, line in enumerate(result.story, 1)))
                    sys.exit(1)
    print(f"all: {total:,} states, no violation; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
