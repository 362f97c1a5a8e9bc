"""The endpoints over HTTP: health, readiness and metrics; the webhook has its own package.

Everybody gets the statuses of health and readiness: supervisors and load balancers have no token. Details and
metrics name clusters, nodes and commits, and are for those who may look at all clusters.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reconciler.core.canonical import write_json
from reconciler.core.defect import name_error
from reconciler.core.endpoint import SocketAddress
from reconciler.core.roles import AccessRole
from reconciler.errors import UsageError
from reconciler.host.sockets import listen_on
from reconciler.server.access.access_control import AccessControl
from reconciler.server.access.login_endpoint import LoginEndpoint
from reconciler.server.access.refusal import AccessRefused
from reconciler.server.cluster_pass import LoopContext
from reconciler.server.health import check_liveness, check_readiness
from reconciler.server.http_listener import CONNECTIONS
from reconciler.server.json_api.endpoint import PREFIX
from reconciler.server.logs import log_defect
from reconciler.server.nodes.openapi import make_openapi
from reconciler.server.pages.endpoint import Pages
from reconciler.server.request_problems import describe_problem
from reconciler.server.throttle import Throttle
from reconciler.server.webhook.endpoint import WebhookEndpoint


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The HTTP endpoints of a watch.

    Args:
        ref: the watched branch, tag or commit; empty for the default branch.
        secret: gives what is shared with the forge; empty to accept no webhook calls.
        access: who may see details.
        trigger: called with the trigger's name.
        api: answers what is below `/api/v1`; None without it.
        login: by which people log in; None for no logins.
        pages: the dashboard; None without it.
    """

    context: LoopContext
    trigger: Callable[[str], None]
    ref: str = ""
    secret: Callable[[], str] = str
    access: AccessControl = field(default_factory=AccessControl)
    dry_run: bool = False
    api: ASGIApp | None = None
    login: LoginEndpoint | None = None
    pages: Pages | None = None
    _throttle: Throttle = field(default_factory=Throttle)

    def application(self) -> ASGIApp:
        """The ASGI application. An error in it is logged; the caller gets no details."""
        webhook = WebhookEndpoint(self.context, self.trigger, self.ref, self.secret)
        # A `Router`, not a `Starlette` application, which would answer errors itself and raise them again.
        application = Router(
            routes=[
                Route("/healthz", self.healthz),
                Route("/readyz", self.readyz),
                Route("/metrics", self.serve_metrics),
                Route("/nodes/openapi.json", self.describe_nodes),
                Route("/webhook", webhook.answer, methods=["POST"]),
                *([Mount(PREFIX, app=self.api)] if self.api else []),
                *(self.login.routes() if self.login else ()),
                *(self.pages.list_routes() if self.pages else []),
            ],
            # The address of such a redirect would be what the caller says that this host is called.
            redirect_slashes=False,
        )

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            begun: list[str] = []

            async def sending(message: Message) -> None:
                begun.append(message["type"])
                await send(message)

            try:
                await application(scope, receive, sending)
            except Exception as error:  # noqa: BLE001  (whatever it is, other requests get answers)
                self._log_unexpected(error)
                if not begun:
                    body = {"status": "error", "message": "internal error; the log has the details"}
                    await _json(body, 500, {"connection": "close"})(scope, receive, send)

        return guarded

    def _log_unexpected(self, error: Exception) -> None:
        self.context.metrics.unexpected.labels("http").inc()
        if (more := self._throttle.admit(f"unexpected {name_error(error)}")) is not None:
            log_defect(self.context.log, "unexpected error in a request", error, **more)

    async def healthz(self, request: Request) -> Response:
        """200 while every loop reports in time, else 503."""
        good, detail = check_liveness(self.context.watch_state, now=self.context.clock())
        return await self._answer_check(request, "live", detail, 200 if good else 503)

    async def readyz(self, request: Request) -> Response:
        """200 once every cluster has had a pass and source and store answer, else 503; with details."""
        good, detail = check_readiness(self.context.watch_state, dry_run=self.dry_run)
        return await self._answer_check(request, "ready", detail, 200 if good else 503)

    async def _answer_check(
        self, request: Request, verdict: str, detail: Mapping[str, Any], status: int
    ) -> Response:
        """The answer to a check, without its details for those who may not see them."""
        try:
            await self.access.require(request, AccessRole.LOOK)
        except AccessRefused as error:
            why = f"no details: {error.message}; {error.remedy}"
            return _json({verdict: detail[verdict], "message": why}, status)
        return _json(detail, status)

    async def serve_metrics(self, request: Request) -> Response:
        """The metrics in Prometheus' or OpenMetrics' format."""
        try:
            await self.access.require(request, AccessRole.LOOK)
        except AccessRefused as error:
            problem, headers = describe_problem(error)
            message = f"{error.message}; {error.remedy}"
            return _json({"status": "error", "message": message}, problem.status, headers)
        body, content_type = self.context.metrics.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def describe_nodes(self, _request: Request) -> Response:
        """The OpenAPI document of what nodes call; 404 if this watch has no node server."""
        server = self.context.watch_state.node_server
        if server is None:
            return _json({"status": "error", "message": "this watch has no server for nodes"}, 404)
        return _json(make_openapi(server.list_products()), 200)


def _json(value: Any, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """A response with indented JSON, readable with curl."""
    body = write_json(value, indent=True) + b"\n"
    return Response(body, status, headers, media_type="application/json")


def bind_socket(address: SocketAddress) -> socket.socket:
    """A socket that listens at the address.

    Raises:
        UsageError: the address is in use, not on this machine, or not permitted.
    """
    try:
        return listen_on(address.host, address.port, CONNECTIONS)
    except OSError as error:
        remedy = "choose another address with --listen HOST:PORT, or use --listen off"
        raise UsageError(f"cannot listen on {address}: {error.strerror or error}", remedy=remedy) from error
