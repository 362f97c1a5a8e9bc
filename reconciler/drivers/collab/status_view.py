"""What a Collaboration Server shows of itself: its `GET /status`, parsed strictly and within bounds; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reconciler.core.canonical import fingerprint
from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.documents.model_errors import describe_first_error
from reconciler.errors import NodeUnauthorized, NodeUnidentified
from reconciler.ports.answer_text import describe_answer, describe_denial, suggest_answer_remedy
from reconciler.ports.transport import HttpAnswer
from reconciler.text.one_line import list_first_names, make_one_line

PRODUCT: Final = "a Collaboration Server's /status"

DATABASE_SERVICE: Final = "DB Service"
"""Name of PostgreSQL in `reason`."""

REDIS_SERVICE: Final = "Redis Server"
"""Name of Redis in `reason`."""

LONGEST_REASON: Final = 500
"""Characters of a server's own words that are kept."""

_UNSEEN_REASON: Final = "(nothing that can be seen)"

_LIMITS: Final = JsonLimits(size=256 * 1024, values=5_000, depth=20)
"""Bounds on the answer; the documented one has 600 bytes."""

_MOST: Final = 10**15

_PAUSED: Final = re.compile(r"\s*paus", re.IGNORECASE)
"""The documented word is `paused`; a word such as `pausing` is not taken for health either."""

_UP_SINCE: Final = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2}) ([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})", re.ASCII
)
"""Not ISO 8601: without zone, and the numbers are not padded."""

_Word = Annotated[str, Field(pattern=r"^[ -~]{0,64}$")]
_Count = Annotated[int, Field(ge=0, le=_MOST)]
_Amount = Annotated[float, Field(ge=0, le=_MOST)]


class UnreadableStatus(ValueError):
    """An answer is not what the documents describe; the message says why, to follow "the answer"."""


class _Part(BaseModel):
    # Unknown keys are left alone: another version may show more.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Gauge(_Part):
    current: _Amount | None = None
    max: _Amount | None = None


class _Connections(_Part):
    total: _Count | None = None
    current: _Count | None = None
    max: _Count | None = None


class _Messages(_Part):
    processed: _Count | None = None


class _RestCalls(_Part):
    received: _Count | None = None


class _Main(_Part):
    pid: int = Field(ge=1, le=2**32 - 1)
    up_since: str = Field(pattern=r"^[ -~]{1,64}$")
    cpu: _Gauge | None = None
    memory: _Gauge | None = None
    connections: _Connections | None = None
    messages: _Messages | None = None
    rest_calls: _RestCalls | None = Field(default=None, alias="restCalls")


class _Answer(_Part):
    version: str = Field(pattern=r"^[!-~]{1,64}$")
    state: _Word
    main: _Main
    reason: str | None = None
    enable_tls: bool | None = Field(default=None, alias="enableTls")
    scaling: _Word | None = None
    logging: bool | None = None


_ALONE: Final = frozenset({"none", "vertical"})
"""`scaling` of servers that work without Redis."""


def name_start(pid: int | None, up_since: str) -> str:
    """Which start of a server this is, by what it shows."""
    return f"pid {pid} since {up_since}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusView:
    """One `/status` of a Collaboration Server.

    What changes without a reason, such as the number of connections, does not count when two are compared.

    Args:
        state: as shown; the documents give only `paused`.
        reason: on one line and bounded; empty without one.
        pid: of the process; another one after most restarts, but numbers come again.
        up_since: since when it runs, as shown.
        is_success: whether the answer's status was 200; the documents do not give that of a paused server.
        enable_tls: None if not shown, like `scaling` and `logging`.
        connections: clients now; None if not shown.
        unknown_keys: names that the documents do not have.
        url: where it still answers, if that is not where it is to answer: its process uses a former file.
    """

    version: str
    state: str
    pid: int
    up_since: str
    reason: str = ""
    is_success: bool = True
    enable_tls: bool | None = None
    scaling: str | None = None
    logging: bool | None = None
    connections: int | None = field(default=None, compare=False)
    unknown_keys: tuple[str, ...] = field(default=(), compare=False)
    url: str = ""

    @property
    def is_healthy(self) -> bool:
        """Whether it serves: not paused, and without a reason.

        The documents do not show the word of a healthy server, so that any other word counts as one.
        """
        return self.is_success and not self.reason and not _PAUSED.match(self.state)

    @property
    def missing_services(self) -> tuple[str, ...]:
        """The services that `reason` lists after its colon; empty if it lists none."""
        listed = self.reason.partition(":")[2].split(",")
        return list_first_names([name.strip() for name in listed if name.strip()])

    @property
    def lacks_database(self) -> bool:
        """Whether it cannot reach PostgreSQL, by its own words."""
        return self._lacks(DATABASE_SERVICE)

    @property
    def lacks_redis(self) -> bool:
        """Whether it cannot reach Redis, by its own words."""
        return self._lacks(REDIS_SERVICE)

    def _lacks(self, service: str) -> bool:
        return service.casefold() in (name.casefold() for name in self.missing_services)

    @property
    def is_alone(self) -> bool:
        """Whether it shows that it does not read `redisServerUrl`; any other word may be of one that does."""
        return self.scaling in _ALONE

    @property
    def start(self) -> str:
        """Which start of the server this is: another text after each restart that it shows at all."""
        return name_start(self.pid, self.up_since)

    @property
    def up_since_time(self) -> datetime | None:
        """`up_since` as a time without a zone; None if it has another form than the documented one."""
        return parse_up_since(self.up_since)

    @property
    def fingerprint(self) -> str:
        """What a plan file knows it by; not the words of `reason`, but whether there are any."""
        return fingerprint(
            {
                "version": self.version,
                "state": self.state,
                "start": self.start,
                "healthy": self.is_healthy,
                "missing": sorted(name.casefold() for name in self.missing_services),
                "enableTls": self.enable_tls,
                "scaling": self.scaling,
                "logging": self.logging,
                **({"url": self.url} if self.url else {}),
            }
        )


