"""HTTP to nodes that notes, beside each answer, which clock it showed and at which place it came from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from reconciler.doctor.facts import DATE_RESOLUTION, ClockSample, measure_clock
from reconciler.host.clock import utc_now
from reconciler.host.host import Host
from reconciler.ports.transport import Http, HttpAnswer, Transports
from reconciler.ports.wrapped_transports import WrappedHttp, keep_transport
from reconciler.text.http_dates import parse_http_date
from reconciler.transports.bundle import open_transports

_HTTPS: Final = 443


@dataclass(slots=True)
class HttpNotes:
    """What answers showed.

    Args:
        clocks: node -> the clock of its first answer.
        places: host and port of nodes that answered over TLS, without a machine between.
    """

    clocks: dict[str, ClockSample] = field(default_factory=dict)
    places: dict[tuple[str, int], str] = field(default_factory=dict)

    @asynccontextmanager
    async def connect(self, host: Host) -> AsyncIterator[Transports]:
        """The transports of a host, whose answers are noted."""
        async with open_transports(host) as transports:
            yield transports.wrap(
                http=lambda http: _RecordingHttp(http, self, is_direct=True),
                commands=keep_transport,
                mailbox=keep_transport,
                files=keep_transport,
                streams=keep_transport,
            )


class _RecordingHttp(WrappedHttp):
    def __init__(self, http: Http, notes: HttpNotes, *, is_direct: bool) -> None:
        super().__init__(http)
        self._notes, self._is_direct = notes, is_direct

    async def call(
        self,
        method: str,  # noqa: ARG002
        url: str,
        node: str,
        send: Callable[[Http], Awaitable[HttpAnswer]],
    ) -> HttpAnswer:
        before = utc_now()
        answer = await send(self._http)
        after = utc_now()
        parts = urlsplit(url)
        if self._is_direct and parts.scheme == "https" and parts.hostname:
            self._notes.places.setdefault((parts.hostname, parts.port or _HTTPS), node)
        moment = parse_http_date(answer.headers.get("date", ""))
        if moment is not None and node not in self._notes.clocks:
            self._notes.clocks[node] = measure_clock(
                node, before, after, moment, resolution=DATE_RESOLUTION, is_node=True
            )
        return answer

    def through(self, way: str, *, authority: str = "") -> Http:
        is_direct = self._is_direct and not way
        return _RecordingHttp(self._http.through(way, authority=authority), self._notes, is_direct=is_direct)
