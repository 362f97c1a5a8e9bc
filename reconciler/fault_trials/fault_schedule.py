"""Schedules: what befalls the nodes and the reconciler in one trial, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from reconciler.errors import UsageError
from reconciler.fault_trials.scenario import FaultEntry, RandomFaults, ScenarioFile
from reconciler.simulation.faults import AMONG_NODES, Fault, FaultKind, make_fault

_STATUSES: Final = (500, 503, 401)
_LONGEST: Final = 12.0
"""Seconds that a drawn delay has at most: beyond every timeout for an answer."""


@dataclass(frozen=True, slots=True)
class FaultMoment:
    """A moment: `kind` is a field of `FaultTime`, counted by `number`, at `to`, or named by `step`."""

    kind: str
    number: float = 1
    step: str = ""
    to: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "run":
                return f"before run {self.number:g}"
            case "after":
                return f"after {self.number:g} s"
            case "step":
                return f"when the intent of {self.step} is written"
            case "journal":
                return f"at write {self.number:g} of the journal"
        return f"with {self.kind} {self.number:g}" + (f" to {self.to}" if self.to else "")


BEGINNING: Final = FaultMoment("run", 1)


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
    """The reconciler dies at a write of its journal, counted over the whole trial: before it, or after."""

    write: int
    after: bool

    def __str__(self) -> str:
        return f"the reconciler dies {'after' if self.after else 'before'} write {self.write} of its journal"


@dataclass(frozen=True, slots=True)
class FaultSchedule:
    """All that goes wrong in one trial.

    Args:
        shots: numbers of the changes with whose arrival at a node the reconciler is killed.
    """

    seed: int
    blows: tuple[ScheduledFault, ...] = ()
    deaths: tuple[ScheduledCrash, ...] = ()
    shots: tuple[int, ...] = ()

    def lines(self) -> Iterator[str]:
        """In words, one line each."""
        yield from map(str, self.blows)
        yield from map(str, self.deaths)
        for change in self.shots:
            yield f"the reconciler is killed when change {change} reaches a node"


@dataclass(frozen=True, slots=True)
class FaultTargets:
    """Who can be struck.

    Args:
        nodes: node -> its cluster.
        joined: clusters whose nodes talk to each other.
    """

    nodes: Mapping[str, str]
    joined: Collection[str]


def draw_schedule(script: ScenarioFile, cast: FaultTargets, seed: int) -> FaultSchedule:
    """The schedule of a seed; the same arguments give the same one.

    Raises:
        InputError: a fault names no node, or makes no sense.
    """
    chance = random.Random(seed)  # noqa: S311  (a schedule is no secret)
    blows = [
        _written(script, index, entry, cast, chance)
        for index, entry in enumerate(script.scenario.faults)
        if not entry.kills
    ]
    more = script.scenario.random
    if script.scenario.kills or more is None:
        return FaultSchedule(seed, tuple(blows), *_killed(script.scenario.kills))
    blows += [_blow(more, cast, chance) for _ in range(chance.randint(0, more.faults))]
    deaths = [
        ScheduledCrash(chance.randint(1, 14), chance.random() < 0.5)  # noqa: PLR2004  (either side)
        for _ in range(chance.randint(0, more.kills))
    ]
    return FaultSchedule(seed, tuple(blows), tuple(sorted(deaths, key=lambda death: death.write)))


def _killed(entries: Iterable[FaultEntry]) -> tuple[tuple[ScheduledCrash, ...], tuple[int, ...]]:
    """The deaths at one write each, and the shots; `journal: every` is many schedules."""
    moments = [entry.at.moment for entry in entries if entry.at is not None]
    deaths = [
        ScheduledCrash(number, after=True)
        for kind, number in moments
        if kind == "journal" and number != "every"
    ]
    shots = [number for kind, number in moments if kind == "change"]
    return tuple(sorted(deaths, key=lambda death: death.write)), tuple(shots)


def _written(
    script: ScenarioFile, index: int, entry: FaultEntry, cast: FaultTargets, chance: random.Random
) -> ScheduledFault:
    pointer = f"/faults/{index}"
    name = entry.node or chance.choice(sorted(cast.nodes))
    known = {*cast.nodes, *cast.nodes.values()}
    for key, named in (("node", name), ("at/to", entry.at.to if entry.at else None)):
        if named and named not in known:
            remedy = f"the nodes and clusters are {', '.join(sorted(known))}"
            raise script.wrong(f"{pointer}/{key}", f"there is no node or cluster {named!r}", remedy)
    try:
        fault = make_fault(entry.fault.value, entry.argument, count=entry.count, on=entry.only)
    except UsageError as error:
        raise script.wrong(f"{pointer}/fault", error.message, error.remedy) from error
    if fault.kind in AMONG_NODES and cast.nodes.get(name, name) not in cast.joined:
        message = f"the nodes of {cast.nodes.get(name, name)} do not talk to each other"
        raise script.wrong(f"{pointer}/fault", message, "use cut or killed")
    if entry.at is None:
        return ScheduledFault(name, fault, BEGINNING)
    kind, value = entry.at.moment
    moment = (
        FaultMoment(kind, step=value) if kind == "step" else FaultMoment(kind, value, to=entry.at.to or "")
    )
    return ScheduledFault(name, fault, moment)


def _blow(more: RandomFaults, cast: FaultTargets, chance: random.Random) -> ScheduledFault:
    name = chance.choice(sorted(cast.nodes))
    joined = cast.nodes[name] in cast.joined
    kinds = [kind for kind in more.kinds if joined or kind not in AMONG_NODES]
    kind = chance.choice(kinds or [FaultKind.CUT])
    argument: float | None = None
    if kind in {FaultKind.SLOW, FaultKind.WORKS, FaultKind.RESTARTED}:
        argument = round(chance.uniform(0, _LONGEST), 1)
    elif kind is FaultKind.ERROR:
        argument = chance.choice(_STATUSES)
    return ScheduledFault(name, make_fault(kind, argument, count=chance.randint(1, 4)), _moment(chance))


def _moment(chance: random.Random) -> FaultMoment:
    match chance.randrange(5):
        case 0:
            return FaultMoment("request", chance.randint(1, 12))
        case 1:
            return FaultMoment("change", chance.randint(1, 2))
        case 2:
            return FaultMoment("run", chance.randint(1, 2))
        case 3:
            return FaultMoment("journal", chance.randint(1, 12))
    return FaultMoment("after", round(chance.uniform(0, 5), 2))
