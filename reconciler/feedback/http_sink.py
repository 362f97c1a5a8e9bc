"""A sink of feedback behind an HTTP API: each message is POSTed as JSON."""

from __future__ import annotations

from typing import Final

from reconciler.errors import NodeUnreachable
from reconciler.feedback.sink import Delivery, Sink
from reconciler.ports.store import OutboxMessage
from reconciler.ports.transport import Http
from reconciler.text.urls import strip_secrets

_AGAIN: Final = frozenset({408, 425, 429})
"""The other 4xx refuse the message itself: the answer would not change."""

_OK: Final = range(200, 300)
_SERVER_ERROR: Final = 500


class HttpSink(Sink):
    """POSTs each message with its id in the header `Idempotency-Key`.

    Args:
        http: sends them.
        url: of the API.
        timeout: seconds for one POST.
    """

    def __init__(self, http: Http, url: str, timeout: float) -> None:
        self.name = strip_secrets(url)
        self._http = http
        self._url = url
        self._timeout = timeout

    async def send(self, message: OutboxMessage) -> Delivery:
        try:
            answer = await self._http.send(
                "POST",
                self._url,
                node="feedback",
                timeout=self._timeout,
                headers={"Content-Type": "application/json", "Idempotency-Key": message.id},
                content=message.body,
            )
        except NodeUnreachable as error:
            return Delivery(error.reason)
        if answer.status in _OK:
            return Delivery()
        is_temporary = answer.status >= _SERVER_ERROR or answer.status in _AGAIN
        return Delivery(f"it answered {answer.status}", is_refused=not is_temporary)
