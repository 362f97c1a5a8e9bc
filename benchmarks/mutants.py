"""Faults planted into the guards and conditions of the program: the model checker has to find each.

    python benchmarks/mutants.py [WORD]

Each row plants one fault into the code of one function (a condition gone, off by one, or turned round) and
walks a scene in which it shows. The last column says what becomes of it while every other layer is whole:
the planner, the guards and the judgement before each call back each other up, and what one of them lets
through another may still hold. Where that is so, the layers that hold it are switched off first, and the
scene is walked without the fault too, which has to hold. Exit status 1 where a fault is not found.
"""

from __future__ import annotations

import sys
import time

from mutants_m2 import EXECUTOR, M2
from mutants_sora import SORA
from mutation import tried

CATALOGUE = (*SORA, *M2, *EXECUTOR)
"""All of them."""


def main() -> None:
    """A row for each mutant, the total at the end."""
    word = " ".join(sys.argv[1:])
    began, results = time.perf_counter(), []
    print("| what | planted fault | states | moves | broken | with all other layers whole |")
    print("|---|---|--:|--:|---|---|")
    for mutant in CATALOGUE:
        if word not in f"{mutant.what} {mutant.fault}":
            continue
        result = tried(mutant)
        results.append(result)
        broken = result.found.broken if result.caught else "**not found**"
        whole = "found" if result.backed.broken else f"held by {mutant.backing}"
        cells = f"{result.found.states:,} | {len(result.found.story)} | {broken} | {whole}"
        print(f"| {mutant.what} | {mutant.fault} | {cells} |", flush=True)
    caught = sum(result.caught for result in results)
    print(f"\n{caught} of {len(results)} planted faults found, {time.perf_counter() - began:.0f} s")
    sys.exit(caught < len(results))


if __name__ == "__main__":
    main()
