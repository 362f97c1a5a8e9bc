"""Host names resolved once for all calls of a pass: what was compared is what is called."""

from __future__ import annotations

import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult


class NameCache(AbstractResolver):
    """A resolver that keeps what a name meant for as long as it lives; a failure is not kept.

    A name that meant another address at the next call would lead past the comparison of addresses.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], list[ResolveResult]] = {}
        self._resolver: AbstractResolver | None = None

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name, as aiohttp asks for them.

        Raises:
            OSError: it does not resolve.
        """
        key = (host, int(family))
        if key not in self._known:
            if self._resolver is None:
                self._resolver = aiohttp.DefaultResolver()
            self._known[key] = await self._resolver.resolve(host, 0, family)
        return [{**one, "port": port} for one in self._known[key]]

    async def close(self) -> None:
        """Nothing: the names are shared by all connections of the transport."""
