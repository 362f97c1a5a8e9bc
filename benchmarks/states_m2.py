"""Every course that an M2 plan can take, explored: one to three nodes, what a commit may change, faults.

    python benchmarks/states_m2.py [FAULTS]

For each number of nodes and each commit, all interleavings of the reconciler with up to FAULTS (2; of three
nodes one less) failures, cuts, changes by somebody else and stuck calls, and one kill of the reconciler, are
walked, in every way in which the nodes may behave where M2's pages are silent. Exit status 1 and the story
where an invariant breaks.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from itertools import product
from typing import Any

import scenes

Pair = tuple[Mapping[str, Any] | None, Mapping[str, Any]]

COMMITS: dict[str, Pair] = {
    "the version alone": (scenes.BEFORE, scenes.AFTER),
    "a new node": (None, scenes.AFTER),
    "who may call": (scenes.BEFORE, scenes.setting(scenes.HERE)),
    "the API's port": (scenes.BEFORE, scenes.setting(scenes.HERE, port=10041)),
    "what waits for a restart": (scenes.BEFORE, scenes.setting(scenes.HERE, http={"recvBufferSize": 8192})),
    "a member more": (
        scenes.setting(scenes.HERE, members=["a", "b"]),
        scenes.setting(scenes.HERE, members=["a", "b", "c"]),
    ),
    "other members, at once": (scenes.RINGED, scenes.PARTED),
}


def main() -> None:
    """A row for each number of nodes, the total at the end."""
    faults = int(sys.argv[1]) if sys.argv[1:] else 2
    began, total = time.perf_counter(), 0
    for nodes in (1, 2, 3):
        seen, started, own = 0, time.perf_counter(), faults - (nodes == 3)
        for (story, (before, wanted)), at_once in product(COMMITS.items(), sorted({1, nodes})):
            result = scenes.m2(wanted, before, nodes=nodes, faults=own, at_once=at_once, most=5_000_000)()
            seen += result.states
            if result.broken or not result.complete:
                print(f"{nodes} nodes, {story}, {at_once} at once: {result.broken or 'too many states'}")
                print("\n".join(f"  {number}. {line}" for number, line in enumerate(result.story, 1)))
                sys.exit(1)
        total += seen
        print(
            f"{nodes} nodes, up to {own} faults: {seen:10,} states, {time.perf_counter() - started:6.1f} s",
            flush=True,
        )
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"all: {total:,} states, no violation; {seconds:.0f} s,")
    print(f"{seconds / total * 1e6:.1f} s for a million states, {peak:.0f} MB at the most")


if __name__ == "__main__":
    main()
