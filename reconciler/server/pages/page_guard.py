"""Decides who gets a page, and gives each page what all have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from reconciler import __version__
from reconciler.core.roles import AccessRole
from reconciler.errors import ReconcilerError, StateError
from reconciler.ports.store import OpenOrders
from reconciler.server.access.access_control import HOW_TO_ACT, AccessControl
from reconciler.server.access.identity import Identity, LoginMethod
from reconciler.server.access.page_headers import PAGE_HEADERS
from reconciler.server.access.refusal import AccessRefused
from reconciler.server.access.visibility import restrict_watch_state
from reconciler.server.pages.markup import render_page
from reconciler.server.views.fleet import list_notices
from reconciler.server.views.watch_views import WatchViews

SECTIONS: Final = (
    ("fleet", "Fleet", "/"),
    ("nodes", "Nodes", "/nodes"),
    ("rollouts", "Rollouts", "/rollouts"),
    ("history", "History", "/history"),
    ("orders", "Orders", "/orders"),
    ("calendar", "Calendar", "/calendar"),
)
"""The navigation: key, title, path."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One request for a page.

    Args:
        identity: who looks.
        views: of the clusters that they may look at.
        csrf: what each form has in its hidden field; empty without a session.
        has_acts: whether this watch takes orders.
        has_login: whether there is a provider for logins.
    """

    request: Request
    identity: Identity
    views: WatchViews
    csrf: str
    has_acts: bool
    has_login: bool

    @property
    def is_session(self) -> bool:
        """Whether there is a session that the form to log out ends."""
        return self.identity.method in {LoginMethod.OIDC, LoginMethod.LOCAL}

    @property
    def advice(self) -> str:
        """What somebody needs who gets no form."""
        if not self.identity.name:
            return HOW_TO_ACT
        return "ask who writes the host configuration for the role `operate` or `approve`"

    async def read_orders(self) -> OpenOrders:
        """All open orders, for the forms; none for somebody without a name, who gets no form."""
        orders = await self.views.read_orders() if self.has_acts and self.identity.name else None
        return orders or OpenOrders()

    def render(self, template: str, section: str, title: str, **values: Any) -> str:
        """A page, with what all pages have."""
        return render_page(
            template,
            section=section,
            title=title,
            sections=SECTIONS,
            now=self.views.clock(),
            version=__version__,
            is_dry_run=self.views.is_dry_run,
            notices=tuple(list_notices(self.views.watch_state)),
            visit=self,
            back=self.request.url.path,
            **values,
        )


Answer = Callable[[Visit], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class PageGuard:
    """Who gets the pages of one watch.

    Args:
        views: makes what is shown.
        access: who may.
        has_acts: whether this watch takes orders.
    """

    views: WatchViews
    access: AccessControl
    has_acts: bool

    def answer(self, page: Answer, *, is_whole: bool) -> Callable[[Request], Awaitable[Response]]:
        """What answers requests for a page.

        Args:
            page: makes it.
            is_whole: whether it tells of all clusters, so that one has to be allowed to look at all.
        """

        async def answer(request: Request) -> Response:
            status = 200
            try:
                identity = await self.identify(request, is_whole=is_whole)
                body = await page(self.make_visit(request, identity))
            except AccessRefused as error:
                status, body = error.status, render_problem("You may not look at this", error)
            except HTTPException as error:
                status, body = error.status_code, render_problem("Not found", ReconcilerError(error.detail))
            except StateError as error:
                status, body = 503, render_problem("The store does not answer", error)
            except TimeoutError:
                slow = ReconcilerError("the store did not answer in time", remedy="load the page again later")
                status, body = 503, render_problem("The store does not answer", slow)
            except ReconcilerError as error:
                status, body = 404, render_problem("Not found", error)
            return Response(body, status, PAGE_HEADERS, media_type="text/html")

        return answer

    async def identify(self, request: Request, *, is_whole: bool) -> Identity:
        """Who looks; without all clusters they need one at least, or the one that the path names.

        Raises:
            AccessRefused: they may not.
        """
        cluster = request.path_params.get("cluster", "")
        if is_whole or cluster:
            return await self.access.require(request, AccessRole.LOOK, cluster)
        identity = await self.access.identify(request)
        if identity is None or not identity.may_look:
            return await self.access.require(request, AccessRole.LOOK)
        return identity

    def make_visit(self, request: Request, identity: Identity) -> Visit:
        """A request of somebody, with the views of the clusters that they may look at."""
        state = restrict_watch_state(self.views.watch_state, identity)
        views = self.views if state is self.views.watch_state else replace(self.views, watch_state=state)
        csrf, has_login = self.access.make_csrf_token(request), self.access.rules.oidc is not None
        return Visit(request, identity, views, csrf, self.has_acts, has_login)


def render_problem(title: str, error: ReconcilerError, back: str = "/") -> str:
    """A page about what went wrong.

    Args:
        title: of the page.
        error: with its remedy.
        back: path of the page before.
    """
    return render_page(
        "problem", title=title, message=error.message, remedy=error.remedy, version=__version__, back=back
    )
