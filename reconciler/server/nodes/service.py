"""Answers what nodes call: who calls, what the store has for it, and what it reports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from reconciler.core.offers import Offer, PollAnswer, decide_poll
from reconciler.errors import StateError
from reconciler.ports.central_server import (
    InboundAnswer,
    InboundRequest,
    NodeRoute,
    PollHeaders,
    RouteKind,
)
from reconciler.ports.node_store import CallRecord
from reconciler.ports.store import Store
from reconciler.server.logs import Log, log_defect
from reconciler.server.nodes.answer_head import make_refusal
from reconciler.server.nodes.call_recorder import CallRecorder
from reconciler.server.nodes.callers import CallerRules
from reconciler.server.nodes.connection import InboundCall, NodeConnection, Reply
from reconciler.server.nodes.content import compute_entity_tag, select_content
from reconciler.server.nodes.counters import CallCounters
from reconciler.server.nodes.download_queue import DownloadQueue
from reconciler.server.nodes.node_table import NodeTable, ServedNode, ServedToken
from reconciler.server.nodes.report_receiver import TOKEN_LENGTH, ReportReceiver, mask_token
from reconciler.server.supervision import is_set_within
from reconciler.server.throttle import Throttle
from reconciler.text.http_dates import format_http_date

LARGEST_BODY: Final = 8 * 1024 * 1024
"""Bytes of a report: the setting of a node is in it."""

SHORT: Final = 65_536
"""Bytes of an answer that counts as no download."""

BUILDS: Final = 64
"""Answers with offers that are built at the same time: they hold contents in memory."""

RENDERED: Final = 4 * 1024 * 1024
"""Bytes of contents from which an answer is made at once; a thread takes longer than the work for them."""

NODE_CONNECTIONS: Final = 8
"""Connections of one node; with one more, its oldest waiting one is closed."""

NODE_HELD: Final = LARGEST_BODY * 3 // 2
"""Bytes of the bodies of one node in memory: its largest report, and short ones beside it."""

MOST_UNKNOWN: Final = 64
"""Calls with unknown tokens at the same time whose bodies are read, and that wait for the store."""

LARGEST_UNKNOWN: Final = 256 * 1024
"""Bytes of the body of such a call."""

UNKNOWN_SECONDS: Final = 2.0
"""How long such a call waits at most for the store; usually, that takes some hundredths of a second."""

_NOTHING: Final = InboundAnswer(304)


@dataclass(frozen=True, slots=True)
class AdmittedCall:
    """What the head of a request shows."""

    token: ServedToken
    route: NodeRoute
    offer: str = ""


@dataclass(frozen=True, slots=True)
class UnknownCall:
    """A call with an unknown token, which may be a new one.

    Args:
        refreshes: how often the store was read when it came.
        settled: set once the store was read again.
    """

    refreshes: int
    settled: asyncio.Event = field(default_factory=asyncio.Event)


class NodeService:
    """The service behind all connections; used by one event loop only.

    A token that is unknown may be a new one: a pass writes it, then sends the setting with it, and a node
    reports a setting once, as soon as it has loaded it. So such a call waits until the store was read again.

    Args:
        table: tokens and offers.
        store: contents of offers.
        recorder: stores calls.
        counters: of what is answered.
        rules: who may call.
        rate: calls of one node per minute.
        downloads: at the same time.
        redact_text: masks the secrets of the newest fleet.

    Attributes:
        unknown_came: set when a call waits for the store to be read.
        reports: receives reports.
    """

    largest_body = LARGEST_BODY

    def __init__(
        self,
        table: NodeTable,
        store: Store,
        recorder: CallRecorder,
        log: Log,
        *,
        counters: CallCounters,
        rules: CallerRules,
        rate: float,
        downloads: int,
        redact_text: Callable[[str], str] = str,
    ) -> None:
        self._table, self._store, self._recorder, self._log = table, store, recorder, log
        self._rules, self._rate = rules, rate
        self._throttle = Throttle()
        self._building = asyncio.Semaphore(BUILDS)
        self._unknown: dict[NodeConnection, InboundCall] = {}
        self.unknown_came = asyncio.Event()
        self.queue = DownloadQueue(downloads)
        self.counters = counters
        self.reports = ReportReceiver(
            table,
            store,
            recorder,
            log,
            throttle=self._throttle,
            counters=counters,
            building=self._building,
            redact_text=redact_text,
        )
        self.is_proxy = rules.is_proxy
        self.find_caller = rules.find_caller

    # The head of a request.

    def admit(self, call: InboundCall) -> InboundAnswer | None:
        """Find node and route of a request; an answer refuses it."""
        segments = call.target.partition(b"?")[0].split(b"/")
        token = self._find_token(call, segments)
        if token is None and call.admitted is None and _is_possible(segments):
            return self._keep_unknown(call)
        if token is None:
            token = self._refuse(call, 404, "not found")
        if isinstance(token, InboundAnswer):
            call.keep_alive = False  # as above
            return token
        node = token.node
        if call.connection.node is not node:
            self._add_connection(node, call)
        found = self._find_route(node, segments)
        if found is None:
            return self._refuse(call, 404, "not found", token)
        route, offer = found
        if call.method not in route.methods and not (call.method == "HEAD" and "GET" in route.methods):
            return _refuse_method(route)
        # A download is never refused: the node remembers the time of the offer already, and would not ask
        # for it again.
        if route.kind is not RouteKind.DOWNLOAD:
            wait = node.budget.take(asyncio.get_running_loop().time(), self._rate)
            if wait:
                return self._refuse(call, 429, "too many calls", token, {"retry-after": str(int(wait) + 1)})
        call.admitted = AdmittedCall(token, route, offer)
        return None

    def _keep_unknown(self, call: InboundCall) -> InboundAnswer | None:
        """Let a call with an unknown token wait for the store to be read; an answer refuses it."""
        call.keep_alive = False  # another guess costs another connection
        self.unknown_came.set()
        # From its head on: the bodies of strangers must not use up the memory for those of nodes.
        if call.size is None or call.size > LARGEST_UNKNOWN or len(self._unknown) >= MOST_UNKNOWN:
            # Not 404: it may be a node, whose token was written just now.
            return self._refuse(call, 503, "not known yet", headers=_SOON)
        call.admitted = UnknownCall(self._table.refreshes)
        self._unknown[call.connection] = call
        return None

    def settle_unknown(self) -> None:
        """Decide about calls with tokens that were unknown; called after each reading of the store."""
        for connection, call in list(self._unknown.items()):
            unknown = call.admitted
            # The first reading may have begun before the token was written.
            if self._table.refreshes - unknown.refreshes < 2:  # noqa: PLR2004
                self.unknown_came.set()
                continue
            del self._unknown[connection]
            # A stranger must not keep its place by sending a body slowly.
            if connection.is_receiving(call) and (refusal := self.admit(call)) is not None:
                connection.refuse(call, refusal)
            unknown.settled.set()

    async def _answer_later(self, call: InboundCall, unknown: UnknownCall) -> Reply:
        """The answer once the store was read again."""
        if not await is_set_within(unknown.settled, UNKNOWN_SECONDS):
            self._unknown.pop(call.connection, None)
            return self._refuse(call, 503, "the store cannot be read", headers=_SOON)
        refusal = self.admit(call)
        if refusal is not None:
            return refusal
        reply = self.answer(call)
        return await reply if isinstance(reply, Coroutine) else reply

    def _find_token(self, call: InboundCall, segments: Sequence[bytes]) -> ServedToken | InboundAnswer | None:
        """The token of a call; None if it is unknown."""
        if not self._rules.is_allowed(call.caller):
            return self._refuse(call, 403, "address not allowed")
        if not self._table.is_loaded:
            return self._refuse(call, 503, "starting")
        token = self._table.find(segments[1]) if len(segments) > 1 and not segments[0] else None
        if token is None:
            token = self._find_download(segments)
        if token is None:
            return None
        if token.ended is not None:
            return self._refuse(call, 410, "this URL has ended", token)
        return token

    def _find_download(self, segments: Sequence[bytes]) -> ServedToken | None:
        """The token of the node whose offer came by a message bus; the path then has the offer's own text."""
        if len(segments) != _SEGMENTS + 1 or len(segments[1]) != TOKEN_LENGTH:
            return None
        return self._table.find_download(segments[1].decode("latin-1"), segments[3].decode("latin-1"))

    def _find_route(self, node: ServedNode, segments: Sequence[bytes]) -> tuple[NodeRoute, str] | None:
        """The route of a path, and of a download the id of its offer."""
        path, offer = (*segments[2:], b"", b"")[:2]
        route = node.routes.get(path.decode("latin-1"))
        if route is None:
            return None
        if route.kind is not RouteKind.DOWNLOAD:
            return (route, "") if len(segments) == _SEGMENTS else None
        name = offer.decode("latin-1")
        if len(segments) != _SEGMENTS + 1 or not name.endswith(route.suffix):
            return None
        return route, name.removesuffix(route.suffix)

    def _add_connection(self, node: ServedNode, call: InboundCall) -> None:
        """Note whose connection it is; one node cannot hold many."""
        connection = call.connection
        if connection.node is not None:  # a proxy may send the calls of several nodes
            connection.node.connections.pop(connection, None)
        connection.set_node(node)
        node.connections[connection] = None
        if len(node.connections) > NODE_CONNECTIONS:
            oldest = next((one for one in node.connections if one.is_waiting), None)
            if oldest is not None and oldest is not connection:
                oldest.drop("node")

    def forget(self, connection: NodeConnection) -> None:
        """A connection has ended."""
        self._unknown.pop(connection, None)
        if connection.node is not None:
            connection.node.connections.pop(connection, None)

    def is_hoarding(self, connection: NodeConnection) -> bool:
        """Whether the node of a connection has more bodies in memory than one node needs."""
        # Else trickling bodies of one node would have the reports of all others refused.
        node = connection.node
        return node is not None and sum(one.held for one in node.connections) > NODE_HELD

    def _refuse(
        self,
        call: InboundCall,
        status: int,
        message: str,
        token: ServedToken | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> InboundAnswer:
        """A refusal; counted, and logged a few times a minute."""
        self.counters.refused[status] += 1
        node = token.node.name if token else ""
        if (more := self._throttle.admit(f"{status} {node}")) is not None:
            fields = {"cluster": token.node.cluster, "node": node} if token else {}
            remedy = _REMEDIES.get(status)
            event = _EVENTS.get(status, "call of a node refused")
            self._log.warning(
                event,
                **fields,
                status=status,
                caller=call.caller,
                **({"remedy": remedy} if remedy else {}),
                **more,
            )
        refusal = make_refusal(status, message)
        return replace(refusal, headers={**refusal.headers, **headers}) if headers else refusal

    def crashed(self, error: Exception) -> None:
        """An answer could not be made."""
        self.counters.refused[500] += 1
        if (more := self._throttle.admit(f"crash {type(error).__name__}")) is not None:
            log_defect(self._log, "unexpected error in a call of a node", error, **more)

    # Answers.

    def answer(self, call: InboundCall) -> Reply | Coroutine[Any, Any, Reply]:
        """The answer to an admitted request."""
        if isinstance(call.admitted, UnknownCall):
            return self._answer_later(call, call.admitted)
        admitted: AdmittedCall = call.admitted
        kind = admitted.route.kind
        if kind is RouteKind.POLL:
            return self._answer_poll(call, admitted)
        if kind is RouteKind.DOWNLOAD:
            return self._answer_download(call, admitted)
        return self.reports.answer(call, admitted.token, self._request(call, admitted))

    def _answer_poll(self, call: InboundCall, admitted: AdmittedCall) -> Reply | Coroutine[Any, Any, Reply]:
        node, feed = admitted.token.node, admitted.route.feed
        assert feed is not None
        headers = self._read_poll(call, admitted)
        now = datetime.now(UTC)
        current, last = node.offers.get(feed, (None, None))
        is_held = current is not None and current.taken is None and self._table.is_held(node, current, now)
        decision = decide_poll(current, last, headers.asked, now, is_held=is_held)
        if decision.is_absurd:
            self._tell_absurd(node, call, headers)
        self.counters.polls += 1
        if decision.offer is not None and call.method != "HEAD":
            return self._deliver(call, admitted, decision.offer, headers)
        self._note_poll(call, admitted, headers, now)
        if decision.offer is not None:
            return self._show(call, admitted, decision.offer)
        if decision.answer is PollAnswer.UNAVAILABLE:
            self.counters.unavailable += 1
            return _UNAVAILABLE
        self.counters.unchanged += 1
        if headers.asked is None or decision.is_absurd:
            return _NOTHING
        # A node sends the date of the answer before, and that may be this one: it has to have the same date.
        return _make_unchanged(headers.asked)

    def _read_poll(self, call: InboundCall, admitted: AdmittedCall) -> PollHeaders:
        node = admitted.token.node
        if node.poll is not None and node.poll[0] == call.headers:
            return node.poll[1]
        assert node.product is not None
        headers = node.product.read_poll(call.headers)
        if (label := mask_token(call, headers.label)) != headers.label:
            headers = replace(headers, label=label)
        node.poll = (call.headers, headers)
        return headers

    def _note_poll(
        self, call: InboundCall, admitted: AdmittedCall, headers: PollHeaders, now: datetime
    ) -> None:
        """Note a poll in memory; it is stored soon."""
        token, feed = admitted.token, admitted.route.feed
        assert feed is not None
        node = token.node
        node.heard["poll"] = now
        # What is new is stored at once: the next offer has to be later than this date, and passes wait for
        # this version.
        is_new = node.asked.get(feed, _NEVER) != headers.asked or headers.label not in {"", node.label}
        node.label = headers.label or node.label
        node.asked[feed] = headers.asked
        ends = token.has_former and token.known.is_current
        if ends:
            self._table.end_former(token, now)
        digest, caller = token.known.digest, call.caller
        self._recorder.note_poll(
            (node, feed),
            lambda: CallRecord(
                fleet=node.place[0],
                cluster=node.place[1],
                node=node.place[2],
                at=now,
                asked=headers.asked,
                label=headers.label,
                feed=feed,
                token=digest,
                address=caller,
            ),
            now=is_new or ends,
        )

    async def _deliver(
        self, call: InboundCall, admitted: AdmittedCall, offer: Offer, headers: PollHeaders
    ) -> Reply:
        """Answer a poll with an offer: it counts as taken before the answer is sent."""
        answer = await self._build(call, admitted, offer)
        # Another status than 200 delivers nothing: this feed cannot deliver this offer.
        if answer is None or answer.status != 200:  # noqa: PLR2004
            return self._withhold(call, admitted, headers)
        if sum(map(len, answer.body)) <= SHORT:
            taken = await self._take(call, admitted, offer, headers)
            return answer if taken else self._withhold(call, admitted, headers)
        answer = None  # not held while it waits for its turn
        async with self.queue.slot(admitted.token.node):
            if not await self._take(call, admitted, offer, headers):
                return self._withhold(call, admitted, headers)
            answer = await self._build(call, admitted, offer)
            if answer is None:
                return _UNAVAILABLE
            self.counters.downloads += 1
            await call.connection.write_download(call, answer)
        return None

    async def _take(
        self, call: InboundCall, admitted: AdmittedCall, offer: Offer, headers: PollHeaders
    ) -> bool:
        """Store that the node takes an offer; gives whether it still may."""
        if offer.taken is not None:  # it stays the node's, whatever a pass has decided since
            self._note_poll(call, admitted, headers, datetime.now(UTC))
            return True
        token, feed = admitted.token, admitted.route.feed
        assert feed is not None
        node, now = token.node, datetime.now(UTC)
        # It may have waited for its turn: changes are on hold by now, or the offer has closed.
        if not offer.is_visible(now) or self._table.is_held(node, offer, now):
            return False
        node.heard["poll"], node.asked[feed] = now, headers.asked
        node.label = headers.label or node.label
        record = CallRecord(
            fleet=node.place[0],
            cluster=node.cluster,
            node=node.name,
            at=now,
            asked=headers.asked,
            label=headers.label,
            feed=feed,
            took=offer.id,
            token=token.known.digest,
            address=call.caller,
        )
        try:
            may = await self._recorder.record(record)
        except StateError:
            return False
        if may:
            if token.has_former and token.known.is_current:
                self._table.end_former(token, now)
            node.set_taken(feed, replace(offer, taken=now))
            self.counters.offers += 1
        return may

    def _withhold(self, call: InboundCall, admitted: AdmittedCall, headers: PollHeaders) -> InboundAnswer:
        """Answer a poll as if there were no offer."""
        self._note_poll(call, admitted, headers, datetime.now(UTC))
        self.counters.withheld += 1
        return _make_unchanged(headers.asked) if headers.asked else _UNAVAILABLE

    async def _show(self, call: InboundCall, admitted: AdmittedCall, offer: Offer) -> Reply:
        """The head of the answer that would deliver an offer."""
        return await self._build(call, admitted, offer) or _UNAVAILABLE

    async def _build(self, call: InboundCall, admitted: AdmittedCall, offer: Offer) -> InboundAnswer | None:
        """The answer with an offer; None if its content cannot be read."""
        async with self._building:
            try:
                parts = await self._store.parts(offer)
            except StateError:
                parts = None
            if parts is None:
                self._tell_unreadable(admitted.token.node, offer)
                return None
            if sum(map(len, parts)) <= RENDERED:
                return self._render(call, admitted, offer, parts)
            return await asyncio.to_thread(self._render, call, admitted, offer, parts)

    def _render(
        self, call: InboundCall, admitted: AdmittedCall, offer: Offer, parts: Sequence[bytes]
    ) -> InboundAnswer:
        product = admitted.token.node.product
        assert product is not None
        request = self._request(call, admitted)
        if admitted.route.kind is RouteKind.DOWNLOAD:
            answer = product.answer_download(request, offer, parts)
        else:
            answer = product.answer_poll(request, offer, parts)
        headers = {name.lower(): text for name, text in answer.headers.items()}
        if admitted.route.kind is RouteKind.DOWNLOAD and "etag" not in headers:
            headers["etag"] = compute_entity_tag(answer.body)
        return InboundAnswer(answer.status, headers, answer.body)

    async def _answer_download(self, call: InboundCall, admitted: AdmittedCall) -> Reply:
        node = admitted.token.node
        offer = node.find_offer(admitted.offer)
        # The head of a poll shows the id of an offer that the node has not taken, and may not take any more.
        if offer is None or not offer.may_be_with_node:
            return self._refuse(call, 404, "not found", admitted.token)
        async with self.queue.slot(node):
            answer = await self._build(call, admitted, offer)
            if answer is None:
                return make_refusal(503, "the content cannot be read")
            if answer.status != 200:  # noqa: PLR2004
                return answer
            answer = select_content(call.headers, answer)
            self.counters.downloads += 1
            if answer.body:
                await call.connection.write_download(call, answer)
                return None
            return answer

    # What is told.

    def _tell_absurd(self, node: ServedNode, call: InboundCall, headers: PollHeaders) -> None:
        self.counters.absurd += 1
        if (more := self._throttle.admit(f"absurd {node.name}")) is not None:
            self._log.warning(
                "absurd If-Modified-Since",
                cluster=node.cluster,
                node=node.name,
                caller=call.caller,
                asked=str(headers.asked),
                remedy="check the clock of the node and of this host",
                **more,
            )

    def _tell_unreadable(self, node: ServedNode, offer: Offer) -> None:
        self.counters.unreadable += 1
        if (more := self._throttle.admit(f"unreadable {node.name}")) is not None:
            self._log.error(
                "the content of an offer cannot be read",
                cluster=node.cluster,
                node=node.name,
                offer=offer.id,
                remedy="check host.key in the state folder; the next pass offers again",
                **more,
            )

    def _request(self, call: InboundCall, admitted: AdmittedCall) -> InboundRequest:
        token = call.target.split(b"/", 2)[1].decode("latin-1")
        base = f"{call.scheme}://{call.headers.get('host', '')}/{token}"
        return InboundRequest(
            method=call.method,
            route=admitted.route,
            headers=call.headers,
            base=base,
            at=datetime.now(UTC),
            body=bytes(call.body),
        )


_SEGMENTS: Final = 3
"""Segments of a route's path: an empty one before the first slash, the token, and the route."""

_NEVER: Final = datetime.min.replace(tzinfo=UTC)

_UNAVAILABLE: Final = InboundAnswer(
    503,
    {"content-type": "application/json", "retry-after": "15"},
    (b'{"message":"nothing is recorded for this node"}\n',),
)

_SOON: Final = {"retry-after": "1"}

_EVENTS: Final = {
    404: "unknown URL called",
    410: "ended URL called",
    429: "node calls too often",
    403: "call from an address that is not allowed",
}

_REMEDIES: Final = {
    410: "install a new package on it (`reconcile enroll NODE`), or stop its polling",
    429: "check its schedules, or raise `nodes.rate` of the host configuration",
    403: "add its network to `nodes.allow` of the host configuration",
}


@lru_cache(maxsize=4_096)
def _make_unchanged(asked: datetime) -> InboundAnswer:
    return InboundAnswer(304, {"last-modified": format_http_date(asked)})


def _is_possible(segments: Sequence[bytes]) -> bool:
    """Whether a path can be below one of a node."""
    return len(segments) >= _SEGMENTS and not segments[0] and len(segments[1]) == TOKEN_LENGTH


def _refuse_method(route: NodeRoute) -> InboundAnswer:
    allowed = [*route.methods, *(["HEAD"] if "GET" in route.methods else [])]
    refusal = make_refusal(405, "method not allowed")
    return replace(refusal, headers={**refusal.headers, "allow": ", ".join(allowed)})
