"""One trial: a simulated fleet, a schedule of faults, repeated runs of the reconciler, and a judgement."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from reconciler.core.timestamps import Clock
from reconciler.desired.fleet import Fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.fault_trials.clock import StampClock, run_skipping_waits
from reconciler.fault_trials.fault_injector import FaultInjector
from reconciler.fault_trials.fault_schedule import FaultSchedule, FaultTargets
from reconciler.fault_trials.judge import InvariantBreach, TrialEvidence, judge_trial
from reconciler.fault_trials.recorder import TrialRecorder
from reconciler.fault_trials.runner import RunResult, TaskRunner, TrialRunner, WriteCounter, make_prior
from reconciler.fault_trials.scenario import Invariant
from reconciler.planning.plan_pass import Drivers
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.simulator import Simulator
from reconciler.simulation.node_host import Simulation
from reconciler.simulation.products import find_simulator
from reconciler.store.factory import open_store

LEFT: Final = 8
"""Runs that the reconciler gets to converge once the faults are over."""

PATIENCE: Final = 3600.0
"""Seconds between them: longer than any call is in flight, and than the backoff between attempts."""

_MEMORY: Final = Path("/dev/shm")  # noqa: S108  (a folder is made in it, with a name of its own)


@dataclass(frozen=True, slots=True)
class TrialSetup:
    """What a trial is played on.

    Args:
        fleet: what the nodes are to become.
        machines: the nodes as they are before.
        converged: whether they are as `machines` says.
        fresh: nodes that know nothing all the same.
        down: nodes that are down for good.
        runs: how often the reconciler is run while faults last.
        invariants: what has to hold.
        folder: where the fleet file of `fleet` is.
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
        """Who can be struck."""
        nodes = {node: cluster for node, cluster in self.clusters.items() if node not in self.down}
        return FaultTargets(
            nodes,
            {
                cluster_input.entry.name
                for cluster_input in self.machines.cluster_inputs
                if _simulator(cluster_input).joined
            },
        )


@dataclass(frozen=True, slots=True)
class TrialVerdict:
    """What came of one trial.

    Args:
        breaches: of the invariants that the stage asks for; empty where it passed.
        story: all that happened, in order.
        changes: requests that may change something.
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
    """Play one schedule, under a clock that leaps; the same arguments give the same verdict.

    Raises:
        UsageError: the nodes cannot be served.
    """
    return run_skipping_waits(_in_process(setup, schedule, drivers))


async def _in_process(setup: TrialSetup, schedule: FaultSchedule, drivers: Drivers) -> TrialVerdict:
    clock, write_counter = (
        StampClock(),
        WriteCounter({death.write: death.after for death in schedule.crashes}),
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(make_scratch_folder()))
        names = (f"trial-{number:03}" for number in count(1))
        runner = TaskRunner(
            setup.fleet, drivers, folder, clock, write_counter, names, make_prior(setup.machines)
        )
        return await Trial(setup, schedule, clock, folder).play(runner, write_counter)


def _simulator(cluster_input: ClusterInput) -> Simulator:
    return find_simulator(cluster_input.entry.kind, cluster_input.entry.name, DRIVERS)


def make_scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for a journal, in memory where the system has such a place."""
    place = str(_MEMORY) if _MEMORY.is_dir() else None
    return tempfile.TemporaryDirectory(prefix="reconcile-trial-", dir=place)


@dataclass(slots=True)
class Trial:
    """One trial under way.

    Args:
        clock: stamps everything.
        folder: where the journal is.
        pause: seconds between two runs of the reconciler while faults last.
        changing: told when a change has come to a node, before it is performed.
        wait: lets so many seconds of the clock pass.
    """

    setup: TrialSetup
    schedule: FaultSchedule
    clock: Clock
    folder: Path
    pause: float = 1.0
    changing: Callable[[], None] = lambda: None
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def play(self, reconciler: TrialRunner, write_counter: WriteCounter) -> TrialVerdict:
        """Serve the nodes, strike, run, end the faults, run until all is calm, judge."""
        setup, recorder = self.setup, TrialRecorder(self.clock, self.setup.clusters)
        simulation = Simulation(
            setup.machines,
            DRIVERS,
            converged=setup.converged,
            fresh=setup.fresh,
            choices=setup.choices,
            around=recorder.around,
            watcher=recorder,
        )
        cluster_inputs = {
            cluster_input.entry.name: cluster_input
            for cluster_input in (*setup.machines.cluster_inputs, *setup.fleet.cluster_inputs)
        }
        recorder.begin(
            {
                name: _simulator(cluster_inputs[name]).oracle(cluster_inputs[name], simulation.world(name))
                for name in simulation.clusters
            }
        )
        injector = FaultInjector(self.schedule, simulation, recorder, setup.down)
        injector.changing = self.changing
        write_counter.written, write_counter.intended = injector.written, injector.intended
        async with simulation:
            await injector.begin()
            ran = [await self._run(number, reconciler, injector) for number in range(1, setup.runs + 1)]
            await injector.end()
            # The operator's part: nodes that refused too often get no further attempt without it.
            with open_store(self.folder, clock=self.clock) as store:
                if await store.forget_attempts():
                    recorder.note("an operator allows new attempts for nodes that refused")
            for number in range(setup.runs + 1, setup.runs + LEFT + 1):
                await self.wait(PATIENCE)
                ran.append(await self._run(number, reconciler, injector))
                if ran[-1].calm and not any(one.unlike() for one in recorder.witnesses.values()):
                    break
            return await self._verdict(recorder, ran)

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
        recorder.look()
        return ran

    async def _verdict(self, recorder: TrialRecorder, ran: Sequence[RunResult]) -> TrialVerdict:
        with open_store(self.folder, clock=self.clock) as store:
            lines = await store.runs(1000)
            history = [await store.run(line.id, is_whole=True) for line in reversed(lines)]
        crashes = [one.crash for one in ran if one.crash]
        breaches = judge_trial(TrialEvidence(recorder, history, self.clock(), crashes))
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
