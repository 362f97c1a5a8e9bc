"""One HTTP/1.1 connection to a node: one request at a time, and the bounds of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import httptools

from reconciler.text.one_line import format_size
from reconciler.transports.http_errors import DROPPED, CallFailed, describe_end, describe_other_protocol

HEAD_LIMIT: Final = 64 * 1024
"""Bytes of all headers of an answer, with those of interim answers before it and of trailers."""

_BYTES_PER_BYTE: Final = 16
"""Bytes on the wire for one of the body at most: servers may send small chunks, but no endless extensions."""

_FEW: Final = 256
"""Bytes of an answer that are kept for a message."""

_CODINGS: Final = frozenset({"transfer-encoding", "content-encoding"})
_OK, _SWITCHING = 200, 101

_END: Final = 2.0
"""Seconds for the end of aborted connections: the event loop closes their sockets in its next turn."""

_VERSIONS: Final = frozenset({"1.0", "1.1"})


@dataclass(frozen=True, slots=True)
class AnswerBounds:
    """Limits of one answer.

    Args:
        body: largest body in bytes.
        small: bytes of a body from which reading pauses until there is room for a large one.
        is_head: whether the answer to a HEAD is expected, which has no body.
        may_switch: whether the request asked for another protocol, so that 101 is its answer.
    """

    body: int
    small: int
    is_head: bool = False
    may_switch: bool = False


class Answer:
    """An answer as its bytes arrive; the callbacks are those of httptools.

    Attributes:
        status: of the final answer; 0 before.
        headers: names in lower case; the first of a repeated header counts.
        is_complete: whether all of it came.
        can_continue: whether the connection can take another request.
        is_large: whether its body is larger than `AnswerBounds.small`.
        failure: why it cannot be used.
    """

    # A parser for each answer: nothing of an earlier answer on the same connection can become a part of it.

    def __init__(self, bounds: AnswerBounds) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.begin = b""
        self.is_complete = self.can_continue = self.is_large = False
        self.failure: CallFailed | None = None
        self._bounds = bounds
        self._received = self._head = self._trailers = 0
        self._has_head = self._ends_with_connection = False
        self._parser = httptools.HttpResponseParser(self)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is read of it."""
        return self.is_complete or self.failure is not None

    @property
    def has_begun(self) -> bool:
        """Whether any part of it came."""
        return self._received > 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        if not self._received:
            self.begin = data[:_FEW]
        self._received += len(data)
        if not self._has_head:
            self._head += len(data)  # too much by a part of the body, which counts only without an end
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._end_at_switch()
        except httptools.HttpParserCallbackError:
            raise  # a defect of this module
        except httptools.HttpParserError:
            # After the end, surplus bytes: the answer stands, and nothing more is read from this connection.
            self.can_continue = False
            if not self.is_complete and self.failure is None:
                self.failure = describe_other_protocol(self.begin)
            return
        if self.is_complete:
            return
        if self._head > HEAD_LIMIT and not self._has_head:
            self._fail(f"its headers are larger than {format_size(HEAD_LIMIT)}")
        elif self._received > HEAD_LIMIT + _BYTES_PER_BYTE * self._bounds.body:
            self._fail("its chunks never end")

    def _end_at_switch(self) -> None:
        # What follows is of the other protocol: nothing of it is read.
        self.can_continue = False
        if not self.is_complete:
            self._fail("it switches to another protocol")

    def end(self) -> None:
        """The node has closed the connection in order."""
        if self._ends_with_connection and self.failure is None:
            self.is_complete = True

    def on_message_begin(self) -> None:
        """Another answer: one that nobody asked for if this one is complete."""
        if self.is_complete:
            self.can_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those of trailers only count."""
        if self.is_complete:
            return
        if self._has_head:
            self._trailers += len(name) + len(value)
            if self._trailers > HEAD_LIMIT:
                self._fail(f"its headers are larger than {format_size(HEAD_LIMIT)}")
            return
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "replace")
        if key in _CODINGS and key in self.headers:
            text = f"{self.headers.pop(key)}, {text}"  # a second coding must not hide behind the first
        self.headers.setdefault(key, text)

    def on_headers_complete(self) -> None:
        """Decide by the headers whether and how the body is read."""
        if self.is_over:
            return
        status = self._parser.get_status_code()
        if not 100 <= status < 600 or self._parser.get_http_version() not in _VERSIONS:  # noqa: PLR2004
            self.failure = describe_other_protocol(self.begin)
            return
        if status == _SWITCHING and self._bounds.may_switch:
            self.status, self._has_head, self.is_complete = status, True, True
            return
        if status < _OK:
            return
        self.status, self._has_head = status, True
        headers = self.headers
        coding = headers.get("transfer-encoding")
        if coding is not None and coding.strip().lower() != "chunked":
            self._fail("it has a transfer coding that was not asked for")
        # `Accept-Encoding: identity` is in every request. What unpacks to gigabytes is not worth the risk.
        elif headers.get("content-encoding", "identity").strip().lower() not in {"identity", ""}:
            self.failure = CallFailed(
                "its answer is compressed, which was not asked for",
                remedy="turn off compression for this API in the proxy before the node",
            )
        elif int(headers.get("content-length", "0")) > self._bounds.body and not self._bounds.is_head:
            self._refuse_size()
        elif self._bounds.is_head:
            # httptools cannot be told of HEAD and would wait for a body: this connection ends here.
            self.is_complete = True
        self._ends_with_connection = coding is None and "content-length" not in headers

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body."""
        if self.is_over:
            return
        self.body += data
        if len(self.body) > self._bounds.body:
            self._refuse_size()
        elif len(self.body) > self._bounds.small:
            self.is_large = True

    def on_message_complete(self) -> None:
        """The end of the answer, or of an interim one before it."""
        if self.is_over:
            return
        if not self._has_head:
            if self._parser.get_status_code() == _SWITCHING:
                self._fail("it switches to another protocol")
            self.headers.clear()
            return
        self.is_complete = True
        self.can_continue = self._parser.should_keep_alive()

    def _fail(self, why: str) -> None:
        if self.failure is None and not self.is_complete:
            self.failure = describe_other_protocol(self.begin, why)

    def _refuse_size(self) -> None:
        self.failure = CallFailed(
            f"its answer is larger than {format_size(self._bounds.body)}",
            remedy="look at what answers there: another service may have this address",
        )
        self.body.clear()


