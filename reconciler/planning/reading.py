"""A way to the nodes on which nothing but reading is possible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from reconciler.errors import NotReading
from reconciler.ports.transport import Answer, ReadingCall, Wire


class ReadingWire:
    """A wire that passes on the calls that a product's documents describe as reading, and no other.

    Whoever is given it instead of the wire itself cannot change a node, whatever is in its code, in a fleet
    file or in a node's answers.

    Args:
        wire: the way to the nodes.
        calls: what may be asked.
    """

    def __init__(self, wire: Wire, calls: Iterable[ReadingCall]) -> None:
        self._wire = wire
        self._calls = tuple(calls)

    async def send(
        self,
        method: str,
        url: str,
        *,
        node: str,
        timeout: float,  # noqa: ASYNC109  (handed on)
        connect: float = 0.0,
        headers: Mapping[str, str] = MappingProxyType({}),
        content: bytes = b"",
    ) -> Answer:
        """One request and its whole answer; see `ports.transport.Wire.send`.

        Raises:
            NotReading: it is none of the reading calls; nothing was sent.
        """
        if content or not any(call.allows(method, url, headers) for call in self._calls):
            raise NotReading(f"{node}: {method} {url} is not a documented reading call; nothing was sent")
        return await self._wire.send(
            method, url, node=node, timeout=timeout, connect=connect, headers=headers, content=content
        )

    async def run(self, command: str, values: Mapping[str, str], *, node: str) -> str:  # noqa: ARG002
        """No command runs while nodes are only looked at; see `ports.transport.Wire.run`.

        Raises:
            NotReading: always.
        """
        raise NotReading(f"{node}: the command {command} is not a documented reading call; nothing was run")
