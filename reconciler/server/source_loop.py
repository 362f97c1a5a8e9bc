"""The loop that looks at the source, and keeps the last good fleet whatever becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from reconciler.core.defect import REPORT_LINE, list_error_frames, name_error
from reconciler.core.plan import Revision
from reconciler.desired.fleet import Fleet
from reconciler.errors import InputError, ReconcilerError, SourceError, SourceUnreachable
from reconciler.host.aio import run_unless_stopped
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

    def __init__(self, source_context: SourceLoopContext, context: LoopContext) -> None:
        self._source_context = source_context
        self._context = context
        self._trigger = Trigger(window=WINDOW, limit=LIMIT)
        self._stop = asyncio.Event()
        self._loads: dict[str, asyncio.Future[Fleet]] = {}

    def ask(self, trigger: str) -> None:
        """Have the source looked at soon."""
        self._context.metrics.triggers.labels(trigger).inc()
        self._trigger.fire(trigger, at_once=trigger == "start")

    def stop(self) -> None:
        """End; a look under way is given up at once, and publishes nothing."""
        self._stop.set()
        self._trigger.fire("stop", at_once=True)

    async def run(self) -> None:
        """The loop; it ends only once it is told to stop."""
        context = self._context
        timing = start_timing(context.clock() + self._source_context.poll)
        self.ask("start")
        while True:
            wait = max(timing.due - context.clock(), 0.0)
            self._set_heartbeat(wait)
            reasons = await self._trigger.wait(wait)
            if self._stop.is_set():
                return
            if not reasons:
                context.metrics.triggers.labels("poll").inc()
            self._set_heartbeat(FETCH)
            trigger = next((name for name in PRECEDENCE if name in reasons), "poll")
            reached = await run_unless_stopped(self._stop, self.look(trigger))
            if reached is None:
                return
            timing = schedule_next(
                timing,
                settled=reached,
                now=context.clock(),
                interval=self._source_context.poll,
                draw=context.draw(),
            )

    async def look(self, trigger: str) -> bool:
        """Look once; gives whether the source answered with something that can be judged.

        Whatever a revision brings about, the last good one stays in force.
        """
        seen: list[Revision] = []
        try:
            async with asyncio.timeout(FETCH):
                await contain_errors(self._read_source(trigger, seen))
        except ReconcilerError as error:
            away = isinstance(error, SourceUnreachable)
            state = SourceState.UNREACHABLE if away else SourceState.INVALID
            self._set_failed(state, error, seen[0].id if seen else "")
            return not away
        except TimeoutError:
            message = f"reading the source did not end within {FETCH:g} s"
            remedy = "look at the size of the newest revision, and at the network"
            self._set_failed(
                SourceState.UNREACHABLE, SourceError(message, remedy=remedy), seen[0].id if seen else ""
            )
            return False
        except OSError as error:
            message = f"this host could not read the source: {error.strerror or type(error).__name__}"
            remedy = "look at its open files, memory and disks"
            self._set_failed(SourceState.UNREACHABLE, SourceError(message, remedy=remedy), "")
            return False
        except Exception as error:  # noqa: BLE001  (whatever it is, the last good revision stays in force)
            self._log_unexpected(error, seen[0].id if seen else "")
            return False
        return True

    async def _read_source(self, trigger: str, seen: list[Revision]) -> None:
        status = self._context.watch_state.source
        snapshot = await self._source_context.source.snapshot()
        seen.append(snapshot.revision)
        same = status.revision is not None and status.revision.id == snapshot.revision.id
        # Secrets are no part of a revision: one that appears or changes later is read for the same one.
        if same and not await contain_errors(asyncio.to_thread(self._source_context.is_stale)):
            self._set_good(status, result="same")
            return
        fleet = await self._load_fleet(snapshot)
        self._source_context.publish(fleet, trigger)
        self._set_good(replace(status, revision=fleet.revision), result="secrets" if same else "new")
        if same:
            self._context.log.info("secrets read again", revision=fleet.revision.short, trigger=trigger)
        else:
            self._log_revision(fleet, trigger)

    async def _load_fleet(self, snapshot: Snapshot) -> Fleet:
        """The fleet of a snapshot, read in a thread; nobody can end one, so that only a few may be left."""
        name = snapshot.revision.id
        if name in self._loads or len(self._loads) >= LEFT_BEHIND:
            raise SourceError(
                f"the files of revision {next(iter(self._loads))[:SHORT_ID]} are still being read",
                remedy="revert the commit that made them so large, and start the watch again",
            )
        load = asyncio.ensure_future(contain_errors(asyncio.to_thread(self._source_context.load, snapshot)))
        self._loads[name] = load

        def ended(load: asyncio.Future[Fleet]) -> None:
            self._loads.pop(name, None)
            if not load.cancelled():
                load.exception()  # looked at, so that the event loop does not complain of it

        load.add_done_callback(ended)
        # The thread goes on where this look is given up: its future stays on the list until it has ended.
        return await asyncio.shield(load)

    def _log_revision(self, fleet: Fleet, trigger: str) -> None:
        revision = fleet.revision
        self._context.log.info(
            "revision read",
            revision=revision.short,
            title=revision.title,
            trigger=trigger,
            source=revision.source,
        )
        for warning in fleet.warnings[:PROBLEMS]:
            self._context.log.warning("desired state", revision=revision.short, message=str(warning))
        if len(fleet.warnings) > PROBLEMS:
            message = f"{len(fleet.warnings)} warnings in all: `reconcile validate` shows them"
            self._context.log.warning("desired state", revision=revision.short, message=message)

    def _set_good(self, status: WatchedSource, *, result: str) -> None:
        before, now = self._context.watch_state.source, self._context.wall()
        if before.message:
            self._context.log.info("source is well again", was=before.state.value)
        since = before.since if before.state is SourceState.GOOD else now
        self._context.watch_state.source = replace(
            status, state=SourceState.GOOD, message="", problems=(), rejected="", looked=now, since=since
        )
        self._context.metrics.looks.labels(result).inc()

    def _set_failed(self, state: SourceState, error: ReconcilerError, rejected: str) -> None:
        """Keep the last good fleet; say what is wrong once, not at every poll."""
        before, now = self._context.watch_state.source, self._context.wall()
        message = f"{error.message}; {error.remedy}" if error.remedy else error.message
        if (before.state, before.message, before.rejected) != (state, message, rejected):
            self._log_failure(error, rejected)
        since = before.since if before.state is state else now
        self._context.watch_state.source = replace(
            before,
            state=state,
            message=message,
            problems=error.problems[:PROBLEMS] if isinstance(error, InputError) else (),
            rejected=rejected,
            looked=now,
            since=since,
        )
        self._context.metrics.looks.labels(state.value).inc()

    def _log_unexpected(self, error: Exception, rejected: str) -> None:
        """An unexpected error is an invalid revision; its trace is logged once."""
        context, message = self._context, f"an unexpected error: {name_error(error)}"
        context.metrics.unexpected.labels("source").inc()
        if context.watch_state.source.message.partition(";")[0] != message:
            kept = context.watch_state.source.revision
            remedy = f"the last good revision stays in force; {REPORT_LINE}"
            fields = {"kept": kept.short if kept else "", "rejected": rejected[:SHORT_ID]}
            context.log.error(
                "unexpected error in reading the source",
                message=message,
                remedy=remedy,
                trace=list_error_frames(error),
                **{key: text for key, text in fields.items() if text},
            )
        self._set_failed(SourceState.INVALID, SourceError(message, remedy=REPORT_LINE), rejected)

    def _log_failure(self, error: ReconcilerError, rejected: str) -> None:
        log = self._context.log
        kept = self._context.watch_state.source.revision
        texts = {"kept": kept.short if kept else "", "rejected": rejected[:SHORT_ID], "remedy": error.remedy}
        fields = {key: text for key, text in texts.items() if text}
        if isinstance(error, InputError):
            for problem in error.problems[:PROBLEMS]:
                place = {"code": problem.code, "file": problem.position.file, "pointer": problem.pointer}
                numbers = {"line": problem.position.line, "column": problem.position.column}
                log.error("desired state refused", message=str(problem), **place, **numbers, **fields)
            if len(error.problems) > PROBLEMS:
                log.error("desired state refused", message=f"{len(error.problems)} problems in all", **fields)
            return
        log.error("source failed", message=error.message, **fields)

    def _set_heartbeat(self, within: float) -> None:
        self._context.watch_state.heartbeats["source"] = self._context.clock() + within + PATIENCE
