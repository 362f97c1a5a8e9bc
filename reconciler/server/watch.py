"""The watch itself: loops, endpoints and signals, from the start to an orderly stop."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    closing,
    contextmanager,
    nullcontext,
)
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Protocol

from reconciler import __version__
from reconciler.api.operator import Operator
from reconciler.api.reader import Reader
from reconciler.core.bus_channels import BusChannel, NodeBusUse
from reconciler.core.endpoint import SocketAddress
from reconciler.core.outcome import OPEN
from reconciler.core.policy import ChangeRules
from reconciler.desired.fleet import Fleet
from reconciler.errors import ConfirmedWritesLost, ReconcilerError, StateError
from reconciler.planning.plan_pass import Drivers
from reconciler.ports.pass_queue import PassQueue
from reconciler.ports.source import Snapshot, Source
from reconciler.ports.store import Store, StoreReader
from reconciler.server.access.login_endpoint import LoginEndpoint
from reconciler.server.access.watch_access import make_access_control, make_oidc_login
from reconciler.server.acts.service import ActService
from reconciler.server.alert_service import AlertService
from reconciler.server.cluster_loops import ClusterLoops, PassScheduler
from reconciler.server.cluster_pass import PATIENCE, LoopContext, PassRunner
from reconciler.server.commit_status_writer import CommitStatusWriter
from reconciler.server.control_server import ControlServer
from reconciler.server.file_events import choose_file_events, follow_source_files
from reconciler.server.http_listener import HttpListener
from reconciler.server.json_api.endpoint import JsonApi
from reconciler.server.json_api.readings import FreshReadings
from reconciler.server.json_api.reads import WatchReader
from reconciler.server.log_writer import LogState
from reconciler.server.logs import LibraryLogBridge, Log, log_defect
from reconciler.server.metrics import Metrics
from reconciler.server.nodes.bus_service import BusRules
from reconciler.server.nodes.node_server_process import NodeProcessHooks, NodeRules, NodeServerProcess
from reconciler.server.operations import OperationService, count_operation_nodes
from reconciler.server.pages.endpoint import Pages
from reconciler.server.pages.page_guard import render_problem_alone
from reconciler.server.rollbacks import RollbackRunner
from reconciler.server.shared_scheduler import SharedScheduler
from reconciler.server.source_loop import SourceLoop
from reconciler.server.supervision import Supervision, is_set_within
from reconciler.server.views.watch_views import WatchViews
from reconciler.server.watch_options import WatchOptions
from reconciler.server.watch_state import WatchState
from reconciler.server.web import Endpoints, bind_socket
from reconciler.server.webhook.secret import WebhookSecret
from reconciler.sources.folder import FolderSource
from reconciler.sources.git.source import GitSource
from reconciler.sources.linked_source import LinkedSource
from reconciler.store.factory import open_reader

CLEAN, ABORTED = 0, 5
"""Exit statuses: stopped in order; stopped while steps were running, which the next run settles."""

CHECK_SECONDS = 15.0
"""Seconds between checks of the store and the outbox."""

RETRY_SECONDS = 2.0
"""Seconds between attempts to write to a store that failed."""

LAST_READ_SECONDS = 5.0
"""Seconds that the stopping watch waits for the store to list the steps that are left."""


class NodeServerStart(Protocol):
    """Makes the node server."""

    def __call__(self, *, hooks: NodeProcessHooks) -> NodeServerProcess:
        """The server, which is not running yet."""


class AlertServiceStart(Protocol):
    """Makes what tells people."""

    def __call__(self, *, watch_state: WatchState, log: Log) -> AlertService:
        """The service, whose loop is not running yet."""


class Watch:
    """One watch, from start to end.

    Args:
        source: where desired state comes from.
        located: the same without what is asked beside its files, such as an inventory: it knows its folder.
        load: snapshot to fleet; raises `ReconcilerError` if the files are invalid.
        is_stale: whether files with secrets have changed since the last fleet was loaded.
        perform: runs one pass over one cluster.
        store: journal and history; None for a dry run.
        node_server: makes the server for nodes that poll; None without one.
        operator: performs operations; None for a dry run.
        drivers: kind -> product.
        open_queue: gives the queue of a fleet whose passes hosts share; None if this host runs all.
        reader: reads the nodes for those who look; None for nobody.
        make_status_writer: makes what writes commit statuses; None if nothing does.
        alerts: makes what tells people; None if nobody is told.
    """

    def __init__(
        self,
        options: WatchOptions,
        log: Log,
        log_state: LogState,
        *,
        source: Source,
        located: Source,
        load: Callable[[Snapshot], Fleet],
        is_stale: Callable[[], bool],
        perform: PassRunner,
        store: Store | None,
        node_server: NodeServerStart | None = None,
        operator: Operator | None = None,
        drivers: Drivers = MappingProxyType({}),
        open_queue: Callable[[Fleet], Awaitable[PassQueue]] | None = None,
        reader: Reader | None = None,
        make_status_writer: Callable[[WatchState], CommitStatusWriter] | None = None,
        alerts: AlertServiceStart | None = None,
    ) -> None:
        self._reader = reader
        self._node_server, self._drivers = node_server, drivers
        self._unserved: list[str] = []
        self._served: NodeServerProcess | None = None
        self._options, self._log, self._located, self._store = options, log, located, store
        self._access, self._login = make_access_control(options.host, store), make_oidc_login(options.host)
        self._watch_state = WatchState(log=log_state)
        self._status_writer = make_status_writer(self._watch_state) if make_status_writer else None
        self._metrics = Metrics(self._watch_state, dry_run=options.dry_run)
        self._tasks = Supervision(self._stop_loops, self._report_crash)
        self._context = LoopContext(
            watch_state=self._watch_state,
            metrics=self._metrics,
            log=log,
            clock=time.monotonic,
            wall=time.time,
            draw=random.SystemRandom().random,
            interval=options.interval,
        )
        self._alerts = alerts(watch_state=self._watch_state, log=log) if alerts is not None else None
        if self._alerts is not None:
            self._context = replace(self._context, note_pass=self._alerts.note_pass)
        self._shared: SharedScheduler | None = None
        self._scheduler: PassScheduler
        if open_queue is not None:
            self._scheduler = self._shared = SharedScheduler(
                perform,
                self._context,
                source=source,
                open_queue=open_queue,
                request_read=self._read_source,
                passes=options.passes,
                only=options.only,
            )
        else:
            self._scheduler = ClusterLoops(perform, self._context, self._tasks.spawn, only=options.only)
        self._operations = (
            OperationService(operator, self._scheduler, self._tasks.stop, log) if operator else None
        )
        rollbacks = RollbackRunner(options, store, self._tasks.stop) if store is not None else None
        self._acts = ActService(store, log, rollbacks, self._operations, self._look_again)
        self._source_loop = SourceLoop(
            self._context,
            source,
            load=load,
            publish=self._publish,
            poll=options.poll,
            is_stale=is_stale,
            refresh=self._scheduler.use_inventory,
        )

    async def run(self) -> int:
        """Watch until stopped; gives the exit status.

        Raises:
            UsageError: the endpoints cannot listen at their address.
        """
        async with AsyncExitStack() as stack:
            # Signals first, so that one during the start already stops the watch in order. Then the
            # endpoints: an address that is in use ends the start before anything is sent.
            stack.enter_context(self._tasks.signals())
            stack.enter_context(_bridge_library_logs(self._log))
            where = await stack.enter_async_context(self._endpoints())
            nodes = stack.enter_context(self._serve_nodes())
            self._start(where, nodes)
            await self._tasks.stop.wait()
            return await self._stop()

    def _start(self, where: str, nodes: str) -> None:
        options, spawn = self._options, self._tasks.spawn
        self._log.info(
            "watch started",
            version=__version__,
            source=options.source,
            **_describe_followed(self._located),
            state=str(options.store),
            dry_run=options.dry_run,
            listen=where,
            nodes=nodes,
            interval=options.interval,
            poll=options.poll,
        )
        spawn(self._source_loop.run, "source")
        stop = self._tasks.stop
        if (store := self._store) is not None:
            spawn(partial(self._check_store, store), "store")
        if self._operations is not None:
            spawn(self._operations.serve, "operations")
        if self._status_writer is not None:
            spawn(partial(self._status_writer.run, stop), "commit statuses")
        if self._alerts is not None:
            spawn(partial(self._alerts.serve, stop), "notifications")
        if self._shared is not None:
            spawn(self._shared.follow, "shared passes")
            spawn(self._shared.serve, "pass worker")
        control = ControlServer(options, self._acts, self._log, self._access, where)
        spawn(lambda: control.serve(stop), "control")
        source = self._located
        if isinstance(source, LinkedSource) or choose_file_events(source) is not None:
            notify = partial(self._source_loop.request_read, "files")
            spawn(lambda: follow_source_files(source, notify, self._log, stop=stop), "files")

    def _read_source(self, trigger: str) -> None:
        self._source_loop.request_read(trigger)

    def _look_again(self, cluster: str) -> tuple[str, ...]:
        """Read the source, and run a pass over a cluster, with the name empty over every one."""
        # A command may have applied a revision that this watch has not read yet. Until it has, the guards
        # refuse a pass over the older one.
        self._source_loop.request_read("request")
        return self._scheduler.request_pass(cluster)

    def _publish(self, fleet: Fleet, trigger: str) -> None:
        """Use this fleet from now on; tells if its nodes poll or report and nothing answers them."""
        callers = sorted(one.entry.name for one in fleet.cluster_inputs if one.entry.reporting is not None)
        if callers and self._node_server is None and callers != self._unserved and not self._options.dry_run:
            self._log.warning(
                "nodes cannot call this watch",
                clusters=callers,
                remedy="add `nodes: {listen: HOST:PORT}` to the host configuration",
            )
        self._unserved = callers
        if self._served is not None:
            self._served.use_rules(make_node_rules(fleet, self._drivers))
        self._watch_state.fleet = fleet
        self._scheduler.publish(fleet, trigger)

    def _stop_loops(self) -> None:
        """Start nothing more from this moment on."""
        # Called by the signal handler itself. A task that it wakes could run after a loop has sent a step.
        self._watch_state.stopping = True
        self._source_loop.stop()
        self._scheduler.stop()

    async def _stop(self) -> int:
        """Wait for running steps, then log which steps are left."""
        under_way = {
            name: status.doing
            for name, status in self._watch_state.clusters.items()
            if status.doing != "idle"
        }
        self._log.info(
            "watch stopping", grace=self._options.grace, **({"under_way": under_way} if under_way else {})
        )
        drained = await self._tasks.drain(self._options.grace)
        await self._tasks.cancel()
        # Only after the loops have ended: before, a step that is being read back would count as left.
        left = await self._list_unsettled_steps()
        # If all loops ended, the remaining steps are not of this stop: their outcome was unknown before.
        if not drained and left:
            self._log.error(
                "watch aborted",
                left=left,
                remedy="the next run reads the nodes to find the result of these steps",
            )
            return ABORTED
        self._log.info("watch stopped", **({"left": left} if left else {}))
        return CLEAN

    def _report_crash(self, loop: str, error: BaseException, wait: float) -> None:
        self._metrics.unexpected.labels(loop).inc()
        consequence = f"the loop restarts in {wait:g} s, the other loops continue"
        log_defect(self._log, "unexpected error in a loop", error, consequence, loop=loop)

    async def _list_unsettled_steps(self) -> list[str]:
        """Ids of steps in the journal that were sent and have no known outcome."""
        if self._store is None:
            return []
        try:
            async with asyncio.timeout(LAST_READ_SECONDS):
                records = await self._store.list_open_runs()
        except StateError as error:
            return [f"unknown: {error.message}"]
        except TimeoutError:
            return [f"unknown: the store did not answer within {LAST_READ_SECONDS:g} s"]
        return sorted(
            {
                entry.step.id
                for record in records
                for entry in record.entries
                if entry.intended is not None and (entry.state is None or entry.state in OPEN)
            }
        )

    async def _check_store(self, store: Store) -> None:
        """Check again and again that the store can be written, and count the messages in its outbox."""
        logged = 0
        while not self._tasks.stop.is_set():
            # Report lost lines only once the log can be written again: before, this line is lost too.
            lost = self._watch_state.log.lost
            if lost > logged and not self._watch_state.log.problem:
                self._log.warning("log lines lost", lines=lost - logged)
                logged = lost
            self._watch_state.heartbeats["store"] = time.monotonic() + CHECK_SECONDS + PATIENCE
            before = self._watch_state.store
            try:
                # Not left to the passes: a cluster without changes writes nothing, so a full disk would show
                # only when a change must be made.
                await store.check_writable()
                self._watch_state.outbox = await store.count_pending()
                self._watch_state.operations = count_operation_nodes(await store.open_operations())
                self._watch_state.store = ""
            except StateError as error:
                self._watch_state.store = error.message
                if not before or isinstance(error, ConfirmedWritesLost):
                    self._log.error("store failed", message=error.message, remedy=error.remedy)
            await is_set_within(self._tasks.stop, RETRY_SECONDS if self._watch_state.store else CHECK_SECONDS)

    @contextmanager
    def _serve_nodes(self) -> Iterator[str]:
        """Serve nodes that poll or report while the context lasts; gives the address as text, or `off`."""
        if self._node_server is None:
            yield "off"
            return
        loop = asyncio.get_running_loop()

        def report(name: str, error: BaseException, wait: float) -> None:
            loop.call_soon_threadsafe(self._report_crash, name, error, wait)

        def beat() -> None:
            self._watch_state.heartbeats["nodes"] = time.monotonic() + PATIENCE

        def count_crash(name: str) -> None:
            loop.call_soon_threadsafe(self._metrics.unexpected.labels(name).inc)

        server = self._node_server(hooks=NodeProcessHooks(self._log, report, count_crash, beat))
        self._watch_state.node_server = self._served = server
        with server.running() as where:
            yield where
        self._watch_state.heartbeats.pop("nodes", None)

    def _render_login_problem(self, title: str, error: ReconcilerError) -> str:
        return render_problem_alone(title, error, has_login=self._login is not None)

    def _make_views(self) -> WatchViews:
        options, store = self._options, self._store

        # A dry run has no store of its own, and opens the one of other commands, if there is one, to read.
        def open_store() -> AbstractContextManager[StoreReader]:
            return open_reader(options.store) if store is None else nullcontext(store)

        return WatchViews(self._watch_state, open_store, options.dry_run)

    def _make_api(self, views: WatchViews) -> JsonApi | None:
        if self._reader is None:
            return None
        options, store = self._options, self._store
        readings = FreshReadings(self._reader, store, lambda: self._scheduler.fleet, options.only)
        reader = WatchReader(views, store, readings)
        return JsonApi(self._access, reader, self._acts)

    @asynccontextmanager
    async def _endpoints(self) -> AsyncIterator[str]:
        """Serve the endpoints while the context lasts; gives their address as text, or `off`."""
        if self._options.listen is None:
            yield "off"
            return
        views = self._make_views()
        endpoints = Endpoints(
            self._context,
            self._source_loop.request_read,
            ref=self._options.ref,
            secret=WebhookSecret(self._options.host.environment, self._options.secret, self._log),
            access=self._access,
            dry_run=self._options.dry_run,
            api=self._make_api(views),
            login=LoginEndpoint(self._access, self._log, self._render_login_problem, self._login),
            pages=Pages(views, self._access, self._acts),
        )
        with closing(bind_socket(self._options.listen)) as opened:
            listener = HttpListener(
                endpoints.application(),
                opened,
                log=self._log,
                dropped=lambda reason: self._metrics.dropped.labels(reason).inc(),
                report=self._report_crash,
                trusted_proxies=[str(network) for network in self._access.proxies],
            )
            async with listener.serving():
                yield str(SocketAddress(*opened.getsockname()[:2]))


def make_node_rules(fleet: Fleet, drivers: Drivers) -> NodeRules:
    """What the node server has to know of a fleet."""
    return NodeRules(
        {
            cluster: ChangeRules(freezes=own.freezes, suspend=own.suspend, holds=own.holds)
            for cluster, own in fleet.change_rules_by_cluster.items()
            if own.freezes or own.suspend is not None or own.holds
        },
        {
            one.entry.name: one.entry.reporting.fresh_seconds
            for one in fleet.cluster_inputs
            if one.entry.reporting is not None
        },
        frozenset(fleet.secrets.list_clear()),
        BusRules(
            _find_bus_use(fleet, drivers),
            {
                one.entry.name: one.entry.reporting.server
                for one in fleet.cluster_inputs
                if one.entry.reporting is not None
            },
        ),
    )


def _find_bus_use(fleet: Fleet, drivers: Drivers) -> dict[tuple[str, str], NodeBusUse]:
    """Cluster and node -> on which channels of message buses it listens and reports."""
    feeds: dict[tuple[str, str], set[BusChannel]] = {}
    reports: dict[tuple[str, str], set[BusChannel]] = {}
    for one in fleet.cluster_inputs:
        if one.entry.kind not in drivers:
            continue
        for named in drivers[one.entry.kind].list_bus_channels(one):
            known = feeds if named.is_feed else reports
            known.setdefault((one.entry.name, named.node), set()).add(named.channel)
    nodes = feeds.keys() | reports.keys()
    return {
        node: NodeBusUse(frozenset(feeds.get(node, ())), frozenset(reports.get(node, ()))) for node in nodes
    }


def _describe_followed(source: Source) -> dict[str, str]:
    """Which files of a folder count, for the first line of the log."""
    if isinstance(source, LinkedSource):
        return {
            key: f"{text} ({source.path} is a link to it now)"
            for key, text in _describe_followed(source.located()).items()
        }
    if isinstance(source, GitSource) and source.work:
        return {
            "follows": f"the commit checked out in {source.work.top}; uncommitted files need --uncommitted"
        }
    if isinstance(source, FolderSource):
        return {"follows": f"the saved files in {source.folder}"}
    return {}


@contextmanager
def _bridge_library_logs(log: Log) -> Iterator[None]:
    """Write what libraries log through `logging` into this log."""
    bridge = LibraryLogBridge(log)
    # While the database is away, each of its attempts is a warning; the check of the store tells the outage.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    logging.getLogger().addHandler(bridge)
    logging.captureWarnings(capture=True)
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        logging.getLogger().removeHandler(bridge)
