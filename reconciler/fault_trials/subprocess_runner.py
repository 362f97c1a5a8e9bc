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
"""Maximum number of writes at which `journal: every` kills; a run has far fewer."""


@dataclass(slots=True)
class SubprocessRunner:
    """Runs the reconciler in the fork server; kills it at writes of its journal, or when a change arrives.

    Args:
        fleet: the folder with its fleet file.
        state: the folder of its journal.
        shots: numbers of the changes; it is killed when one of them arrives.
        earlier: the nodes' entries in an earlier revision.
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
    machines: str = ""

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
                "machines": self.machines,
            }
        )
        result = await self.fork_server.read_result()
        self.process = 0
        if result is None:
            # The count of a killed process is lost with it; it died at the first write with a crash.
            self.write_counter.writes = min((one for one in crashes if one > writes), default=writes)
            return RunResult("it is killed", died=True)
        self.write_counter.writes = result.pop("writes")
        return RunResult(**{**result, "stops": tuple(result["stops"])})

    def changing(self) -> None:
        """Count a change that has reached a node and is not performed yet; kill the reconciler if due."""
        self.changes += 1
        if self.changes in self.shots and self.process:
            with suppress(ProcessLookupError):  # it may have ended before its call was answered
                os.kill(self.process, signal.SIGKILL)


def run_subprocess_trials(
    scenario_file: ScenarioFile, setup: TrialSetup, seed: int, report: Callable[[TrialVerdict], None]
) -> None:
    """Run every schedule of a scenario with sigkill, and report each verdict; `journal: every` gives many.

    Raises:
        InputError: the scenario does not fit the setup.
        UsageError: the nodes cannot be served.
    """
    schedule = draw_schedule(scenario_file, setup.find_targets(), seed)
    every = any(
        entry.at is not None and entry.at.journal == "every" for entry in scenario_file.scenario.kills
    )

    async def run_all() -> None:
        async with ForkServer.start() as fork_server:
            if not every:
                report(await _run_trial(setup, schedule, fork_server))
                return
            for write in range(1, MOST + 1):
                for after in (False, True):
                    crashes = (*schedule.crashes, ScheduledCrash(write, after))
                    verdict = await _run_trial(setup, replace(schedule, crashes=crashes), fork_server)
                    if verdict.died <= len(schedule.crashes):
                        return  # the runs have fewer writes than this
                    report(verdict)

    asyncio.run(run_all())


async def _run_trial(setup: TrialSetup, schedule: FaultSchedule, fork_server: ForkServer) -> TrialVerdict:
    write_counter = WriteCounter({crash.write: crash.after for crash in schedule.crashes})
    clock = OffsetClock()
    with make_scratch_folder() as folder:
        earlier, shots = make_prior(setup.machines), frozenset(schedule.shots)
        runner = SubprocessRunner(
            fork_server, setup.folder, Path(folder), write_counter, shots, earlier, clock
        )
        trial = Trial(setup, schedule, clock, Path(folder), 0, runner.changing, clock.wait)
        return await trial.play(runner)
