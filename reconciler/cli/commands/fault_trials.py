"""`reconcile simulate --faults`: play a scenario, and tell in words what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.cli.render.values import format_count
from reconciler.cli.terminal import Terminal
from reconciler.drivers.registry import DRIVERS
from reconciler.fault_trials.fault_schedule import draw_schedule
from reconciler.fault_trials.scenario import CLAIMS, ScenarioFile, read_scenario
from reconciler.fault_trials.setup import prepare_trial
from reconciler.fault_trials.subprocess_runner import run_subprocess_trials
from reconciler.fault_trials.trial import TrialSetup, TrialVerdict, run_trial
from reconciler.text.one_line import clean_line

_SHOWN = 40
"""Lines of a story that are shown: those before the end."""


@dataclass(slots=True)
class _Tally:
    """What came of all schedules; of one that failed the seed, and of the first one all of it."""

    schedules: int = 0
    runs: int = 0
    requests: int = 0
    changes: int = 0
    died: int = 0
    failed: list[int] = field(default_factory=list)
    first: TrialVerdict | None = None

    def add(self, verdict: TrialVerdict) -> None:
        """One more."""
        self.schedules += 1
        self.runs += verdict.runs
        self.requests += verdict.requests
        self.changes += verdict.changes
        self.died += verdict.died
        if verdict.breaches:
            self.failed.append(verdict.schedule.seed)
            self.first = self.first or verdict


def run_fault_trials(
    path: Path, fleet: Path | None, *, seed: int | None, runs: int, terminal: Terminal
) -> int:
    """Play a scenario file; gives 0 where everything held, else 1.

    Args:
        path: the scenario file.
        fleet: the folder with the fleet file, in the place of the scenario's own.
        seed: in the place of the scenario's own.
        runs: how many schedules to draw, the first from the seed and each next from the next number.
        terminal: where the report goes.

    Raises:
        ReconcilerError: the scenario or its fleet is wrong, or the nodes cannot be served here.
    """
    script = read_scenario(path)
    stage = prepare_trial(script, fleet)
    first = script.scenario.seed if seed is None else seed
    number = runs if script.scenario.drawn else 1
    for line in _head(script, stage, first, number):
        terminal.say(f"{clean_line(line)}\n")
    tally = _Tally()
    for one in range(first, first + number):
        schedule = draw_schedule(script, stage.cast(), one)
        if number == 1:
            terminal.say("".join(f"  {clean_line(line)}\n" for line in schedule.lines()))
        if script.scenario.kills:
            run_subprocess_trials(script, stage, one, tally.add)
        else:
            tally.add(run_trial(stage, schedule, DRIVERS))
    terminal.say("".join(f"{_clean(line)}\n" for line in _report(path, tally)))
    return 1 if tally.failed else 0


def _clean(line: str) -> str:
    """The line, which keeps its indent."""
    return " " * (len(line) - len(line.lstrip(" "))) + clean_line(line)


def _head(script: ScenarioFile, stage: TrialSetup, seed: int, number: int) -> Iterator[str]:
    nodes = format_count(len(stage.clusters), "node")
    clusters = format_count(len(stage.machines.cluster_inputs), "cluster")
    seeds = f"seed {seed}" if number == 1 else f"seeds {seed} to {seed + number - 1}"
    yield f"{script.scenario.name}: {nodes} of {clusters}, {seeds}"


def _report(path: Path, tally: _Tally) -> Iterator[str]:
    played = (
        f"{format_count(tally.schedules, 'schedule')}, {format_count(tally.runs, 'run')} of the reconciler, "
        f"{format_count(tally.requests, 'request')}, {tally.changes} of them changes"
        + (f", {format_count(tally.died, 'kill')} of the reconciler" if tally.died else "")
    )
    if tally.first is None:
        yield f"passed: {played}; every invariant held"
        return
    yield f"failed: {len(tally.failed)} of {played}"
    yield ""
    yield from _story(tally.first)
    yield ""
    yield f"to reproduce: reconcile simulate --faults {path} --seed {tally.first.schedule.seed}"
    if len(tally.failed) > 1:
        yield f"the other seeds: {', '.join(map(str, tally.failed[1:_SHOWN]))}"


def _story(verdict: TrialVerdict) -> Iterator[str]:
    yield f"Broken invariants, with seed {verdict.schedule.seed}:"
    for breach in verdict.breaches:
        yield f"  {breach}"
    for invariant in dict.fromkeys(breach.invariant for breach in verdict.breaches):
        yield f"  ({invariant}: {CLAIMS[invariant]})"
    yield ""
    yield "Scheduled faults:"
    for line in verdict.schedule.lines():
        yield f"  {line}"
    yield ""
    left_out = max(0, len(verdict.story) - _SHOWN)
    yield "Events" + (f", without the first {format_count(left_out, 'line')}:" if left_out else ":")
    for line in verdict.story[left_out:]:
        yield f"  {line}"
