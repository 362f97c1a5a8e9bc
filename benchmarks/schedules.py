"""Random fault schedules over real HTTP: M2 and Sora fleets, the real engine, judged by the nodes' record.

    python benchmarks/schedules.py [SCHEDULES] [FIRST_SEED] [PROCESSES]

SCHEDULES (10,000) trials from FIRST_SEED (1) on are played in PROCESSES (2), each on one of the fleets
below, with up to five faults of any kind and up to two deaths of the reconciler. Settle times pass by a
clock that leaps. Exit status 1, and the seeds and stories, where an invariant did not hold.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.core.plan import Revision
from reconciler.desired.fleet import Fleet, add_desired_state, load_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.fault_trials.fault_schedule import draw_schedule
from reconciler.fault_trials.scenario import Invariant, RandomFaults, Scenario, ScenarioFile
from reconciler.fault_trials.trial import TrialSetup, TrialVerdict, run_trial
from reconciler.ports.source import Snapshot
from reconciler.simulation.products import parse_choices

RANDOM = Scenario(name="random", random=RandomFaults(faults=5, kills=2))
CHUNK = 50
NODES = 5

DOCUMENTED = ["sora.purge_cut_off=refuse"]
"""As Sora's documents say, a node that runs is never purged, cut off or not."""

REFUSING = ["sora.repeated_register=refuse", "sora.returned_register=refuse"]
RECKLESS = ["sora.repeated_init=reset", "sora.init_with_away=accept"]
"""With these a person is needed where a node was registered by half, or initialised while it was cut off."""

CHOICES = (
    [],
    ["m2.match=union", "m2.unlisted=closed"],
    ["m2.factory=false", "sora.list_uninitialised=error"],
    ["sora.list_after_purge=empty", "sora.list_without_majority=error"],
    RECKLESS,
    REFUSING,
)
"""What the products may do where their documents are silent; each trial has one of these."""


UNLESS_A_PERSON = tuple(one for one in Invariant if one is not Invariant.CONVERGED)
"""What has to hold where a fault may leave something to a person, such as a half registration."""


class Files:
    """Files in memory."""

    def __init__(self, files: Mapping[str, Any]) -> None:
        self._files = {name: json.dumps(value).encode() for name, value in files.items()}

    def names(self) -> list[str]:
        """Their paths."""
        return sorted(self._files)

    def read(self, path: str) -> bytes:
        """The bytes of one."""
        return self._files[path]


class Result(NamedTuple):
    """What came of some trials."""

    runs: int
    requests: int
    changes: int
    crashes: int
    fleets: Counter[str]
    faults: Counter[str]
    broken: list[str]


@cache
def places() -> tuple[str, ...]:
    """Where the nodes of this process listen: an address of loopback that no other process has."""
    own = os.getpid()
    host = f"127.{1 + (own >> 16) % 254}.{own >> 8 & 255}.{own & 255}"
    return tuple(f"{host}:{20_001 + one}" for one in range(NODES))


def setting(version: str) -> dict[str, Any]:
    """A setting that lets this machine in."""
    management = {
        "api": {"allowList": [{"role": "admin", "addr": "127.0.0.0/8"}]},
        "roles": [{"name": "admin", "permissions": {"enableSetting": True, "enableMetric": True}}],
        "cluster": {"balance": {"mode": "hash" if version == "2" else "rr"}},
    }
    return {"meta": {"version": version}, "env": {"management": management}, "hosting": []}


def m2(count: int, **more: Any) -> dict[str, Any]:
    """An M2 cluster."""
    nodes = [{"name": f"edge-{one}", "address": places()[one]} for one in range(count)]
    return {"name": "edge", "kind": "m2", "setting": "s.json", "concurrency": 2, "nodes": nodes, **more}


def sora(numbers: Iterable[int], temporary: Iterable[int] = (), **more: Any) -> dict[str, Any]:
    """A Sora cluster."""
    nodes = [
        {
            "name": sora_name(one),
            "api": f"http://{places()[one]}/",
            **({"temporary": True} if one in temporary else {}),
            **more,
        }
        for one in numbers
    ]
    return {"name": "live", "kind": "sora", "initialise": True, "nodes": nodes}


def sora_name(number: int) -> str:
    """The name of a Sora node."""
    return f"node-{number}@sora-{number}.example.com"


def fleet(version: str, *clusters: dict[str, Any]) -> Fleet:
    """A fleet that is described so."""
    files = Files({"fleet.json": {"clusters": clusters}, "s.json": setting(version)})
    return add_desired_state(
        load_fleet(Snapshot(Revision("memory", version * 40, version), files), DRIVERS), DRIVERS
    )


def stage(wanted: Fleet, machines: Fleet | None = None, **more: Any) -> TrialSetup:
    """A stage; with machines, the nodes are as they say."""
    return TrialSetup(wanted, machines or wanted, converged=machines is not None, runs=3, **more)


