"""`reconcile simulate --faults`: run the trials of a scenario, and report the results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.cli.terminal import Terminal
from reconciler.descriptions.values import format_count
from reconciler.drivers.registry import DRIVERS
from reconciler.fault_trials.fault_schedule import draw_schedule
from reconciler.fault_trials.scenario import CLAIMS, read_scenario
from reconciler.fault_trials.setup import prepare_trial
from reconciler.fault_trials.subprocess_runner import run_subprocess_trials
from reconciler.fault_trials.trial import TrialVerdict, run_trial
from reconciler.text.one_line import clean_line

_SHOWN = 40
"""Number of last events to show of a failed trial, and of further failing seeds."""


@dataclass(slots=True)
class _Tally:
    """Totals of all trials, the seeds of those that failed, and the first of them."""

    schedules: int = 0
    runs: int = 0
    requests: int = 0
    changes: int = 0
    died: int = 0
    failed: list[int] = field(default_factory=list)
    first: TrialVerdict | None = None

    def add(self, verdict: TrialVerdict) -> None:
        """Count one trial."""
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
    """Run the trials of a scenario file; gives 0 if every invariant held, else 1.

    Args:
        path: the scenario file.
        fleet: the folder with the fleet file, instead of the scenario's own.
        seed: instead of the scenario's own.
        runs: number of schedules to draw, the first from the seed, each next from the next number.
        terminal: where the report goes.

    Raises:
        ReconcilerError: the scenario or its fleet is wrong, or the nodes cannot be served here.
    """
    file = read_scenario(path)
    setup = prepare_trial(file, fleet)
    first = file.scenario.seed if seed is None else seed
    number = runs if file.scenario.drawn else 1
    nodes = format_count(len(setup.clusters), "node")
    clusters = format_count(len(setup.machines.cluster_inputs), "cluster")
    seeds = f"seed {first}" if number == 1 else f"seeds {first} to {first + number - 1}"
    terminal.say(f"{clean_line(f'{file.scenario.name}: {nodes} of {clusters}, {seeds}')}\n")
    tally = _Tally()
    for one in range(first, first + number):
        schedule = draw_schedule(file, setup.find_targets(), one)
        if number == 1:
            terminal.say("".join(f"  {clean_line(line)}\n" for line in schedule.lines()))
        if file.scenario.kills:  # a killed reconciler needs a process of its own
            run_subprocess_trials(file, setup, one, tally.add)
        else:
            tally.add(run_trial(setup, schedule, DRIVERS))
    for line in _report(path, tally):
        indent = " " * (len(line) - len(line.lstrip(" ")))
        terminal.say(f"{indent}{clean_line(line)}\n")
    return 1 if tally.failed else 0


def _report(path: Path, tally: _Tally) -> Iterator[str]:
    total = (
        f"{format_count(tally.schedules, 'schedule')}, {format_count(tally.runs, 'run')} of the reconciler, "
        f"{format_count(tally.requests, 'request')}, {tally.changes} of them changes"
        + (f", {format_count(tally.died, 'kill')} of the reconciler" if tally.died else "")
    )
    if tally.first is None:
        yield f"passed: {total}; every invariant held"
        return
    yield f"failed: {len(tally.failed)} of {total}"
    yield ""
    yield from _describe_failure(tally.first)
    yield ""
    yield f"to reproduce: reconcile simulate --faults {path} --seed {tally.first.schedule.seed}"
    if len(tally.failed) > 1:
        yield f"other failing seeds: {', '.join(map(str, tally.failed[1:_SHOWN]))}"


def _describe_failure(verdict: TrialVerdict) -> Iterator[str]:
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
