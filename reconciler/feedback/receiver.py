"""Receives the messages that nodes POST by themselves: heartbeats and feedback."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from reconciler.errors import StateError

if TYPE_CHECKING:
    from aiohttp import web

LARGEST = 16 * 1024 * 1024
"""Bytes of one message: feedback may contain the whole setting."""

Take: TypeAlias = Callable[[Mapping[str, Any]], None]
"""Called with each message that is a JSON object."""

_GRACE = 0.1  # seconds; a node that keeps its connection open must not delay the end of a wave


class ReportReceiver:
    """Listens inside its context; an asynchronous context manager.

    A message is accepted with 204, whatever its path. Anything but a JSON object is refused with 400, another
    method with 405, a message that is too large with 413.

    Args:
        address: `host:port` to listen on.
        take: called with each message.
    """

    def __init__(self, address: str, take: Take) -> None:
        self.address = address
        self._take = take
        self._runner: Any = None

    async def __aenter__(self) -> Self:
        from aiohttp import web  # noqa: PLC0415  (few runs listen, and it is slow to import)

        host, _, port = self.address.rpartition(":")
        app = web.Application(client_max_size=LARGEST)
        app.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GRACE)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host.strip("[]"), int(port)).start()
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            raise StateError(
                f"cannot listen on {self.address} for the nodes' reports: {error}",
                remedy="correct `gates.reports.listen`, or free this port; nothing was done",
            ) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        from aiohttp import web  # noqa: PLC0415  (loaded by now)

        try:
            message = json.loads(await request.read())
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, Mapping):
            return web.Response(status=400, text="a message must be a JSON object\n")
        self._take(message)
        return web.Response(status=204)
