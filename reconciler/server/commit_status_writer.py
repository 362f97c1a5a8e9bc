"""The loop of the watch that writes the status of the newest commit to a forge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

from reconciler.errors import ClusterBusy, ForgeError, ForgeUnreachable, ReconcilerError
from reconciler.forges.forge import CommitStatus, Forge, StatusState
from reconciler.host.aio import run_unless_stopped
from reconciler.host.commit_status_config import CommitStatusRules
from reconciler.server.cluster_pass import PATIENCE
from reconciler.server.logs import Log
from reconciler.server.revision_status import RevisionStatus, judge_newest_commit
from reconciler.server.supervision import is_set_within
from reconciler.server.watch_state import WatchState

LOOK_SECONDS: Final = 2.0
"""Seconds between two looks at the state of the watch; what comes and goes between them is not written."""

TURN_SECONDS: Final = 60.0
"""Seconds for which a host writes before it takes the lock again: a lost lock shows then."""

BUSY_SECONDS: Final = 15.0
"""Seconds until a host asks again whether it may write."""

REFUSED_SECONDS: Final = 600.0
"""Seconds until a status that was refused is written again: somebody may have corrected the token."""

LONGEST_PAUSE: Final = 900.0
MOST_WRITES: Final = 100
"""Statuses of one commit at most; GitHub takes 1,000. A success is always the last one."""


class CommitStatusWriter:
    """Writes a status when it has changed; the newest one counts, and an older one is never written late.

    It only looks at the state of the watch: no pass waits for it.

    Args:
        rules: of the host configuration.
        open_forge: opens the repository; the token is read then.
        lock: held by the one host that writes; raises ClusterBusy if another one does.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        rules: CommitStatusRules,
        watch_state: WatchState,
        log: Log,
        *,
        open_forge: Callable[[], AbstractAsyncContextManager[Forge]],
        lock: Callable[[], AbstractAsyncContextManager[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules, self._watch_state, self._log = rules, watch_state, log
        self._open_forge, self._lock, self._clock = open_forge, lock, clock
        self._written: RevisionStatus | None = None
        self._first = ""
        self._writes = 0
        self._failures = 0
        self._due = 0.0
        self._refused: RevisionStatus | None = None
        self._problem = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`."""
        while not stop.is_set():
            self._beat(BUSY_SECONDS)
            try:
                async with self._lock():
                    await self._write_for_a_turn(stop)
                continue
            except ClusterBusy:
                pass  # another host writes
            except ReconcilerError as error:
                self._note_problem(error)
            await is_set_within(stop, BUSY_SECONDS)

    async def _write_for_a_turn(self, stop: asyncio.Event) -> None:
        end = self._clock() + TURN_SECONDS
        while not stop.is_set() and self._clock() < end:
            self._beat(TURN_SECONDS + LONGEST_PAUSE)
            status = self.choose_status()
            if status is not None and (self._clock() >= self._due or self._was_replaced(status)):
                # A stop does not wait for the forge; the next start writes what is right then.
                await run_unless_stopped(stop, self._write(status))
            await is_set_within(stop, LOOK_SECONDS)

    def choose_status(self) -> RevisionStatus | None:
        """The status to be written now; None if the forge has it already."""
        status, written = judge_newest_commit(self._watch_state), self._written
        if status is None or status == written:
            return None
        self._first = self._first or status.commit
        # After a start nothing is known yet, and the commit may have been applied long ago.
        if status.commit == self._first and not status.is_read:
            return None
        if written is not None and written.commit == status.commit:
            # A node that fails later is no matter of the commit.
            is_over = written.state is StatusState.SUCCESS
            is_worn = self._writes >= MOST_WRITES and status.state is not StatusState.SUCCESS
            if is_over or is_worn or replace(status, is_read=written.is_read) == written:
                return None
        return status

    def _was_replaced(self, status: RevisionStatus) -> bool:
        """Whether a status was refused, and another one is to be written by now."""
        return self._refused is not None and self._refused != status

    async def _write(self, status: RevisionStatus) -> None:
        fleet = self._watch_state.fleet
        name = f"/{fleet.name}" if fleet is not None and fleet.name else ""
        written = CommitStatus(
            status.commit,
            status.state,
            f"{self._rules.context}{name}",
            status.description,
            self._rules.target or "",
        )
        try:
            async with self._open_forge() as forge:
                await forge.write_status(written)
        except ForgeUnreachable as error:
            self._failures += 1
            pause = max(error.wait, 2.0 ** min(self._failures, 10))
            self._due, self._refused = self._clock() + min(pause, LONGEST_PAUSE), None
            self._note_problem(error)
            return
        except ReconcilerError as error:  # the forge refuses it, or the token cannot be read
            self._due, self._refused = self._clock() + REFUSED_SECONDS, status
            self._note_problem(error)
            return
        same = self._written is not None and self._written.commit == status.commit
        self._writes = self._writes + 1 if same else 1
        self._written, self._refused, self._due, self._failures = status, None, 0.0, 0
        if self._problem:
            self._problem = ""
            self._log.info("commit statuses are written again", repository=self._rules.repository)

    def _note_problem(self, error: ReconcilerError) -> None:
        """Log a problem once, and again when another one takes its place."""
        kind = f"{type(error).__name__} {error.status}" if isinstance(error, ForgeError) else error.message
        if kind != self._problem:
            self._problem = kind
            self._log.warning(
                "commit status not written",
                repository=self._rules.repository,
                message=error.message,
                remedy=error.remedy,
            )

    def _beat(self, within: float) -> None:
        self._watch_state.heartbeats["commit statuses"] = self._clock() + within + PATIENCE
