"""The client of the API of a watch elsewhere: `--server URL` of commands."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import TypeAdapter, ValidationError

from reconciler.api.acts import Act, ResultT
from reconciler.core.api_login import check_api_url, check_token
from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.errors import ReconcilerError, StateError, UsageError, WorldChanged
from reconciler.exit_status import ExitStatus
from reconciler.host import aio
from reconciler.host.credentials import read_key_text
from reconciler.sources.http_routes import make_http_transport
from reconciler.text.one_line import make_one_line

if TYPE_CHECKING:
    import httpx

_Answer = TypeVar("_Answer")

VARIABLE: Final = "RECONCILE_SERVER"
TOKEN_VARIABLE: Final = "RECONCILE_TOKEN_FILE"  # noqa: S105  (the variable's name)

LARGEST_ANSWER: Final = 256 * 1024 * 1024
"""Bytes of an answer at most."""

SECONDS: Final = 40.0
"""Seconds until the answer to one request: more than the watch lets a request wait for its task."""

LONGEST_TASK: Final = 3_600.0
"""Seconds that a command waits for work of the watch."""

_PROBLEM: Final = JsonLimits(size=256 * 1024, values=5_000, depth=8)
_LONGEST_SENTENCE: Final = 2_000
_OK, _ACCEPTED, _UNAUTHORIZED, _FORBIDDEN = 200, 202, 401, 403


class ServerRefused(ReconcilerError):
    """The server refuses a request, with its own reason and remedy."""


class GuardsRefused(ServerRefused):
    """Guards of the server refuse it."""

    exit_status = ExitStatus.REFUSED


@dataclass(frozen=True, slots=True)
class ServerClient:
    """Sends requests to the API of one watch.

    Args:
        url: of the server, without the path of the API.
        token: sent with each request; empty to look without a login.
        environment: for certificate authorities and proxies, as for sources; over TLS only.
    """

    url: str
    token: str = field(default="", repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"Server: {self.url}\n"

    def read(
        self, path: str, kind: type[_Answer], parameters: Mapping[str, str | Sequence[str]] | None = None
    ) -> _Answer:
        """A record.

        Args:
            path: below `/api/v1`.
            kind: of the answer.
            parameters: of the query; empty values are left out.

        Raises:
            ReconcilerError: there is no such record, or no valid answer.
        """
        return aio.run_until_signal(self.fetch(path, kind, parameters))

    async def fetch(
        self, path: str, kind: type[_Answer], parameters: Mapping[str, str | Sequence[str]] | None = None
    ) -> _Answer:
        """As `read`, in a program that runs already."""
        given = {name: value for name, value in (parameters or {}).items() if value}
        return _load(await self._request("GET", path, given, None), kind, self.url)

    def perform(self, act: Act[ResultT]) -> ResultT:
        """Let the server perform an act.

        Raises:
            ReconcilerError: it is refused, or there is no valid answer.
        """
        return aio.run_until_signal(self.send(act))

    async def send(self, act: Act[ResultT]) -> ResultT:
        """As `perform`, in a program that runs already."""
        body = act.model_dump_json(exclude_defaults=True).encode()
        answer = await self._request("POST", f"/acts/{act.name}", {}, body)
        return _load(answer, act.get_result_type(), self.url)

    async def _request(
        self, method: str, path: str, parameters: Mapping[str, Any], body: bytes | None
    ) -> bytes:
        import httpx  # noqa: PLC0415  (a tenth of a second that only this option pays)

        headers = {"accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        # A redirect is never followed: it could lead the token to another host. A server without TLS is on
        # this machine, and a proxy of the environment would get the token in clear.
        environment = self.environment if urlsplit(self.url).scheme == "https" else {}
        client = httpx.AsyncClient(
            transport=make_http_transport(environment),
            headers=headers,
            timeout=SECONDS,
            follow_redirects=False,
            trust_env=False,
        )
        try:
            async with client, asyncio.timeout(LONGEST_TASK):
                base = f"{self.url}/api/v1"
                status, answer = await _send(client, method, f"{base}{path}", parameters, body)
                # Without a pause: the server answers when the work is over, or after its own waiting time.
                while status == _ACCEPTED:
                    task = quote(_load(answer, dict[str, str], self.url).get("task", ""), safe="")
                    status, answer = await _send(client, "GET", f"{base}/tasks/{task}", {}, None)
        except TimeoutError:
            raise StateError(
                f"the server {self.url} did not end the work in time",
                remedy="`reconcile history --server` shows what came of it",
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = make_one_line(str(error) or type(error).__name__, _LONGEST_SENTENCE)
            raise StateError(
                f"the server {self.url} does not answer: {reason}",
                remedy="check the URL, and that the watch listens there; an act may have been done: "
                "`reconcile history --server` shows it",
            ) from None
        if status != _OK:
            raise _make_error(status, answer, self.url)
        return answer


def find_server(url: str, token_file: Path | None, environment: Mapping[str, str]) -> ServerClient | None:
    """The client of the server that the options or the environment name; None if none is named.

    Args:
        url: the option `--server`; empty if it is not given.
        token_file: the option `--token-file`.
        environment: of the process.

    Raises:
        UsageError: the URL or the file cannot be used, or the token would be sent in clear.
    """
    url = url or environment.get(VARIABLE, "")
    file = token_file or (Path(environment[TOKEN_VARIABLE]) if environment.get(TOKEN_VARIABLE) else None)
    if not url:
        if token_file is not None:
            raise UsageError("--token-file needs a server", remedy="add --server URL")
        return None
    address = check_api_url(
        url,
        option="--server ",
        what="a server",
        remedy="write --server https://HOST, or https://HOST:PORT; the token goes into a file",
    )
    token = read_key_text(file, "the file with the token").strip() if file is not None else ""
    check_token(token, f"the file with the token {file}", remedy="write only the token into it")
    return ServerClient(address, token, environment)


async def _send(
    client: httpx.AsyncClient, method: str, url: str, parameters: Mapping[str, Any], body: bytes | None
) -> tuple[int, bytes]:
    """Status and bounded body of an answer.

    Raises:
        StateError: it is too large.
    """
    async with client.stream(method, url, params=parameters or None, content=body) as answer:
        found = bytearray()
        async for chunk in answer.aiter_bytes():
            found += chunk
            if len(found) > LARGEST_ANSWER:
                raise StateError(
                    f"the answer of {url} has more than {LARGEST_ANSWER:,} bytes",
                    remedy="ask for less, with --only or --limit",
                )
        return answer.status_code, bytes(found)


def _load(body: bytes, kind: type[_Answer], url: str) -> _Answer:
    try:
        return TypeAdapter(kind).validate_json(body)
    except ValidationError:
        raise StateError(
            f"the answer of the server {url} is not of the form that this version reads",
            remedy="use the same program version as the server",
        ) from None


def _make_error(status: int, body: bytes, url: str) -> ReconcilerError:
    """The error for an answer that is none."""
    try:
        problem = read_json(body, _PROBLEM)
    except JsonError:
        problem = None
    if not isinstance(problem, dict) or not isinstance(problem.get("detail"), str):
        return StateError(
            f"the server {url} answers with status {status}, and not as the API of a watch does",
            remedy="check the URL: it is that of the watch, without a path",
        )
    detail = make_one_line(problem["detail"], _LONGEST_SENTENCE)
    remedy = make_one_line(str(problem.get("remedy", "")), _LONGEST_SENTENCE)
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        remedy = f"{remedy}; this command sends the token of --token-file or {TOKEN_VARIABLE}"
    message = f"the server {url} refuses: {detail}"
    kinds: dict[Any, type[ReconcilerError]] = {
        "guard-refusal": GuardsRefused,
        "world-changed": WorldChanged,
        "state-error": StateError,
    }
    return kinds.get(problem.get("code"), ServerRefused)(message, remedy=remedy)
