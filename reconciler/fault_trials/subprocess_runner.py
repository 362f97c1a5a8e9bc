"""Trials in which the reconciler is a process of its own, so that it can be killed as the kernel kills."""

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
"""Writes of the journal at which a scenario with `journal: every` kills at most."""


@dataclass(slots=True)
class SubprocessRunner:
    """Runs the reconciler in the nursery; kills it at writes of its journal, or when a change has come.

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
        deaths, writes = self.write_counter.deaths, self.write_counter.writes
        self.process = await self.fork_server.begin(
            {
                "fleet": str(self.fleet),
                "state": str(self.state),
                "deaths": deaths,
                "writes": writes,
                "earlier": self.earlier,
                "ahead": self.clock.seconds,
            }
        )
        ended = await self.fork_server.ended()
        self.process = 0
        if ended is None:
            self.write_counter.writes = min((one for one in deaths if one > writes), default=writes)
            return RunResult("it is killed", died=True)
        self.write_counter.writes = ended.pop("writes")
        return RunResult(**{**ended, "stops": tuple(ended["stops"])})

    def changing(self) -> None:
        """A change has come to a node, and is not performed yet."""
        self.changes += 1
        if self.changes in self.shots and self.process:
            with suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)


def run_subprocess_trials(
    script: ScenarioFile, stage: TrialSetup, seed: int, told: Callable[[TrialVerdict], None]
) -> None:
    """Play every schedule of a scenario with sigkill; with `journal: every` there are many.

    Args:
        script: the scenario.
        stage: what it is played on.
        seed: what is drawn is drawn from this.
        told: hears of each.

    Raises:
        InputError: the scenario does not fit the stage.
        UsageError: the nodes cannot be served.
    """
    schedule = draw_schedule(script, stage.cast(), seed)
    every = any(entry.at is not None and entry.at.journal == "every" for entry in script.scenario.kills)
    asyncio.run(_all(stage, schedule, told, every=every))


async def _all(
    stage: TrialSetup, schedule: FaultSchedule, told: Callable[[TrialVerdict], None], *, every: bool
) -> None:
    async with ForkServer() as fork_server:
        if not every:
            told(await _one(stage, schedule, fork_server))
            return
        for write in range(1, MOST + 1):
            for after in (False, True):
                deaths = (*schedule.deaths, ScheduledCrash(write, after))
                verdict = await _one(stage, replace(schedule, deaths=deaths), fork_server)
                if verdict.died <= len(schedule.deaths):
                    return
                told(verdict)


async def _one(stage: TrialSetup, schedule: FaultSchedule, fork_server: ForkServer) -> TrialVerdict:
    write_counter = WriteCounter({death.write: death.after for death in schedule.deaths})
    with make_scratch_folder() as folder:
        earlier, shots, clock = make_prior(stage.machines), frozenset(schedule.shots), OffsetClock()
        apart = SubprocessRunner(
            fork_server, stage.folder, Path(folder), write_counter, shots, earlier, clock
        )
        trial = Trial(stage, schedule, clock, Path(folder), 0, apart.changing, clock.wait)
        return await trial.play(apart, write_counter)
