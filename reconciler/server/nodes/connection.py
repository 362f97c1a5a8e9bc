"""One connection of a node: parses requests, bounds their size and time, and writes answers.

Not a server for ASGI: that makes a task and some hundred objects for each request, and it hides the socket,
which alone shows whether the other end has read a download.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

import httptools

from reconciler.host.retry import make_growing_pauses, poll_until
from reconciler.host.sockets import count_unsent, discard_unsent
from reconciler.ports.central_server import InboundAnswer
from reconciler.server.nodes.answer_head import BODILESS, make_head, make_refusal

HEAD_SECONDS = 10.0
"""Seconds in which a head must arrive, from the connection or from its first byte."""

BODY_SECONDS = 30.0
"""Seconds in which a body must arrive."""

ANSWER_SECONDS = 45.0
"""Seconds from a request to its answer; a download that waits for its turn has no limit."""

READ_SECONDS = 30.0
"""Seconds in which the caller must read a short answer."""

LINGER_SECONDS = 2.0
"""Seconds in which the rest of a refused request is read and thrown away."""

IDLE_SECONDS = 75.0
"""Seconds between two requests: longer than most periods of polling."""

STALL_SECONDS = 15.0
"""Seconds in which some bytes of a download must be read."""

SLOWEST = 8_192
"""Bytes a second of a whole download at least, with `READ_SECONDS` to spare."""

MOST_HEAD = 16_384
"""Bytes of a head."""

MOST_HEADERS = 64
"""Headers of a request."""

MOST_PIPELINED = 16
"""Requests that arrive before the answer to the first one; the connection ends after their answers."""

MOST_HELD = 64 * 1024 * 1024
"""Bytes of all bodies in memory; further ones are refused until some are stored."""

CHUNK = 262_144
"""Bytes of a download that are written at once."""

_FIRST_LOOK, _LONGEST_LOOK = 0.001, 0.05
"""Seconds between two looks at what the other end has not read yet: the first and the longest."""

_JOINED: Final = frozenset(
    {
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "cookie",
        "forwarded",
        "if-match",
        "if-none-match",
        "pragma",
        "te",
        "via",
        "x-forwarded-for",
    }
)
"""Headers that may come several times. With two of another one, a proxy and this server could differ."""

_MOST_DIGITS, _ENDLESS = 15, 1 << 60


Reply: TypeAlias = InboundAnswer | None
"""An answer; None if it was written already."""


@dataclass(slots=True, eq=False)
class InboundCall:
    """One request.

    Args:
        target: path and query as received.
        headers: names in lower case; values as Latin-1.
        caller: address of the caller, behind a trusted proxy the one that the proxy names.
        size: `Content-Length`; None for a body in chunks.
        held: bytes of its body that came, also those that were thrown away.
        admitted: what the service found at its head.
        refusal: the answer, if it was refused at its head.
    """

    connection: NodeConnection
    method: str
    target: bytes
    headers: Mapping[str, str]
    caller: str
    scheme: str
    keep_alive: bool
    is_old: bool = False
    size: int | None = 0
    body: bytearray = field(default_factory=bytearray)
    held: int = 0
    admitted: Any = None
    refusal: InboundAnswer | None = None


class CallService(Protocol):
    """Answers requests."""

    largest_body: int

    def admit(self, call: InboundCall) -> InboundAnswer | None:
        """Look at the head of a request; an answer refuses it before its body is read."""

    def answer(self, call: InboundCall) -> Reply | Coroutine[Any, Any, Reply]:
        """The answer to an admitted request with its body."""

    def is_proxy(self, peer: str) -> bool:
        """Whether a connection comes from a trusted proxy."""

    def find_caller(self, headers: Mapping[str, str], proxy: str) -> str:
        """The caller behind a trusted proxy."""

    def forget(self, connection: NodeConnection) -> None:
        """A connection has ended."""

    def is_hoarding(self, connection: NodeConnection) -> bool:
        """Whether the caller on a connection has too many bodies in memory."""

    def crashed(self, error: Exception) -> None:
        """An answer could not be made."""


class ConnectionOwner(Protocol):
    """Owns all connections."""

    held_bytes: int
    """Bytes of bodies in memory."""

    is_crowded: bool
    """Whether few connections are left: then each ends after its answer."""

    def forget(self, connection: NodeConnection) -> None:
        """A connection has ended."""

    def identify(self, connection: NodeConnection) -> None:
        """A request with a token that counts came in."""

    def count_dropped(self, reason: str) -> None:
        """A connection is ended early."""


class NodeConnection(asyncio.Protocol):
    """A connection.

    Args:
        service: answers the requests.
        owner: of all connections.
        scheme: `http` or `https`.

    Attributes:
        deadline: time of the event loop at which the listener drops it.
        task: makes the answer to a request; None while there is none to make.
        node: whose token a request had; None before.
    """

    def __init__(self, service: CallService, owner: ConnectionOwner, scheme: str) -> None:
        self._service, self._owner, self._scheme = service, owner, scheme
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._calls: deque[InboundCall] = deque()
        self.task: asyncio.Task[None] | None = None
        self._target = b""
        self._headers: dict[str, str] = {}
        self._head_size = self._head_count = 0
        self._in_head = False
        self._bad = 0
        self._call: InboundCall | None = None
        self._ending = False
        self._blocked: asyncio.Future[None] | None = None
        self.transport: asyncio.Transport | None = None
        self.peer = ""
        self.deadline = self._loop.time() + HEAD_SECONDS
        self.node: Any = None
        self.is_lingering = False
        self._written = self._held = 0
        self._progress: tuple[int, float] | None = None
        self._is_proxy = False

    @property
    def held(self) -> int:
        """Bytes of its bodies in memory."""
        return self._held

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for a request, or for the rest of one."""
        return self.task is None and not self._calls

    # The transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        self._is_proxy = self._service.is_proxy(self.peer)

    def connection_lost(self, _error: Exception | None) -> None:
        """End: what still waits for a turn gives it back."""
        self.transport = None
        self._ending = True
        self._calls.clear()
        self._release(self._held)
        if self._blocked is not None and not self._blocked.done():
            self._blocked.cancel()
        if self.task is not None:
            self.task.cancel()
        self._service.forget(self)
        self._owner.forget(self)

    def pause_writing(self) -> None:
        """The other end reads slowly: nothing more is read from it, either."""
        self._blocked = self._loop.create_future()
        self.deadline = min(self.deadline, self._loop.time() + READ_SECONDS)
        if self.transport is not None and self.task is None:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """The other end has read."""
        if self._blocked is not None and not self._blocked.done():
            self._blocked.set_result(None)
        self._blocked = None
        if self.transport is not None:
            self.transport.resume_reading()
            if self.task is None:
                self._await_request()
                self._answer_next()

    def data_received(self, data: bytes) -> None:
        """Take bytes of requests."""
        if self._ending:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._ending = True  # the request itself is answered; nothing behind it is read
        except httptools.HttpParserCallbackError as error:
            self._service.crashed(error)
            self._end_with(500)
        except httptools.HttpParserError:
            self._end_with(400)
        if self._in_head and not self._ending:
            self._head_size += len(data)
            if self._head_size > MOST_HEAD:
                self._end_with(431)

    # The parser.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._target, self._headers = b"", {}
        self._head_size = self._head_count = self._bad = 0
        self._in_head = True
        if self.task is None:
            # From its first byte on, however slowly the others come.
            self.deadline = self._loop.time() + HEAD_SECONDS

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._target += url
        self._head_size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        if not self._in_head:
            return  # after a body in chunks
        self._head_count += 1
        self._head_size += len(name) + len(value) + 4
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key in self._headers:
            if key not in _JOINED:
                self._bad = 400
            text = f"{self._headers[key]}, {text}"
        self._headers[key] = text

    def on_headers_complete(self) -> None:
        """The head of a request is complete."""
        self._in_head = False
        if self._ending:
            return
        parser, headers = self._parser, self._headers
        version = parser.get_http_version()
        call = InboundCall(
            self,
            parser.get_method().decode("latin-1"),
            self._target,
            headers,
            self.peer,
            self._scheme,
            parser.should_keep_alive() and not parser.should_upgrade(),
            is_old=version == "1.0",
        )
        self._call = call
        if self._is_proxy:
            call.caller = self._service.find_caller(headers, self.peer)
            if (scheme := headers.get("x-forwarded-proto", "")) in {"http", "https"}:
                call.scheme = scheme
        if "transfer-encoding" in headers:
            call.size = None
        elif text := headers.get("content-length"):
            # Digits only, and few: converting a very long number would cost time.
            is_number = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
            call.size = int(text) if is_number else _ENDLESS
        call.refusal = self._judge_head(call, version)
        if call.size != 0:
            self.deadline = self._loop.time() + BODY_SECONDS
            if call.refusal is not None:
                call.keep_alive = False  # its body is not read
                self._enqueue(call)
                self._ending = True
            elif headers.get("expect", "").lower() == "100-continue" and not self._calls:
                self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        call = self._call
        if call is None or self._ending:
            return
        call.held += len(body)
        self._held += len(body)
        self._owner.held_bytes += len(body)
        if len(call.body) + len(body) > self._service.largest_body:
            refusal = make_refusal(413, "the body is too large")
        elif self._owner.held_bytes > MOST_HELD or self._service.is_hoarding(self):
            refusal = make_refusal(503, "too many reports at the same time")
        else:
            call.body += body
            return
        self.refuse(call, refusal)

    def is_receiving(self, call: InboundCall) -> bool:
        """Whether the rest of a request is still to come."""
        return self._call is call and not self._ending

    def refuse(self, call: InboundCall, refusal: InboundAnswer) -> None:
        """Refuse a request before the rest of it has come."""
        call.refusal, call.keep_alive = refusal, False
        self._enqueue(call)
        self._ending = True

    def on_message_complete(self) -> None:
        """A request is complete."""
        if self._call is not None and not self._ending:
            self._enqueue(self._call)

    def _judge_head(self, call: InboundCall, version: str) -> InboundAnswer | None:
        """The refusal of a head that no route could accept."""
        if self._bad:
            call.keep_alive = False
            return make_refusal(self._bad, "a header came twice")
        if self._head_size > MOST_HEAD or self._head_count > MOST_HEADERS:
            call.keep_alive = False
            return make_refusal(431, "too many or too long headers")
        if version not in {"1.1", "1.0"} or ("host" not in call.headers and version == "1.1"):
            call.keep_alive = False
            return make_refusal(400, "not a complete request")
        if call.size is not None and call.size > self._service.largest_body:
            return make_refusal(413, "the body is too large")
        if call.headers.get("expect", "100-continue").lower() != "100-continue":
            return make_refusal(417, "unknown expectation")
        return self._service.admit(call)

    # Answers.

    def _enqueue(self, call: InboundCall) -> None:
        self._call = None
        self._calls.append(call)
        if len(self._calls) > MOST_PIPELINED:
            self._calls[-1].keep_alive = False
            self._ending = True
        self._answer_next()

    def _answer_next(self) -> None:
        """Answer the requests that have arrived, in their order."""
        while self._calls and self.task is None and self._blocked is None and self.transport is not None:
            call = self._calls.popleft()
            try:
                reply = call.refusal or self._service.answer(call)
            except Exception as error:  # noqa: BLE001  (whatever it is, other connections go on)
                self._service.crashed(error)
                reply = make_refusal(500, "internal error")
                call.keep_alive = False
            if isinstance(reply, InboundAnswer):
                self.write_answer(call, reply)
            elif reply is not None:
                self.deadline = self._loop.time() + ANSWER_SECONDS
                self.task = self._loop.create_task(self._finish(call, reply))

    async def _finish(self, call: InboundCall, coming: Coroutine[Any, Any, Reply]) -> None:
        try:
            reply = await coming
        except asyncio.CancelledError:
            if self.transport is not None:
                self.transport.abort()
            raise
        except ConnectionResetError:
            self.task = None  # `connection_lost` follows
            return
        except Exception as error:  # noqa: BLE001  (whatever it is, other connections go on)
            self._service.crashed(error)
            reply = make_refusal(500, "internal error")
            call.keep_alive = False
        self.task = None
        if reply is not None:
            self.write_answer(call, reply)
        self._answer_next()

    def write_answer(self, call: InboundCall, answer: InboundAnswer) -> None:
        """Write a short answer."""
        if self.transport is None:
            return
        body = b"".join(answer.body)
        head = self._make_head(call, answer, len(body))
        self._write(head if call.method == "HEAD" or answer.status in BODILESS else head + body)
        self._after_answer(call)

    async def write_download(self, call: InboundCall, answer: InboundAnswer) -> None:
        """Write a long answer, and wait until the other end has read it.

        Raises:
            ConnectionResetError: the other end has closed the connection.
            CancelledError: the connection has ended.
        """
        size = sum(map(len, answer.body))
        self._write(self._make_head(call, answer, size))
        now = self._loop.time()
        # Two limits: of a silence, and of the whole, so that one byte now and then does not keep a slot.
        self._progress, self.deadline = (-1, now), now + READ_SECONDS + size / SLOWEST
        try:
            if call.method != "HEAD":
                for piece in answer.body:
                    view = memoryview(piece)
                    for at in range(0, len(view), CHUNK):
                        if self.transport is None or self.transport.is_closing():
                            raise ConnectionResetError
                        self._write(view[at : at + CHUNK])
                        # Otherwise the loop learns at the end only that the other end has gone.
                        await (self._blocked or asyncio.sleep(0))
            # What the program has written may still be in buffers of this host: a download counts until the
            # other end has it, or small ones would never be bounded.
            await poll_until(
                self._measure_unread, _is_nothing, make_growing_pauses(_FIRST_LOOK, _LONGEST_LOOK)
            )
        finally:
            self._progress = None
        self._after_answer(call)

    def check_progress(self, now: float) -> None:
        """Drop the connection if the other end has read nothing of a download for a while."""
        if self._progress is None:
            return
        read, since = self._progress
        if (latest := self._written - self._count_unread()) != read:
            self._progress = (latest, now)
        elif now - since >= STALL_SECONDS:
            self.drop("stalled")

    async def _measure_unread(self) -> int:
        return self._count_unread()

    def _count_unread(self) -> int:
        """Bytes that were written and that the other end has not confirmed."""
        if self.transport is None:
            return 0
        return self.transport.get_write_buffer_size() + count_unsent(self.transport.get_extra_info("socket"))

    def _make_head(self, call: InboundCall, answer: InboundAnswer, size: int) -> bytes:
        if self._owner.is_crowded:
            call.keep_alive = False
        return make_head(answer, size, keep_alive=call.keep_alive, is_old=call.is_old)

    def _release(self, size: int) -> None:
        """Bodies of so many bytes are not in memory any more."""
        self._owner.held_bytes -= size
        self._held -= size

    def _after_answer(self, call: InboundCall) -> None:
        self._release(call.held)
        call.held = 0
        if not call.keep_alive or (self._ending and not self._calls):
            self._end(linger=call.refusal is not None and call.size != 0)
        elif self._blocked is None:
            self._await_request()

    def _await_request(self) -> None:
        """Set the deadline of the next request, of which a part may have come already."""
        waiting = HEAD_SECONDS if self._in_head else IDLE_SECONDS
        self.deadline = self._loop.time() + (BODY_SECONDS if self._call is not None else waiting)

    def _end(self, *, linger: bool) -> None:
        self._ending = True
        self._calls.clear()
        if self.transport is None:
            return
        if linger:
            # A socket that is closed with unread bytes resets the connection, and the other end may lose the
            # answer: the rest of its request is read and thrown away for a moment.
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.deadline = self._loop.time() + LINGER_SECONDS
            self.is_lingering = True
        else:
            self.transport.close()
            self.deadline = self._loop.time() + READ_SECONDS

    def _write(self, data: bytes | memoryview) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self._written += len(data)
            self.transport.write(data)

    def _end_with(self, status: int) -> None:
        """Answer something that is no request, behind the answers that are due, and end."""
        if self._ending:
            return
        call = InboundCall(self, "", b"", {}, self.peer, self._scheme, keep_alive=False)
        call.refusal, call.size = make_refusal(status, "not a valid request"), None
        self._ending = True
        self._calls.append(call)
        self._answer_next()

    def drop(self, reason: str) -> None:
        """End at once, without reading or writing the rest."""
        if not self.is_lingering:
            self._owner.count_dropped(reason)
        if self.transport is not None:
            discard_unsent(self.transport.get_extra_info("socket"))
            self.transport.abort()

    def set_node(self, node: Any) -> None:
        """A request showed whose connection it is."""
        if self.node is None:
            self._owner.identify(self)
        self.node = node

    def expire(self) -> None:
        """The deadline is over: a connection between two requests ends in order, any other one is dropped."""
        if (
            self._call is None
            and not self._in_head
            and self.is_waiting
            and self._blocked is None
            and self.node
        ):
            self._ending = True
            if self.transport is not None:
                self.transport.close()
            self.deadline += LINGER_SECONDS
        else:
            self.drop("deadline")

    def close(self) -> None:
        """End after the answers that are due."""
        self._ending = True
        if self.task is None and self.transport is not None:
            self.transport.close()


def _is_nothing(number: int) -> bool:
    return number == 0
