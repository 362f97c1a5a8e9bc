"""Receives the reports of nodes from a message bus: each is stored before it is acknowledged.

Who sent a message is proven by what only that node can have: the URL of its own package, which its feedback
quotes, or a channel on which, by the settings of all nodes, nobody else reports. The name in a message on a
shared channel proves nothing: such a message is noted as a claim, and only for a node whose setting names
this channel.

A message that is none (no JSON, too large, too deep, another schema, another action, no value) is counted,
logged with its place, acknowledged and skipped: it must not stop those behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from reconciler.core.host_entries import AllowedBus
from reconciler.errors import StateError
from reconciler.ports.central_server import InboundRequest, InvalidReport, ReceivedReport, RouteKind
from reconciler.ports.message_bus import BusError, BusMessage, MessageBus
from reconciler.ports.node_store import CallRecord
from reconciler.server.logs import Log
from reconciler.server.nodes.bus_channels import BusDirectory
from reconciler.server.nodes.call_recorder import CallRecorder
from reconciler.server.nodes.counters import CallCounters
from reconciler.server.nodes.node_table import NodeTable, ServedNode
from reconciler.server.nodes.report_receiver import (
    SHORT,
    ReportReceiver,
    make_report_record,
    mask_known_token,
)
from reconciler.server.supervision import is_set_within
from reconciler.server.throttle import Throttle
from reconciler.text.one_line import LONGEST_NAME, make_one_line

RECEIVE_SECONDS: Final = 1.0
"""Seconds that one look for messages waits."""

RETRY_SECONDS: Final = 1.0
"""Seconds until the next attempt after the store or the bus failed."""


@dataclass(frozen=True, slots=True)
class _Sender:
    """Who sent a message.

    Args:
        is_proven: whether more than a name in it shows that.
        text: in the URL that it quotes; empty for none.
    """

    node: ServedNode
    is_proven: bool
    text: str = ""


class _SkippedError(Exception):
    """A message that is skipped.

    Args:
        kind: a key of `_REMEDIES`, or `feed`, which is not logged.
        why: for the log.
    """

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind, self.why = kind, why


class BusReceiver:
    """Receives from one message bus; used by one event loop.

    Args:
        bus: to receive from.
        allowed: what settings may name of it.
        directory: which node reports where.
        table: of the nodes.
        reports: masks secrets in reports, and finds nodes that take turns under one name.
        recorder: stores reports.
        counters: of what was received.
        log: for messages that are skipped.
        note_heard: called with the time of each message that was received.
    """

    def __init__(
        self,
        bus: MessageBus,
        allowed: AllowedBus,
        *,
        directory: BusDirectory,
        table: NodeTable,
        reports: ReportReceiver,
        recorder: CallRecorder,
        counters: CallCounters,
        log: Log,
        note_heard: Callable[[datetime], None] = lambda _: None,
    ) -> None:
        self._bus, self._allowed, self._directory, self._table = bus, allowed, directory, table
        self._reports, self._recorder, self._counters = reports, recorder, counters
        self._log, self._throttle, self._note_heard = log, Throttle(), note_heard
        self._name = str(bus.id)

    async def run(self, stop: asyncio.Event) -> None:
        """Receive until `stop` is set; a message that is not recorded by then is given again later."""
        while not stop.is_set():
            try:
                await self._bus.listen(self._directory.list_names(self._allowed, self._table))
                messages = await self._bus.receive(RECEIVE_SECONDS)
            except BusError as error:
                self._tell_failure("messages of nodes cannot be received", error)
                await is_set_within(stop, RETRY_SECONDS)
                continue
            if messages and await self._record(messages, stop):
                await self._acknowledge(messages, stop)

    async def _record(self, messages: Sequence[BusMessage], stop: asyncio.Event) -> bool:
        """Store what messages report, for as long as it takes; False if the stop came before."""
        self._counters.bus_received[self._name] += len(messages)
        records = [record for message in messages if (record := await self._read(message)) is not None]
        while records:
            found = await asyncio.gather(*map(self._recorder.record, records), return_exceptions=True)
            # What is stored already counts once, by its offset.
            records = [one for one, error in zip(records, found, strict=True) if isinstance(error, Exception)]
            failures = [error for error in found if isinstance(error, BaseException)]
            for error in failures:
                if not isinstance(error, StateError):
                    raise error
            if records and await is_set_within(stop, RETRY_SECONDS):
                return False
        return True

    async def _acknowledge(self, messages: Sequence[BusMessage], stop: asyncio.Event) -> None:
        try:
            await self._bus.acknowledge(messages)
        except BusError as error:  # they are given again, and count once
            self._tell_failure("messages of nodes cannot be acknowledged", error)
            await is_set_within(stop, RETRY_SECONDS)

    async def _read(self, message: BusMessage) -> CallRecord | None:
        """What is to be stored of a message; None if it is skipped."""
        now = datetime.now(UTC)
        # A clock that is ahead must not keep a node fresh; one that is behind makes it older than it is.
        at = min(message.at or now, now)
        self._note_heard(at)
        try:
            reporters = self._directory.find_reporters(self._allowed, message.channel, self._table)
            report = await self._read_report(message, reporters, now)
            return await self._make_record(message, report, self._find_sender(report, reporters), at)
        except _SkippedError as error:
            self._skip(message, error)
            return None

    async def _read_report(
        self, message: BusMessage, reporters: Sequence[tuple[str, str]], now: datetime
    ) -> ReceivedReport:
        """The report in a message; raises `_SkippedError`, whatever the message has."""
        if message.defect:
            raise _SkippedError("defect", message.defect)
        product = next((node.product for node in self._find_nodes(reporters) if node.product), None)
        if product is None:
            raise _SkippedError("channel", "no node reports on this channel any more")
        route = next(one for one in product.routes if one.kind is RouteKind.REPORT)
        request = InboundRequest("POST", route, {}, "", now, message.body)
        try:
            if len(message.body) <= SHORT:
                report = product.read_report(request)
            else:
                report = await asyncio.to_thread(product.read_report, request)
        except InvalidReport as error:
            if product.is_own_feed(message.body):
                raise _SkippedError("feed", "it is an offer, and no report") from error
            raise _SkippedError("invalid", str(error)) from error
        except Exception as error:
            raise _SkippedError("defect", f"it cannot be read ({type(error).__name__})") from error
        if not report.is_known:
            raise _SkippedError("action", "its action is not one of this product's reports")
        return report

    async def _make_record(
        self, message: BusMessage, report: ReceivedReport, sender: _Sender, at: datetime
    ) -> CallRecord:
        node = sender.node
        if not sender.is_proven:
            self._counters.bus_claims[self._name] += 1
            fleet, cluster, name = node.place
            claim = CallRecord(fleet=fleet, cluster=cluster, node=name, at=at, is_claim=True)
            return self._place(claim, message)
        assert node.product is not None
        if report.reason:
            report = await self._reports.mask_secrets(node, node.product, report)
        if sender.text:
            report = replace(
                report,
                hostname=mask_known_token(sender.text, report.hostname),
                reason=mask_known_token(sender.text, report.reason),
                label=mask_known_token(sender.text, report.label),
            )
        clash = self._reports.find_clash(node, report)
        self._counters.reports[report.kind] += 1
        node.heard[report.kind] = max(at, node.heard.get(report.kind, at))
        node.label = report.label or node.label
        record = make_report_record(node, report, at)
        return self._place(replace(record, clash=clash, shows_label=True), message)

    def _place(self, record: CallRecord, message: BusMessage) -> CallRecord:
        """A record with the place of its message, by which a repeated one is recognised."""
        channel = f"{self._name}/{message.channel}"
        return replace(record, channel=channel, partition=message.partition, offset=message.offset)

    def _find_nodes(self, names: Sequence[tuple[str, str]]) -> list[ServedNode]:
        return [found for one in names if (found := self._table.find_place(*one)) is not None]

    def _find_sender(self, report: ReceivedReport, reporters: Sequence[tuple[str, str]]) -> _Sender:
        """Who sent a report; raises `_SkippedError` if nobody can tell."""
        nodes = self._find_nodes(reporters)
        own = nodes[0] if len(reporters) == 1 and nodes else None
        for link in report.links:
            text, file = _read_link(link)
            token = self._table.find_download(text, file)
            if token is not None:
                if own is not None and token.node is not own:
                    why = f"it is about an offer of {token.node.name}, on the channel of {own.name} alone"
                    raise _SkippedError("sender", why)
                return _Sender(token.node, is_proven=True, text=text)
        if own is not None:
            return _Sender(own, is_proven=True)
        named = [node for node in nodes if report.hostname in {node.name, node.hostname}]
        if len(named) == 1:
            return _Sender(named[0], is_proven=False)
        shown = make_one_line(report.hostname, LONGEST_NAME)
        what = "several nodes" if named else "no node"
        why = f"it names {shown!r}, which is the name of {what} that may report on this shared channel"
        raise _SkippedError("sender", why)

    def _skip(self, message: BusMessage, error: _SkippedError) -> None:
        self._counters.bus_skipped[error.kind] += 1
        if error.kind == "feed":  # a lint warns of the loop; each offer would be told once more here
            return
        kind = f"skipped {error.kind} {message.channel[:LONGEST_NAME]}"
        if (more := self._throttle.admit(kind)) is not None:
            self._log.warning(
                "message skipped",
                bus=self._name,
                place=message.place,
                topic=message.channel,
                partition=message.partition,
                offset=message.offset,
                message=error.why,
                remedy=_REMEDIES[error.kind],
                **more,
            )

    def _tell_failure(self, event: str, error: BusError) -> None:
        if (more := self._throttle.admit(event)) is not None:
            self._log.warning(event, bus=self._name, message=error.message, remedy=error.remedy, **more)


_REMEDIES: Final[Mapping[str, str]] = {
    "defect": "find out who writes to this channel",
    "invalid": "find out who writes to this channel; only reports of nodes belong there",
    "action": "nothing to do if other programs write to this channel too",
    "channel": "nothing to do: the node's setting names another one by now",
    "sender": "give each node a channel of its own for its reports, or let it report by HTTP",
}

_DOWNLOAD_PARTS: Final = 3


def _read_link(link: str) -> tuple[str, str]:
    """The text that stands for a node, and the file, in the URL of a package; empty if it is no such URL."""
    parts = link.rsplit("/", _DOWNLOAD_PARTS)
    if len(parts) != _DOWNLOAD_PARTS + 1 or len(link) > 2 * LONGEST_NAME * 4:
        return "", ""
    return parts[1], parts[3]
