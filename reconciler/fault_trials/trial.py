"""One trial: a simulated fleet, a schedule of faults, repeated runs of the reconciler, and a verdict."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

from reconciler.core.actor import Actor
from reconciler.core.timestamps import Clock
from reconciler.desired.fleet import Fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.fault_trials.breaches import InvariantBreach, TrialEvidence, find_breaches
from reconciler.fault_trials.clock import StampClock, run_skipping_waits
from reconciler.fault_trials.fault_injector import FaultInjector
from reconciler.fault_trials.fault_schedule import FaultSchedule, FaultTargets
from reconciler.fault_trials.file_oracle import FileOracle
from reconciler.fault_trials.polled_traffic import PolledTraffic
from reconciler.fault_trials.recorder import TrialRecorder
from reconciler.fault_trials.runner import (
    RunResult,
    TaskRunner,
    TrialRunner,
    WriteCounter,
    make_prior,
)
from reconciler.fault_trials.scenario import Invariant
from reconciler.planning.plan_pass import Drivers
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.node_store import NodeTokens
from reconciler.ports.simulator import Simulator
from reconciler.simulation.node_host import Simulation
from reconciler.simulation.products import find_simulator
from reconciler.store.factory import open_store

LEFT: Final = 8
"""Maximum number of runs after the faults in which the reconciler has to converge."""

PATIENCE: Final = 3600.0
"""Seconds between them: longer than any call is in flight, and longer than the backoff between attempts."""

RETRIES: Final = 2
"""How often a rejected commit is tried again after the faults: late reports may reject it once more."""

FRESH: Final = 45.0
"""Seconds for which nodes that poll call between two runs: three polls each."""

_MEMORY: Final = Path("/dev/shm")  # noqa: S108  (a folder is made in it, with a name of its own)


@dataclass(frozen=True, slots=True)
class TrialSetup:
    """The fleet of a trial, and its conditions.

    Args:
        fleet: the desired state.
        machines: the nodes before the trial.
        converged: whether they already are as `machines` describes them.
        fresh: nodes that are new nevertheless.
        down: nodes that are down during the whole trial.
        choices: how nodes behave where their documents say nothing.
        runs: number of runs of the reconciler while there are faults.
        invariants: those to check.
        folder: with the fleet file of `fleet`.
    """

    fleet: Fleet
    machines: Fleet
    converged: bool = False
    fresh: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    choices: Mapping[str, Any] | None = None
    runs: int = 2
    invariants: tuple[Invariant, ...] = tuple(Invariant)
    folder: Path = Path()

    @property
    def clusters(self) -> dict[str, str]:
        """Node -> its cluster."""
        return {
            node.name: cluster_input.entry.name
            for cluster_input in self.machines.cluster_inputs
            for node in cluster_input.entry.members()
        }

    def find_targets(self) -> FaultTargets:
        """The nodes that faults can be injected into: all that are up."""
        nodes = {node: cluster for node, cluster in self.clusters.items() if node not in self.down}
        inputs = self.machines.cluster_inputs
        linked = {one.entry.name for one in inputs if _find_simulator(one).has_peer_links}
        simulation = Simulation(self.machines, DRIVERS, choices=self.choices, applied=self.fleet)
        return FaultTargets(nodes, linked, simulation.list_machine_kinds())


@dataclass(frozen=True, slots=True)
class TrialVerdict:
    """The result of one trial.

    Args:
        breaches: of the invariants of the setup; empty if it passed.
        story: all events, in order.
        changes: number of requests that may change something.
        died: how often the reconciler died.
    """

    schedule: FaultSchedule
    breaches: tuple[InvariantBreach, ...]
    story: tuple[str, ...]
    runs: int
    requests: int
    changes: int
    died: int


def run_trial(setup: TrialSetup, schedule: FaultSchedule, drivers: Drivers) -> TrialVerdict:
    """Run one schedule, with a clock that skips waiting; the same arguments give the same verdict.

    Raises:
        UsageError: the nodes cannot be served.
    """

    async def run() -> TrialVerdict:
        clock = StampClock()
        write_counter = WriteCounter({crash.write: crash.after for crash in schedule.crashes})
        names = (f"trial-{number:03}" for number in count(1))
        earlier = make_prior(setup.machines)
        with make_scratch_folder() as name:
            folder = Path(name)
            runner = TaskRunner(setup.fleet, drivers, folder, clock, write_counter, names, earlier)
            return await Trial(setup, schedule, clock, folder).play(runner)

    return run_skipping_waits(run())


def _list_polling(fleet: Fleet) -> list[str]:
    """The clusters whose nodes poll."""
    return [one.entry.name for one in fleet.cluster_inputs if getattr(one.entry, "polling", None) is not None]


def _find_simulator(cluster_input: ClusterInput) -> Simulator:
    return find_simulator(cluster_input.entry.kind, cluster_input.entry.name, DRIVERS)


def make_scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder for a journal."""
    # In memory if possible: a journal waits for the disk at each write, and a trial has hundreds of writes.
    place = str(_MEMORY) if _MEMORY.is_dir() else None
    return tempfile.TemporaryDirectory(prefix="reconcile-trial-", dir=place)