def parse_up_since(text: str) -> datetime | None:
    """The time in a text such as `2018-4-18 02:12:42`, without a zone; None if it has another form."""
    found = _UP_SINCE.fullmatch(text)
    if found is None:
        return None
    try:
        return datetime(*(int(number) for number in found.groups()))  # type: ignore[arg-type]  # noqa: DTZ001
    except ValueError:
        return None


def parse_status(body: bytes, *, is_success: bool = True) -> StatusView:
    """The status in the body of an answer.

    Args:
        body: of the answer.
        is_success: whether the answer's status was 200.

    Raises:
        UnreadableStatus: it is not JSON, not an object with the documented keys, or exceeds a limit.
    """
    try:
        value = read_json(body, _LIMITS)
    except JsonError as error:
        raise UnreadableStatus(str(error)) from error
    if not isinstance(value, dict):
        raise UnreadableStatus("it is not an object")
    try:
        answer = _Answer.model_validate(value)
    except ValidationError as error:
        raise UnreadableStatus(describe_first_error(error)) from error
    known = {field.alias or name for name, field in _Answer.model_fields.items()}
    return StatusView(
        version=answer.version,
        state=answer.state,
        reason=_bound_reason(answer.reason or ""),
        pid=answer.main.pid,
        up_since=answer.main.up_since,
        is_success=is_success,
        enable_tls=answer.enable_tls,
        scaling=answer.scaling,
        logging=answer.logging,
        connections=answer.main.connections.current if answer.main.connections is not None else None,
        unknown_keys=list_first_names(sorted(key for key in value if key not in known)),
    )


def _bound_reason(text: str) -> str:
    """The reason on one line; one that is there counts, also if none of it can be seen."""
    return make_one_line(text, LONGEST_REASON) or (_UNSEEN_REASON if text.strip(" \t\r\n") else "")


def read_status_answer(node: str, url: str, answer: HttpAnswer) -> StatusView:
    """The status in a server's answer.

    Args:
        node: its name, for errors.
        url: of the request.
        answer: received.

    Raises:
        NodeUnauthorized: 401 or 403.
        NodeUnidentified: the answer is not a Collaboration Server's.
    """
    if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        words = describe_denial(url, answer, "this host may not read its status")
        raise NodeUnauthorized(node, words, remedy="allow this host to read /status")
    why = ""
    # A server that is paused may answer 503, as is usual for what cannot serve: its own words count.
    if answer.status in {HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE}:
        try:
            view = parse_status(answer.body, is_success=answer.status == HTTPStatus.OK)
        except UnreadableStatus as error:
            why = answer.redact(str(error), LONGEST_REASON)
        else:
            return _redact(view, answer)
    words = describe_answer(url, answer, PRODUCT, why)
    raise NodeUnidentified(node, words, remedy=suggest_answer_remedy(answer), status=answer.status)


def _redact(view: StatusView, answer: HttpAnswer) -> StatusView:
    """The same, whose words are masked: a server may quote a URL with a password."""
    if not view.reason:
        return view
    return replace(view, reason=answer.redact(view.reason, LONGEST_REASON) or _UNSEEN_REASON)