class ClientConnection(asyncio.Protocol):
    """One connection; it is closed by whoever takes it, or by the node.

    Attributes:
        place: the IP address at the other end.
        since: when it was made, by the clock of the event loop.
        is_open: whether a request can be sent.
        on_lost: called when it has ended.
        ended: done when its socket is closed.
    """

    def __init__(self, place: str = "") -> None:
        self.place = place
        loop = asyncio.get_running_loop()
        self.since = loop.time()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.is_open = False
        self.on_lost: Callable[[ClientConnection], None] | None = None
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._changed: asyncio.Future[None] | None = None
        self._is_paused = False

    def connection_made(self, transport: Any) -> None:
        """It can be used."""
        self._transport = transport
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Take a part of the answer."""
        answer = self._answer
        if answer is None:
            # Nobody asked: it could be taken for the answer to the next request.
            self.close()
            return
        answer.feed(data)
        if answer.is_over:
            self._wake()
        elif answer.is_large and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
            self._wake()

    def eof_received(self) -> bool:
        """The node sends nothing more: the connection ends."""
        if self._answer is not None:
            self._answer.end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self.is_open = False
        answer = self._answer
        if answer is not None and not answer.is_over:
            answer.failure = describe_end(exc, begun=answer.has_begun)
        self._wake()
        if not self.ended.done():
            self.ended.set_result(None)
        if self.on_lost is not None:
            self.on_lost(self)

    def close(self) -> None:
        """End it in order; at once if the other end has not taken the whole request."""
        # A node that answered early may never read the rest, and would keep it in this host's memory.
        self.is_open = False
        if self._transport is not None:
            if self._transport.get_write_buffer_size():
                self._transport.abort()
            else:
                self._transport.close()

    def abort(self) -> None:
        """End it at once."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    async def exchange(self, request: bytes, bounds: AnswerBounds, room: asyncio.Semaphore) -> Answer:
        """Send a request and give its complete answer.

        Args:
            request: in full.
            bounds: of its answer.
            room: a slot is held while a large answer is read.

        Raises:
            CallFailed: there is none; the caller closes the connection.
        """
        if self._transport is None or not self.is_open:
            raise CallFailed(DROPPED, sent=False, closed=True)
        answer = self._answer = Answer(bounds)
        self._is_paused = False
        self._transport.write(request)
        await self._wait(answer)
        if not answer.is_over:
            async with room:
                self._transport.resume_reading()
                while not answer.is_over:
                    await self._wait(answer)
        self._answer = None
        if answer.failure is not None:
            raise answer.failure
        return answer

    async def _wait(self, answer: Answer) -> None:
        """Wait until the answer is over, or until reading pauses."""
        if answer.is_over:
            return
        self._changed = asyncio.get_running_loop().create_future()
        try:
            await self._changed
        finally:
            self._changed = None

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)


async def abort_connections(connections: Iterable[ClientConnection]) -> None:
    """End connections at once, and wait until their sockets are closed."""
    ending = [connection for connection in connections if not connection.ended.done()]
    for connection in ending:
        connection.abort()
    if ending:
        await asyncio.wait([connection.ended for connection in ending], timeout=_END)
