"""Every combination of the options that a simulated Sora node has, each with every commit, explored.

    python benchmarks/options.py [FAULTS] [SHARE]

Where Sora's documents are silent, the simulator takes one of several behaviours for each question. A planner
that is safe under each of them alone may still not be safe under two together. So a cluster of three with a
spare node is walked under all of them, with up to FAULTS (0) failures and one kill of the reconciler; SHARE
(1) walks every SHARE-th combination only. Exit status 1 and the story where an invariant breaks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from itertools import product

from states import commits, explored

from reconciler.drivers.sora.choices import DEFAULTS, Choices

REGULAR, PASSES = 3, 2


def combinations() -> Iterator[Choices]:
    """Every choice with every other; the kinds of answers are those of the options themselves."""
    names = [one.name for one in fields(Choices)]
    kinds = [type(getattr(DEFAULTS, name)) for name in names]
    yield from (Choices(**dict(zip(names, values, strict=True))) for values in product(*kinds))


def main() -> None:
    """One line at the end."""
    faults, share = [*map(int, sys.argv[1:]), *(0, 1)[len(sys.argv) - 1 :]][:2]
    began, states, count = time.perf_counter(), 0, 0
    for choices in list(combinations())[::share]:
        count += 1
        for commit in commits(REGULAR, 0):
            result = explored(commit, choices, faults=faults, passes=PASSES)
            states += result.states
            if result.broken:
                print(f"{commit.story}, {choices}: {result.broken}")
                print("\n".join(f"  {number}. {line}" for number, line in enumerate(result.story, 1)))
                sys.exit(1)
    seconds = time.perf_counter() - began
    print(f"{count:,} combinations, up to {faults} faults: {states:,} states, no violation; {seconds:.0f} s")


if __name__ == "__main__":
    main()
