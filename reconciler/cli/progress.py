"""Progress of a run: an animated line on a terminal, one line for each step elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reconciler.cli.render.text import format_outcome
from reconciler.cli.render.values import format_count
from reconciler.cli.terminal import Terminal
from reconciler.core.outcome import SUCCESSES, Outcome
from reconciler.core.plan import Step
from reconciler.ports.listener import PassListener
from reconciler.text.one_line import clean_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_EACH = 50
"""Steps up to which each one gets a line on a terminal; of more steps, only those that did not succeed."""


class ProgressLines(PassListener):
    """A listener that writes one line for each completed step."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def on_observing(self, cluster: str, nodes: int) -> None:
        """A cluster is being read."""
        self._terminal.detail(f"reading {clean_line(cluster)}, {format_count(nodes, 'node')}")

    def on_step_started(self, step: Step) -> None:
        """A step begins."""
        place = f"{clean_line(step.cluster)}  {clean_line(step.action)}  {clean_line(step.node)}"
        self._terminal.detail(f"begins        {place}")

    def on_step_ended(self, outcome: Outcome) -> None:
        """A step has ended."""
        self._terminal.remark(format_outcome(outcome, layout=self._terminal.layout) + "\n")

    def on_soaking(self, cluster: str, wave: int, seconds: float) -> None:
        """A wave soaks; shown from one second on."""
        if seconds >= 1:
            self._terminal.remark(
                f"{clean_line(cluster)}: wave {wave} soaks for {seconds:g} s before its gates\n"
            )


class LiveProgress(ProgressLines):
    """A listener that updates one animated line, and leaves lines of completed steps above it.

    Args:
        terminal: where it is.
        progress: rich's display of that line, started by `show_progress`.
        steps: number of steps to do; 0 while nodes are only read.
    """

    def __init__(self, terminal: Terminal, progress: Progress, steps: int) -> None:
        super().__init__(terminal)
        self._progress = progress
        self._steps = steps
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
        self._progress.advance(self._task)
        if self._steps <= _EACH or outcome.state not in SUCCESSES:
            from rich.text import Text  # noqa: PLC0415

            line = format_outcome(outcome, layout=self._terminal.layout)
            # Without soft_wrap, rich would break the line again, in the middle of an address.
            self._progress.console.print(Text.from_ansi(line), soft_wrap=True)

    def on_soaking(self, cluster: str, wave: int, seconds: float) -> None:
        """Show the wave that soaks."""
        self._describe(f"{cluster}: wave {wave} soaks for {seconds:g} s")

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
        yield ProgressLines(terminal)
        return
    from rich.console import Console  # noqa: PLC0415  (only where something moves)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn  # noqa: PLC0415

    # No markup: a cluster may be named [red].
    columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False)]
    counted = [BarColumn(bar_width=20), MofNCompleteColumn()] if steps else []
    console = Console(file=terminal.aside, no_color=not terminal.layout.colour, highlight=False)
    with Progress(*columns, *counted, console=console, transient=True) as progress:
        yield LiveProgress(terminal, progress, steps)
