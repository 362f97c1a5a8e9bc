"""What nodes that poll do in a trial: their calls are answered from the store, by the clock of the trial.

The node server of the watch has sockets, a thread and the time of the machine. Here its rules alone answer
(`decide_poll`, the store, and the product's own answers), so that a seed gives the same trial each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.core.fleet_matching import HOST
from reconciler.core.offers import Offer, PollAnswer, decide_poll, make_download_token, read_offer_id
from reconciler.core.operations import OperationResult, OperationState
from reconciler.core.timestamps import Clock
from reconciler.drivers.registry import DRIVERS
from reconciler.fault_trials.recorder import ServedOffer, TrialRecorder
from reconciler.fault_trials.trial_bus import TrialBus, TrialReport
from reconciler.ports.central_server import (
    CentralServer,
    InboundAnswer,
    InboundRequest,
    InvalidReport,
    NodeRoute,
    RouteKind,
)
from reconciler.ports.node_store import CallRecord, KnownToken
from reconciler.ports.simulator import PUBLISH, LocalChange, NodeActivity, OutgoingCall, Reply
from reconciler.ports.store import Store
from reconciler.simulation.faults import FaultKind
from reconciler.simulation.node_host import Simulation
from reconciler.store.factory import open_store
from reconciler.text.http_dates import format_http_date

STEP: Final = 5.0
"""Seconds between two looks at what nodes begin to do."""

NO_ANSWER: Final[Reply] = (0, {}, b"")

_SEGMENTS: Final = 3
_UNCHANGED: Final = 304
_PASSED_ON: Final = frozenset({FaultKind.DUPLICATE, FaultKind.SLOW, FaultKind.WORKS, FaultKind.STALE})
_LOST: Final = frozenset({FaultKind.LOST, FaultKind.HALF})


@dataclass(slots=True)
class PolledTraffic:
    """The calls of a trial's nodes.

    Args:
        folder: of the store.
        wait: waits some seconds of the trial's clock.
    """

    simulation: Simulation
    recorder: TrialRecorder
    folder: Path
    clock: Clock
    wait: Callable[[float], Awaitable[None]]
    has_begun: bool = False
    bus: TrialBus = field(default_factory=TrialBus)
    _dates: dict[tuple[str, str, str], dict[str, datetime]] = field(init=False, default_factory=dict)

    async def follow(self, seconds: float) -> None:
        """Let nodes do for some time what is due."""
        if not self.has_begun:
            self.simulation.take_due_activities(self.clock())  # sets the start: only later events count
            self.has_begun = True
        left = seconds
        with open_store(self.folder, clock=self.clock) as store:
            while left > 0:
                await self.wait(STEP)
                left -= STEP
                for activity in self.simulation.take_due_activities(self.clock()):
                    await self._perform(activity, store)
                await self._publish(store)
                for activity in self.bus.deliver(self.simulation):
                    await self._perform(activity, store)
                for report in self.bus.take_reports():
                    await self._record_report(report, store)
        self.recorder.look()

    async def _perform(self, activity: NodeActivity, store: Store) -> None:
        steps = activity.steps
        try:
            step = next(steps)
            while self.simulation.is_up(activity.node):
                if isinstance(step, LocalChange):
                    reply = self._change(activity.node, step)
                    if reply is None:
                        break
                else:
                    reply = await self._send(activity.node, step, store)
                step = steps.send(reply)
        except StopIteration:
            pass
        finally:
            steps.close()

    def _change(self, node: str, change: LocalChange) -> Reply | None:
        fault = self.simulation.take_fault(node, change=True)
        if fault is not None and fault.kind not in _PASSED_ON | _LOST | {FaultKind.REFUSE}:
            return None
        reply = self.simulation.change(node, change, fault)
        self.recorder.look()
        return None if fault is not None and fault.kind in _LOST else reply

    async def _send(self, node: str, call: OutgoingCall, store: Store) -> Reply:
        fault = self.simulation.take_fault(node, outgoing=True)
        if call.method == PUBLISH:
            known = self.bus.report(node, call.url, call.body, self.clock(), fault.kind if fault else None)
            if fault is not None:
                self.recorder.note(f"{node} publishes {call.purpose}: {fault.kind}")
            return (204, {}, b"") if known else NO_ANSWER
        if fault is not None and fault.kind not in _PASSED_ON | _LOST:
            self.recorder.note(f"{node} calls {call.purpose}: no answer, {fault.kind}")
            return NO_ANSWER
        reply = await self._answer(call, store)
        if fault is not None and fault.kind is FaultKind.DUPLICATE:
            reply = await self._answer(call, store)
        if reply[0] != _UNCHANGED or fault is not None:
            words = f", {fault.kind}" if fault else ""
            self.recorder.note(f"{node} calls {call.purpose}: answered {reply[0]}{words}")
        return NO_ANSWER if fault is not None and fault.kind in _LOST else reply

    async def _publish(self, store: Store) -> None:
        """Publish the offers of nodes that are told by a bus."""
        changes, now = await store.read_changes(0), self.clock()
        for token in changes.tokens or ():
            product = None if token.ended else DRIVERS[token.kind].central_server()
            feeds = changes.offers.get((token.fleet, token.cluster, token.node), {})
            for offer in [current for current, _ in feeds.values() if current is not None]:
                if product is None or offer.channel is None or offer.taken or not offer.is_visible(now):
                    continue
                if await store.begin_publishing([offer.id]):
                    continue  # held, suspended or withdrawn
                route = next(one for one in product.routes if one.feed is offer.feed)
                base = f"http://127.0.0.1/{make_download_token(token.digest, offer.id)}"
                request = InboundRequest("GET", route, {}, base, now)
                answer = product.answer_poll(request, offer, await store.parts(offer) or ())
                self.bus.publish(offer.channel, b"".join(answer.body))
                self._note_served(offer)
                fault = self.simulation.take_fault(token.node, outgoing=True)
                if fault is not None and fault.kind in _LOST:  # as by a kill before the record
                    self.recorder.note(f"{token.node}: published, and not recorded, {fault.kind}")
                    continue
                await store.end_publishing([offer.id])
                self.recorder.note(f"{token.node}: published offer {offer.id}")

    async def _record_report(self, report: TrialReport, store: Store) -> None:
        """Store a report that came by the bus, on a channel of its node alone."""
        changes = await store.read_changes(0)
        own = [one for one in changes.tokens or () if one.node == report.node and not one.ended]
        product = DRIVERS[own[0].kind].central_server() if own else None
        if product is None:
            return
        route = next(one for one in product.routes if one.kind is RouteKind.REPORT)
        request = InboundRequest("POST", route, {}, "", report.at, report.body)
        feeds = changes.offers.get((own[0].fleet, own[0].cluster, own[0].node), {})
        answer = await self._take_report(request, own[0], product, feeds, store, message=report)
        if answer.status == 400:  # noqa: PLR2004
            self.recorder.note(f"{report.node}: a message that is no report is skipped")

    async def _answer(self, call: OutgoingCall, store: Store) -> Reply:
        """The answer of the central server."""
        url = urlsplit(call.url)
        segments = url.path.split("/")
        changes = await store.read_changes(0)
        digest = hashlib.sha256(segments[1].encode()).hexdigest() if len(segments) >= _SEGMENTS else ""
        token = next((one for one in changes.tokens or () if one.digest == digest and not one.ended), None)
        if token is None and len(segments) > _SEGMENTS:  # of a message that a bus brought
            name = read_offer_id(segments[-1])
            token = next(
                (one for one in changes.tokens or () if make_download_token(one.digest, name) == segments[1]),
                None,
            )
        product = DRIVERS[token.kind].central_server() if token else None
        if token is None or product is None:
            return (404, {}, b"")
        route = next((one for one in product.routes if one.path == segments[2]), None)
        if route is None:
            return (404, {}, b"")
        headers = {name.lower(): value for name, value in call.headers.items()}
        base = f"{url.scheme}://{url.netloc}/{segments[1]}"
        request = InboundRequest(call.method, route, headers, base, self.clock(), call.body)
        feeds = changes.offers.get((token.fleet, token.cluster, token.node), {})
        if route.kind is RouteKind.REPORT:
            return _make_reply(await self._take_report(request, token, product, feeds, store))
        if route.kind is RouteKind.DOWNLOAD:
            known = {one.id: one for pair in feeds.values() for one in pair if one is not None}
            offer = known.get(segments[-1].removesuffix(route.suffix))
            if offer is None or not offer.may_be_with_node:
                return (404, {}, b"")
            parts = await store.parts(offer)
            return _make_reply(product.answer_download(request, offer, parts or ()))
        is_held = bool(changes.suspended & {(token.fleet, token.cluster), (token.fleet, "")}) or any(
            (fleet, token.cluster, token.node) in changes.held for fleet in (token.fleet, HOST)
        )
        return _make_reply(await self._answer_poll(request, token, product, feeds, store, is_held=is_held))

    async def _answer_poll(
        self,
        request: InboundRequest,
        token: KnownToken,
        product: CentralServer,
        feeds: Mapping[Any, tuple[Offer | None, Offer | None]],
        store: Store,
        *,
        is_held: bool,
    ) -> InboundAnswer:
        route: NodeRoute = request.route
        assert route.feed is not None
        polled = product.read_poll(request.headers)
        current, last = feeds.get(route.feed, (None, None))
        decision = decide_poll(current, last, polled.asked, request.at, is_held=is_held)
        offer = decision.offer if decision.answer is PollAnswer.OFFER else None
        record = CallRecord(
            fleet=token.fleet,
            cluster=token.cluster,
            node=token.node,
            at=request.at,
            asked=polled.asked,
            label=polled.label,
            feed=route.feed,
            took=offer.id if offer and offer.taken is None else "",
            token=token.digest,
        )
        refused = await store.record_calls([record])
        if offer is not None and offer.id not in refused:
            self._note_served(offer)
            return product.answer_poll(request, offer, await store.parts(offer) or ())
        if decision.answer is PollAnswer.UNAVAILABLE:
            return InboundAnswer(503)
        return InboundAnswer(304, {"Last-Modified": format_http_date(polled.asked)} if polled.asked else {})

    def _note_served(self, offer: Offer) -> None:
        dates = self._dates.setdefault((offer.cluster, offer.node, str(offer.feed)), {})
        before = max((date for known, date in dates.items() if known != offer.id), default=None)
        if offer.id not in dates:
            date = offer.last_modified
            self.recorder.served.append(
                ServedOffer(offer.cluster, offer.node, offer.run, offer.step, date, before)
            )
        dates[offer.id] = offer.last_modified

    async def _take_report(
        self,
        request: InboundRequest,
        token: KnownToken,
        product: CentralServer,
        feeds: Mapping[Any, tuple[Offer | None, Offer | None]],
        store: Store,
        *,
        message: TrialReport | None = None,
    ) -> InboundAnswer:
        try:
            report = product.read_report(request)
        except InvalidReport:
            return InboundAnswer(400)
        offer, result = "", None
        if report.about is not None:
            dated = (one for one in feeds.get(report.about, ()) if one is not None)
            found = next((one.id for one in dated if one.last_modified == report.last_modified), "")
            offer = report.offer or found
            if report.succeeded is not None:
                state = OperationState.DONE if report.succeeded else OperationState.FAILED
                result = OperationResult(token.node, state, report.reason, report.totals, request.at)
        record = CallRecord(
            fleet=token.fleet,
            cluster=token.cluster,
            node=token.node,
            at=request.at,
            kind=report.kind,
            body=report.body,
            content=report.content,
            about=report.about,
            result=result,
            offer=offer,
            modified=report.last_modified,
            token=token.digest,
        )
        if message is not None:
            record = replace(
                record,
                label=report.label,
                token="",
                shows_label=True,
                channel=message.url,
                offset=message.offset,
            )
        await store.record_calls([record])
        return InboundAnswer(204)


def _make_reply(answer: InboundAnswer) -> Reply:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return answer.status, headers, b"".join(answer.body)
