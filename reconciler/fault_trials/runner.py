"""The reconciler under trial: real passes over real HTTP, with a journal at whose writes it may die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

from reconciler.core.outcome import State
from reconciler.core.prior_revisions import PriorCluster, PriorRevisions
from reconciler.core.timestamps import Clock
from reconciler.desired.fleet import Fleet
from reconciler.errors import GuardRefusal, ReconcilerError
from reconciler.fault_trials.clock import SkippingLoop, count_calls
from reconciler.planning.plan_pass import Drivers, run_plan_pass
from reconciler.ports.store import Store
from reconciler.rollout.apply_pass import RunContext, run_apply_pass
from reconciler.rollout.recovery import settle_open_runs
from reconciler.simulation.machine_transports import add_machines
from reconciler.store.factory import open_store
from reconciler.transports.bundle import open_transports
from reconciler.transports.mailbox import MailReader

Earlier: TypeAlias = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Cluster -> node -> its entry in an earlier fleet file, as plain JSON."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of one run of the reconciler.

    Args:
        words: summary, one line.
        died: whether it died.
        calm: whether it found nothing to do.
        stops: nodes that it asks an operator to stop.
        crash: an unexpected exception; empty if there was none.
    """

    words: str
    died: bool = False
    calm: bool = False
    stops: tuple[str, ...] = ()
    crash: str = ""


class TrialRunner(Protocol):
    """Runs the reconciler.

    Args:
        machines: URL of the endpoint for files and commands of the nodes.
    """

    write_counter: WriteCounter
    machines: str

    async def run(self) -> RunResult:
        """One run: settle open steps, plan, apply."""


@dataclass(slots=True)
class WriteCounter:
    """Counts the writes of all runs of a trial.

    Args:
        crashes: number of a write -> whether the reconciler dies after it instead of before.
        written: called with the number of each write before it is made.
        intended: called with each step whose intent is about to be written.
    """

    crashes: Mapping[int, bool] = field(default_factory=dict)
    written: Callable[[int], None] = lambda _: None
    intended: Callable[[str], None] = lambda _: None
    writes: int = 0


class CrashingWrites:
    """A `ports.store.WriteHook` that dies at a write of the store.

    Args:
        die: ends the process, or the task in its place; called once.
    """

    def __init__(self, write_counter: WriteCounter, die: Callable[[], None]) -> None:
        self._write_counter = write_counter
        self._die = die
        self.dead = False

    @asynccontextmanager
    async def __call__(self, step: str) -> AsyncIterator[None]:
        """Count a write, and die before or after it if that is due; see `WriteHook`."""
        write_counter = self._write_counter
        write_counter.writes += 1
        number = write_counter.writes
        write_counter.written(number)
        if step:
            write_counter.intended(step)
        await self._crash_if_due(number, after=False)
        yield
        await self._crash_if_due(number, after=True)

    async def _crash_if_due(self, number: int, *, after: bool) -> None:
        if not self.dead and self._write_counter.crashes.get(number) is after:
            self.dead = True
            self._die()
        if self.dead:
            # A dead process writes nothing more: every later write waits until its task is cancelled.
            await asyncio.Event().wait()


@dataclass(slots=True)
class TaskRunner:
    """Runs the reconciler as a task of this process; a crash cancels its calls and stops all writes."""

    fleet: Fleet
    drivers: Drivers
    folder: Path
    clock: Clock
    write_counter: WriteCounter
    names: Iterator[str]
    earlier: Earlier = field(default_factory=dict)
    machines: str = ""

    async def run(self) -> RunResult:
        """One run; see `TrialRunner.run`."""
        died = asyncio.Event()
        crashing_writes = CrashingWrites(self.write_counter, died.set)
        name = self.names.__next__
        with open_store(self.folder, clock=self.clock, name=name, around=crashing_writes) as store:
            run = asyncio.ensure_future(
                run_once(self.fleet, self.drivers, store, self.clock, self.earlier, machines=self.machines)
            )
            death = asyncio.ensure_future(died.wait())
            await asyncio.wait({run, death}, return_when=asyncio.FIRST_COMPLETED)
            death.cancel()
            if crashing_writes.dead:
                run.cancel()
                await asyncio.wait({run})
                return RunResult("it dies", died=True)
            return run.result()


def make_prior(machines: Fleet) -> Earlier:
    """The nodes' entries in an earlier revision: the fleet file of the nodes before the trial."""
    return {
        cluster_input.entry.name: {
            node.name: node.model_dump(mode="json", exclude_unset=True)
            for node in cluster_input.entry.members()
        }
        for cluster_input in machines.cluster_inputs
    }


async def run_once(
    fleet: Fleet,
    drivers: Drivers,
    journal: Store,
    clock: Clock,
    earlier: Earlier = MappingProxyType({}),
    *,
    machines: str,
) -> RunResult:
    """Do what `reconcile --yes` does: settle open steps, plan, apply.

    Args:
        fleet: the desired state.
        drivers: kind -> product.
        journal: of the trial.
        clock: of the trial.
        earlier: from `make_prior`.
        machines: URL of the endpoint for files and commands of the nodes; empty if they have none.
    """
    # Not `api.reconciler.Reconciler`: it reads a source, while a trial has a loaded fleet and made-up entries
    # of an earlier revision.
    prior = {name: PriorRevisions((PriorCluster(nodes, "before"),)) for name, nodes in earlier.items()}
    try:
        async with open_transports() as transports:
            loop, ways = asyncio.get_running_loop(), replace(transports, mailbox=MailReader(journal))
            ways = add_machines(ways, machines)
            ways = count_calls(ways, loop) if isinstance(loop, SkippingLoop) else ways
            await settle_open_runs(journal, drivers, ways, clock=clock)
            recalled = replace(await journal.read_memory(), prior=prior)
            seen = await run_plan_pass(
                fleet, drivers=drivers, transports=ways, recalled=recalled, nodes=journal
            )
            report = await run_apply_pass(
                seen, drivers=drivers, transports=ways, journal=journal, run_context=RunContext(clock=clock)
            )
    except GuardRefusal as refusal:
        return RunResult(f"a guard refuses: {refusal.message.splitlines()[0]}")
    except ReconcilerError as error:
        return RunResult(f"it gives up: {error.message}")
    except Exception as error:  # noqa: BLE001  (any exception is a defect, which the judge reports)
        return RunResult("it fails", crash=f"{type(error).__name__}: {error}")
    # Calm needs a run without any step: one that only waits or skips steps has not converged.
    states = [outcome.state for outcome in report.outcomes]
    counts = ", ".join(f"{states.count(state)} {state}" for state in State if state in states)
    waiting = [outcome.step.node for outcome in report.outcomes if outcome.state is State.WAITING]
    stops = tuple(dict.fromkeys(waiting))
    return RunResult(counts or "nothing to do", calm=not states, stops=stops)
