"""Tells browsers that something has changed; each then loads its page again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from reconciler.core.roles import AccessRole
from reconciler.server.access.identity import Identity
from reconciler.server.access.page_headers import PAGE_HEADERS
from reconciler.server.access.refusal import AccessRefused
from reconciler.server.pages.page_guard import PageGuard
from reconciler.server.watch_state import WatchState

EVENT_SECONDS: Final = 20.0
"""Seconds that one answer with events lasts; the browser asks again at once."""

CHECK_SECONDS: Final = 5.0
"""Seconds after which it is checked again that a reader may look."""

GATHER_SECONDS: Final = 0.5
"""Seconds between two events: a run of many steps must not keep browsers loading."""

MOST_READERS: Final = 40
"""Browsers that follow the events at the same time; the others load the page again now and then."""

# A browser opens six connections to a server without TLS: with one for each tab, no page could be loaded.
MOST_OF_ONE: Final = 4
"""Of them, those of one caller."""


@dataclass(frozen=True, slots=True)
class ChangeEvents:
    """The events of one watch.

    Args:
        watch_state: tells of changes.
        guard: who may look.
    """

    watch_state: WatchState
    guard: PageGuard
    _callers: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def answer(self, request: Request) -> Response:
        """Tell a browser of changes for a while."""
        try:
            identity = await self.guard.identify(request, is_whole=False)
        except AccessRefused as error:
            text = f"{error.message}; {error.remedy}"
            return Response(text, error.status, PAGE_HEADERS, media_type="text/plain")
        # Everybody on this machine without a login is one caller.
        return _EventAnswer(self, request, (identity.method.value, identity.name))

    async def list_events(self, request: Request) -> AsyncIterator[str]:
        """The events for who sends a request; they end with the right to look.

        A browser says which change it knows: as the page that it shows, or as the event that it got last.
        """
        changes, now = self.watch_state.changes, asyncio.get_running_loop().time
        known = request.headers.get("last-event-id") or request.query_params.get("after", "")
        end = now() + EVENT_SECONDS
        yield "retry: 1000\n\n"
        with changes.reading() as reader:
            # What has changed while nobody listened would not be seen before the next change.
            is_behind = known not in {"", str(changes.number)}
            while (left := end - now()) > 0:
                names = frozenset({""}) if is_behind else await reader.wait(min(left, CHECK_SECONDS))
                is_behind, identity = False, await self._identify_again(request)
                if identity is None:
                    return
                if any(not name or identity.allows(AccessRole.LOOK, name) for name in names):
                    yield f"id: {changes.number}\nevent: change\ndata: 1\n\n"
                    await asyncio.sleep(GATHER_SECONDS)
            yield f"id: {changes.number}\n\n"

    def admit(self, caller: tuple[str, str]) -> bool:
        """Take a place for a caller, if there is one; `leave` gives it back."""
        is_full = self._callers.total() >= MOST_READERS or self._callers[caller] >= MOST_OF_ONE
        if is_full or self.watch_state.stopping:
            return False
        self._callers[caller] += 1
        return True

    def leave(self, caller: tuple[str, str]) -> None:
        """Give a place back."""
        self._callers[caller] -= 1
        # Names of callers come from elsewhere: none is kept.
        if not self._callers[caller]:
            del self._callers[caller]

    async def _identify_again(self, request: Request) -> Identity | None:
        """Who reads, if they may still look: a token or a session ends, and roles change."""
        try:
            return await self.guard.identify(request, is_whole=False)
        except AccessRefused:
            return None


class _EventAnswer(StreamingResponse):
    """An answer with events; without a free place, the request to ask again later."""

    def __init__(self, events: ChangeEvents, request: Request, caller: tuple[str, str]) -> None:
        super().__init__(events.list_events(request), 200, PAGE_HEADERS, media_type="text/event-stream")
        self._events, self._caller = events, caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        # Nothing is awaited before the place is taken: requests at the same time cannot share one.
        if not self._events.admit(self._caller):
            busy = Response("too many readers", 503, {**PAGE_HEADERS, "retry-after": "30"})
            await busy(scope, receive, send)
            return
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._events.leave(self._caller)
