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

from reconciler.fault_trials.child_process import Nursery
from reconciler.fault_trials.clock import Ahead
from reconciler.fault_trials.runs import Earlier, Pen, Ran, plain_prior
from reconciler.fault_trials.scenario import Script
from reconciler.fault_trials.schedule import Death, Schedule, drawn
from reconciler.fault_trials.trial import Stage, Trial, Verdict, scratch

MOST: Final = 1000
"""Writes of the journal at which a scenario with `journal: every` kills at most."""


@dataclass(slots=True)
class Apart:
    """Runs the reconciler in the nursery; kills it at writes of its journal, or when a change has come.

    Args:
        fleet: the folder with its fleet file.
        state: where its journal is.
        shots: numbers of the changes with whose arrival it is killed.
        earlier: what an earlier revision said of the nodes.
        clock: how far ahead of the system's clock the trial is.
    """

    nursery: Nursery
    fleet: Path
    state: Path
    pen: Pen
    shots: frozenset[int]
    earlier: Earlier
    clock: Ahead
    changes: int = 0
    process: int = 0

    async def run(self) -> Ran:
        """One run; see `runs.Reconciler.run`."""
        deaths, writes = self.pen.deaths, self.pen.writes
        self.process = await self.nursery.begin(
            {
                "fleet": str(self.fleet),
                "state": str(self.state),
                "deaths": deaths,
                "writes": writes,
                "earlier": self.earlier,
                "ahead": self.clock.seconds,
            }
        )
        ended = await self.nursery.ended()
        self.process = 0
        if ended is None:
            self.pen.writes = min((one for one in deaths if one > writes), default=writes)
            return Ran("it is killed", died=True)
        self.pen.writes = ended.pop("writes")
        return Ran(**{**ended, "stops": tuple(ended["stops"])})

    def changing(self) -> None:
        """A change has come to a node, and is not performed yet."""
        self.changes += 1
        if self.changes in self.shots and self.process:
            with suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)


def tried_apart(script: Script, stage: Stage, seed: int, told: Callable[[Verdict], None]) -> None:
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
    schedule = drawn(script, stage.cast(), seed)
    every = any(entry.at is not None and entry.at.journal == "every" for entry in script.scenario.kills)
    asyncio.run(_all(stage, schedule, told, every=every))


async def _all(stage: Stage, schedule: Schedule, told: Callable[[Verdict], None], *, every: bool) -> None:
    async with Nursery() as nursery:
        if not every:
            told(await _one(stage, schedule, nursery))
            return
        for write in range(1, MOST + 1):
            for after in (False, True):
                deaths = (*schedule.deaths, Death(write, after))
                verdict = await _one(stage, replace(schedule, deaths=deaths), nursery)
                if verdict.died <= len(schedule.deaths):
                    return
                told(verdict)


async def _one(stage: Stage, schedule: Schedule, nursery: Nursery) -> Verdict:
    pen = Pen({death.write: death.after for death in schedule.deaths})
    with scratch() as folder:
        earlier, shots, clock = plain_prior(stage.machines), frozenset(schedule.shots), Ahead()
        apart = Apart(nursery, stage.folder, Path(folder), pen, shots, earlier, clock)
        trial = Trial(stage, schedule, clock, Path(folder), 0, apart.changing, clock.wait)
        return await trial.play(apart, pen)
