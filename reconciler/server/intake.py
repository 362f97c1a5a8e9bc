"""The loop that looks at the source, and keeps the last good fleet whatever becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from reconciler.core.ports import Snapshot, Source
from reconciler.desired.fleet import Fleet
from reconciler.engine.interruption import unless
from reconciler.errors import InputError, ReconcilerError, SourceUnreachable
from reconciler.server.bell import Bell
from reconciler.server.board import SourceState, SourceStatus
from reconciler.server.cluster import PATIENCE, PRECEDENCE, Surroundings
from reconciler.server.pace import after, begin

WINDOW, LIMIT = 0.3, 3.0
"""Seconds of silence that end a burst of triggers, and seconds after which it is answered anyway."""

FETCH = 900.0
"""Seconds that one look may take before the loop counts as dead."""

PROBLEMS = 20
"""As many problems of one revision as the log names."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the source is read and who gets what comes of it.

    Args:
        load: snapshot to fleet; raises `ReconcilerError` where the files are wrong.
        publish: given each new fleet and the trigger that brought it.
        poll: seconds between looks that nobody asked for.
    """

    source: Source
    load: Callable[[Snapshot], Fleet]
    publish: Callable[[Fleet, str], None]
    poll: float


class Intake:
    """Looks at the source when asked and at every poll; `run` is its task."""

    def __init__(self, reading: Reading, around: Surroundings) -> None:
        self._reading = reading
        self._around = around
        self._bell = Bell(window=WINDOW, limit=LIMIT)
        self._stop = asyncio.Event()

    def ask(self, trigger: str) -> None:
        """Have the source looked at soon."""
        self._around.metrics.triggers.labels(trigger).inc()
        self._bell.ring(trigger, at_once=trigger == "start")

    def stop(self) -> None:
        """End; a look under way is given up at once, and publishes nothing."""
        self._stop.set()
        self._bell.ring("stop", at_once=True)

    async def run(self) -> None:
        """The loop; it ends only once it is told to stop."""
        around = self._around
        pace = begin(around.clock() + self._reading.poll)
        self.ask("start")
        while True:
            wait = max(pace.due - around.clock(), 0.0)
            self._pulse(wait)
            reasons = await self._bell.heard(wait)
            if self._stop.is_set():
                return
            if not reasons:
                around.metrics.triggers.labels("poll").inc()
            self._pulse(FETCH)
            trigger = next((name for name in PRECEDENCE if name in reasons), "poll")
            reached = await unless(self._stop, self.look(trigger))
            if reached is None:
                return
            pace = after(
                pace, settled=reached, now=around.clock(), interval=self._reading.poll, draw=around.draw()
            )

    async def look(self, trigger: str) -> bool:
        """Look once; gives whether the source answered."""
        status = self._around.board.source
        try:
            snapshot = await self._reading.source.snapshot()
        except ReconcilerError as error:
            away = isinstance(error, SourceUnreachable)
            self._failed(SourceState.UNREACHABLE if away else SourceState.INVALID, error, "")
            return not away
        if status.revision and status.revision.id == snapshot.revision.id:
            self._settled(status, result="same")
            return True
        try:
            fleet = await asyncio.to_thread(self._reading.load, snapshot)
        except ReconcilerError as error:
            self._failed(SourceState.INVALID, error, snapshot.revision.id)
            return True
        self._settled(replace(status, revision=fleet.revision), result="new")
        revision = fleet.revision
        self._around.log.info(
            "revision read",
            revision=revision.short,
            title=revision.title,
            trigger=trigger,
            source=revision.source,
        )
        for warning in fleet.warnings[:PROBLEMS]:
            self._around.log.warning("desired state", revision=revision.short, words=str(warning))
        if len(fleet.warnings) > PROBLEMS:
            words = f"{len(fleet.warnings)} warnings in all: `reconcile validate` shows them"
            self._around.log.warning("desired state", revision=revision.short, words=words)
        self._reading.publish(fleet, trigger)
        return True

    def _settled(self, status: SourceStatus, *, result: str) -> None:
        before, now = self._around.board.source, self._around.wall()
        if before.words:
            self._around.log.info("source is well again", was=before.state.value)
        since = before.since if before.state is SourceState.GOOD else now
        self._around.board.source = replace(
            status, state=SourceState.GOOD, words="", rejected="", looked=now, since=since
        )
        self._around.metrics.looks.labels(result).inc()

    def _failed(self, state: SourceState, error: ReconcilerError, rejected: str) -> None:
        """Keep the last good fleet; say what is wrong once, not at every poll."""
        before, now = self._around.board.source, self._around.wall()
        words = f"{error.message}; {error.remedy}" if error.remedy else error.message
        if (before.state, before.words, before.rejected) != (state, words, rejected):
            self._complain(error, rejected)
        since = before.since if before.state is state else now
        self._around.board.source = replace(
            before, state=state, words=words, rejected=rejected, looked=now, since=since
        )
        self._around.metrics.looks.labels(state.value).inc()

    def _complain(self, error: ReconcilerError, rejected: str) -> None:
        log = self._around.log
        kept = self._around.board.source.revision
        said = {"kept": kept.short if kept else "", "rejected": rejected[:12], "remedy": error.remedy}
        fields = {key: text for key, text in said.items() if text}
        if isinstance(error, InputError):
            for problem in error.problems[:PROBLEMS]:
                log.error("desired state refused", words=str(problem), **fields)
            if len(error.problems) > PROBLEMS:
                log.error("desired state refused", words=f"{len(error.problems)} problems in all", **fields)
            return
        log.error("source failed", words=error.message, **fields)

    def _pulse(self, within: float) -> None:
        self._around.board.pulses["source"] = self._around.clock() + within + PATIENCE
