"""The reconciler under trial: the engine as it is, over real HTTP, with a journal at which it may die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

from reconciler.core.outcome import Report, State
from reconciler.core.prior import Prior, PriorCluster
from reconciler.core.timestamps import Clock
from reconciler.desired.fleet import Fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import GuardRefusal, ReconcilerError
from reconciler.fault_trials.clock import LeapingLoop, counted
from reconciler.planning.plan_pass import Drivers, survey
from reconciler.ports.store import Store
from reconciler.ports.transport import Commands, Http
from reconciler.rollout.apply_pass import Occasion, apply
from reconciler.rollout.recovery import resume
from reconciler.store.factory import open_store
from reconciler.transports.bundle import open_transports

Earlier: TypeAlias = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Cluster -> node -> its entry in an earlier fleet file, as plain JSON."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How one run of the reconciler ended.

    Args:
        words: what it came to, one line.
        died: whether it died.
        calm: whether it found nothing to do, and nothing to say against it.
        stops: nodes that it asks a person, or a command, to stop.
        crash: what failed in a way it never should; empty for nothing.
    """

    words: str
    died: bool = False
    calm: bool = False
    stops: tuple[str, ...] = ()
    crash: str = ""


class Reconciler(Protocol):
    """Whatever can run the reconciler once."""

    async def run(self) -> Ran:
        """One run: settle what an earlier one left, plan, apply."""


@dataclass(slots=True)
class Pen:
    """Counts the writes of a trial's journals, tells of each, and says at which one to die.

    Args:
        deaths: number of a write -> whether to die after it rather than before.
        written: told the number of each write before it is made.
        intended: told of each step whose intent is about to be written.
    """

    deaths: Mapping[int, bool] = field(default_factory=dict)
    written: Callable[[int], None] = lambda _: None
    intended: Callable[[str], None] = lambda _: None
    writes: int = 0


class Mortal:
    """Put around the writes of a store, as `reconciler.ports.store.Around`: at one of them its user may die.

    Nothing more is written then.

    Args:
        die: ends the process, or the task that stands for it; called once.
    """

    def __init__(self, pen: Pen, die: Callable[[], None]) -> None:
        self._pen = pen
        self._die = die
        self.dead = False

    @asynccontextmanager
    async def __call__(self, step: str) -> AsyncIterator[None]:
        """Count a write, and die before or after it where that is its number; see `Around`."""
        pen = self._pen
        pen.writes += 1
        number = pen.writes
        pen.written(number)
        if step:
            pen.intended(step)
        await self._perhaps_die(number, after=False)
        yield
        await self._perhaps_die(number, after=True)

    async def _perhaps_die(self, number: int, *, after: bool) -> None:
        if not self.dead and self._pen.deaths.get(number) is after:
            self.dead = True
            self._die()
        if self.dead:
            await asyncio.Event().wait()  # whoever is dead goes no further


@dataclass(slots=True)
class InProcess:
    """Runs the reconciler as a task of this process; its death cuts all its calls and writes nothing more."""

    fleet: Fleet
    drivers: Drivers
    folder: Path
    clock: Clock
    pen: Pen
    names: Iterator[str]
    earlier: Earlier = field(default_factory=dict)

    async def run(self) -> Ran:
        """One run; see `Reconciler.run`."""
        died = asyncio.Event()
        mortal = Mortal(self.pen, died.set)
        name = self.names.__next__
        with open_store(self.folder, clock=self.clock, name=name, around=mortal) as store:
            run = asyncio.ensure_future(one_run(self.fleet, self.drivers, store, self.clock, self.earlier))
            death = asyncio.ensure_future(died.wait())
            await asyncio.wait({run, death}, return_when=asyncio.FIRST_COMPLETED)
            death.cancel()
            if mortal.dead:
                run.cancel()
                await asyncio.wait({run})
                return Ran("it dies", died=True)
            return run.result()


def plain_prior(machines: Fleet) -> Earlier:
    """What an earlier revision would say of the nodes as they are before a trial: their fleet file."""
    return {
        desk.entry.name: {
            node.name: node.model_dump(mode="json", exclude_unset=True) for node in desk.entry.members()
        }
        for desk in machines.desks
    }


class TrialCommands(Commands):
    """Runs nothing on this machine: a product's simulator does what the command would do to a node.

    Where it does nothing, the command is one that stops a node: the trial stops it after the run, as a
    person would.

    Args:
        fleet: whose nodes commands are for.
        earlier: nodes that an earlier revision of it named: a command may be for one that it names no more.
        http: the way to simulated nodes.
    """

    def __init__(self, fleet: Fleet, earlier: Earlier, http: Http) -> None:
        self.stopped: list[str] = []
        self._http = http
        self._kinds = {
            name: desk.entry.kind
            for desk in fleet.desks
            for name in (*earlier.get(desk.entry.name, ()), *(node.name for node in desk.entry.members()))
        }

    async def run(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        """What a simulated node makes of it; see `ports.transport.Commands.run`."""
        told = await self._told(command, values, node)
        if told is None:
            self.stopped.append(node)
            return f"the command {command} is to stop it"
        return f"the command {command} ended with status 0: {told}"

    async def read(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        """What a simulated node tells it; see `ports.transport.Commands.read`."""
        return await self._told(command, values, node) or ""

    async def _told(self, command: str, values: Mapping[str, str], node: str) -> str | None:
        simulator = DRIVERS[self._kinds[node]].simulator()
        return None if simulator is None else await simulator.run(command, values, node=node, http=self._http)


async def one_run(
    fleet: Fleet, drivers: Drivers, journal: Store, clock: Clock, earlier: Earlier = MappingProxyType({})
) -> Ran:
    """What `reconcile --yes` does: settle, survey, apply.

    Args:
        fleet: the desired state.
        drivers: kind -> product.
        journal: where it is written down.
        clock: stamps what the run writes.
        earlier: what an earlier revision said, from `plain_prior`.
    """
    prior = {name: Prior((PriorCluster(nodes, "before"),)) for name, nodes in earlier.items()}
    try:
        async with open_transports() as transports:
            loop, commands = asyncio.get_running_loop(), TrialCommands(fleet, earlier, transports.http)
            ways = replace(transports, commands=commands)
            ways = counted(ways, loop) if isinstance(loop, LeapingLoop) else ways
            await resume(journal, drivers, ways, clock=clock)
            recalled = replace(await journal.recall(), prior=prior)
            seen = await survey(fleet, drivers=drivers, transports=ways, recalled=recalled)
            report = await apply(
                seen, drivers=drivers, transports=ways, journal=journal, occasion=Occasion(clock=clock)
            )
    except GuardRefusal as refusal:
        return Ran(f"a guard refuses: {refusal.message.splitlines()[0]}")
    except ReconcilerError as error:
        return Ran(f"it gives up: {error.message}")
    except Exception as error:  # noqa: BLE001  (whatever it is, a trial has found it)
        return Ran("it fails", crash=f"{type(error).__name__}: {error}")
    return _told(report, commands.stopped)


def _told(report: Report, commanded: Iterable[str]) -> Ran:
    states = [outcome.state for outcome in report.outcomes]
    counts = ", ".join(f"{states.count(state)} {state}" for state in State if state in states)
    asked = [outcome.step.node for outcome in report.outcomes if outcome.state is State.WAITING]
    return Ran(counts or "nothing to do", calm=not states, stops=tuple(dict.fromkeys([*asked, *commanded])))
