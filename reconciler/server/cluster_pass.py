"""One pass over one cluster: run, timed, logged and counted, whatever comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from reconciler.core.defect import REPORT_LINE, name_error
from reconciler.core.finding_groups import group_findings
from reconciler.core.plan import Revision
from reconciler.desired.fleet import Fleet
from reconciler.diagnostic import Severity
from reconciler.errors import ClusterBusy, ReconcilerError, StateError
from reconciler.ports.backups import BACKUP_MISSING, BACKUP_UNKNOWN
from reconciler.ports.listener import PassListener
from reconciler.server.logs import Log, log_defect
from reconciler.server.metrics import Metrics
from reconciler.server.pass_result import PassResult, PassSummary
from reconciler.server.progress_listener import WatchListener
from reconciler.server.supervision import contain_errors
from reconciler.server.timing import HOLD_ENDS, LoopTiming, schedule_next
from reconciler.server.watch_state import WatchState
from reconciler.text.one_line import list_first_names

PATIENCE = 60.0
"""Seconds beyond the announced time after which a silent loop counts as hung."""

_BACKUPS = frozenset({BACKUP_MISSING, BACKUP_UNKNOWN})

_PASSES = 3
"""How much longer than a pass the wait for offers is, so that passes over a large fleet leave room."""

PRECEDENCE = ("webhook", "files", "poll", "start", "request", HOLD_ENDS, "offers", "retry", "interval")
"""Which of several triggers the history names."""

SCHEDULED = frozenset({"interval", "retry", "offers", HOLD_ENDS})
"""Triggers that an earlier pass set; all others come from outside."""


@dataclass(frozen=True, slots=True)
class PassJob:
    """One pass to be run.

    Args:
        fleet: the latest one, with all clusters.
        cluster: name of the cluster.
        trigger: reason for the pass.
        listener: receives the progress.
        stop: once set, no further step starts.
    """

    fleet: Fleet
    cluster: str
    trigger: str
    listener: PassListener
    stop: asyncio.Event


class PassRunner(Protocol):
    """Runs one pass over one cluster; a dry run is an implementation that has nothing to write with."""

    async def __call__(self, job: PassJob) -> PassSummary:
        """Observe, plan, guard and, unless this is a dry run, apply.

        Raises:
            ReconcilerError: the pass could not be completed.
        """


@dataclass(frozen=True, slots=True)
class LoopContext:
    """What all loops share.

    Args:
        clock: monotonic seconds.
        wall: seconds since 1970.
        draw: a random number from 0 to 1, for the jitter.
        interval: seconds between passes without changes.
        note_pass: called at the end of each pass, with the cluster, its fleet and the result.
    """

    watch_state: WatchState
    metrics: Metrics
    log: Log
    clock: Callable[[], float]
    wall: Callable[[], float]
    draw: Callable[[], float]
    interval: float
    note_pass: Callable[[str, Fleet, PassSummary], None] = lambda _cluster, _fleet, _summary: None


class ClusterPass:
    """Runs the passes over one cluster, one after the other, and records what each found.

    Args:
        name: of the cluster.
        perform: runs a pass.
        context: shared by all clusters.
    """

    def __init__(self, name: str, perform: PassRunner, context: LoopContext) -> None:
        self.name = name
        self._perform = perform
        self._context = context
        self._last_logged: tuple[object, ...] = ()
        self._last_defect = ""

    async def run(
        self, fleet: Fleet, timing: LoopTiming, trigger: str, stop: asyncio.Event
    ) -> tuple[PassSummary, LoopTiming]:
        """Run one pass and record its result; gives the result, and the timing of the next pass.

        Args:
            fleet: the latest one.
            timing: of this pass.
            trigger: reason for the pass.
            stop: once set, no further step starts.
        """
        context, began = self._context, self._context.clock()
        if trigger in SCHEDULED:
            context.metrics.triggers.labels(trigger).inc()
        log = context.log.bind(cluster=self.name, revision=fleet.revision.short)
        listener = WatchListener(self.name, context.watch_state, context.metrics, log, self.announce)
        context.watch_state.note(self.name, doing="observing")
        try:
            pass_summary = await self._run_pass(PassJob(fleet, self.name, trigger, listener, stop))
        finally:
            listener.finish()
        now = context.clock()
        timing = self._schedule(pass_summary, timing, began, now)
        context.metrics.seconds.labels(self.name).observe(now - began)
        context.metrics.passes.labels(self.name, pass_summary.result.value).inc()
        self._update_status(pass_summary, pass_summary.pinned_revision or fleet.revision, timing, now)
        self._log_end(log, pass_summary, fleet.revision, trigger)
        context.note_pass(self.name, fleet, pass_summary)
        return pass_summary, timing

    def announce(self, within: float) -> None:
        """The next sign of life comes within so many seconds."""
        self._context.watch_state.heartbeats[f"cluster {self.name}"] = (
            self._context.clock() + within + PATIENCE
        )

    def _schedule(
        self, pass_summary: PassSummary, timing: LoopTiming, began: float, now: float
    ) -> LoopTiming:
        interval = self._context.interval
        if pass_summary.recheck:
            # Nodes that are waited for have not failed: no backoff. A large fleet takes long to read.
            wait = max(pass_summary.recheck, _PASSES * (now - began))
            timing = LoopTiming(due=now + min(wait, interval), cause="offers")
        else:
            timing = schedule_next(
                timing,
                settled=pass_summary.is_settled,
                now=now,
                interval=interval,
                draw=self._context.draw(),
            )
        if pass_summary.hold_end is not None:
            timing = replace(timing, hold_end=pass_summary.hold_end.timestamp())
        return timing

    async def _run_pass(self, job: PassJob) -> PassSummary:
        """Run the pass; an error of any kind becomes its result."""
        try:
            pass_summary: PassSummary = await contain_errors(self._perform(job))
        except ClusterBusy as error:
            return PassSummary(PassResult.BUSY, message=error.message)
        except StateError as error:
            # `/readyz` answers 503 at once, not only after the next check of the store.
            self._context.watch_state.store = error.message
            return PassSummary(PassResult.FAILED, message=format_error(error))
        except ReconcilerError as error:
            return PassSummary(PassResult.INVALID, message=format_error(error))
        except Exception as error:  # noqa: BLE001  (whatever it is, the other clusters continue)
            return self._log_defect(error)
        self._last_defect = ""
        return pass_summary

    def _log_defect(self, error: Exception) -> PassSummary:
        context, message = self._context, name_error(error)
        context.metrics.unexpected.labels(f"cluster {self.name}").inc()
        if message != self._last_defect:
            self._last_defect = message
            consequence = "the watch retries this cluster with growing pauses, others continue"
            log_defect(context.log, "unexpected error in a pass", error, consequence, cluster=self.name)
        return PassSummary(PassResult.DEFECT, message=f"an unexpected error: {message}; {REPORT_LINE}")

    def _update_status(
        self, pass_summary: PassSummary, revision: Revision, timing: LoopTiming, now: float
    ) -> None:
        watch_state, wall = self._context.watch_state, self._context.wall()
        status = watch_state.clusters.get(self.name)
        # The cluster may have left the fleet during its pass.
        if status is None:
            return
        read = status.add_reading(pass_summary.reading)
        watch_state.note(
            self.name,
            revision=revision,
            doing="idle",
            pass_summary=pass_summary,
            reading=read.reading,
            read_at=read.read_at,
            conditions=read.conditions,
            is_unread=read.is_unread,
            since=status.since
            if status.pass_summary and status.pass_summary.result is pass_summary.result
            else wall,
            ended=wall,
            success=wall if pass_summary.is_good else status.success,
            tries=timing.failures,
            due=wall + timing.compute_wait(now=now, wall=wall),
        )

    def _log_end(self, log: Log, pass_summary: PassSummary, revision: Revision, trigger: str) -> None:
        """Log the end of a pass if its result differs from the last one; the metrics count repetitions."""
        summary = pass_summary
        current = (revision.id, summary.result, summary.message, summary.pending, summary.unread_nodes)
        if current == self._last_logged and not pass_summary.run:
            return
        self._last_logged = current
        is_calm = pass_summary.is_good or pass_summary.result in {
            PassResult.STOPPED,
            PassResult.WAITING,
            PassResult.DRIFT,
            PassResult.HELD,
            PassResult.RESTART,
        }
        own = [one for one in pass_summary.violations if one.cluster in {"", self.name}]
        others = [one for one in pass_summary.violations if one not in own]
        for event, violations in (("plan refused", own), ("another cluster is refused", others)):
            for group in group_findings(violations):
                problem = group.finding
                log.warning(event, code=problem.code, message=group.text, remedy=problem.remedy)
        for finding in pass_summary.findings:
            if finding.code in _BACKUPS and finding.severity is Severity.WARNING:
                log.warning(
                    "backup not found", code=finding.code, message=finding.message, remedy=finding.remedy
                )
        fields = {
            "result": pass_summary.result.value,
            "trigger": trigger,
            "run": pass_summary.run,
            "steps": pass_summary.steps,
            "pending": pass_summary.pending,
            "drifted": list_first_names(sorted(one.node for one in pass_summary.drift)),
            "pinned": pass_summary.pin.pin.place if pass_summary.pin else "",
            "unread_nodes": list(pass_summary.unread_nodes),
            "message": "" if pass_summary.violations else pass_summary.message,
        }
        (log.info if is_calm else log.warning)(
            "pass ended", **{key: item for key, item in fields.items() if item}
        )


def format_error(error: ReconcilerError) -> str:
    """Message and remedy of an error in one text."""
    return f"{error.message}; {error.remedy}" if error.remedy else error.message
