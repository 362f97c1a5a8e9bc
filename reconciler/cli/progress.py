"""Progress of a run: an animated line on a terminal, one line for each step elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reconciler.cli.render.text import format_outcome
from reconciler.cli.terminal import Terminal
from reconciler.core.outcome import SUCCESSES, Outcome
from reconciler.core.plan import Step
from reconciler.descriptions.values import format_count
from reconciler.ports.listener import PassListener
from reconciler.text.one_line import clean_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_EACH = 50
"""Steps up to which each one gets a line on a terminal; of more steps, only those that did not succeed."""


_SHOWN = 3
"""Lines about what takes long at a time."""


class ProgressLines(PassListener):
    """A listener that writes one line for each completed step, and one now and then for what takes long."""

    _every = 30.0
    """Seconds between the lines about what takes long."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._soaks: dict[str, tuple[int, float]] = {}
        self._steps: dict[str, tuple[Step, float]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def on_observing(self, cluster: str, nodes: int) -> None:
        """A cluster is being read."""
        self._terminal.detail(f"reading {clean_line(cluster)}, {format_count(nodes, 'node')}")

    def on_step_started(self, step: Step) -> None:
        """A step begins."""
        self._terminal.detail(f"begins        {_name(step)}")
        self._soaks.pop(step.cluster, None)
        if (loop := _find_loop()) is not None:
            self._steps[step.id] = step, loop.time()
            self._start_timer()

    def on_step_ended(self, outcome: Outcome) -> None:
        """A step has ended."""
        self._steps.pop(outcome.step.id, None)
        self._terminal.remark(format_outcome(outcome, layout=self._terminal.layout) + "\n")

    def on_soaking(self, cluster: str, wave: int, seconds: float) -> None:
        """A wave soaks; shown from one second on."""
        if seconds < 1:
            return
        self._terminal.remark(
            f"{clean_line(cluster)}: wave {wave} soaks for {format_wait(seconds)} before its gates\n"
        )
        self._note_soak(cluster, wave, seconds)

    def close(self) -> None:
        """End the lines about what takes long."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def _note_soak(self, cluster: str, wave: int, seconds: float) -> None:
        if (loop := _find_loop()) is not None:
            self._soaks[cluster] = wave, loop.time() + seconds
            self._start_timer()

    def _start_timer(self) -> None:
        if self._timer is None and (loop := _find_loop()) is not None:
            self._timer = loop.call_later(self._every, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        self._soaks = {cluster: soak for cluster, soak in self._soaks.items() if soak[1] > now}
        self._tell(list(self._describe_waits(now)))
        if self._soaks or self._steps:
            self._start_timer()

    def _describe_waits(self, now: float) -> Iterator[str]:
        """What takes long: how long it still takes, or has taken so far if nobody knows."""
        for cluster, (wave, end) in self._soaks.items():
            yield f"{clean_line(cluster)}: wave {wave} soaks, {format_wait(end - now)} left"
        for step, began in self._steps.values():
            lasted, most = now - began, step.arguments.longest_wait
            if lasted >= self._every:
                left = f", at most {format_wait(most - lasted)} left to wait" if most > lasted else ""
                yield f"{_name(step)}: since {format_wait(lasted)}{left}"

    def _tell(self, waits: Sequence[str]) -> None:
        for text in waits[:_SHOWN]:
            self._terminal.remark(f"{text}\n")
        if (more := len(waits) - _SHOWN) > 0:
            self._terminal.remark(f"and {format_count(more, 'more step')} in progress\n")


class LiveProgress(ProgressLines):
    """A listener that updates one animated line, and leaves lines of completed steps above it.

    Args:
        terminal: where it is.
        progress: rich's display of that line, started by `show_progress`.
        steps: number of steps to do; 0 while nodes are only read.
    """

    _every = 1.0

    def __init__(self, terminal: Terminal, progress: Progress, steps: int) -> None:
        super().__init__(terminal)
        self._progress = progress
        self._number = steps
        self._task: TaskID = progress.add_task("starting", total=steps or None)

    def on_observing(self, cluster: str, nodes: int) -> None:
        """Show the cluster that is being read."""
        super().on_observing(cluster, nodes)
        self._describe(f"reading {cluster}, {format_count(nodes, 'node')}")

    def on_step_started(self, step: Step) -> None:
        """Show the step that is being performed."""
        super().on_step_started(step)
        self._describe(f"{step.action} {step.node}")

    def on_step_ended(self, outcome: Outcome) -> None:
        """Count the step; leave a line if there are few steps, or if it did not succeed."""
        self._steps.pop(outcome.step.id, None)
        self._progress.advance(self._task)
        if self._number <= _EACH or outcome.state not in SUCCESSES:
            from rich.text import Text  # noqa: PLC0415

            line = format_outcome(outcome, layout=self._terminal.layout)
            # Without soft_wrap, rich would break the line again, in the middle of an address.
            self._progress.console.print(Text.from_ansi(line), soft_wrap=True)

    def on_soaking(self, cluster: str, wave: int, seconds: float) -> None:
        """Show the wave that soaks."""
        self._describe(f"{cluster}: wave {wave} soaks for {format_wait(seconds)}")
        self._note_soak(cluster, wave, seconds)

    def _tell(self, waits: Sequence[str]) -> None:
        if waits:
            self._describe(waits[0])

    def _describe(self, words: str) -> None:
        self._progress.update(self._task, description=clean_line(words))


@contextmanager
def show_progress(terminal: Terminal, steps: int = 0) -> Iterator[ProgressLines]:
    """A listener that shows progress within the block.

    Args:
        terminal: where to show it.
        steps: number of steps to do; 0 while nodes are only read.
    """
    if not terminal.live:
        lines = ProgressLines(terminal)
        try:
            yield lines
        finally:
            lines.close()
        return
    from rich.console import Console  # noqa: PLC0415  (only where something moves)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn  # noqa: PLC0415

    # No markup: a cluster may be named [red].
    columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False)]
    counted = [BarColumn(bar_width=20), MofNCompleteColumn()] if steps else []
    console = Console(file=terminal.aside, no_color=not terminal.layout.colour, highlight=False)
    with Progress(*columns, *counted, console=console, transient=True) as progress:
        live = LiveProgress(terminal, progress, steps)
        try:
            yield live
        finally:
            live.close()


def format_wait(seconds: float) -> str:
    """A time to wait: `45 s`, `4 min 30 s`, `2 h 5 min`."""
    whole = max(1, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    parts = [f"{hours} h"] if hours else []
    parts += [f"{minutes} min"] if minutes else []
    parts += [f"{rest} s"] if rest and not hours else []
    return " ".join(parts)


def _name(step: Step) -> str:
    return f"{clean_line(step.cluster)}  {clean_line(step.action)}  {clean_line(step.node)}"


def _find_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
