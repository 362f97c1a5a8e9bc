"""Runs the message buses of the node server: each publishes and receives, and starts again if it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final

from reconciler.core.bus_channels import NodeBusUse
from reconciler.errors import StateError, UsageError
from reconciler.message_bus.factory import BusEntry
from reconciler.ports.message_bus import MessageBus
from reconciler.ports.store import Store
from reconciler.server.logs import Log
from reconciler.server.nodes.bus_channels import BusDirectory, NodeNames
from reconciler.server.nodes.bus_publisher import BusPublisher
from reconciler.server.nodes.bus_receiver import BusReceiver
from reconciler.server.nodes.call_recorder import CallRecorder
from reconciler.server.nodes.counters import CallCounters
from reconciler.server.nodes.node_table import NodeTable
from reconciler.server.nodes.report_receiver import ReportReceiver
from reconciler.server.supervision import Report, is_set_within, supervise_loop

RULES_SECONDS: Final = 0.2
"""Seconds between two looks whether a newer fleet is known."""

RETRY_SECONDS: Final = 10.0
"""Seconds until an entry is tried again whose library or files are missing."""


@dataclass(frozen=True, slots=True)
class BusRules:
    """What the newest fleet says of message buses.

    Args:
        use: cluster and node -> on which channels it listens and reports.
        servers: cluster -> URL at which its nodes reach the node server.
    """

    use: Mapping[NodeNames, NodeBusUse] = field(default_factory=dict)
    servers: Mapping[str, str] = field(default_factory=dict)


NO_BUS_RULES: Final = BusRules()


@dataclass(frozen=True, slots=True)
class BusState:
    """The state of one message bus at one moment.

    Args:
        problem: why it is not connected; empty if it is.
        waiting: offers that it should have by now, and does not.
        oldest: since when the oldest of them waits; None for none.
        heard: when the newest message of a node was sent; None for none since the start.
        channels: on which it listens.
    """

    problem: str = ""
    waiting: int = 0
    oldest: datetime | None = None
    heard: datetime | None = None
    channels: int = 0


@dataclass(slots=True)
class _Running:
    """One bus, as long as it is open."""

    bus: MessageBus
    publisher: BusPublisher


class BusService:
    """All message buses of one node server; used by one event loop.

    Args:
        entries: of the host configuration.
        open_bus: opens one.
        table: of the nodes.
        store: has offers and what was published.
        reports: masks secrets in reports.
        recorder: stores reports.
        find_rules: what the newest fleet says; another object each time that this changes.
        counters: of what was published and received.
        log: for what fails.
        report: called when a loop crashes, before it restarts.
    """

    def __init__(
        self,
        entries: tuple[BusEntry, ...],
        open_bus: Callable[[BusEntry], Awaitable[MessageBus]],
        *,
        table: NodeTable,
        store: Store,
        reports: ReportReceiver,
        recorder: CallRecorder,
        find_rules: Callable[[], BusRules],
        counters: CallCounters,
        log: Log,
        report: Report,
    ) -> None:
        self._entries, self._open_bus, self._table, self._store = entries, open_bus, table, store
        self._reports, self._recorder, self._find_rules = reports, recorder, find_rules
        self._counters, self._log, self._report = counters, log, report
        self._directory = BusDirectory()
        self._rules = NO_BUS_RULES
        self._running: dict[str, _Running] = {}
        self._problems: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._warned: dict[str, str] = {}
        self._heard: dict[str, datetime] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Serve all buses until `stop` is set."""
        if not self._entries:
            return
        loops = [
            supervise_loop(
                partial(self._serve, entry, stop), f"bus {entry.allowed.id}", stop=stop, report=self._report
            )
            for entry in self._entries
        ]
        rules = supervise_loop(partial(self._follow_rules, stop), "bus rules", stop=stop, report=self._report)
        await asyncio.gather(rules, *loops)

    def describe(self) -> dict[str, BusState]:
        """Bus -> its state."""
        return {str(entry.allowed.id): self._describe(entry) for entry in self._entries}

    def _describe(self, entry: BusEntry) -> BusState:
        name = str(entry.allowed.id)
        running, heard = self._running.get(name), self._heard.get(name)
        if running is None:
            return BusState(self._problems.get(name, "it is starting"), heard=heard)
        waiting = running.publisher.list_waiting(datetime.now(UTC))
        oldest = min((offer.opens for offer in waiting), default=None)
        channels = len(self._directory.list_names(entry.allowed, self._table))
        return BusState(running.bus.problem, len(waiting), oldest, heard, channels)

    async def _follow_rules(self, stop: asyncio.Event) -> None:
        """Use each newer fleet; the channels of earlier settings are remembered in the store."""
        while not stop.is_set():
            rules = self._find_rules()
            if rules is not self._rules:
                named = {node: use.reports for node, use in rules.use.items() if use.reports}
                try:
                    earlier = await self._store.note_report_channels(named)
                except StateError:
                    await is_set_within(stop, RULES_SECONDS)
                    continue
                self._directory.replace(rules.use, earlier)
                self._rules = rules
            self._tell_problems()
            await is_set_within(stop, RULES_SECONDS)

    async def _serve(self, entry: BusEntry, stop: asyncio.Event) -> None:
        """Publish and receive; after an error with a new connection: nothing is acknowledged unread."""
        name = str(entry.allowed.id)
        while (bus := await self._open(entry)) is None:
            if await is_set_within(stop, RETRY_SECONDS):
                return
        publisher = BusPublisher(
            bus,
            entry.allowed,
            self._table,
            self._store,
            find_server=lambda cluster: self._rules.servers.get(cluster, ""),
            is_shared=self._directory.is_shared,
            counters=self._counters,
            log=self._log,
        )
        receiver = BusReceiver(
            bus,
            entry.allowed,
            directory=self._directory,
            table=self._table,
            reports=self._reports,
            recorder=self._recorder,
            counters=self._counters,
            log=self._log,
            note_heard=partial(self._note_heard, name),
        )
        self._running[name] = _Running(bus, publisher)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(publisher.run(stop))
                group.create_task(receiver.run(stop))
        finally:
            del self._running[name]
            await bus.close()

    def _note_heard(self, name: str, at: datetime) -> None:
        self._heard[name] = max(at, self._heard.get(name, at))

    async def _open(self, entry: BusEntry) -> MessageBus | None:
        """The bus of an entry; None if its library or a file is missing, which is logged once."""
        name = str(entry.allowed.id)
        try:
            return await self._open_bus(entry)
        except UsageError as error:
            if self._problems.get(name) != error.message:
                self._log.error("message bus unusable", bus=name, message=error.message, remedy=error.remedy)
            self._problems[name] = error.message
            return None

    def _tell_problems(self) -> None:
        """Log that a bus is not connected, and that it is again."""
        for name, running in self._running.items():
            now, before = running.bus.problem, self._told.get(name, "")
            if now and not before:
                remedy = "check the bus and the network; offers and reports wait, and nothing is lost"
                self._log.warning("message bus not connected", bus=name, message=now, remedy=remedy)
            elif before and not now:
                self._log.info("message bus connected again", bus=name)
            self._told[name] = now
            if (warning := running.bus.warning) != self._warned.get(name, ""):
                self._warned[name] = warning
                if warning:
                    remedy = "correct the channel, or what this host may read there"
                    self._log.warning(
                        "channel of a message bus unusable", bus=name, message=warning, remedy=remedy
                    )
