"""The endpoints by which people log in and out with a browser."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from reconciler.errors import ReconcilerError, StateError
from reconciler.server.access.access_control import AccessControl
from reconciler.server.access.arrival import Arrival
from reconciler.server.access.cookies import (
    LOGIN,
    SESSION,
    delete_cookie,
    is_encrypted,
    read_cookie,
    set_cookie,
)
from reconciler.server.access.form_body import read_form
from reconciler.server.access.identity import Identity, LoginMethod
from reconciler.server.access.login_target import HOME, read_next_page
from reconciler.server.access.oidc_login import CALLBACK, BegunLogin, OidcLogin
from reconciler.server.access.page_headers import PAGE_HEADERS
from reconciler.server.access.refusal import AccessRefused
from reconciler.server.access.secret_texts import is_secret_text
from reconciler.server.access.sessions import LONGEST
from reconciler.server.logs import Log
from reconciler.server.throttle import Throttle

LOGIN_PATH: Final = "/login"
"""Where a login begins; `?next=PATH` is the page to show after it."""

LINK_PATH: Final = "/login/link"
"""Where a link of `reconcile dashboard` leads, with `?code=`."""

LOGOUT_PATH: Final = "/logout"
"""Where the form to log out is sent, with the field `csrf`."""

LOGIN_SECONDS: Final = 600
"""Seconds that a person has for the login at the provider."""

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class LoginEndpoint:
    """Begins and ends sessions.

    Args:
        access: who may.
        log: gets a line for each login, and for failed ones a few per minute.
        render_problem: the HTML of a page that tells why a login did not succeed.
        oidc: the provider; None without one.
    """

    access: AccessControl
    log: Log
    render_problem: Callable[[str, ReconcilerError], str]
    oidc: OidcLogin | None = None
    _throttle: Throttle = field(default_factory=Throttle)

    def routes(self) -> list[Route]:
        """The routes of these endpoints."""
        return [
            Route(LOGIN_PATH, self._guard(self._begin)),
            Route(CALLBACK, self._guard(self._finish)),
            Route(LINK_PATH, self._guard(self._use_link)),
            Route(LOGOUT_PATH, self._guard(self._end), methods=["POST"]),
        ]

    def _guard(self, handler: Handler) -> Handler:
        async def answer(request: Request) -> Response:
            try:
                response = await handler(request)
            except AccessRefused as error:
                response = self._make_page(error.status, error)
                if error.wait:
                    response.headers["retry-after"] = str(error.wait)
            except StateError as error:
                response = self._make_page(503, error)
            except ReconcilerError as error:
                self._log_failure(request, error)
                response = self._make_page(502, error)
            for name, value in PAGE_HEADERS.items():
                response.headers[name] = value
            return response

        return answer

    async def _begin(self, request: Request) -> Response:
        arrival, oidc = self._judge(request), self._require_provider()
        target = read_next_page(request.query_params.get("next"))
        # The provider sends the browser back to that address, and a cookie of another one would stay behind.
        if arrival.origin != oidc.provider.redirect:
            place = f"{oidc.provider.redirect}{LOGIN_PATH}?next={quote(target, safe='')}"
            raise AccessRefused("the login is at another address of this host", remedy=f"open {place}")
        url, begun = await oidc.begin(target)
        response = RedirectResponse(url, 303)
        kept = urlsafe_b64encode(json.dumps(asdict(begun)).encode()).decode()
        set_cookie(response, LOGIN, kept, arrival, seconds=LOGIN_SECONDS)
        return response

    async def _finish(self, request: Request) -> Response:
        arrival, oidc = self._judge(request), self._require_provider()
        self.access.failures.check(arrival.caller)
        try:
            begun = _load_begun_login(read_cookie(request, LOGIN, arrival))
            answer = request.query_params
            if len(answer.multi_items()) != len(answer):
                raise AccessRefused("a parameter is there twice", remedy="log in again", status=400)
            user = await oidc.finish(dict(answer), begun)
        except ReconcilerError as error:
            self.access.failures.count(arrival.caller)
            self._log_failure(request, error)
            refusal = AccessRefused(
                f"the login did not succeed: {error.message}",
                remedy=f"log in again at {LOGIN_PATH}",
                status=401,
            )
            response = self._make_page(refusal.status, refusal)
        else:
            identity = self.access.roles.identify(user.name, LoginMethod.OIDC, user.groups)
            if identity.may_look:
                response = await self._begin_session(request, arrival, identity, user.groups, begun.target)
            else:
                self.log.warning("login without a role", user=user.name, method=LoginMethod.OIDC)
                response = self._make_page(
                    403,
                    AccessRefused(
                        f"{user.name} has no role here",
                        remedy="who writes the host configuration can add one to `access.roles`",
                    ),
                )
        delete_cookie(response, LOGIN, arrival)
        return response

    async def _use_link(self, request: Request) -> Response:
        arrival = self._judge(request)
        # What is encrypted came through a proxy; a link is for the machine where it was asked for.
        if is_encrypted(arrival):
            raise AccessRefused(
                "a link works on the machine of the watch only", remedy="open it there, without a proxy"
            )
        if request.method != "GET":
            raise AccessRefused("a link is opened with GET", remedy="open it in a browser", status=405)
        if "prefetch" in request.headers.get("sec-purpose", request.headers.get("purpose", "")):
            raise AccessRefused("a link is not loaded in advance: it works once", remedy="open it")
        self.access.failures.check(arrival.caller)
        user = self.access.links.use(request.query_params.get("code", ""))
        if user is None:
            self.access.failures.count(arrival.caller)
            raise AccessRefused(
                "the link was used, has expired, or never existed",
                remedy="run `reconcile dashboard` for a new one",
                status=401,
            )
        identity = self.access.roles.identify(user.name, LoginMethod.LOCAL, user.groups)
        return await self._begin_session(request, arrival, identity, user.groups, HOME)

    async def _end(self, request: Request) -> Response:
        arrival = self._judge(request)
        identity = await self.access.identify(request)
        if identity is None or identity.method not in {LoginMethod.OIDC, LoginMethod.LOCAL}:
            raise AccessRefused("nobody is logged in here", remedy=f"log in at {LOGIN_PATH}", status=401)
        form = await read_form(request)
        self.access.refuse_foreign_page(request, identity, form.get("csrf", ""))
        await self._end_session(request, arrival)
        response = RedirectResponse(HOME, 303)
        delete_cookie(response, SESSION, arrival)
        self.log.info("logout", user=identity.name, method=identity.method)
        return response

    async def _begin_session(
        self, request: Request, arrival: Arrival, identity: Identity, groups: tuple[str, ...], target: str
    ) -> Response:
        # A session that the browser had before ends: nobody who knows it is logged in by this login.
        await self._end_session(request, arrival)
        text = await self.access.sessions.begin(identity.name, identity.method, groups)
        response = RedirectResponse(target, 303)
        set_cookie(response, SESSION, text, arrival, seconds=int(LONGEST.total_seconds()))
        self.log.info("login", user=identity.name, method=identity.method, client=arrival.caller)
        return response

    async def _end_session(self, request: Request, arrival: Arrival) -> None:
        if is_secret_text(before := read_cookie(request, SESSION, arrival)):
            await self.access.sessions.end(before)

    def _make_page(self, status: int, error: ReconcilerError) -> Response:
        body = self.render_problem("You are not logged in", error)
        return Response(body, status, media_type="text/html")

    def _judge(self, request: Request) -> Arrival:
        arrival = self.access.judge(request)
        if not arrival.is_private:
            raise AccessRefused(
                "a login needs TLS", remedy="put a proxy with TLS in front and name it in `trusted_proxies`"
            )
        return arrival

    def _require_provider(self) -> OidcLogin:
        if self.oidc is None:
            raise AccessRefused(
                "this host has no provider for logins",
                remedy="run `reconcile dashboard` on this machine for a link, or add `access.oidc` to the "
                "host configuration",
                status=404,
            )
        return self.oidc

    def _log_failure(self, request: Request, error: ReconcilerError) -> None:
        if (more := self._throttle.admit("login failed")) is not None:
            caller = request.client.host if request.client else ""
            self.log.warning("login failed", message=error.message, client=caller, **more)


def _load_begun_login(text: str) -> BegunLogin:
    """What the browser kept of a login.

    Raises:
        AccessRefused: it has begun none, or too long ago.
    """
    try:
        begun = BegunLogin(**json.loads(urlsafe_b64decode(text.encode())))
        fits = (
            isinstance(begun.target, str)
            and 0 <= time.time() - begun.at <= LOGIN_SECONDS
            and all(is_secret_text(one) for one in (begun.state, begun.nonce, begun.verifier))
        )
    except (ValueError, TypeError, OverflowError, RecursionError):
        fits = False
    if not fits:
        raise AccessRefused("this browser has begun no login, or too long ago", remedy="log in", status=401)
    return BegunLogin(begun.state, begun.nonce, begun.verifier, read_next_page(begun.target), begun.at)
