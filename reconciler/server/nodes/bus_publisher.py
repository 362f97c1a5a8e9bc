"""Publishes the offers of nodes to a message bus, each until the bus says that it has it.

Around each publication are two writes: before it, that it begins, and after the bus has acknowledged it, that
the offer counts as taken. A process that is killed between them finds the offer as begun and publishes it
again. So nothing is lost, and a node may get one offer twice: both messages have the same id and the same
package, so that it loads what it has loaded already, and its second report is about the same offer. The next
offer of a node is published after the one before was acknowledged or has failed, so that none overtakes
another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from reconciler.core.host_entries import AllowedBus
from reconciler.core.offers import Offer, make_download_token
from reconciler.errors import StateError
from reconciler.ports.central_server import InboundRequest, NodeRoute, RouteKind
from reconciler.ports.message_bus import BusError, MessageBus, Publication
from reconciler.ports.store import Store
from reconciler.server.logs import Log, log_defect
from reconciler.server.nodes.counters import CallCounters
from reconciler.server.nodes.node_table import NodeTable, ServedNode
from reconciler.server.supervision import is_set_within
from reconciler.server.throttle import Throttle

LOOK_SECONDS: Final = 0.2
"""Seconds between two looks for new offers."""

MOST_AT_ONCE: Final = 200
"""Publications under way at once: a wrong topic of one node must not hold up the others."""

STOP_SECONDS: Final = 2.0
"""Seconds that the stop waits for publications under way."""

RETRY_FIRST, RETRY_LONGEST = 1.0, 60.0
"""Seconds until a failed publication is tried again: first and longest wait."""

LARGEST: Final = 1024 * 1024
"""Bytes of a message: it has the address of a package, or the targets of a purge."""


@dataclass(slots=True)
class _Retry:
    """When the offer of a node is tried again."""

    at: float
    wait: float


@dataclass(slots=True)
class _Group:
    """The offers that one message carries: one, or those of all nodes that share a channel."""

    body: bytes
    offers: list[tuple[ServedNode, Offer]]


class BusPublisher:
    """Publishes to one message bus; used by one event loop.

    Args:
        bus: to publish to.
        allowed: what settings may name of it.
        table: has the offers.
        store: has their contents, and what was published.
        find_server: cluster -> URL at which its nodes reach the node server; empty if it is not known.
        is_shared: whether several nodes listen on the channel of an offer, by the settings of all.
        counters: of what was published.
        log: for offers that cannot be published.
    """

    def __init__(
        self,
        bus: MessageBus,
        allowed: AllowedBus,
        table: NodeTable,
        store: Store,
        *,
        find_server: Callable[[str], str],
        is_shared: Callable[[Offer], bool],
        counters: CallCounters,
        log: Log,
    ) -> None:
        self._bus, self._allowed, self._table, self._store = bus, allowed, table, store
        self._find_server, self._is_shared = find_server, is_shared
        self._counters, self._log, self._throttle = counters, log, Throttle()
        self._running: dict[tuple[ServedNode, str], asyncio.Task[None]] = {}
        self._retries: dict[str, _Retry] = {}
        self._name = str(bus.id)

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until `stop` is set."""
        try:
            while not stop.is_set():
                await self.publish_due()
                await is_set_within(stop, LOOK_SECONDS)
        finally:
            tasks = set(self._running.values())
            if tasks:  # what the bus has by now need not be published again after the next start
                await asyncio.wait(tasks, timeout=STOP_SECONDS)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def list_waiting(self, now: datetime) -> list[Offer]:
        """The offers that this bus should have by now, and does not."""
        return [offer for _, offer in self._list_due(now)]

    def _list_due(self, now: datetime) -> list[tuple[ServedNode, Offer]]:
        return [
            (node, offer)
            for node in self._table.list_due()
            for offer, _ in node.offers.values()
            if offer is not None and self._is_due(node, offer, now)
        ]

    async def publish_due(self) -> None:
        """Begin to publish all offers that are due, except those that wait for another attempt."""
        # While the bus does not answer, nothing begins: an offer that has not begun can still be withdrawn.
        if self._bus.problem:
            return
        now, clock = datetime.now(UTC), asyncio.get_running_loop().time()
        due = self._list_due(now)
        self._forget_retries(offer for _, offer in due)
        found: dict[object, _Group] = {}
        for node, offer in due:
            retry = self._retries.get(offer.id)
            if (node, offer.feed) in self._running or (retry and clock < retry.at):
                continue
            key = self._choose_group(offer)
            if key in found:
                found[key].offers.append((node, offer))
            elif len(self._running) + len(found) >= MOST_AT_ONCE:
                break
            elif (body := await self._make_message(node, offer, now)) is None:
                self._delay(offer)
            else:
                found[key] = _Group(body, [(node, offer)])
        # Together: the store writes what waits for it in one transaction.
        await asyncio.gather(*(self._begin(group, now) for group in found.values()))

    def _choose_group(self, offer: Offer) -> object:
        """What offers have in common that one message carries: several nodes listen, and get each message."""
        assert offer.channel is not None
        return (offer.channel.name, offer.feed, offer.run) if self._is_shared(offer) else offer.id

    async def _begin(self, group: _Group, now: datetime) -> None:
        """Begin to publish a message."""
        refused = await self._store.begin_publishing([offer.id for _, offer in group.offers])
        for node, offer in list(group.offers):
            if offer.id in refused:
                self._counters.withheld += 1
                self._delay(offer)
                group.offers.remove((node, offer))
            else:
                self._table.begin_publishing(node, offer, now)
        if group.offers:
            task = asyncio.create_task(self._publish(group))
            for node, offer in group.offers:
                self._running[node, offer.feed] = task

    def _is_due(self, node: ServedNode, offer: Offer, now: datetime) -> bool:
        """Whether an offer is one for this bus that may be published now."""
        if offer.channel is None or offer.taken is not None or not self._allowed.allows(offer.channel):
            return False
        if not self._find_server(node.cluster):  # the fleet was not read yet
            return False
        if offer.sent is not None:
            return True
        return offer.is_visible(now) and not self._table.is_held(node, offer, now)

    async def _publish(self, group: _Group) -> None:
        node, offer = group.offers[0]
        assert offer.channel is not None
        try:
            await self._bus.publish(Publication(offer.channel.name, offer.id, node.name, group.body))
            await self._store.end_publishing([one.id for _, one in group.offers])
        except (BusError, StateError) as error:
            self._counters.bus_failed[self._name] += len(group.offers)
            for _, one in group.offers:
                self._delay(one)
            self._tell(node, offer, "an offer is not published", error.message, error.remedy)
        except Exception as error:  # noqa: BLE001  (a defect at one node must not stop the others)
            for _, one in group.offers:
                self._delay(one)
            log_defect(self._log, "unexpected error while an offer is published", error, node=node.name)
        else:
            self._counters.bus_published[self._name] += len(group.offers)
            for each, one in group.offers:
                self._retries.pop(one.id, None)
                self._table.end_publishing(each, one, datetime.now(UTC))
        finally:
            for each, one in group.offers:
                self._running.pop((each, one.feed), None)

    def _delay(self, offer: Offer) -> None:
        """Let an offer wait for its next attempt, each time longer."""
        known = self._retries.get(offer.id)
        wait = min(RETRY_LONGEST, known.wait * 2) if known else RETRY_FIRST
        self._retries[offer.id] = _Retry(asyncio.get_running_loop().time() + wait, wait)

    def _forget_retries(self, due: Iterable[Offer]) -> None:
        """Forget the waits of offers that were withdrawn, or are over."""
        if self._retries:
            names = {offer.id for offer in due}
            self._retries = {name: one for name, one in self._retries.items() if name in names}

    async def _make_message(self, node: ServedNode, offer: Offer, now: datetime) -> bytes | None:
        """The message of an offer; None if it cannot be made, which is logged."""
        product, token = node.product, self._table.find_token(node)
        route = _find_route(node, offer)
        server = self._find_server(node.cluster)
        if product is None or token is None or route is None or not server:
            return None  # the node left
        try:
            parts = await self._store.parts(offer)
        except StateError as error:
            self._tell(node, offer, "an offer cannot be read", error.message, error.remedy)
            return None
        if parts is None:
            self._counters.unreadable += 1
            remedy = "check host.key in the state folder; the next pass offers again"
            self._tell(node, offer, "an offer cannot be read", "its content cannot be decrypted", remedy)
            return None
        text = make_download_token(token.known.digest, offer.id)
        request = InboundRequest("GET", route, {}, f"{server}/{text}", now)
        answer = product.answer_poll(request, offer, parts)
        body = b"".join(answer.body)
        if answer.status != 200 or len(body) > LARGEST:  # noqa: PLR2004
            remedy = "check the type of its feed"
            self._tell(node, offer, "an offer cannot be published", "its feed has no message for it", remedy)
            return None
        # The planner refuses this; what everybody reads must not lead to one node's setting in any case.
        if text.encode() in body and self._is_shared(offer):
            message = f"several nodes listen on {offer.channel.label if offer.channel else 'its channel'}"
            remedy = "give each node a channel of its own"
            self._tell(node, offer, "an offer is kept from a shared channel", message, remedy)
            return None
        return body

    def _tell(self, node: ServedNode, offer: Offer, event: str, message: str, remedy: str) -> None:
        if (more := self._throttle.admit(f"{event} {node.name}")) is not None:
            self._log.warning(
                event,
                cluster=node.cluster,
                node=node.name,
                offer=offer.id,
                channel=offer.channel.label if offer.channel else "",
                message=message,
                remedy=remedy,
                **more,
            )


def _find_route(node: ServedNode, offer: Offer) -> NodeRoute | None:
    """The route whose answer delivers an offer by its address, and not the content itself."""
    polls = (one for one in node.routes.values() if one.kind is RouteKind.POLL and one.feed is offer.feed)
    return next(polls, None)
