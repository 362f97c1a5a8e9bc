"""Resolves each host name once for all calls of a pass, so that the checked address is the called one."""

from __future__ import annotations

import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult


class NameCache(AbstractResolver):
    """A resolver that caches results, but not failures, for its lifetime."""

    # Two nodes must not have one address. A name that resolved to another address at the next call would get
    # past that check.

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], list[ResolveResult]] = {}
        self._resolver: AbstractResolver | None = None

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name, as aiohttp asks for them.

        Raises:
            OSError: the name does not resolve.
        """
        key = (host, int(family))
        if key not in self._known:
            if self._resolver is None:
                self._resolver = aiohttp.DefaultResolver()
            self._known[key] = await self._resolver.resolve(host, 0, family)
        return [{**one, "port": port} for one in self._known[key]]

    async def close(self) -> None:
        """Does nothing: all connections of the transport share the names."""
