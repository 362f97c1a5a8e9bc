"""Schedules: what goes wrong with the nodes and the reconciler in one trial, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.errors import UsageError
from reconciler.fault_trials.scenario import FaultEntry, RandomFaults, ScenarioFile
from reconciler.simulation.faults import AMONG_NODES, ON_MACHINES, Fault, FaultKind, make_fault

_STATUSES: Final = (500, 503, 401)
_MOST_BYTES: Final = 200
"""Maximum bytes of a file that a drawn fault lets through: more than a small file has."""

_LONGEST: Final = 12.0
"""Maximum seconds of a drawn delay: longer than every timeout for an answer."""


@dataclass(frozen=True, slots=True)
class FaultMoment:
    """When a fault begins: `kind` and `value` are a field of `FaultTime`; `to` is as there."""

    kind: str
    value: Any = 1
    to: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "run":
                return f"before run {self.value}"
            case "after":
                return f"after {self.value:g} s"
            case "step":
                return f"when the intent of {self.value} is written"
            case "journal":
                return f"at write {self.value} of the journal"
        return f"with {self.kind} {self.value}" + (f" to {self.to}" if self.to else "")


@dataclass(frozen=True, slots=True)
class ScheduledFault:
    """One fault of a node, or of every node of a cluster, at its moment."""

    name: str
    fault: Fault
    when: FaultMoment

    def __str__(self) -> str:
        return f"{self.name}: {self.fault}, {self.when}"


@dataclass(frozen=True, slots=True)
class ScheduledCrash:
    """The reconciler dies before or after a write of its journal, counted over the whole trial."""

    write: int
    after: bool

    def __str__(self) -> str:
        return f"the reconciler dies {'after' if self.after else 'before'} write {self.write} of its journal"


@dataclass(frozen=True, slots=True)
class FaultSchedule:
    """All faults of one trial.

    Args:
        shots: numbers of the changes; the reconciler is killed when one of them arrives at a node.
    """

    seed: int
    faults: tuple[ScheduledFault, ...] = ()
    crashes: tuple[ScheduledCrash, ...] = ()
    shots: tuple[int, ...] = ()

    def lines(self) -> Iterator[str]:
        """One line for each fault."""
        yield from map(str, self.faults)
        yield from map(str, self.crashes)
        for change in self.shots:
            yield f"the reconciler is killed when change {change} reaches a node"


@dataclass(frozen=True, slots=True)
class FaultTargets:
    """The nodes that faults can be injected into.

    Args:
        nodes: node -> its cluster.
        with_links: clusters whose nodes talk to each other.
        machine_kinds: cluster -> those of `ON_MACHINES` that fit its nodes' files and commands.
    """

    nodes: Mapping[str, str]
    with_links: Collection[str]
    machine_kinds: Mapping[str, Collection[FaultKind]] = field(default_factory=dict)

    def fits(self, name: str, kind: FaultKind) -> bool:
        """Whether a kind of fault makes sense for a node, or for the nodes of a cluster."""
        cluster = self.nodes.get(name, name)
        if kind in AMONG_NODES:
            return cluster in self.with_links
        return kind not in ON_MACHINES or kind in self.machine_kinds.get(cluster, ())


def draw_schedule(scenario_file: ScenarioFile, targets: FaultTargets, seed: int) -> FaultSchedule:
    """The schedule of a seed; the same arguments give the same one.

    Raises:
        InputError: a fault names no node, or makes no sense.
    """
    rng = random.Random(seed)  # noqa: S311  (a schedule is no secret)
    faults = [
        _make_fault_entry(scenario_file, index, entry, targets, rng)
        for index, entry in enumerate(scenario_file.scenario.faults)
        if not entry.kills
    ]
    more = scenario_file.scenario.random
    if scenario_file.scenario.kills or more is None:
        # `journal: every` is left out here: it is one schedule for each write.
        moments = [entry.at.moment for entry in scenario_file.scenario.kills if entry.at is not None]
        writes = sorted(value for kind, value in moments if kind == "journal" and value != "every")
        crashes = [ScheduledCrash(write, after=True) for write in writes]
        shots = tuple(value for kind, value in moments if kind == "change")
        return FaultSchedule(seed, tuple(faults), tuple(crashes), shots)
    faults += [_draw_fault(more, targets, rng) for _ in range(rng.randint(0, more.faults))]
    crashes = [
        ScheduledCrash(rng.randint(1, 14), rng.random() < 0.5)  # noqa: PLR2004  (either side)
        for _ in range(rng.randint(0, more.kills))
    ]
    return FaultSchedule(seed, tuple(faults), tuple(sorted(crashes, key=lambda crash: crash.write)))


def _make_fault_entry(
    scenario_file: ScenarioFile, index: int, entry: FaultEntry, targets: FaultTargets, rng: random.Random
) -> ScheduledFault:
    pointer = f"/faults/{index}"
    name = entry.node or rng.choice(sorted(targets.nodes))
    known = {*targets.nodes, *targets.nodes.values()}
    for key, named in (("node", name), ("at/to", entry.at.to if entry.at else None)):
        if named and named not in known:
            remedy = f"the nodes and clusters are {', '.join(sorted(known))}"
            raise scenario_file.wrong(f"{pointer}/{key}", f"there is no node or cluster {named!r}", remedy)
    try:
        fault = make_fault(entry.fault.value, entry.argument, count=entry.count, on=entry.only)
    except UsageError as error:
        raise scenario_file.wrong(f"{pointer}/fault", error.message, error.remedy) from error
    if fault.kind in AMONG_NODES and targets.nodes.get(name, name) not in targets.with_links:
        message = f"the nodes of {targets.nodes.get(name, name)} do not talk to each other"
        raise scenario_file.wrong(f"{pointer}/fault", message, "use cut or killed")
    if not targets.fits(name, fault.kind):
        message = f"no file or command of the fleet file is for {name}"
        raise scenario_file.wrong(f"{pointer}/fault", message, "use another fault or another node")
    if entry.at is None:
        return ScheduledFault(name, fault, FaultMoment("run"))
    return ScheduledFault(name, fault, FaultMoment(*entry.at.moment, to=entry.at.to or ""))


def _draw_fault(more: RandomFaults, targets: FaultTargets, rng: random.Random) -> ScheduledFault:
    name = rng.choice(sorted(targets.nodes))
    kinds = [kind for kind in more.kinds if targets.fits(name, kind)]
    kind = rng.choice(kinds or [FaultKind.CUT])
    argument: float | None = None
    if kind in {FaultKind.SLOW, FaultKind.WORKS, FaultKind.RESTARTED}:
        argument = round(rng.uniform(0, _LONGEST), 1)
    elif kind is FaultKind.ERROR:
        argument = rng.choice(_STATUSES)
    elif kind is FaultKind.TORN:
        argument = rng.randint(0, _MOST_BYTES)
    return ScheduledFault(name, make_fault(kind, argument, count=rng.randint(1, 4)), _draw_moment(rng))


def _draw_moment(rng: random.Random) -> FaultMoment:
    # Small counts: a run of a few nodes sends about a dozen requests, and a later fault would never begin.
    match rng.randrange(5):
        case 0:
            return FaultMoment("request", rng.randint(1, 12))
        case 1:
            return FaultMoment("change", rng.randint(1, 2))
        case 2:
            return FaultMoment("run", rng.randint(1, 2))
        case 3:
            return FaultMoment("journal", rng.randint(1, 12))
    return FaultMoment("after", round(rng.uniform(0, 5), 2))
