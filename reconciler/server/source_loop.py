"""The loop that reads the source; the last good fleet stays in use whatever goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from reconciler.core.defect import REPORT_LINE, list_error_frames, name_error
from reconciler.core.plan import Revision
from reconciler.desired.fleet import Fleet
from reconciler.errors import InputError, ReconcilerError, SourceError, SourceUnreachable
from reconciler.host.aio import run_unless_stopped
from reconciler.ports.inventory import NO_INVENTORY, Inventory, InventoryList, InventoryQuery
from reconciler.ports.source import Snapshot, Source
from reconciler.server.cluster_pass import PATIENCE, PRECEDENCE, LoopContext, format_error
from reconciler.server.supervision import contain_errors
from reconciler.server.timing import LoopTiming, schedule_next
from reconciler.server.triggers import Trigger
from reconciler.server.watch_state import SourceState, WatchedSource
from reconciler.text.one_line import SHORT_ID

WINDOW, LIMIT = 0.3, 3.0
"""Seconds without a trigger that end a burst, and longest duration of a burst in seconds."""

FETCH = 900.0
"""Seconds after which one read of the source is cancelled."""

LEFT_BEHIND = 3
"""Reads that may still run in threads after `FETCH` seconds; beyond that no further one starts."""

PROBLEMS = 20
"""Problems of one revision that the log names."""


class SourceLoop:
    """Reads the source at each trigger and each poll; `run` is its task.

    Args:
        load: snapshot to fleet; raises `ReconcilerError` if the files are invalid.
        publish: called with each new fleet and the trigger of the read.
        refresh: called with what is known of instances when they are the same as before, for its age.
        poll: seconds between reads without another trigger.
        is_stale: whether files with secrets have changed since the last fleet was loaded.
    """

    def __init__(
        self,
        context: LoopContext,
        source: Source,
        *,
        load: Callable[[Snapshot], Fleet],
        publish: Callable[[Fleet, str], None],
        poll: float,
        is_stale: Callable[[], bool] = lambda: False,
        refresh: Callable[[Inventory], None] = lambda _: None,
    ) -> None:
        self._context, self._source, self._publish, self._poll = context, source, publish, poll
        self._load, self._is_stale, self._refresh = load, is_stale, refresh
        self._inventory = NO_INVENTORY
        self._failing: dict[InventoryQuery, str] = {}
        self._trigger = Trigger(window=WINDOW, limit=LIMIT)
        self._stop = asyncio.Event()
        self._loads: dict[str, asyncio.Future[Fleet]] = {}

    def request_read(self, trigger: str) -> None:
        """Request a read of the source."""
        self._context.metrics.triggers.labels(trigger).inc()
        self._trigger.fire(trigger, at_once=trigger == "start")

    def stop(self) -> None:
        """End; a running read is cancelled at once and publishes nothing."""
        self._stop.set()
        self._trigger.fire("stop", at_once=True)

    async def run(self) -> None:
        """Run until `stop`."""
        context = self._context
        timing = LoopTiming(due=context.clock() + self._poll)
        self.request_read("start")
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
            # Reading has no effect on nodes, so a stop may cancel it anywhere.
            reached = await run_unless_stopped(self._stop, self.read(trigger))
            if reached is None:
                return
            timing = schedule_next(
                timing,
                settled=reached,
                now=context.clock(),
                interval=self._poll,
                draw=context.draw(),
            )

    async def read(self, trigger: str) -> bool:
        """Read the source once; gives whether it answered. The last good revision stays in use."""
        # A list, so that the revision is known here even if the read fails or is cancelled after it.
        seen: list[Revision] = []
        try:
            async with asyncio.timeout(FETCH):
                await contain_errors(self._read_source(trigger, seen))
        except ReconcilerError as error:
            failure = error
        except TimeoutError:
            message = f"reading the source took longer than {FETCH:g} s"
            remedy = "check the size of the newest revision and the network"
            failure = SourceUnreachable(message, remedy=remedy)
        # The fault of this host, not of the revision: no descriptors, no memory, a full disk. So the revision
        # is not rejected, and the read is retried with backoff.
        except OSError as error:
            message = f"this host could not read the source: {error.strerror or type(error).__name__}"
            remedy = "check the open files, memory and disks of this host"
            failure, seen = SourceUnreachable(message, remedy=remedy), []
        except Exception as error:  # noqa: BLE001  (whatever it is, the last good revision stays in use)
            self._log_unexpected(error, seen[0].id if seen else "")
            return False
        else:
            return True
        is_away = isinstance(failure, SourceUnreachable)
        state = SourceState.UNREACHABLE if is_away else SourceState.INVALID
        self._set_failed(state, failure, seen[0].id if seen else "")
        return not is_away

    async def _read_source(self, trigger: str, seen: list[Revision]) -> None:
        status = self._context.watch_state.source
        snapshot = await self._source.snapshot()
        seen.append(snapshot.revision)
        same = status.revision is not None and status.revision.id == snapshot.revision.id
        # Secrets are not part of a revision: one that appears or changes later is read for the same revision.
        self._log_inventory(snapshot.inventory)
        # Neither are the instances of clouds: other ones are other nodes of the same revision.
        moved = snapshot.inventory.content != self._inventory.content
        if same and not moved and not await contain_errors(asyncio.to_thread(self._is_stale)):
            if snapshot.inventory.answers:
                self._refresh(snapshot.inventory)
            self._set_good(status, result="same")
            return
        fleet = await self._load_fleet(snapshot)
        self._inventory = snapshot.inventory
        # Published before it is shown as in use: `/readyz` must not name a revision that no loop has.
        self._publish(fleet, trigger)
        kind = ("inventory" if moved else "secrets") if same else "new"
        self._set_good(replace(status, revision=fleet.revision), result=kind)
        if same:
            event = "other instances found" if moved else "secrets reloaded"
            self._context.log.info(event, revision=fleet.revision.short, trigger=trigger)
        else:
            self._log_revision(fleet, trigger)

    def _log_inventory(self, inventory: Inventory) -> None:
        """Log once why a list of instances is not read, and once that it is read again."""
        failing = {}
        for query, answer in inventory.answers.items():
            if isinstance(answer, InventoryList):
                failing[query] = answer.failure
            else:
                failing[query] = answer.message
        for query, reason in failing.items():
            before = self._failing.get(query, "")
            # The age of a list in the reason changes at each read.
            if reason and not before:
                self._context.log.warning("inventory not read", query=str(query), message=reason)
            elif before and not reason:
                self._context.log.info("inventory recovered", query=str(query))
        self._failing = failing

    async def _load_fleet(self, snapshot: Snapshot) -> Fleet:
        """The fleet of a snapshot, read in a thread."""
        # A thread cannot be cancelled. Without the bound, each poll of a revision that never ends to
        # parse would leave one more thread behind.
        name = snapshot.revision.id
        if name in self._loads or len(self._loads) >= LEFT_BEHIND:
            raise SourceError(
                f"reading the files of revision {next(iter(self._loads))[:SHORT_ID]} has not ended",
                remedy="revert the commit that made the files so large, and restart the watch",
            )
        load = asyncio.ensure_future(contain_errors(asyncio.to_thread(self._load, snapshot)))
        self._loads[name] = load

        def ended(load: asyncio.Future[Fleet]) -> None:
            self._loads.pop(name, None)
            if not load.cancelled():
                load.exception()  # retrieved, or the event loop would log it as never retrieved

        load.add_done_callback(ended)
        # The thread continues if this read is cancelled: its future stays in `_loads` until it has ended.
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
            self._context.log.warning(
                "warning in desired state", revision=revision.short, message=str(warning)
            )
        if len(fleet.warnings) > PROBLEMS:
            message = f"{len(fleet.warnings)} warnings in total: `reconcile validate` lists them"
            self._context.log.warning("warning in desired state", revision=revision.short, message=message)

    def _set_good(self, status: WatchedSource, *, result: str) -> None:
        before, now = self._context.watch_state.source, self._context.wall()
        if before.message:
            self._context.log.info("source recovered", previous_state=before.state.value)
        since = before.since if before.state is SourceState.GOOD else now
        self._context.watch_state.source = replace(
            status, state=SourceState.GOOD, message="", problems=(), rejected="", read_at=now, since=since
        )
        self._context.metrics.source_reads.labels(result).inc()

    def _set_failed(self, state: SourceState, error: ReconcilerError, rejected: str) -> None:
        """Keep the last good fleet, and log the problem once, not at every poll."""
        before, now = self._context.watch_state.source, self._context.wall()
        message = format_error(error)
        if (before.state, before.message, before.rejected) != (state, message, rejected):
            self._log_failure(error, rejected)
        since = before.since if before.state is state else now
        self._context.watch_state.source = replace(
            before,
            state=state,
            message=message,
            problems=error.problems[:PROBLEMS] if isinstance(error, InputError) else (),
            rejected=rejected,
            read_at=now,
            since=since,
        )
        self._context.metrics.source_reads.labels(state.value).inc()

    def _log_unexpected(self, error: Exception, rejected: str) -> None:
        """Treat an unexpected error as an invalid revision, and log its trace once."""
        context, message = self._context, f"an unexpected error: {name_error(error)}"
        context.metrics.unexpected.labels("source").inc()
        # The stored message has the remedy after a semicolon.
        if context.watch_state.source.message.partition(";")[0] != message:
            kept = context.watch_state.source.revision
            remedy = f"the last good revision stays in use; {REPORT_LINE}"
            fields = {"revision_in_use": kept.short if kept else "", "rejected": rejected[:SHORT_ID]}
            context.log.error(
                "unexpected error while reading the source",
                message=message,
                remedy=remedy,
                trace=list_error_frames(error),
                **{key: text for key, text in fields.items() if text},
            )
        self._set_failed(SourceState.INVALID, SourceError(message, remedy=REPORT_LINE), rejected)

    def _log_failure(self, error: ReconcilerError, rejected: str) -> None:
        log = self._context.log
        kept = self._context.watch_state.source.revision
        texts = {
            "revision_in_use": kept.short if kept else "",
            "rejected": rejected[:SHORT_ID],
            "remedy": error.remedy,
        }
        fields = {key: text for key, text in texts.items() if text}
        if isinstance(error, InputError):
            for problem in error.problems[:PROBLEMS]:
                place = {"code": problem.code, "file": problem.position.file, "pointer": problem.pointer}
                numbers = {"line": problem.position.line, "column": problem.position.column}
                log.error("desired state rejected", message=str(problem), **place, **numbers, **fields)
            if len(error.problems) > PROBLEMS:
                log.error(
                    "desired state rejected", message=f"{len(error.problems)} problems in total", **fields
                )
            return
        log.error("source failed", message=error.message, **fields)

    def _set_heartbeat(self, within: float) -> None:
        self._context.watch_state.heartbeats["source"] = self._context.clock() + within + PATIENCE
