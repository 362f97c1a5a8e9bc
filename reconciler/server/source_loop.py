"""The loop that looks at the source, and keeps the last good fleet whatever becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from reconciler.core.defect import REPORT_LINE, list_error_frames, name_error
from reconciler.core.plan import Revision
from reconciler.desired.fleet import Fleet
from reconciler.errors import InputError, ReconcilerError, SourceError, SourceUnreachable
from reconciler.host.interruption import run_unless_stopped
from reconciler.ports.source import Snapshot, Source
from reconciler.server.cluster_loop import PATIENCE, PRECEDENCE, LoopContext
from reconciler.server.supervision import contain_errors
from reconciler.server.timing import schedule_next, start_timing
from reconciler.server.triggers import Trigger
from reconciler.server.watch_state import SourceState, WatchedSource
from reconciler.text.one_line import SHORT_ID

WINDOW, LIMIT = 0.3, 3.0
"""Seconds of silence that end a burst of triggers, and seconds after which it is answered anyway."""

FETCH = 900.0
"""Seconds that one look may take before it is given up."""

LEFT_BEHIND = 3
"""Revisions whose files are still being read, after `FETCH` seconds, before no other one is begun."""

PROBLEMS = 20
"""As many problems of one revision as the log names."""


@dataclass(frozen=True, slots=True)
class SourceLoopContext:
    """How the source is read and who gets what comes of it.

    Args:
        load: snapshot to fleet; raises `ReconcilerError` where the files are wrong.
        publish: given each new fleet and the trigger that brought it.
        poll: seconds between looks that nobody asked for.
        is_stale: whether files with secrets are others than when the last fleet was loaded.
    """

    source: Source
    load: Callable[[Snapshot], Fleet]
    publish: Callable[[Fleet, str], None]
    poll: float
    is_stale: Callable[[], bool] = lambda: False


class SourceLoop:
    """Looks at the source when asked and at every poll; `run` is its task."""

    def __init__(self, reading: SourceLoopContext, around: LoopContext) -> None:
        self._reading = reading
        self._around = around
        self._bell = Trigger(window=WINDOW, limit=LIMIT)
        self._stop = asyncio.Event()
        self._loads: dict[str, asyncio.Future[Fleet]] = {}

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
        pace = start_timing(around.clock() + self._reading.poll)
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
            reached = await run_unless_stopped(self._stop, self.look(trigger))
            if reached is None:
                return
            pace = schedule_next(
                pace, settled=reached, now=around.clock(), interval=self._reading.poll, draw=around.draw()
            )

    async def look(self, trigger: str) -> bool:
        """Look once; gives whether the source answered with something that can be judged.

        Whatever a revision brings about, the last good one stays in force.
        """
        seen: list[Revision] = []
        try:
            async with asyncio.timeout(FETCH):
                await contain_errors(self._look(trigger, seen))
        except ReconcilerError as error:
            away = isinstance(error, SourceUnreachable)
            state = SourceState.UNREACHABLE if away else SourceState.INVALID
            self._failed(state, error, seen[0].id if seen else "")
            return not away
        except TimeoutError:
            words = f"reading the source did not end within {FETCH:g} s"
            remedy = "look at the size of the newest revision, and at the network"
            self._failed(
                SourceState.UNREACHABLE, SourceError(words, remedy=remedy), seen[0].id if seen else ""
            )
            return False
        except OSError as error:
            words = f"this host could not read the source: {error.strerror or type(error).__name__}"
            remedy = "look at its open files, memory and disks"
            self._failed(SourceState.UNREACHABLE, SourceError(words, remedy=remedy), "")
            return False
        except Exception as error:  # noqa: BLE001  (whatever it is, the last good revision stays in force)
            self._unexpected(error, seen[0].id if seen else "")
            return False
        return True

    async def _look(self, trigger: str, seen: list[Revision]) -> None:
        status = self._around.watch_state.source
        snapshot = await self._reading.source.snapshot()
        seen.append(snapshot.revision)
        same = status.revision is not None and status.revision.id == snapshot.revision.id
        # Secrets are no part of a revision: one that appears or changes later is read for the same one.
        if same and not await contain_errors(asyncio.to_thread(self._reading.is_stale)):
            self._settled(status, result="same")
            return
        fleet = await self._loaded(snapshot)
        self._reading.publish(fleet, trigger)
        self._settled(replace(status, revision=fleet.revision), result="secrets" if same else "new")
        if same:
            self._around.log.info("secrets read again", revision=fleet.revision.short, trigger=trigger)
        else:
            self._tell(fleet, trigger)

    async def _loaded(self, snapshot: Snapshot) -> Fleet:
        """The fleet of a snapshot, read in a thread; nobody can end one, so that only a few may be left."""
        name = snapshot.revision.id
        if name in self._loads or len(self._loads) >= LEFT_BEHIND:
            raise SourceError(
                f"the files of revision {next(iter(self._loads))[:SHORT_ID]} are still being read",
                remedy="revert the commit that made them so large, and start the watch again",
            )
        load = asyncio.ensure_future(contain_errors(asyncio.to_thread(self._reading.load, snapshot)))
        self._loads[name] = load

        def ended(load: asyncio.Future[Fleet]) -> None:
            self._loads.pop(name, None)
            if not load.cancelled():
                load.exception()  # looked at, so that the event loop does not complain of it

        load.add_done_callback(ended)
        # The thread goes on where this look is given up: its future stays on the list until it has ended.
        return await asyncio.shield(load)

    def _tell(self, fleet: Fleet, trigger: str) -> None:
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

    def _settled(self, status: WatchedSource, *, result: str) -> None:
        before, now = self._around.watch_state.source, self._around.wall()
        if before.words:
            self._around.log.info("source is well again", was=before.state.value)
        since = before.since if before.state is SourceState.GOOD else now
        self._around.watch_state.source = replace(
            status, state=SourceState.GOOD, words="", problems=(), rejected="", looked=now, since=since
        )
        self._around.metrics.looks.labels(result).inc()

    def _failed(self, state: SourceState, error: ReconcilerError, rejected: str) -> None:
        """Keep the last good fleet; say what is wrong once, not at every poll."""
        before, now = self._around.watch_state.source, self._around.wall()
        words = f"{error.message}; {error.remedy}" if error.remedy else error.message
        if (before.state, before.words, before.rejected) != (state, words, rejected):
            self._complain(error, rejected)
        since = before.since if before.state is state else now
        self._around.watch_state.source = replace(
            before,
            state=state,
            words=words,
            problems=error.problems[:PROBLEMS] if isinstance(error, InputError) else (),
            rejected=rejected,
            looked=now,
            since=since,
        )
        self._around.metrics.looks.labels(state.value).inc()

    def _unexpected(self, error: Exception, rejected: str) -> None:
        """An unexpected error is an invalid revision; its trace is logged once."""
        around, words = self._around, f"an unexpected error: {name_error(error)}"
        around.metrics.unexpected.labels("source").inc()
        if around.watch_state.source.words.partition(";")[0] != words:
            kept = around.watch_state.source.revision
            remedy = f"the last good revision stays in force; {REPORT_LINE}"
            fields = {"kept": kept.short if kept else "", "rejected": rejected[:SHORT_ID]}
            around.log.error(
                "unexpected error in reading the source",
                words=words,
                remedy=remedy,
                trace=list_error_frames(error),
                **{key: text for key, text in fields.items() if text},
            )
        self._failed(SourceState.INVALID, SourceError(words, remedy=REPORT_LINE), rejected)

    def _complain(self, error: ReconcilerError, rejected: str) -> None:
        log = self._around.log
        kept = self._around.watch_state.source.revision
        said = {"kept": kept.short if kept else "", "rejected": rejected[:SHORT_ID], "remedy": error.remedy}
        fields = {key: text for key, text in said.items() if text}
        if isinstance(error, InputError):
            for problem in error.problems[:PROBLEMS]:
                place = {"code": problem.code, "file": problem.position.file, "pointer": problem.pointer}
                numbers = {"line": problem.position.line, "column": problem.position.column}
                log.error("desired state refused", words=str(problem), **place, **numbers, **fields)
            if len(error.problems) > PROBLEMS:
                log.error("desired state refused", words=f"{len(error.problems)} problems in all", **fields)
            return
        log.error("source failed", words=error.message, **fields)

    def _pulse(self, within: float) -> None:
        self._around.watch_state.heartbeats["source"] = self._around.clock() + within + PATIENCE