@cache
def stages() -> tuple[tuple[str, TrialSetup], ...]:
    """The fleets, and what a commit wants of them."""
    waves = {"rollout": {"canary": 1, "waves": 1, "soak": 5}}
    back = {"rollout": {**waves["rollout"], "on_failure": "return"}}
    four, five = (3,), (3, 4)
    return (
        ("M2: from the factory", stage(fleet("1", m2(3)))),
        ("M2: a new setting", stage(fleet("2", m2(3)), fleet("1", m2(3)))),
        ("M2: in waves", stage(fleet("2", m2(3, **waves)), fleet("1", m2(3)))),
        ("M2: in waves and back", stage(fleet("2", m2(3, **back)), fleet("1", m2(3)))),
        ("Sora: a new cluster", stage(fleet("1", sora(range(3))))),
        ("Sora: five nodes at once", stage(fleet("1", sora(range(5))))),
        (
            "Sora: two more nodes",
            stage(fleet("1", sora(range(5))), fleet("1", sora(range(5))), fresh=tuple(map(sora_name, five))),
        ),
        (
            "Sora: a dead node is replaced",
            stage(
                fleet("1", sora((0, 1, 3))),
                fleet("1", sora(range(4))),
                fresh=tuple(map(sora_name, four)),
                down=(sora_name(2),),
            ),
        ),
        (
            "Sora: a temporary node joins",
            stage(
                fleet("1", sora(range(4), temporary=four)),
                fleet("1", sora(range(4), temporary=four)),
                fresh=tuple(map(sora_name, four)),
            ),
        ),
        ("Sora: a live node leaves", stage(fleet("1", sora(range(4))), fleet("1", sora(range(5))))),
        (
            "Sora: another mode",
            stage(fleet("1", sora(range(3), mode="block_new_session")), fleet("1", sora(range(3)))),
        ),
    )


def trial(seed: int) -> tuple[str, TrialVerdict]:
    """The trial of a seed: which fleet it was, and what came of it."""
    name, state_table = stages()[seed % len(stages())]
    choices = CHOICES[seed // len(stages()) % len(CHOICES)]
    state_table = replace(state_table, choices=parse_choices([*DOCUMENTED, *choices], DRIVERS))
    if choices in (REFUSING, RECKLESS):
        state_table = replace(state_table, invariants=UNLESS_A_PERSON)
    script = ScenarioFile(RANDOM, Path(), state_table.fleet.document)
    return name, run_trial(state_table, draw_schedule(script, state_table.find_targets(), seed), DRIVERS)


def chunk(seeds: range) -> Result:
    """The trials of some seeds."""
    total = Result(0, 0, 0, 0, Counter(), Counter(), [])
    for seed in seeds:
        name, verdict = trial(seed)
        total.fleets[name] += 1
        total.faults.update(str(blow.fault.kind) for blow in verdict.schedule.faults)
        total = total._replace(
            runs=total.runs + verdict.runs,
            requests=total.requests + verdict.requests,
            changes=total.changes + verdict.changes,
            crashes=total.crashes + verdict.died,
        )
        if verdict.breaches:
            total.broken.append("\n".join(story(seed, name, verdict)))
    return total


def story(seed: int, name: str, verdict: TrialVerdict) -> Iterator[str]:
    """A trial that went wrong."""
    yield f"seed {seed}, {name}:"
    yield from (f"  {breach}" for breach in verdict.breaches)
    yield from (f"    {line}" for line in verdict.schedule.lines())


def main() -> None:
    """Play all, and say what came of it."""
    given = [*map(int, sys.argv[1:4]), *(10_000, 1, 2)[len(sys.argv[1:4]) :]]
    schedules, first, processes = given
    began = time.perf_counter()
    seeds = range(first, first + schedules)
    chunks = [seeds[start : start + CHUNK] for start in range(0, schedules, CHUNK)]
    fleets, faults, broken = Counter[str](), Counter[str](), list[str]()
    sums = Counter[str]()
    with ProcessPoolExecutor(processes) as pool:
        for done, result in enumerate(pool.map(chunk, chunks), 1):
            fleets += result.fleets
            faults += result.faults
            broken += result.broken
            for key in ("runs", "requests", "changes", "deaths"):
                sums[key] += getattr(result, key)
            if result.broken:
                print("\n".join(result.broken), flush=True)
            elif done % 20 == 0:
                print(f"{done * CHUNK:,} schedules, {time.perf_counter() - began:.0f} s", flush=True)
    seconds = time.perf_counter() - began
    for name, count in sorted(fleets.items()):
        print(f"{count:7,}  {name}")
    print(f"faults: {', '.join(f'{count:,} {name}' for name, count in faults.most_common())}")
    print(
        f"{schedules:,} schedules, seeds {first} to {first + schedules - 1}: {len(broken)} broken; "
        f"{sums['runs']:,} runs, {sums['deaths']:,} deaths of the reconciler, {sums['requests']:,} requests, "
        f"{sums['changes']:,} of them changes; {seconds:.0f} s, {seconds / schedules * 1000:.0f} ms each"
    )
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
