"""Answers requests to `/api/v1`: who asks, what exactly, and within which bounds."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Coroutine, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, cast

from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from reconciler.api.acts import ACTS, Act
from reconciler.api.answers import TaskAnswer
from reconciler.core.canonical import write_json
from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.errors import ReconcilerError
from reconciler.server.access.access_control import HOW_TO_ACT, AccessControl
from reconciler.server.access.identity import Identity
from reconciler.server.access.page_headers import PAGE_HEADERS
from reconciler.server.access.refusal import AccessRefused
from reconciler.server.acts.act_parser import parse_act
from reconciler.server.acts.service import ActService
from reconciler.server.acts.task_table import TaskTable
from reconciler.server.json_api.openapi import make_api_document
from reconciler.server.json_api.queries import Query
from reconciler.server.json_api.reads import READS, Read, ReadRequest, WatchReader
from reconciler.server.request_problems import (
    MEDIA_TYPE,
    RequestProblem,
    WrongValue,
    describe_problem,
    make_wrong_values,
    translate_wrong_values,
)
from reconciler.text.one_line import LONGEST_NAME

PREFIX: Final = "/api/v1"
"""Path of the API."""

LARGEST_BODY: Final = 1024 * 1024
"""Bytes of a request's body."""

BODY_SECONDS: Final = 10.0
"""Seconds in which a body must arrive."""

BODIES: Final = 16
"""Bodies that are read at the same time."""

_LIMITS: Final = JsonLimits(size=LARGEST_BODY, values=20_000, depth=4)
_MOST_PARAMETERS: Final = 300
_REMEDY: Final = f"see {PREFIX}/openapi.json"
_NAME: Final = re.compile(r"\{(\w+)\}")

Handler = Callable[[Request, Mapping[str, str]], Coroutine[Any, Any, Response]]


@dataclass(frozen=True, slots=True)
class _Route:
    pattern: re.Pattern[str]
    methods: Mapping[str, Handler]


@dataclass(frozen=True, slots=True)
class JsonApi:
    """The ASGI application of the API.

    Args:
        access: who may.
        reader: answers reads.
        acts: performs acts.
        tasks: work that takes longer than a request.
    """

    access: AccessControl
    reader: WatchReader
    acts: ActService
    tasks: TaskTable[bytes] = field(default_factory=TaskTable)
    _bodies: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(BODIES))
    _routes: list[_Route] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        except ReconcilerError as error:
            response = _make_problem_response(error)
        except Exception:
            # The endpoints around log it; the caller gets no details.
            failed = RequestProblem(
                500, "internal-error", "an unexpected error", remedy="see the log of the watch"
            )
            await _make_problem_response(failed)(scope, receive, send)
            raise
        if request.method == "HEAD":
            response.body = b""  # its length stays that of the answer to GET
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if not self._routes:
            self._routes.extend(self._list_routes())
        path = str(request.scope["path"]).removeprefix(PREFIX)
        for route in self._routes:
            found = route.pattern.fullmatch(path)
            if found is None:
                continue
            method = "GET" if request.method == "HEAD" else request.method
            handler = route.methods.get(method)
            if handler is None:
                allowed = ", ".join([*route.methods, *(["HEAD"] if "GET" in route.methods else [])])
                raise RequestProblem(
                    405,
                    "wrong-method",
                    "this method is not allowed here",
                    remedy=f"use {allowed}",
                    headers={"allow": allowed},
                )
            names = found.groupdict()
            if any(len(name) > LONGEST_NAME for name in names.values()):
                raise _make_unknown_path()
            return await handler(request, names)
        raise _make_unknown_path()

    def _list_routes(self) -> list[_Route]:
        return [
            _Route(_compile("/openapi.json"), {"GET": self._describe}),
            *(_Route(_compile(one.path), {"GET": self._make_read_handler(one)}) for one in READS),
            *(_Route(_compile(f"/acts/{one.name}"), {"POST": self._make_act_handler(one)}) for one in ACTS),
            _Route(_compile("/tasks/{task}"), {"GET": self._fetch_task}),
        ]

    def _make_read_handler(self, read: Read) -> Handler:
        async def handle(request: Request, names: Mapping[str, str]) -> Response:
            identity = await self._identify(request)
            asked = ReadRequest(identity, _parse_query(request, read.query), names)

            async def work() -> bytes:
                return _get_adapter(read.answer).dump_json(await read.run(self.reader, asked))

            body = await (self._run_task(identity, work()) if read.is_slow else work())
            return _make_answer(request, body)

        return handle

    def _make_act_handler(self, kind: type[Act[Any]]) -> Handler:
        adapter: TypeAdapter[Any] = TypeAdapter(kind.get_result_type())

        async def handle(request: Request, _names: Mapping[str, str]) -> Response:
            identity = await self._identify(request)
            if identity.name:
                self.access.refuse_foreign_page(request, identity)
            else:
                # Before the body is read: who may not act cannot make this program work.
                raise AccessRefused("this needs a login", remedy=HOW_TO_ACT, status=401)
            _parse_query(request, Query)
            act = parse_act(kind, await self._read_body(request), _REMEDY)

            async def work() -> bytes:
                result = await self.acts.perform(act, identity)
                return adapter.dump_json(result)

            return _make_answer(request, await self._run_task(identity, work()))

        return handle

    async def _run_task(self, identity: Identity, work: Coroutine[Any, Any, bytes]) -> bytes:
        name = self.tasks.start(identity, work)
        return await self._await_task(identity, name)

    async def _await_task(self, identity: Identity, name: str) -> bytes:
        found = await self.tasks.fetch(identity, name)
        if found is None:
            raise _TaskRuns(name)
        return found

    async def _fetch_task(self, request: Request, names: Mapping[str, str]) -> Response:
        identity = await self._identify(request)
        _parse_query(request, Query)
        return _make_answer(request, await self._await_task(identity, names["task"]))

    async def _describe(self, request: Request, _names: Mapping[str, str]) -> Response:
        await self._identify(request)
        _parse_query(request, Query)
        return _make_answer(request, _encode_document())

    async def _identify(self, request: Request) -> Identity:
        identity = await self.access.identify(request)
        if identity is None:
            raise AccessRefused("this needs a login", remedy=HOW_TO_ACT, status=401)
        return identity

    async def _read_body(self, request: Request) -> Any:
        """The JSON of a body.

        Raises:
            RequestProblem: it is none, too large, or too slow.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RequestProblem(
                415, "wrong-type", "the body must be JSON", remedy="send `Content-Type: application/json`"
            )
        close = {"connection": "close"}
        if self._bodies.locked():
            raise RequestProblem(503, "busy", "too many requests at once", remedy="try again", headers=close)
        body = bytearray()
        async with self._bodies:
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    async for chunk in request.stream():
                        body += chunk
                        if len(body) > LARGEST_BODY:
                            raise RequestProblem(
                                413,
                                "too-large",
                                f"the body has more than {LARGEST_BODY:,} bytes",
                                remedy="send less",
                                headers=close,
                            )
            except TimeoutError:
                raise RequestProblem(
                    408, "too-slow", "the body did not arrive in time", remedy="try again", headers=close
                ) from None
        try:
            return read_json(bytes(body), _LIMITS)
        except JsonError as error:
            raise RequestProblem(
                400, "invalid-json", f"the body is not valid JSON: {error}", remedy="correct it"
            ) from None


class _TaskRuns(RequestProblem):
    """The answer of a request is not there yet; this is no problem, and has an answer of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(202, "running", "the work is not over yet")
        self.name = name


