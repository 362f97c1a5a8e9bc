"""Transports whose calls are recorded: what was called, when, and how it ended, but nothing of what was said.

No header is added to a request: nodes belong to somebody else, and a trace of this host is nothing to them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar
from urllib.parse import urlsplit

from reconciler.core.endpoint import DEFAULT_PORTS, SocketAddress
from reconciler.core.file_state import FilePlace, FileState
from reconciler.errors import NodeUnreachable
from reconciler.ports.transport import Commands, Files, Http, HttpAnswer, Streams, Transports
from reconciler.ports.wrapped_transports import WrappedHttp, WrappedStreams, keep_transport
from reconciler.text.urls import MOST_OF_URL, strip_secrets

T = TypeVar("T")

_ERROR_STATUS = 400


@dataclass(slots=True)
class CallSpan:
    """One call that has ended.

    Args:
        name: of its span.
        began: nanoseconds since 1970.
        ended: the same.
        attributes: by the conventions of OpenTelemetry where they have a name.
        error: the kind of its failure; empty if it succeeded. The text of an error may quote the node, which
            only other layers mask.
    """

    name: str
    attributes: dict[str, str | int]
    began: int = field(default_factory=time.time_ns)
    ended: int = 0
    error: str = ""


Record: TypeAlias = Callable[[CallSpan], None]


class CallTimer:
    """Makes calls, and records each one when it has ended.

    Args:
        record: gets them.
    """

    def __init__(self, record: Record) -> None:
        self._record = record

    async def make_call(
        self, call: CallSpan, work: Awaitable[T], assess: Callable[[CallSpan, T], None] | None = None
    ) -> T:
        """The result of a call.

        Args:
            call: what is known of it.
            work: makes it.
            assess: adds what the answer shows.
        """
        try:
            answer = await work
        except BaseException as error:
            call.error = type(error).__name__
            if isinstance(error, NodeUnreachable) and error.status:
                call.attributes["http.response.status_code"] = error.status
            raise
        else:
            if assess is not None:
                assess(call, answer)
            return answer
        finally:
            call.ended = time.time_ns()
            self._record(call)


def trace_transports(transports: Transports, recorder: CallTimer) -> Transports:
    """The same transports, whose calls are recorded; what waits in a mailbox is no call."""
    return transports.wrap(
        http=lambda http: TracedHttp(http, recorder),
        commands=lambda commands: TracedCommands(commands, recorder),
        mailbox=keep_transport,
        files=lambda files: TracedFiles(files, recorder),
        streams=lambda streams: TracedStreams(streams, recorder),
    )


class TracedHttp(WrappedHttp):
    """HTTP whose requests are recorded, without headers, query and content."""

    def __init__(self, http: Http, recorder: CallTimer) -> None:
        super().__init__(http)
        self._recorder = recorder

    async def call(
        self, method: str, url: str, node: str, send: Callable[[Http], Awaitable[HttpAnswer]]
    ) -> HttpAnswer:
        call = CallSpan(
            method, {"http.request.method": method, **_describe_url(url), "reconciler.called": node}
        )
        return await self._recorder.make_call(call, send(self._http), _note_status)

    def through(self, way: str, *, authority: str = "") -> Http:
        return TracedHttp(self._http.through(way, authority=authority), self._recorder)


class TracedStreams(WrappedStreams):
    """Exchanges over TCP that are recorded."""

    def __init__(self, streams: Streams, recorder: CallTimer) -> None:
        super().__init__(streams)
        self._recorder = recorder

    async def call(
        self, name: str, address: SocketAddress, node: str, exchange: Callable[[Streams], Awaitable[bytes]]
    ) -> bytes:
        return await self._recorder.make_call(
            _describe_exchange(name, address, node), exchange(self._streams)
        )

    def through(self, way: str) -> Streams:
        return TracedStreams(self._streams.through(way), self._recorder)


class TracedCommands(Commands):
    """Commands that are recorded by their name in the host configuration, without arguments and output."""

    def __init__(self, commands: Commands, recorder: CallTimer) -> None:
        self._commands = commands
        self._recorder = recorder

    async def run(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        call = CallSpan("run command", {"reconciler.command": command, "reconciler.called": node})
        return await self._recorder.make_call(call, self._commands.run(command, values, node=node))

    async def read(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        call = CallSpan("read by command", {"reconciler.command": command, "reconciler.called": node})
        return await self._recorder.make_call(call, self._commands.read(command, values, node=node))


class TracedFiles(Files):
    """Accesses to files that are recorded by the name of the entry, without content."""

    def __init__(self, files: Files, recorder: CallTimer) -> None:
        self._files = files
        self._recorder = recorder

    async def read(self, place: FilePlace) -> FileState:
        return await self._recorder.make_call(_describe_file("read file", place), self._files.read(place))

    async def stage(self, place: FilePlace, content: bytes) -> str:
        work = self._files.stage(place, content)
        return await self._recorder.make_call(_describe_file("stage file", place), work)

    async def switch(self, place: FilePlace, *, before: str, after: str) -> str:
        work = self._files.switch(place, before=before, after=after)
        return await self._recorder.make_call(_describe_file("switch file", place), work)

    async def restore(self, place: FilePlace, *, before: str, after: str) -> str:
        work = self._files.restore(place, before=before, after=after)
        return await self._recorder.make_call(_describe_file("restore file", place), work)

    async def discard(self, place: FilePlace) -> str:
        return await self._recorder.make_call(
            _describe_file("discard file", place), self._files.discard(place)
        )


def _note_status(call: CallSpan, answer: HttpAnswer) -> None:
    call.attributes["http.response.status_code"] = answer.status
    if answer.status >= _ERROR_STATUS:
        call.error = str(answer.status)


def _describe_url(url: str) -> dict[str, str | int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        return {}
    return {"url.full": strip_secrets(url)[:MOST_OF_URL], "server.address": host, "server.port": port}


def _describe_exchange(name: str, address: SocketAddress, node: str) -> CallSpan:
    return CallSpan(
        name,
        {
            "network.transport": "tcp",
            "server.address": address.host,
            "server.port": address.port,
            "reconciler.called": node,
        },
    )


def _describe_file(name: str, place: FilePlace) -> CallSpan:
    return CallSpan(name, {"reconciler.file": place.entry, "reconciler.called": place.node})
