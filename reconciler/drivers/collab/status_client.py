"""Reads `/status` of a Collaboration Server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from reconciler.drivers.collab.status_view import StatusView, read_status_answer
from reconciler.ports.transport import Http, ReadingCall

READS: Final = (ReadingCall("GET", "/status"),)
"""The one call by which a server is read."""


@dataclass(frozen=True, slots=True)
class StatusClient:
    """One server.

    Args:
        node: its name, for errors.
        url: its own `/status`.
        timeout: seconds for one call.
        connect: seconds for its connection.
    """

    http: Http
    node: str
    url: str
    timeout: float
    connect: float

    async def read(self) -> StatusView:
        """What it shows.

        Raises:
            NodeError: it does not answer, or not as a Collaboration Server.
        """
        answer = await self.http.send(
            "GET", self.url, node=self.node, timeout=self.timeout, connect=self.connect
        )
        return read_status_answer(self.node, self.url, answer)
