"""Reports of nodes: read by their product, masked, stored, and only then answered."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final

import orjson

from reconciler.core.offers import Offer, OfferFeed
from reconciler.core.operations import OperationResult, OperationState
from reconciler.core.secret import MASK
from reconciler.errors import StateError
from reconciler.ports.central_server import (
    CentralServer,
    InboundAnswer,
    InboundRequest,
    InvalidReport,
    ReceivedReport,
)
from reconciler.ports.node_store import CallRecord
from reconciler.ports.store import Store
from reconciler.ports.transport import MailItem, NodeMail
from reconciler.secrets.redaction import Redactor
from reconciler.server.logs import Log
from reconciler.server.nodes.call_recorder import CallRecorder
from reconciler.server.nodes.connection import InboundCall
from reconciler.server.nodes.counters import CallCounters
from reconciler.server.nodes.node_table import NodeTable, ServedNode, ServedToken
from reconciler.server.throttle import Throttle

SHORT: Final = 65_536
"""Bytes of a report that is read without a thread."""

READERS: Final = 2
"""Longer reports that are read at the same time: each may take many times its size in memory."""

MOST_ADDRESSES, LONGEST_NAME = 16, 255
"""Addresses and characters of a name that are compared of what a report says of its sender."""

TOKEN_LENGTH: Final = 43
"""Characters of a token: 256 bits in base64url."""

_TOKEN_BEGINNING: Final = 8
"""Characters by which a token is recognised that was cut."""


class ReportReceiver:
    """Receives the reports of all nodes; used by one event loop only.

    Args:
        table: of the nodes.
        store: has what the nodes were offered.
        recorder: stores reports.
        log: for reports that are refused, and for nodes that take turns under one name.
        throttle: of the log.
        counters: of what is answered.
        building: bounds the contents that are in memory at the same time.
        redact_text: masks the secrets of the newest fleet.
    """

    def __init__(
        self,
        table: NodeTable,
        store: Store,
        recorder: CallRecorder,
        log: Log,
        *,
        throttle: Throttle,
        counters: CallCounters,
        building: asyncio.Semaphore,
        redact_text: Callable[[str], str],
    ) -> None:
        self._table, self._store, self._recorder, self._log = table, store, recorder, log
        self._throttle, self._counters, self._redact_text = throttle, counters, redact_text
        self._building, self._reading = building, asyncio.Semaphore(READERS)

    async def answer(self, call: InboundCall, token: ServedToken, request: InboundRequest) -> InboundAnswer:
        """Store a report; the answer to it.

        Args:
            call: with the report.
            token: with which the node called.
            request: the same call, as the product reads it.
        """
        node, product = token.node, token.node.product
        assert product is not None
        try:
            if len(request.body) <= SHORT:
                report = product.read_report(request)
            else:
                async with self._reading:
                    report = await asyncio.to_thread(product.read_report, request)
            if report.reason:
                report = await self.mask_secrets(node, product, report)
            # What becomes visible of it. Its body keeps its own URLs, and is encrypted.
            report = replace(
                report,
                hostname=mask_token(call, report.hostname),
                reason=mask_token(call, report.reason),
                label=mask_token(call, report.label),
            )
        except InvalidReport as error:
            self._counters.invalid += 1
            message = mask_token(call, str(error))
            if (more := self._throttle.admit(f"invalid {node.name}")) is not None:
                self._log.warning(
                    "report refused",
                    cluster=node.cluster,
                    node=node.name,
                    caller=call.caller,
                    message=message,
                    **more,
                )
            body = orjson.dumps({"message": message}) + b"\n"
            return InboundAnswer(400, {"content-type": "application/json"}, (body,))
        now = datetime.now(UTC)
        record = replace(
            make_report_record(node, report, now),
            token=token.known.digest,
            address=call.caller,
            clash=self.find_clash(node, report),
        )
        try:
            await self._recorder.record(record)
        except StateError:
            return InboundAnswer(
                503,
                {"content-type": "application/json", "retry-after": "5"},
                (b'{"message":"not stored"}\n',),
            )
        node.heard[report.kind] = now
        node.label = report.label or node.label
        if token.has_former and token.known.is_current:
            self._table.end_former(token, now)
        self._counters.reports[report.kind] += 1
        return InboundAnswer(204)

    async def mask_secrets(
        self, node: ServedNode, product: CentralServer, report: ReceivedReport
    ) -> ReceivedReport:
        """A report whose reason quotes no secret of the fleet and of what the node has or was offered."""
        fleet, cluster, name = node.place
        async with self._building:
            try:
                mail = (await self._store.select_fleet(fleet).mail(cluster, [name]))[name]
            except StateError:
                # Nobody knows now what it quotes; the report itself cannot be stored, either.
                return replace(report, reason="")

            def mask() -> str:
                known = product.list_secrets(mail)
                if report.content is not None:
                    known |= product.list_secrets(NodeMail(content=MailItem(report.content, 0.0)))
                return Redactor(known).redact_text(self._redact_text(report.reason))

            return replace(report, reason=await asyncio.to_thread(mask))

    def find_clash(self, node: ServedNode, report: ReceivedReport) -> str:
        """What a report says of its sender that does not agree with its token; told once a change."""
        if not report.hostname:
            return node.clash
        before, now = node.clash, asyncio.get_running_loop().time()
        addresses = frozenset(address for address in report.addresses[:MOST_ADDRESSES] if _is_own(address))
        clash = self._table.find_clash(node, report.hostname[:LONGEST_NAME], addresses, now)
        if clash and clash != before:
            self._counters.clashes += 1
            if (more := self._throttle.admit(f"clash {node.name}")) is not None:
                self._log.warning(
                    "two nodes under one name",
                    cluster=node.cluster,
                    node=node.name,
                    message=clash,
                    remedy="give each node its own package: `reconcile enroll NODE`",
                    **more,
                )
        return clash


def make_report_record(node: ServedNode, report: ReceivedReport, at: datetime) -> CallRecord:
    """What is stored of a report, without how it came here."""
    offer, result = "", None
    if report.about is not None:
        by_time = _find_by_time(node, report.last_modified) if not report.offer else None
        shared = _find_by_run(node, report)
        offer = by_time.id if by_time else shared.id if shared else report.offer
    if report.succeeded is not None and (report.about is not None or report.targets):
        state = OperationState.DONE if report.succeeded else OperationState.FAILED
        result = OperationResult(node.name, state, report.reason, report.totals, at)
    return CallRecord(
        fleet=node.place[0],
        cluster=node.cluster,
        node=node.name,
        at=at,
        label=report.label,
        kind=report.kind,
        body=report.body,
        content=report.content,
        about=report.about,
        result=result,
        offer=offer,
        targets=report.targets,
        modified=report.last_modified,
        # It does not poll, whatever it did before: nothing else shows its version.
        shows_label=any(one is not None and one.channel for pair in node.offers.values() for one in pair),
    )


def mask_token(call: InboundCall, text: str) -> str:
    """A text of a node without the token of its call."""
    if len(text) < _TOKEN_BEGINNING:
        return text
    return mask_known_token(call.target.split(b"/", 2)[1].decode("latin-1"), text)


def mask_known_token(token: str, text: str) -> str:
    """A text without a token, also where it was cut."""
    if len(token) < TOKEN_LENGTH or token[:_TOKEN_BEGINNING] not in text:
        return text
    # Nodes quote the URLs that they call, and a long quotation was cut.
    return re.sub(re.escape(token[:_TOKEN_BEGINNING]) + r"[\w-]*", MASK, text)


def _is_own(address: str) -> bool:
    """Whether an address can tell one machine from another one."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return not (parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified)


def _find_by_run(node: ServedNode, report: ReceivedReport) -> Offer | None:
    """The offer of a node that was told by one message with others, which has the id of another's offer."""
    if report.about is None or not report.run or node.find_offer(report.offer) is not None:
        return None
    found = (one for one in node.offers.get(report.about, ()) if one is not None and one.channel is not None)
    return next((one for one in found if one.run == report.run), None)


def _find_by_time(node: ServedNode, moment: datetime | None) -> Offer | None:
    """The offer of settings with this `Last-Modified`."""
    if moment is None:
        return None
    for offer in node.offers.get(OfferFeed.SETTING, ()):
        if offer is not None and offer.last_modified == moment:
            return offer
    return None
