"""The node server: its thread with an event loop and a store connection of its own.

The watch has it in a process of its own (`process.py`): a pass over thousands of nodes computes for many
seconds, and would share one interpreter with it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from reconciler.core.endpoint import SocketAddress
from reconciler.errors import StateError, UsageError
from reconciler.message_bus.factory import BusEntry, open_bus
from reconciler.ports.central_server import CentralServer
from reconciler.ports.message_bus import MessageBus
from reconciler.ports.store import Store
from reconciler.server.logs import Log
from reconciler.server.nodes.bus_service import NO_BUS_RULES, BusRules, BusService, BusState
from reconciler.server.nodes.call_recorder import CallRecorder
from reconciler.server.nodes.callers import CallerRules
from reconciler.server.nodes.counters import CallCounters
from reconciler.server.nodes.listener import NodeHttpListener, bind_node_socket
from reconciler.server.nodes.node_table import NodeTable
from reconciler.server.nodes.service import NodeService
from reconciler.server.nodes.summary import LISTED, PolledCluster, summarize_nodes
from reconciler.server.supervision import Report, is_set_within, supervise_loop

REFRESH_SECONDS = 0.2
"""Seconds between two readings of what passes have changed: an offer is visible that much later."""

UNKNOWN_PAUSE = 0.02
"""The same, while a call with an unknown token waits."""

CERTIFICATE_SECONDS = 30.0
"""Seconds between two looks whether the certificate was renewed."""

SUMMARY_SECONDS = 2.0
"""Seconds between two summaries of all nodes."""

STOP_SECONDS = 10.0
"""Seconds that the stopping watch waits for the thread."""


STARTING = "the node server is starting"

_READ, _WRITE = "read", "write"


@dataclass(frozen=True, slots=True)
class NodeServerOptions:
    """What the host configuration says of the node server.

    Args:
        listen: its address, with port 0 for a free one.
        certificate: file of the certificate and its chain; None for plain HTTP.
        key: file of its key.
        rules: who may call.
        rate: calls of one node per minute.
        downloads: at the same time.
        buses: message buses by which nodes are told of offers, and report.
    """

    listen: SocketAddress
    certificate: Path | None = None
    key: Path | None = None
    rules: CallerRules = field(default_factory=CallerRules)
    rate: float = 120.0
    downloads: int = 64
    buses: tuple[BusEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeServerParts:
    """What the node server gets from the watch.

    Args:
        open_store: opens the store; called in the thread of the server.
        products: kind -> its central server; None for a product that has none.
        find_holds: codes of the holds on changes of a node by the fleet file: of its cluster and its name, at
            a time.
        fresh_seconds: cluster -> how old the last call of a node may be for what it sent to count.
        report: called when a loop crashes, before it restarts.
        beat: called regularly, while the server lives.
        redact_text: masks the secrets of the newest fleet.
        find_bus_rules: what the newest fleet says of message buses.
        open_bus: opens one of them.
    """

    open_store: Callable[[], Store]
    products: Callable[[str], CentralServer | None]
    find_holds: Callable[[str, str, datetime], frozenset[str]]
    fresh_seconds: Callable[[str], float]
    log: Log
    report: Report
    beat: Callable[[], None] = lambda: None
    redact_text: Callable[[str], str] = str
    find_bus_rules: Callable[[], BusRules] = lambda: NO_BUS_RULES
    open_bus: Callable[[BusEntry], Awaitable[MessageBus]] = open_bus


@dataclass(frozen=True, slots=True)
class NodeServerState:
    """The state of the node server at one moment.

    Args:
        connections: open ones.
        downloads: under way.
        queued: downloads that wait for their turn.
        clusters: cluster -> what is known of its nodes.
        buses: message bus -> its state.
    """

    connections: int = 0
    downloads: int = 0
    queued: int = 0
    clusters: Mapping[str, PolledCluster] = field(default_factory=dict)
    buses: Mapping[str, BusState] = field(default_factory=dict)


class NodeServerStatus(Protocol):
    """What the endpoints of the watch show of its node server."""

    @property
    def address(self) -> SocketAddress:
        """Where it listens."""

    @property
    def counters(self) -> CallCounters:
        """What it has answered."""

    @property
    def state(self) -> NodeServerState:
        """Of connections and nodes, a few seconds old."""

    @property
    def problem(self) -> str:
        """Why it cannot read or write the store; empty if it can."""

    def list_products(self) -> dict[str, CentralServer]:
        """Kind -> its central server, of the products whose nodes poll."""


class NodeServer:
    """The node server of one watch.

    Attributes:
        address: where it listens.
        counters: what it has answered.
        state: of connections and nodes, a few seconds old.
    """

    def __init__(self, options: NodeServerOptions, parts: NodeServerParts) -> None:
        self._options, self._parts = options, parts
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._service: NodeService | None = None
        self._buses: BusService | None = None
        self._tls = load_certificate(options)
        self.counters = CallCounters()
        self.table = NodeTable(parts.products, parts.find_holds)
        self.address = options.listen
        self._problems = {_READ: STARTING, _WRITE: ""}
        self.state = NodeServerState()
        self._silent: dict[str, frozenset[str]] = {}
        self._began = time.monotonic()

    def list_products(self) -> dict[str, CentralServer]:
        """Kind -> its central server, of the products whose nodes poll."""
        return self.table.list_products()

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve nodes while the context lasts; gives the address as a URL.

        Raises:
            UsageError: the address or the certificate cannot be used.
        """
        with bind_node_socket(self._options.listen) as opened:
            self.address = SocketAddress(*opened.getsockname()[:2])
            with self.serving(opened):
                yield f"{'https' if self._tls else 'http'}://{self.address}"

    @contextmanager
    def serving(self, opened: socket.socket) -> Iterator[None]:
        """Serve nodes at a listening socket while the context lasts."""
        started = threading.Event()
        thread = threading.Thread(
            target=lambda: asyncio.run(self._run(opened, started)), name="nodes", daemon=True
        )
        thread.start()
        started.wait(STOP_SECONDS)
        try:
            yield
        finally:
            if self._loop is not None and self._stop is not None:
                self._loop.call_soon_threadsafe(self._end)
            thread.join(STOP_SECONDS)

    def _end(self) -> None:
        assert self._stop is not None
        self._stop.set()
        if self._service is not None:
            self._service.unknown_came.set()  # `_refresh` waits for it

    async def _run(self, opened: Any, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        started.set()
        await supervise_loop(lambda: self._serve(opened), "nodes", stop=self._stop, report=self._parts.report)

    async def _serve(self, opened: Any) -> None:
        assert self._stop is not None
        options, parts, stop = self._options, self._parts, self._stop
        with parts.open_store() as store:
            recorder = CallRecorder(store.record_calls, partial(self._note_store, _WRITE), self.counters)
            service = self._service = NodeService(
                self.table,
                store,
                recorder,
                parts.log,
                counters=self.counters,
                rules=options.rules,
                rate=options.rate,
                downloads=options.downloads,
                redact_text=parts.redact_text,
            )
            listener = NodeHttpListener(
                service,
                opened,
                log=parts.log,
                rules=options.rules,
                counters=self.counters,
                report=parts.report,
                tls=self._tls,
            )
            buses = self._buses = BusService(
                options.buses,
                parts.open_bus,
                table=self.table,
                store=store,
                reports=service.reports,
                recorder=recorder,
                find_rules=parts.find_bus_rules,
                counters=self.counters,
                log=parts.log,
                report=parts.report,
            )
            ended, buses_end = asyncio.Event(), asyncio.Event()
            recording = asyncio.ensure_future(
                supervise_loop(lambda: recorder.run(ended), "node calls", stop=ended, report=parts.report)
            )
            serving_buses: asyncio.Future[None] | None = None
            try:
                # Before the first connection: callers wait in the kernel meanwhile, and a restart costs no
                # poll. Without a state that can be read they are told so.
                await self._read_changes(store)
                async with listener.serving():
                    serving_buses = asyncio.ensure_future(buses.run(buses_end))
                    await self._refresh(store, listener, service, recorder, stop)
            finally:
                buses_end.set()
                if serving_buses is not None:
                    await asyncio.wait({serving_buses}, timeout=STOP_SECONDS / 2)
                # Last: answers that were still running have their calls stored too.
                ended.set()
                recorder.wake()
                await asyncio.wait({recording}, timeout=STOP_SECONDS / 2)

    async def _refresh(
        self,
        store: Store,
        listener: NodeHttpListener,
        service: NodeService,
        recorder: CallRecorder,
        stop: asyncio.Event,
    ) -> None:
        """Read what has changed in the store, again and again."""
        renewed, summed, queue = time.monotonic(), 0.0, service.queue
        while not stop.is_set():
            self._parts.beat()
            if time.monotonic() - summed > SUMMARY_SECONDS:
                summed = time.monotonic()
                nodes = summarize_nodes(self.table.nodes(), datetime.now(UTC), self._parts.fresh_seconds)
                fresh = min(map(self._parts.fresh_seconds, nodes), default=0.0)
                recorder.set_freshness(fresh)
                self._tell_silent(nodes)
                buses = self._buses.describe() if self._buses else {}
                self.state = NodeServerState(listener.connections, queue.active, queue.waiting, nodes, buses)
            await self._read_changes(store)
            if time.monotonic() - renewed > CERTIFICATE_SECONDS:
                renewed = time.monotonic()
                self._renew_certificate()
            service.settle_unknown()
            # Strangers would fill the room for new nodes if each waited for its turn.
            if await is_set_within(service.unknown_came, REFRESH_SECONDS):
                service.unknown_came.clear()
                await is_set_within(stop, UNKNOWN_PAUSE)

    def _tell_silent(self, clusters: Mapping[str, PolledCluster]) -> None:
        """Log which nodes have fallen silent, and which are heard again, since the last summary."""
        log = self._parts.log
        for name, cluster in sorted(clusters.items()):
            # While this host was stopped, nodes could not call: each gets the time in which it has to.
            if time.monotonic() - self._began < self._parts.fresh_seconds(name):
                continue
            before, now = self._silent.get(name, frozenset()), frozenset(cluster.silent)
            self._silent[name] = now
            if fallen := sorted(now - before):
                log.warning(
                    "nodes silent",
                    cluster=name,
                    nodes=fallen[:LISTED],
                    number=len(fallen),
                    seconds=self._parts.fresh_seconds(name),
                    remedy="check that they run and reach this host",
                )
            if back := sorted(before - now):
                log.info("nodes heard again", cluster=name, nodes=back[:LISTED], number=len(back))

    async def _read_changes(self, store: Store) -> None:
        try:
            if not self.table.is_loaded:
                await self._load_contacts(store)
            await self.table.apply(await store.read_changes(self.table.position))
        except StateError as error:
            self._note_store(_READ, error)
        else:
            self._note_store(_READ, None)

    async def _load_contacts(self, store: Store) -> None:
        for fleet in await store.fleets():
            for contact in await store.select_fleet(fleet.number).contacts():
                self.table.add_contact(fleet.number, contact)

    @property
    def problem(self) -> str:
        """Why it cannot read or write the store; empty if it can."""
        return next(filter(None, self._problems.values()), "")

    def _note_store(self, half: str, error: StateError | None) -> None:
        """Note that the store was read or written, or could not be."""
        before = self._problems[half]
        self._problems[half] = error.message if error else ""
        if error and before != error.message:
            event = "calls of nodes cannot be stored" if half == _WRITE else "offers cannot be read"
            self._parts.log.error(event, message=error.message, remedy=error.remedy)
        elif before not in {"", STARTING} and not error:
            event = "calls of nodes are stored again" if half == _WRITE else "offers are read again"
            self._parts.log.info(event)

    def _renew_certificate(self) -> None:
        """Use a renewed certificate for new connections."""
        if self._tls is None:
            return
        try:
            assert self._options.certificate is not None
            self._tls.load_cert_chain(self._options.certificate, self._options.key)
        except (OSError, ssl.SSLError) as error:
            self._parts.log.warning(
                "the certificate for nodes cannot be read again",
                message=str(error),
                remedy="the earlier one stays in use; check `nodes.certificate` and `nodes.key`",
            )


def load_certificate(options: NodeServerOptions) -> ssl.SSLContext | None:
    """The TLS context of the node server; None for plain HTTP.

    Raises:
        UsageError: the certificate or its key cannot be used.
    """
    if options.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An encrypted key would ask for its password on the terminal.
        context.load_cert_chain(options.certificate, options.key, password="")
    except (OSError, ssl.SSLError, ValueError) as error:
        message = f"the certificate {options.certificate} for nodes cannot be used: {error}"
        remedy = "check `nodes.certificate` and `nodes.key` of the host configuration"
        raise UsageError(message, remedy=remedy) from error
    return context
