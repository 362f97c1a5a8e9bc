"""Decides who gets a page, and gives each page what all have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from reconciler import __version__
from reconciler.core.roles import AccessRole
from reconciler.errors import ReconcilerError, StateError
from reconciler.host.clock import utc_now
from reconciler.ports.store import OpenOrders
from reconciler.server.access.access_control import HOW_TO_ACT, AccessControl
from reconciler.server.access.identity import Identity, LoginMethod
from reconciler.server.access.page_headers import PAGE_HEADERS
from reconciler.server.access.refusal import AccessRefused
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
        csrf: what each form has in its hidden field; empty for somebody who gets no form.
        has_acts: whether this watch takes orders.
        has_login: whether there is a provider for logins.
        form_text: the cookie of forms that the answer sets; empty for none.
        change: number of the newest change that the page has.
    """

    request: Request
    identity: Identity
    views: WatchViews
    csrf: str
    has_acts: bool
    has_login: bool
    form_text: str = ""
    change: int = 0

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
            identity, headers = None, {}
            problem: ReconcilerError
            try:
                identity = await self.access.identify(request)
                visit = self.make_visit(request, self._check(request, identity, is_whole=is_whole))
                return self._make_response(visit, await page(visit))
            except AccessRefused as error:
                status, title, problem = error.status, "You may not look at this", error
                headers = {"retry-after": str(error.wait)} if error.wait else {}
            except HTTPException as error:
                status, title, problem = error.status_code, "Not found", ReconcilerError(error.detail)
            except StateError as error:
                status, title, problem = 503, "The store does not answer", error
            except TimeoutError:
                status, title = 503, "The store does not answer"
                problem = StateError("the store did not answer in time", remedy="load the page again later")
            except ReconcilerError as error:
                status, title, problem = 404, "Not found", error
            body = self.render_problem(title, problem, request, identity)
            return Response(body, status, {**PAGE_HEADERS, **headers}, media_type="text/html")

        return answer

    def render_problem(
        self,
        title: str,
        error: ReconcilerError,
        request: Request,
        identity: Identity | None,
        origin: str = "/",
    ) -> str:
        """A page about what went wrong.

        Args:
            title: of the page.
            error: with its remedy.
            request: that failed.
            identity: who sent it; None for somebody who is not known.
            origin: path of the page before.
        """
        if identity is None:
            has_login = self.access.rules.oidc is not None
            back = request.url.path if request.method == "GET" else origin
            return render_problem_alone(title, error, has_login=has_login, back=back, origin=origin)
        return self.make_visit(request, identity).render(
            "problem", "", title, message=error.message, remedy=error.remedy, origin=origin
        )

    def _make_response(self, visit: Visit, body: str) -> Response:
        response = Response(body, 200, PAGE_HEADERS, media_type="text/html")
        self.access.set_form_cookie(response, visit.request, visit.form_text)
        return response

    async def identify(self, request: Request, *, is_whole: bool) -> Identity:
        """Who looks; without all clusters they need one at least, or the one that the path names.

        Raises:
            AccessRefused: they may not.
        """
        return self._check(request, await self.access.identify(request), is_whole=is_whole)

    def _check(self, request: Request, identity: Identity | None, *, is_whole: bool) -> Identity:
        cluster = request.path_params.get("cluster", "")
        if is_whole or cluster or identity is None or not identity.may_look:
            return self.access.check(identity, AccessRole.LOOK, cluster)
        return identity

    def make_visit(self, request: Request, identity: Identity) -> Visit:
        """A request of somebody, with the views of the clusters that they may look at."""
        views = self.views.restrict(identity)
        form_text = self.access.make_form_text(request, identity) if self.has_acts else ""
        csrf = self.access.make_csrf_token(request, identity, form_text)
        has_login, change = self.access.rules.oidc is not None, self.views.watch_state.changes.number
        return Visit(request, identity, views, csrf, self.has_acts, has_login, form_text, change)


def render_problem_alone(
    title: str, error: ReconcilerError, *, has_login: bool = False, back: str = "/", origin: str = "/"
) -> str:
    """A page about what went wrong, for somebody who is not known: without what the watch shows.

    Args:
        title: of the page.
        error: with its remedy.
        has_login: whether there is a provider for logins.
        back: path of the page to show after a login.
        origin: path of the page before.
    """
    return render_page(
        "problem",
        title=title,
        message=error.message,
        remedy=error.remedy,
        visit=None,
        has_login=has_login,
        now=utc_now(),
        version=__version__,
        back=back,
        origin=origin,
    )