@dataclass(slots=True)
class Trial:
    """One trial.

    Args:
        clock: dates everything.
        folder: of the journal.
        pause: seconds before each run of the reconciler.
        traffic: the calls of nodes that poll, between the runs; None if there are none.
        changing: called when a change has reached a node, before it is performed.
        wait: waits some seconds of the trial's clock.
    """

    setup: TrialSetup
    schedule: FaultSchedule
    clock: Clock
    folder: Path
    pause: float = 1.0
    changing: Callable[[], None] = lambda: None
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep
    traffic: PolledTraffic | None = None

    async def play(self, reconciler: TrialRunner) -> TrialVerdict:
        """Serve the nodes, inject faults, run, end the faults, run until all is calm, judge."""
        setup, polled = self.setup, frozenset(_list_polling(self.setup.machines))
        recorder = TrialRecorder(self.clock, setup.clusters, polled)
        simulation = Simulation(
            setup.machines,
            DRIVERS,
            converged=setup.converged,
            fresh=setup.fresh,
            choices=setup.choices,
            tokens=await self._read_tokens(),
            applied=setup.fleet,
            around=recorder.around,
            watcher=recorder,
        )
        cluster_inputs = {
            cluster_input.entry.name: cluster_input
            for cluster_input in (*setup.machines.cluster_inputs, *setup.fleet.cluster_inputs)
        }
        recorder.begin(
            {
                name: FileOracle(
                    _find_simulator(one).oracle(one, simulation.world(name)),
                    partial(simulation.list_machines, name),
                )
                for name in simulation.clusters
                for one in (cluster_inputs[name],)
            }
        )
        injector = FaultInjector(self.schedule, simulation, recorder, setup.down)
        injector.changing = self.changing
        write_counter = reconciler.write_counter
        write_counter.written, write_counter.intended = injector.written, injector.intended
        traffic = PolledTraffic(simulation, recorder, self.folder, self.clock, self.wait)
        self.traffic = traffic if polled else None
        async with simulation:
            reconciler.machines = simulation.machines_url
            await injector.begin()
            ran = [await self._run(number, reconciler, injector) for number in range(1, setup.runs + 1)]
            await injector.end()
            await self._allow_attempts(recorder)
            retries = 0
            for number in range(setup.runs + 1, setup.runs + LEFT + 1):
                await self.wait(PATIENCE)
                if self.traffic is not None:  # what nodes sent is out of date by now
                    await self.traffic.follow(FRESH)
                if retries < RETRIES and await self._retry_rejected(recorder):
                    retries += 1
                ran.append(await self._run(number, reconciler, injector))
                if ran[-1].calm and not any(one.list_differences() for one in recorder.witnesses.values()):
                    break
            return await self._verdict(recorder, ran)

    async def _allow_attempts(self, recorder: TrialRecorder) -> None:
        # As an operator would: nodes that refused too often get no further attempt without it.
        with open_store(self.folder, clock=self.clock) as store:
            if await store.forget_attempts():
                recorder.note("an operator allows new attempts for nodes that refused")

    async def _retry_rejected(self, recorder: TrialRecorder) -> bool:
        """Do what an operator does about a rejection whose cause is gone: `reconcile retry`."""
        with open_store(self.folder, clock=self.clock) as store:
            clusters = sorted({one.cluster for one in (await store.orders()).rejections})
            for cluster in clusters:
                await store.retry(cluster, "", Actor("operator"))
        if clusters:
            recorder.note(f"an operator tries the rejected revision again: {', '.join(clusters)}")
        return bool(clusters)

    async def _read_tokens(self) -> dict[str, Mapping[str, NodeTokens]]:
        """The tokens of nodes that poll, which the nodes and the store of this trial share."""
        found: dict[str, Mapping[str, NodeTokens]] = {}
        with open_store(self.folder, clock=self.clock) as store:
            for one in self.setup.machines.cluster_inputs:
                if one.entry.name in _list_polling(self.setup.machines):
                    names = [node.name for node in one.entry.members()]
                    found[one.entry.name] = await store.tokens(one.entry.name, names)
        return found

    async def _run(self, number: int, reconciler: TrialRunner, injector: FaultInjector) -> RunResult:
        await injector.run(number)
        await self.wait(self.pause)
        recorder = injector.recorder
        recorder.note(f"run {number} of the reconciler begins")
        ran = await reconciler.run()
        recorder.note(f"run {number} ends: {ran.words}")
        for node in ran.stops:
            recorder.note(f"an operator stops {node}, as the run asks")
            await injector.stop(node)
        if self.traffic is not None:
            await self.traffic.follow(FRESH)
        recorder.look()
        return ran

    async def _verdict(self, recorder: TrialRecorder, ran: Sequence[RunResult]) -> TrialVerdict:
        with open_store(self.folder, clock=self.clock) as store:
            lines = await store.runs(1000)
            history = [await store.run(line.id, is_whole=True) for line in reversed(lines)]
        crashes = [one.crash for one in ran if one.crash]
        breaches = find_breaches(TrialEvidence(recorder, history, self.clock(), crashes))
        # By time alone: two events of one millisecond keep the order in which they were recorded.
        story = [words for _, words in sorted(recorder.events, key=lambda event: event[0])]
        return TrialVerdict(
            schedule=self.schedule,
            breaches=tuple(one for one in breaches if one.invariant in self.setup.invariants),
            story=tuple(story),
            runs=len(ran),
            requests=len(recorder.asked),
            changes=sum(asked.call.change for asked in recorder.asked),
            died=sum(one.died for one in ran),
        )
