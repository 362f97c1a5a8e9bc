"""Writes the progress of a pass into the watch state, the metrics and the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from reconciler.core.observation import Observed
from reconciler.core.outcome import Outcome
from reconciler.core.plan import Plan, Step
from reconciler.host.clock import utc_now
from reconciler.ports.listener import PassListener
from reconciler.server.logs import Log
from reconciler.server.metrics import Metrics, count_answers
from reconciler.server.run_progress import RunProgress
from reconciler.server.step_lines import StepLines
from reconciler.server.watch_state import WatchState

OBSERVE_SECONDS = 600.0
"""Seconds that observing a whole cluster may take; each node has its own, smaller bound."""

STEP_EXTRA = 120.0
"""Seconds that a step may take beyond the time in which its effect must show."""


class WatchListener(PassListener):
    """Of one pass over one cluster.

    Args:
        announce: called with the seconds within which the next event follows.
    """

    def __init__(
        self,
        cluster: str,
        watch_state: WatchState,
        metrics: Metrics,
        log: Log,
        announce: Callable[[float], None],
    ) -> None:
        self._cluster = cluster
        self._watch_state = watch_state
        self._metrics = metrics
        self._log = log
        self._lines = StepLines(log)
        self._announce = announce
        self._running: dict[str, float] = {}
        self._planned = 0
        self._progress: RunProgress | None = None

    def on_step_settled(self, outcome: Outcome) -> None:
        self._lines.note_settled(outcome)

    def finish(self) -> None:
        """The pass is over: log what is not logged yet."""
        self._lines.flush()
        if self._progress is not None:
            self._note_progress(replace(self._progress, is_over=True, running={}, soaks_until=None))

    def on_observing(self, cluster: str, nodes: int) -> None:
        self._lines.flush()
        self._announce(OBSERVE_SECONDS)
        self._watch_state.note(cluster, doing=f"observing {nodes} nodes")

    def on_observed(self, cluster: str, observed: Observed[Any]) -> None:
        self._announce(OBSERVE_SECONDS)
        self._watch_state.note(cluster, doing="planning", answers=count_answers(observed))

    def on_planned(self, plan: Plan) -> None:
        self._announce(OBSERVE_SECONDS)
        self._planned = sum(1 for _ in plan.steps())
        self._watch_state.note(self._cluster, doing=f"{self._planned} steps planned")

    def on_run_begun(self, run: str) -> None:
        self._lines.flush()
        self._note_progress(RunProgress(self._planned, run, utc_now()))
        self._log = self._lines.log = self._log.bind(run=run)

    def on_step_started(self, step: Step) -> None:
        self._running[step.id] = step.settle
        if self._progress is not None:
            self._note_progress(self._progress.start_step(step, utc_now()))
        self._show_running()
        self._lines.note_start(step)

    def on_step_ended(self, outcome: Outcome) -> None:
        step = outcome.step
        self._running.pop(step.id, None)
        if self._progress is not None:
            self._note_progress(self._progress.end_step(outcome))
        self._show_running()
        self._metrics.steps.labels(step.cluster, step.action, outcome.state.value).inc()
        self._lines.note_end(outcome)

    def on_soaking(self, cluster: str, wave: int, seconds: float) -> None:
        self._lines.flush()
        self._announce(seconds + OBSERVE_SECONDS)
        self._watch_state.note(cluster, doing=f"wave {wave} soaks for {seconds:g} s")
        self._log.info("soak started", wave=wave, seconds=seconds)
        if self._progress is not None:
            end = utc_now() + timedelta(seconds=seconds)
            self._note_progress(replace(self._progress, wave=wave, soaks_until=end))

    def _note_progress(self, progress: RunProgress) -> None:
        self._progress = progress
        self._watch_state.note(self._cluster, progress=progress)

    def _show_running(self) -> None:
        # The heartbeat follows the slowest running step: a restart of a node may take minutes.
        self._announce(max(self._running.values(), default=OBSERVE_SECONDS) + STEP_EXTRA)
        self._watch_state.note(self._cluster, doing=", ".join(sorted(self._running)) or "planning")
