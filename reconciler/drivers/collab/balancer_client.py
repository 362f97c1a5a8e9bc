"""What is seen through the load balancer: `/status` of the server that it chose, and a handshake."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from reconciler.drivers.collab.nginx_span import MARKER_HEADER
from reconciler.drivers.collab.status_view import StatusView, read_status_answer
from reconciler.drivers.collab.views import BalancerView
from reconciler.errors import NodeError
from reconciler.ports.transport import Http, HttpAnswer, ReadingCall

STATUS_PATH: Final = "/status"
SOCKET_PATH: Final = "/socket.io/"

_VERSIONS: Final = ("4", "3")
"""Versions of the protocol of engine.io, tried in this order: a server of 2018 knows the older one alone."""

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""What a WebSocket server adds to the key (RFC 6455)."""

_LONGEST_MARKER: Final = 100


def _make_query(version: str) -> str:
    return f"EIO={version}&transport=websocket"


READS: Final = (
    ReadingCall("GET", STATUS_PATH),
    *(ReadingCall("GET", SOCKET_PATH, query=_make_query(version)) for version in _VERSIONS),
)
"""The calls by which the load balancer is read. The handshake opens no session: its
connection ends at once."""


@dataclass(frozen=True, slots=True)
class BalancerClient:
    """One load balancer.

    Args:
        node: its name, for errors.
        url: at which clients reach it.
        timeout: seconds for one call.
        connect: seconds for its connection; 0 for no bound of its own.
    """

    http: Http
    node: str
    url: str
    timeout: float
    connect: float = 0.0

    async def observe(self) -> BalancerView:
        """What is seen through it; a way that does not work is told in the view.

        Raises:
            NodeError: it does not answer at all.
        """
        # Not from a kept connection: old processes of nginx serve those with the file of before a reload.
        answer = await self._get(STATUS_PATH, {"Connection": "close"})
        marker = answer.redact(answer.headers.get(MARKER_HEADER.lower(), ""), _LONGEST_MARKER)
        status, problem = self._read_status(answer)
        handshake, why = await self._shake_hands()
        if status is not None and not problem and not why:
            problem = await self._check_stickiness(status)
        return BalancerView(
            status=status, marker=marker, handshake=handshake, problem="; ".join(filter(None, (problem, why)))
        )

    def _read_status(self, answer: HttpAnswer) -> tuple[StatusView | None, str]:
        url = f"{self.url.rstrip('/')}{STATUS_PATH}"
        if words := _GATEWAY.get(answer.status):
            return None, f"{STATUS_PATH} through it: {words} ({answer.status})"
        try:
            return read_status_answer(self.node, url, answer), ""
        except NodeError as error:
            return None, f"{STATUS_PATH} through it: {error.reason}"

    async def _shake_hands(self) -> tuple[int, str]:
        """Status of the handshake, 0 for none, and what it means if it is not 101."""
        for version in _VERSIONS:
            key = base64.b64encode(secrets.token_bytes(16)).decode()
            headers = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
            try:
                answer = await self._get(f"{SOCKET_PATH}?{_make_query(version)}", headers)
            except NodeError as error:
                return 0, f"the handshake of {SOCKET_PATH}: {error.reason}"
            if answer.status == HTTPStatus.BAD_REQUEST and version != _VERSIONS[-1]:
                continue  # engine.io does not know this version of the protocol
            break
        if answer.status != HTTPStatus.SWITCHING_PROTOCOLS:
            return (
                answer.status,
                f"the handshake of {SOCKET_PATH} is answered {answer.status}: {_explain(answer)}",
            )
        if not _is_proven(answer.headers, key):
            return 0, f"the answer 101 of {SOCKET_PATH} does not prove that a WebSocket was opened"
        return answer.status, ""

    async def _check_stickiness(self, first: StatusView) -> str:
        """Why sessions would not stay at one server; empty if a second reading shows the same one."""
        again, _ = self._read_status(await self._get(STATUS_PATH, {"Connection": "close"}))
        if again is None or again.start == first.start:
            return ""
        return (
            f"two readings in a row show different servers ({first.start}, {again.start}): sessions are not "
            "sticky, or a server was restarted between them"
        )

    async def _get(self, target: str, headers: Mapping[str, str]) -> HttpAnswer:
        return await self.http.send(
            "GET",
            f"{self.url.rstrip('/')}{target}",
            node=self.node,
            timeout=self.timeout,
            connect=self.connect,
            headers=headers,
        )


_GATEWAY: Final[Mapping[int, str]] = {
    502: "it reaches no server of its upstream",
    503: "it has no server that it may use, or it limits requests",
    504: "the server that it chose does not answer in time",
}

_HANDSHAKES: Final[Mapping[int, str]] = {
    **_GATEWAY,
    200: "its location does not pass on `Upgrade`, or nothing there speaks WebSocket",
    400: "its location lacks `proxy_http_version 1.1` or the headers `Upgrade` and `Connection`, or the "
    "server speaks neither version of socket.io",
    401: "it demands a login",
    403: "it does not allow this host",
    404: f"it has no `location {SOCKET_PATH}`, or the server does not know that path",
    405: "another server answers there",
    426: "its location does not pass on `Upgrade`",
}


def _explain(answer: HttpAnswer) -> str:
    if 300 <= answer.status < 400:  # noqa: PLR2004
        return "it redirects; write the URL in the fleet file to which it leads"
    return _HANDSHAKES.get(answer.status, "no server behind it opened a WebSocket")


def _is_proven(headers: Mapping[str, str], key: str) -> bool:
    """Whether a WebSocket server has seen the key (RFC 6455): no cache and no plain HTTP server has."""
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return (
        headers.get("upgrade", "").strip().lower() == "websocket"
        and headers.get("sec-websocket-accept", "").strip() == base64.b64encode(digest).decode()
    )
