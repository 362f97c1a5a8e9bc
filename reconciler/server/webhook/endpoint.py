"""The endpoint `/webhook`: bounds each call before it is read, and triggers a read of the source."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from reconciler.core.canonical import write_json
from reconciler.server.cluster_pass import LoopContext
from reconciler.server.throttle import Throttle
from reconciler.server.webhook.answer import (
    BUSY,
    CAP,
    REPEATED,
    TOO_LARGE,
    TOO_SLOW,
    UNWANTED,
    WebhookReply,
    answer_call,
)

BODY_SECONDS = 10
"""Seconds in which the body of a webhook call must arrive."""

BODIES = 32
"""Webhook calls whose bodies are read at the same time: each may hold `CAP` bytes of memory."""

_SINGLE_HEADERS = ("content-type", "webhook-", "x-forgejo-", "x-gitea-", "x-github-", "x-gitlab-", "x-hub-")
"""Prefixes of headers that may come once. With two, a proxy and this server could each check another one."""


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """Answers the calls of forges.

    Args:
        trigger: called with the trigger's name.
        ref: the watched branch, tag or commit; empty for the default branch.
        secret: gives what is shared with the forge; empty to accept no calls.
    """

    context: LoopContext
    trigger: Callable[[str], None]
    ref: str = ""
    secret: Callable[[], str] = str
    _throttle: Throttle = field(default_factory=Throttle)
    _body_slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(BODIES))

    async def answer(self, request: Request) -> Response:
        """Check the call, and trigger a read of the source if it reports a push to the watched ref."""
        reply = await self._reply(request)
        line = {
            "code": reply.code,
            "message": reply.message,
            "client": request.client.host if request.client else "",
        }
        if reply.is_rejected:
            self.context.metrics.rejects.labels(reply.code).inc()
        if (more := self._throttle.admit(f"webhook {reply.code}")) is not None:
            event = "webhook rejected" if reply.is_rejected else "webhook accepted"
            (self.context.log.warning if reply.is_rejected else self.context.log.info)(event, **line, **more)
        if reply.is_push:
            self.trigger("webhook")
        close = {"connection": "close"} if reply in {BUSY, TOO_LARGE, TOO_SLOW, UNWANTED} else None
        body = write_json({"status": reply.code, "message": reply.message}, indent=True) + b"\n"
        return Response(body, reply.status, close, media_type="application/json")

    async def _reply(self, request: Request) -> WebhookReply:
        if not (secret := self.secret()):
            return UNWANTED
        # Cheap checks first: an unauthenticated caller should cost as little as possible.
        names = [name for name in request.headers.keys() if name.startswith(_SINGLE_HEADERS)]  # noqa: SIM118
        if len(names) != len(set(names)):
            return REPEATED
        if self._body_slots.locked():
            return BUSY
        try:
            async with self._body_slots, asyncio.timeout(BODY_SECONDS):
                body = await _read_body(request)
        except (TimeoutError, ClientDisconnect):
            return TOO_SLOW
        if body is None:
            return TOO_LARGE
        return answer_call(dict(request.headers), body, secret=secret, ref=self.ref, now=self.context.wall())


async def _read_body(request: Request) -> bytes | None:
    """The whole body; None as soon as it is known to be too large."""
    stated = request.headers.get("content-length", "0")
    # The number of digits comes first: converting a very long number would cost time.
    if stated.isascii() and stated.isdigit() and (len(stated) > len(str(CAP)) + 4 or int(stated) > CAP):
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > CAP:
            return None
    return bytes(body)
