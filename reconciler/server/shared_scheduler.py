"""Passes that several hosts share: each pass is run by one of them, and all know its result.

What is due is in the store. This host adds what it learns (a new revision, a request), takes jobs, and reads
what the others found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from reconciler.core.defect import name_error
from reconciler.core.selection import EVERYTHING, Selection
from reconciler.desired.fleet import Fleet
from reconciler.errors import ReconcilerError, StateError
from reconciler.ports.inventory import Inventory
from reconciler.ports.pass_queue import BegunPass, NextPass, PassQueue, SharedCluster, SharedPasses
from reconciler.ports.source import Source
from reconciler.server.cluster_loops import list_followers, select_clusters
from reconciler.server.cluster_pass import (
    PATIENCE,
    SCHEDULED,
    ClusterPass,
    LoopContext,
    PassRunner,
    format_error,
)
from reconciler.server.input_changes import get_input, needs_attempt
from reconciler.server.logs import log_defect
from reconciler.server.pass_result import PassResult, PassSummary
from reconciler.server.pass_status import decode_status, encode_status
from reconciler.server.supervision import contain_errors, is_set_within
from reconciler.server.target_order import is_before, is_behind
from reconciler.server.timing import HOLD_ENDS, LoopTiming
from reconciler.server.watch_state import SourceState, WatchedCluster

LOOK_SECONDS: Final = 1.0
"""Seconds between two looks at what other hosts have done."""

READ_SECONDS: Final = 10.0
"""Seconds that a pass waits for this host to read a revision that another one has read."""

HAND_BACK_SECONDS: Final = 2.0
"""Seconds until a cluster that this host does not know yet is offered again, twice as long each time."""

MOST_HAND_BACK_SECONDS: Final = 10.0
"""The longest of these pauses: a host that has the revision waits for them, too."""

DEFECT_SECONDS: Final = 30.0
"""Seconds after which a cluster is tried again whose pass could not even be recorded."""

CHECK_SECONDS: Final = 60.0
"""Seconds between two readings of all rows, in which it shows that a failover has lost some."""

RETRY_SECONDS: Final = 2.0
"""Seconds before this host asks again whether it may take passes."""


@dataclass(frozen=True, slots=True)
class _Published:
    """A fleet that this host has read and not told the others of yet.

    Args:
        former: revision that this host used before; empty for none.
        is_forced: whether passes are due although the revision is the same.
    """

    fleet: Fleet
    trigger: str
    former: str
    is_forced: bool


@dataclass(slots=True)
class _Running:
    """A pass that this host runs.

    Args:
        number: of the pass.
        target: id of the newest revision when it began.
        stop: once set, no further step starts.
        fleet: that it uses; None while this host reads a revision for it.
        told: what other hosts know that it does.
    """

    number: int
    target: str
    stop: asyncio.Event
    fleet: Fleet | None = None
    told: str = "observing"

    def is_changed_by(self, cluster: str, fleet: Fleet) -> bool:
        """Whether a newer fleet has something new for its cluster."""
        return self.fleet is None or get_input(self.fleet, cluster) != get_input(fleet, cluster)


class SharedScheduler:
    """Shares the passes over the clusters of a fleet with the other hosts that watch it.

    Args:
        perform: runs one pass.
        context: shared by all clusters.
        source: knows which of two revisions is newer.
        open_queue: gives the queue of a fleet.
        request_read: makes this host read its source.
        passes: largest number of passes at the same time.
        only: what the watch is restricted to.
    """

    def __init__(
        self,
        perform: PassRunner,
        context: LoopContext,
        *,
        source: Source,
        open_queue: Callable[[Fleet], Awaitable[PassQueue]],
        request_read: Callable[[str], None],
        passes: int,
        only: Selection = EVERYTHING,
    ) -> None:
        self._perform, self._context, self._source = perform, context, source
        self._open_queue, self._request_read = open_queue, request_read
        self._passes, self._only = passes, only
        self.fleet: Fleet | None = None
        self._queue: PassQueue | None = None
        self._news = asyncio.Event()
        self._published: _Published | None = None
        self._requested: set[str] = set()
        self._inputs: dict[str, str] = {}
        self._decoded: dict[str, tuple[str, WatchedCluster | None]] = {}
        self._stopping = asyncio.Event()
        self._running: dict[str, _Running] = {}
        self._cluster_passes: dict[str, ClusterPass] = {}
        self._target, self._target_since, self._read_at = "", context.clock(), 0.0
        self._target_at = 0.0
        self._checked = context.clock()
        self._is_refused = False
        self._defects: dict[str, str] = {}
        self._handed_back: dict[str, tuple[str, int]] = {}

    def publish(self, fleet: Fleet, trigger: str) -> None:
        """Use this fleet from now on; passes over the clusters that it changes are due, on one host."""
        if self._stopping.is_set():
            return
        former = self.fleet.revision.id if self.fleet is not None else ""
        self.fleet = fleet
        names = {one.entry.name for one in select_clusters(fleet, self._only)}
        clusters = self._context.watch_state.clusters
        for name in clusters.keys() - names:
            del clusters[name]
            self._cluster_passes.pop(name, None)
            self._decoded.pop(name, None)
            self._handed_back.pop(name, None)
        for name in sorted(names - clusters.keys()):
            clusters[name] = WatchedCluster(name, fleet.revision)
            self._read_at = 0.0  # the other hosts may know it already
        for name in names:
            self._context.watch_state.note(name, target=fleet.revision)
        is_forced = former == fleet.revision.id
        for name, running in self._running.items():
            if is_forced or running.is_changed_by(name, fleet):
                running.stop.set()
        waiting = self._published
        self._published = _Published(
            fleet,
            trigger,
            former=waiting.former if waiting is not None else former,
            is_forced=is_forced or (waiting is not None and waiting.is_forced),
        )
        self._news.set()

    def use_inventory(self, inventory: Inventory) -> None:
        """Use a newer list of the same instances from now on; no pass begins for it."""
        if self.fleet is not None:
            self.fleet = replace(self.fleet, inventory=inventory)

    def request_pass(self, cluster: str = "") -> tuple[str, ...]:
        """Run a pass over a cluster, or over every one, now, on whichever host; gives their names."""
        found = tuple(name for name in sorted(self._context.watch_state.clusters) if cluster in {"", name})
        self._requested |= set(found)
        self._news.set()
        return found

    def stop(self) -> None:
        """Start no further step, and take no further pass."""
        self._stopping.set()
        for running in self._running.values():
            running.stop.set()
        self._news.set()

    async def follow(self) -> None:
        """Tell the other hosts what this one has read, and read what they have done, until `stop`."""
        while not self._stopping.is_set():
            self._context.watch_state.heartbeats["shared passes"] = self._context.clock() + PATIENCE
            with suppress(StateError):  # the check of the store reports it
                await self._exchange()
            await is_set_within(self._news, LOOK_SECONDS)
            self._news.clear()

    async def serve(self) -> None:
        """Take passes until `stop`; while the store is away or the hosts do not agree, none."""
        while not self._stopping.is_set():
            queue = self._queue
            if queue is None:
                await is_set_within(self._stopping, 0.1)
                continue
            run = partial(self._run_job, queue)
            work = asyncio.ensure_future(contain_errors(queue.serve(run, self._passes, self._set_at_work)))
            stopped = asyncio.ensure_future(self._wait_for_change(queue))
            try:
                await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopped.cancel()
                work.cancel()
                error = await _find_error(work)
            if error is not None and not self._stopping.is_set():
                self._set_idle(error)
                await is_set_within(self._stopping, RETRY_SECONDS)

    async def _wait_for_change(self, queue: PassQueue) -> None:
        """Wait for `stop`, or for another queue: the fleet may have got another identity."""
        while self._queue is queue and not await is_set_within(self._stopping, LOOK_SECONDS / 2):
            pass

    def _set_at_work(self) -> None:
        state = self._context.watch_state
        if state.no_passes:
            self._context.log.info("passes taken again")
        state.no_passes = ""

    def _set_idle(self, error: ReconcilerError) -> None:
        state = self._context.watch_state
        if not state.no_passes:
            # The traceback tells nothing about it: the cause is the database, or the files of a host.
            self._context.log.error("no passes taken", message=error.message, remedy=error.remedy)
        state.no_passes = format_error(error)

    async def _exchange(self) -> None:
        while (published := self._published) is not None:
            try:
                queue = await self._open_queue(published.fleet)
            except StateError:
                raise
            except (
                ReconcilerError
            ) as error:  # tried again at the next look: a person may have mended the cause
                self._is_refused = True
                self._set_idle(error)
                break
            if self._is_refused:
                self._is_refused = False
                self._set_at_work()
            self._queue = queue
            await self._publish(queue, published)
            if self._published is published:  # else a newer one was read meanwhile
                self._published = None
        if self._queue is None:
            return
        if self._requested:
            requested = set(self._requested)
            await self._queue.request(requested, "request")
            self._requested -= requested
        await self._tell(self._queue)
        await self._read(self._queue)
        await self._restore_lost(self._queue)

    async def _restore_lost(self, queue: PassQueue) -> None:
        """Publish the revision of this host again, if the database has lost it or rows of its clusters."""
        fleet, source = self.fleet, self._context.watch_state.source
        if fleet is None or self._published is not None:
            return
        revision, target = fleet.revision.id, self._target
        if target == revision:
            if self._context.clock() < self._checked + CHECK_SECONDS:
                return
            self._checked, inputs = self._context.clock(), self._list_inputs(fleet)
            known = {one.cluster for one in (await queue.read()).clusters}
            if not inputs.keys() <= known:
                await queue.publish(revision, inputs, "start", instead_of=target)
            return
        # A target that is older than the own revision is a failover, or a forced push that this host has not
        # read yet: only a reading after it tells which.
        is_read_again = source.state is SourceState.GOOD and source.read_at > self._target_at
        if is_read_again and await is_before(self._source, target, revision):
            self._published = _Published(fleet, "start", former=target, is_forced=False)
            self._news.set()

    async def _publish(self, queue: PassQueue, published: _Published) -> None:
        revision, inputs = published.fleet.revision.id, self._list_inputs(published.fleet)
        clusters = self._context.watch_state.clusters
        while True:
            target = (await self._read_clusters(queue)).target
            if target == revision and not published.is_forced:
                return
            is_other = target not in {"", revision, published.former}
            if is_other and await is_behind(self._source, revision, target):
                return
            # With other instances, the same revision may have other clusters that are selected.
            due = {
                name
                for name in inputs
                if published.is_forced or (name in clusters and needs_attempt(clusters[name]))
            }
            if await queue.publish(revision, inputs, published.trigger, instead_of=target, due=due):
                return

    def _list_inputs(self, fleet: Fleet) -> dict[str, str]:
        """Cluster that is watched -> digest of what a pass over it takes from the files."""
        names = [one.entry.name for one in select_clusters(fleet, self._only)]
        return {name: get_input(fleet, name) for name in names}

    async def _tell(self, queue: PassQueue) -> None:
        """Tell the other hosts what the passes of this one do."""
        clusters = self._context.watch_state.clusters
        doing = {
            name: (running.number, clusters[name].doing)
            for name, running in self._running.items()
            if name in clusters and clusters[name].doing != running.told
        }
        if not doing:
            return
        await queue.note(doing)
        for name, (number, text) in doing.items():
            if name in self._running and self._running[name].number == number:
                self._running[name].told = text

    async def _read(self, queue: PassQueue) -> None:
        """Read what other hosts have done, and follow a revision that they have read."""
        found = await self._read_clusters(queue)
        if found.target == self._target:
            return
        self._target, self._target_since = found.target, self._context.clock()
        self._target_at = self._context.wall()
        if self.fleet is None or found.target == self.fleet.revision.id:
            return
        # Another host has read a revision that this one has not: what runs for an older one ends before its
        # next step, as if it had been read here.
        for name, running in self._running.items():
            own = queue.key_input(get_input(running.fleet, name)) if running.fleet is not None else ""
            if running.target != found.target and (not own or own != self._inputs.get(name)):
                running.stop.set()
        self._request_read("request")

    async def _read_clusters(self, queue: PassQueue) -> SharedPasses:
        found = await queue.read(self._read_at)
        self._read_at = found.at
        for shared in found.clusters:
            self._inputs[shared.cluster] = shared.input
            if shared.cluster not in self._running:
                self._use_status(shared)
        return found

    def _use_status(self, shared: SharedCluster) -> None:
        state = self._context.watch_state
        own = state.clusters.get(shared.cluster)
        if own is None:
            return
        # Each row is read several times, see `PassQueue.read`, and decoding takes longer than all the rest.
        text, found = self._decoded.get(own.name, ("", None))
        if text != shared.status:
            found = decode_status(shared.status)
            self._decoded[own.name] = shared.status, found
        known = found if found is not None else own
        state.clusters[own.name] = replace(
            known,
            name=own.name,
            target=own.target,
            is_outdated=shared.is_outdated,
            doing=shared.doing,
            due=shared.due,
            host=shared.host,
            reading=own.reading,
            progress=own.progress,
        )

    async def _run_job(self, queue: PassQueue, cluster: str) -> None:
        """Run a pass over a cluster, if one is due."""
        if self._stopping.is_set():
            return
        try:
            begun = await queue.begin(cluster)
            if begun is None:
                return
            running = _Running(begun.number, begun.target, asyncio.Event())
            self._running[cluster] = running
            try:
                await contain_errors(self._run_begun(queue, begun, running))
            except StateError:
                raise
            except Exception as error:  # noqa: BLE001  (whatever it is, the other clusters continue)
                await self._end_after_defect(queue, begun, error)
            finally:
                if self._running.get(cluster) is running:
                    del self._running[cluster]
        except StateError as error:
            # Still due in the store: another host, or this one, takes it up again.
            self._context.watch_state.store = error.message

    async def _end_after_defect(self, queue: PassQueue, begun: BegunPass, error: Exception) -> None:
        """Log an unexpected error once, and let the cluster wait: else its job would come each second."""
        message = name_error(error)
        if self._defects.get(begun.cluster) != message:
            self._defects[begun.cluster] = message
            consequence = "the watch retries this cluster, others continue"
            log_defect(
                self._context.log, "unexpected error in a pass", error, consequence, cluster=begun.cluster
            )
        self._context.metrics.unexpected.labels(f"cluster {begun.cluster}").inc()
        await queue.end(begun, "", NextPass(min(DEFECT_SECONDS, self._context.interval), "retry"))

    async def _run_begun(self, queue: PassQueue, begun: BegunPass, running: _Running) -> None:
        cluster = begun.cluster
        self._use_status(begun.shared)
        fleet = await self._find_fleet(begun.target)
        state = self._context.watch_state
        # A host that has not read the revision yet leaves the pass to one that has. But not for ever: a host
        # that has ended may have been the only one that ever read it, and a forced push may have removed it.
        status = state.clusters.get(cluster)
        lags = fleet is not None and await self._lags(fleet.revision.id, begun.target)
        if fleet is None or status is None or (lags and not self._is_abandoned(begun.target, status)):
            await queue.end(begun, "", NextPass(self._compute_hand_back(begun), begun.cause))
            return
        self._handed_back.pop(cluster, None)
        if lags:  # the guards refuse what is older than what was applied
            inputs = self._list_inputs(fleet)
            await queue.publish(
                fleet.revision.id, inputs, begun.cause, instead_of=begun.target, due=inputs.keys()
            )
        # Not before: the fleet that this pass was waiting for must not stop it.
        running.stop, running.fleet = asyncio.Event(), fleet
        if self._stopping.is_set() or self.fleet is None or running.is_changed_by(cluster, self.fleet):
            running.stop.set()
        cluster_pass = self._cluster_passes.setdefault(
            cluster, ClusterPass(cluster, self._perform, self._context)
        )
        failures = state.clusters[cluster].tries if begun.cause in SCHEDULED else 0
        timing = LoopTiming(due=self._context.clock(), failures=failures)
        try:
            pass_summary, timing = await cluster_pass.run(fleet, timing, begun.cause, running.stop)
        finally:
            state.heartbeats.pop(f"cluster {cluster}", None)
        status = state.clusters.get(cluster)
        following = self._plan_next(queue, begun, pass_summary, timing)
        digest = get_input(fleet, cluster)
        if status is not None:
            is_outdated = queue.key_input(digest) != self._inputs.get(cluster)
            status = replace(status, due=self._context.wall() + following.wait, is_outdated=is_outdated)
            state.clusters[cluster] = status
        await queue.end(begun, encode_status(status) if status is not None else "", following, digest)
        if pass_summary.is_good:
            await self._wake_followers(queue, fleet, cluster, pass_summary)

    def _compute_hand_back(self, begun: BegunPass) -> float:
        """Seconds after which a cluster is offered again that this host gives back for one target."""
        target, count = self._handed_back.get(begun.cluster, ("", 0))
        count = count if target == begun.target else 0
        self._handed_back[begun.cluster] = begun.target, count + 1
        # The power is bounded, too: a copy may lag for weeks.
        return min(HAND_BACK_SECONDS * 2.0 ** min(count, 8), MOST_HAND_BACK_SECONDS)

    def _plan_next(
        self, queue: PassQueue, begun: BegunPass, pass_summary: PassSummary, timing: LoopTiming
    ) -> NextPass:
        now, wall = self._context.clock(), self._context.wall()
        if pass_summary.result is PassResult.STOPPED and self._stopping.is_set():
            # What this host leaves is for the others, at once.
            return NextPass(0.0, begun.cause)
        wait = timing.compute_wait(now=now, wall=wall)
        is_hold = timing.hold_end is not None and timing.hold_end - wall <= timing.due - now
        if pass_summary.result is PassResult.BUSY:
            # Perhaps the lease of a host that was killed, which ends soon.
            wait = min(wait, queue.lease / 3)
        return NextPass(wait, HOLD_ENDS if is_hold else timing.cause)

    async def _lags(self, revision: str, target: str) -> bool:
        """Whether a host with a revision may not have read the target of all hosts yet."""
        if target in {"", revision}:
            return False
        return not self._source.has_history or await is_behind(self._source, revision, target)

    def _is_abandoned(self, target: str, status: WatchedCluster) -> bool:
        """Whether no other host goes on with a target: none ran a pass in the interval after it was due."""
        interval = self._context.interval
        waited = self._context.clock() - self._target_since
        return (
            self._target == target
            and waited > interval + READ_SECONDS
            and self._context.wall() > status.ended + 2 * interval + READ_SECONDS
        )

    async def _find_fleet(self, target: str) -> Fleet | None:
        """The fleet of this host, after it has had the time to read a revision that another one has read."""
        if self.fleet is not None and target not in {"", self.fleet.revision.id}:
            read_at, end = self._context.watch_state.source.read_at, self._context.clock() + READ_SECONDS
            self._request_read("request")
            while (
                self.fleet.revision.id != target
                and self._context.watch_state.source.read_at == read_at
                and self._context.clock() < end
                and not await is_set_within(self._stopping, 0.05)
            ):
                pass
        return self.fleet

    async def _wake_followers(
        self, queue: PassQueue, fleet: Fleet, cluster: str, pass_summary: PassSummary
    ) -> None:
        """Run a pass over the clusters that wait for one that is as desired now."""
        clusters = self._context.watch_state.clusters
        is_changed = pass_summary.result is PassResult.APPLIED
        waiting = [
            name
            for name in list_followers(fleet, cluster)
            if name in clusters
            and (is_changed or ((found := clusters[name].pass_summary) and found.waits_for_others))
        ]
        if waiting:
            await queue.request(waiting, "request")


async def _find_error(work: asyncio.Future[None]) -> ReconcilerError | None:
    """What ended the work; any error of it is one of the database or of this host."""
    try:
        await work
    except asyncio.CancelledError:
        return None
    except ReconcilerError as error:
        return error
    return StateError("the passes of this host have ended", remedy="they begin again")
