"""Trials with the reconciler in a separate process, so that SIGKILL can end it at any point."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from reconciler.fault_trials.clock import OffsetClock
from reconciler.fault_trials.fault_schedule import FaultSchedule, ScheduledCrash, draw_schedule
from reconciler.fault_trials.fork_server import ForkServer
from reconciler.fault_trials.runner import Earlier, RunResult, WriteCounter, make_prior
from reconciler.fault_trials.scenario import ScenarioFile
from reconciler.fault_trials.trial import Trial, TrialSetup, TrialVerdict, make_scratch_folder

MOST: Final = 1000
"""The most writes of the journal at which `journal: every` kills; a run has far fewer."""


@dataclass(slots=True)
class SubprocessRunner:
    """Runs the reconciler in the fork server; kills it at writes of its journal, or when a change arrives.

    Args:
        fleet: the folder with its fleet file.
        state: where its journal is.
        shots: numbers of the changes with whose arrival it is killed.
        earlier: what an earlier revision said of the nodes.
        clock: how far ahead of the system's clock the trial is.
    """

    fork_server: ForkServer
    fleet: Path
    state: Path
    write_counter: WriteCounter
    shots: frozenset[int]
    earlier: Earlier
    clock: OffsetClock
    changes: int = 0
    process: int = 0

    async def run(self) -> RunResult:
        """One run; see `runner.TrialRunner.run`."""
        crashes, writes = self.write_counter.crashes, self.write_counter.writes
        self.process = await self.fork_server.begin(
            {
                "fleet": str(self.fleet),
                "state": str(self.state),
                "crashes": crashes,
                "writes": writes,
                "earlier": self.earlier,
                "ahead": self.clock.seconds,
            }
        )
        ended = await self.fork_server.ended()
        self.process = 0
        if ended is None:
            self.write_counter.writes = min((one for one in crashes if one > writes), default=writes)
            return RunResult("it is killed", died=True)
        self.write_counter.writes = ended.pop("writes")
        return RunResult(**{**ended, "stops": tuple(ended["stops"])})

    def changing(self) -> None:
        """A change has reached a node and is not performed yet."""
        self.changes += 1
        if self.changes in self.shots and self.process:
            with suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)


def run_subprocess_trials(
    scenario_file: ScenarioFile, setup: TrialSetup, seed: int, told: Callable[[TrialVerdict], None]
) -> None:
    """Play every schedule of a scenario with sigkill; with `journal: every` there are many.

    Args:
        scenario_file: the scenario.
        setup: what it is played on.
        seed: what is drawn is drawn from this.
        told: called with each verdict.

    Raises:
        InputError: the scenario does not fit the stage.
        UsageError: the nodes cannot be served.
    """
    schedule = draw_schedule(scenario_file, setup.find_targets(), seed)
    every = any(
        entry.at is not None and entry.at.journal == "every" for entry in scenario_file.scenario.kills
    )
    asyncio.run(_all(setup, schedule, told, every=every))


async def _all(
    setup: TrialSetup, schedule: FaultSchedule, told: Callable[[TrialVerdict], None], *, every: bool
) -> None:
    async with ForkServer() as fork_server:
        if not every:
            told(await _one(setup, schedule, fork_server))
            return
        for write in range(1, MOST + 1):
            for after in (False, True):
                crashes = (*schedule.crashes, ScheduledCrash(write, after))
                verdict = await _one(setup, replace(schedule, crashes=crashes), fork_server)
                if verdict.died <= len(schedule.crashes):
                    return
                told(verdict)


async def _one(setup: TrialSetup, schedule: FaultSchedule, fork_server: ForkServer) -> TrialVerdict:
    write_counter = WriteCounter({death.write: death.after for death in schedule.crashes})
    with make_scratch_folder() as folder:
        earlier, shots, clock = make_prior(setup.machines), frozenset(schedule.shots), OffsetClock()
        apart = SubprocessRunner(
            fork_server, setup.folder, Path(folder), write_counter, shots, earlier, clock
        )
        trial = Trial(setup, schedule, clock, Path(folder), 0, apart.changing, clock.wait)
        return await trial.play(apart, write_counter)
