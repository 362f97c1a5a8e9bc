"""Ways to the nodes on which nothing but reading is possible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from reconciler.errors import NotReading
from reconciler.ports.transport import Answer, Commands, Http, ReadingCall, Transports


def only_reading(transports: Transports, calls: Iterable[ReadingCall]) -> Transports:
    """The same ways, on which only the calls pass that a product's documents describe as reading.

    Whoever is given them instead cannot change a node, whatever is in its code, in a fleet file or in a
    node's answers.

    Args:
        transports: the ways to the nodes.
        calls: what may be asked over HTTP; no command runs at all.
    """
    allowed = tuple(calls)
    return transports.wrapped(http=lambda http: _ReadingHttp(http, allowed), commands=_NoCommand)


class _ReadingHttp(Http):
    def __init__(self, http: Http, calls: tuple[ReadingCall, ...]) -> None:
        self._http = http
        self._calls = calls

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
        """One request and its whole answer; see `ports.transport.Http.send`.

        Raises:
            NotReading: it is none of the reading calls; nothing was sent.
        """
        if content or not any(call.allows(method, url, headers) for call in self._calls):
            raise NotReading(f"{node}: {method} {url} is not a documented reading call; nothing was sent")
        return await self._http.send(
            method, url, node=node, timeout=timeout, connect=connect, headers=headers, content=content
        )

    async def resolve(self, host: str) -> tuple[str, ...]:
        """The addresses of a name: asking for them reaches no node."""
        return await self._http.resolve(host)

    def local_address(self, url: str) -> str:
        """The address of this host that faces a URL: nothing is sent."""
        return self._http.local_address(url)


class _NoCommand(Commands):
    """No command runs while nodes are only looked at."""

    def __init__(self, _: Commands) -> None:
        pass

    async def run(self, command: str, values: Mapping[str, str], *, node: str) -> str:  # noqa: ARG002
        """Never possible; see `ports.transport.Commands.run`.

        Raises:
            NotReading: always.
        """
        raise NotReading(f"{node}: the command {command} is not a documented reading call; nothing was run")
