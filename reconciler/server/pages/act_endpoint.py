"""Takes the forms of the pages: checks who sends them, performs the acts, and shows what came of it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from reconciler.api.acts import Act
from reconciler.errors import ReconcilerError
from reconciler.server.access.access_control import HOW_TO_ACT
from reconciler.server.access.form_body import read_form
from reconciler.server.access.identity import Identity
from reconciler.server.access.login_target import read_next_page
from reconciler.server.access.page_headers import PAGE_HEADERS
from reconciler.server.access.refusal import AccessRefused
from reconciler.server.acts.act_parser import parse_act
from reconciler.server.acts.service import ActService
from reconciler.server.acts.task_table import TaskTable
from reconciler.server.pages.markup import make_path
from reconciler.server.pages.page_guard import PageGuard
from reconciler.server.request_problems import RequestProblem, describe_problem
from reconciler.server.views.act_forms import PAGE_ACTS
from reconciler.server.views.act_results import ActOutcome, describe_outcome, make_confirmation

_Handler = Callable[[Request, Identity], Coroutine[Any, Any, Response]]

_LISTS: Final = frozenset({"only", "targets"})
"""Values with several lines in one field."""

_NUMBERS: Final = frozenset({"seconds"})
_FLAGS: Final = frozenset({"direct", "release"})
_NUMBER: Final = re.compile(r"[0-9]{1,9}")

_OF_PAGE: Final = frozenset({"csrf", "back", "confirmed"})
"""Fields that are no values of an act."""


@dataclass(frozen=True, slots=True)
class ActPages:
    """The acts of the pages.

    A form is answered with a redirect to the page of its result: to load that again does nothing twice.

    Args:
        guard: who may.
        acts: performs them.
        tasks: the acts, with their results while these are kept.
    """

    guard: PageGuard
    acts: ActService
    tasks: TaskTable[ActOutcome]

    def list_routes(self) -> list[Route]:
        """The routes of forms and results."""
        return [
            Route("/acts/{act}", self._answer(self._take_form), methods=["POST"]),
            Route("/acts/results/{task}", self._answer(self._show_result), methods=["GET"]),
        ]

    def _answer(self, handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            identity = None
            try:
                identity = await self.guard.access.identify(request)
                if identity is None or not identity.name:
                    # Before the form is read: who may not act cannot make this program work.
                    raise AccessRefused("this needs a login", remedy=HOW_TO_ACT, status=401)
                return await handler(request, identity)
            except ReconcilerError as error:
                origin = read_next_page(request.query_params.get("back"))
                title = "You may not do this" if isinstance(error, AccessRefused) else "This was not done"
                problem, headers = describe_problem(error)
                headers.pop("www-authenticate", None)
                body = self.guard.render_problem(title, error, request, identity, origin)
                return Response(body, problem.status, {**PAGE_HEADERS, **headers}, media_type="text/html")

        return answer

    async def _take_form(self, request: Request, identity: Identity) -> Response:
        kind = PAGE_ACTS.get(request.path_params["act"])
        if kind is None:
            raise RequestProblem(
                404, "unknown-path", "there is no such act", remedy="use the forms of the pages"
            )
        form = await read_form(request)
        self.guard.access.refuse_foreign_page(request, identity, form.get("csrf", ""))
        back = read_next_page(form.get("back"))
        act = parse_act(kind, read_values(form), "go back and correct the form")
        if form.get("confirmed") != "yes" and (confirmation := make_confirmation(act)) is not None:
            body = self.guard.make_visit(request, identity).render(
                "confirm", "fleet", f"{confirmation.title}?", form=confirmation, origin=back
            )
            return Response(body, 200, PAGE_HEADERS, media_type="text/html")
        name = self.tasks.start(identity, self._perform(act, identity))
        return RedirectResponse(make_path("acts", "results", name, back=back), 303, PAGE_HEADERS)

    async def _perform(self, act: Act[Any], identity: Identity) -> ActOutcome:
        return describe_outcome(act, await self.acts.perform(act, identity))

    async def _show_result(self, request: Request, identity: Identity) -> Response:
        origin = read_next_page(request.query_params.get("back"))
        outcome = await self.tasks.fetch(identity, request.path_params["task"], is_kept=True)
        title = outcome.title if outcome else "The work is not over yet"
        body = self.guard.make_visit(request, identity).render(
            "result", "fleet", title, outcome=outcome, origin=origin
        )
        return Response(body, 200 if outcome else 202, PAGE_HEADERS, media_type="text/html")


def read_values(form: Mapping[str, str]) -> dict[str, Any]:
    """The values of an act as a form has them.

    Args:
        form: the fields, each a text.
    """
    return {name: _read_value(name, text.strip()) for name, text in form.items() if name not in _OF_PAGE}


def _read_value(name: str, text: str) -> str | int | bool | list[str]:
    """One value; a text where it cannot be one of another type, which the act then refuses."""
    if name in _LISTS:
        return [line.strip() for line in text.splitlines() if line.strip()]
    if name in _NUMBERS and _NUMBER.fullmatch(text):
        return int(text)
    if name in _FLAGS and text in {"yes", ""}:
        return bool(text)
    return text