def _make_problem_response(error: ReconcilerError) -> Response:
    headers = dict(PAGE_HEADERS)
    if isinstance(error, _TaskRuns):
        headers |= {"location": f"{PREFIX}/tasks/{error.name}", "retry-after": "1"}
        body = _get_adapter(TaskAnswer).dump_json(TaskAnswer(error.name))
        return Response(body, 202, headers, media_type="application/json")
    problem, more = describe_problem(error)
    return Response(problem.encode(), problem.status, {**headers, **more}, media_type=MEDIA_TYPE)


def _make_answer(request: Request, body: bytes) -> Response:
    """An answer with a tag, or that the caller has it already."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {**PAGE_HEADERS, "etag": tag}
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if request.method in {"GET", "HEAD"} and (tag in known or known == ["*"]):
        return Response(None, 304, headers)
    return Response(body, 200, headers, media_type="application/json")


def _parse_query(request: Request, kind: type[Query]) -> Any:
    """The parameters of a request.

    Raises:
        RequestProblem: one is unknown, wrong, or given twice.
    """
    pairs = request.query_params.multi_items()
    if len(pairs) > _MOST_PARAMETERS:
        raise RequestProblem(422, "wrong-values", "too many parameters", remedy="give fewer")
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in kind.lists:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise make_wrong_values([WrongValue(name[:LONGEST_NAME], "it is given more than once")], _REMEDY)
        else:
            values[name] = value
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise translate_wrong_values(error, kind, values, _REMEDY) from None


def _make_unknown_path() -> RequestProblem:
    return RequestProblem(
        404, "unknown-path", "the API has no such path", remedy=f"{PREFIX}/openapi.json lists them"
    )


def _compile(path: str) -> re.Pattern[str]:
    parts = _NAME.split(path)
    # Every second part is a name; a slash within one comes as %2F and is refused as another path.
    return re.compile(
        "".join(f"(?P<{part}>[^/]+)" if index % 2 else re.escape(part) for index, part in enumerate(parts))
    )


@cache
def _get_adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast("Any", kind))


@cache
def _encode_document() -> bytes:
    return write_json(make_api_document(), indent=True)
