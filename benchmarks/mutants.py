"""Faults planted into the guards and conditions of the program: the model checker has to find each.

    python benchmarks/mutants.py [WORD]

Each row plants one fault into the code of one function (a condition gone, off by one, or turned round) and
walks a scene in which it shows. The last column says what becomes of it while every other layer is whole:
the planner, the guards and the judgement before each call back each other up, and what one of them lets
through another may still hold. Where that is so, the layers that hold it are switched off first, and the
scene is walked without the fault too, which has to hold.

Where no model explores (gates, exit statuses, masks, the order of journal, call and announcement), each
operator, condition, number and order of statements is changed in turn, and a check of what the rule means has
to fail; what changes nothing that anybody could notice is named in `rules.py`. Exit status 1 where a fault is
not found.
"""

from __future__ import annotations

import sys
import time

from mutants_collab import COLLAB
from mutants_confs import CONFS
from mutants_m2 import EXECUTOR, M2
from mutants_offers import OFFERS
from mutants_sora import SORA
from mutation import tried
from rules import RULES

CATALOGUE = (*SORA, *CONFS, *M2, *COLLAB, *EXECUTOR, *OFFERS)
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
    caught, total = sum(result.caught for result in results), len(results)
    print("\n| rule | planted by operators | not found |")
    print("|---|--:|---|")
    for rule in RULES:
        if word not in rule.name:
            continue
        rule.check()  # without a fault it must hold: a check that always fails would find every fault
        planted = list(rule.faults())
        missed = [fault.place for fault in planted if not rule.finds(fault) and fault.place not in rule.alike]
        caught, total = caught + len(planted) - len(missed), total + len(planted)
        print(f"| {rule.name} | {len(planted)} | {'; '.join(missed)} |", flush=True)
    print(f"\n{caught} of {total} planted faults found, {time.perf_counter() - began:.0f} s")
    sys.exit(caught < total)


if __name__ == "__main__":
    main()
