"""What nodes that poll do in a trial: their calls are answered from the store, by the clock of the trial.

The node server of the watch has sockets, a thread and the time of the machine. Here its rules alone answer
(`decide_poll`, the store, and the product's own answers), so that a seed gives the same trial each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.core.fleet_matching import HOST
from reconciler.core.offers import Offer, PollAnswer, decide_poll
from reconciler.core.operations import OperationResult, OperationState
from reconciler.core.timestamps import Clock
from reconciler.drivers.registry import DRIVERS
from reconciler.fault_trials.recorder import ServedOffer, TrialRecorder
from reconciler.ports.central_server import (
    CentralServer,
    InboundAnswer,
    InboundRequest,
    InvalidReport,
    NodeRoute,
    RouteKind,
)
from reconciler.ports.node_store import CallRecord, KnownToken
from reconciler.ports.simulator import LocalChange, NodeActivity, OutgoingCall, Reply
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

    async def _answer(self, call: OutgoingCall, store: Store) -> Reply:
        """The answer of the central server."""
        url = urlsplit(call.url)
        segments = url.path.split("/")
        changes = await store.read_changes(0)
        digest = hashlib.sha256(segments[1].encode()).hexdigest() if len(segments) >= _SEGMENTS else ""
        token = next((one for one in changes.tokens or () if one.digest == digest and not one.ended), None)
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
            if offer is None or offer.taken is None:
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
        await store.record_calls([record])
        return InboundAnswer(204)


def _make_reply(answer: InboundAnswer) -> Reply:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return answer.status, headers, b"".join(answer.body)
