"""Transports that are restricted to reading calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from reconciler.core.endpoint import SocketAddress
from reconciler.core.file_state import FilePlace, FileState
from reconciler.errors import WriteRefused
from reconciler.ports.transport import (
    Commands,
    Files,
    Http,
    HttpAnswer,
    Mailbox,
    NodeMail,
    OfferDraft,
    ReadingCall,
    ReadingRequest,
    ReadingRule,
    Streams,
    Transports,
)


def restrict_to_reading(transports: Transports, calls: Iterable[ReadingRule]) -> Transports:
    """The same transports, limited to reading: of HTTP and streams, to what the product documents."""
    # A list of what is allowed, not of what is forbidden: code that gets these transports cannot change a
    # node, whatever a driver's mistake, a fleet file or a node's answer (such as a redirect) makes it send.
    allowed = tuple(calls)
    http_calls = tuple(call for call in allowed if isinstance(call, ReadingCall))
    requests = tuple(call for call in allowed if isinstance(call, ReadingRequest))
    return transports.wrap(
        http=lambda http: _ReadingHttp(http, http_calls),
        commands=_ReadingCommands,
        mailbox=_ReadingMailbox,
        files=_ReadingFiles,
        streams=lambda streams: _ReadingStreams(streams, requests),
    )


class _ReadingHttp(Http):
    def __init__(self, http: Http, calls: tuple[ReadingCall, ...]) -> None:
        self._http = http
        self._calls = calls

    async def send(
        self,
        method: str,
        url: str,
        *,
        node: str,
        timeout: float,  # noqa: ASYNC109  (handed on)
        connect: float = 0.0,
        headers: Mapping[str, str] = MappingProxyType({}),
        content: bytes = b"",
    ) -> HttpAnswer:
        if content or not any(call.allows(method, url, headers) for call in self._calls):
            raise WriteRefused(f"{node}: {method} {url} is not a documented reading call; nothing was sent")
        return await self._http.send(
            method, url, node=node, timeout=timeout, connect=connect, headers=headers, content=content
        )

    async def resolve(self, host: str) -> tuple[str, ...]:
        return await self._http.resolve(host)

    def local_address(self, url: str) -> str:
        return self._http.local_address(url)


class _ReadingCommands(Commands):
    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def run(self, command: str, values: Mapping[str, str], *, node: str) -> str:  # noqa: ARG002
        raise WriteRefused(f"{node}: only reading is allowed here; the command {command} was not run")

    async def read(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        # The transport itself runs only what the host configuration marks as reading.
        return await self._commands.read(command, values, node=node)


class _ReadingMailbox(Mailbox):
    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def offer(self, draft: OfferDraft) -> str:
        raise WriteRefused(f"{draft.node}: an offer is not a reading call; nothing was offered")

    async def read_mail(self, cluster: str, node: str) -> NodeMail:
        return await self._mailbox.read_mail(cluster, node)


class _ReadingFiles(Files):
    def __init__(self, files: Files) -> None:
        self._files = files

    async def read(self, place: FilePlace) -> FileState:
        return await self._files.read(place)

    async def stage(self, place: FilePlace, content: bytes) -> str:  # noqa: ARG002
        raise _refuse_writing(place)

    async def switch(self, place: FilePlace, *, before: str, after: str) -> str:  # noqa: ARG002
        raise _refuse_writing(place)

    async def restore(self, place: FilePlace, *, before: str, after: str) -> str:  # noqa: ARG002
        raise _refuse_writing(place)

    async def discard(self, place: FilePlace) -> str:
        raise _refuse_writing(place)


class _ReadingStreams(Streams):
    def __init__(self, streams: Streams, requests: tuple[ReadingRequest, ...]) -> None:
        self._streams = streams
        self._requests = requests

    async def ask(
        self,
        address: SocketAddress,
        request: bytes,
        *,
        is_complete: Callable[[bytes], bool],
        node: str,
        timeout: float,  # noqa: ASYNC109  (handed on)
        limit: int,
    ) -> bytes:
        # The request itself is not quoted: it may have a password.
        if not any(one.is_reading(request) for one in self._requests):
            raise WriteRefused(f"{node}: the request is not a documented reading one; nothing was sent")
        return await self._streams.ask(
            address, request, is_complete=is_complete, node=node, timeout=timeout, limit=limit
        )

    async def send(
        self,
        address: SocketAddress,  # noqa: ARG002
        request: bytes,  # noqa: ARG002
        *,
        is_complete: Callable[[bytes], bool],  # noqa: ARG002
        node: str,
        timeout: float,  # noqa: ARG002, ASYNC109
        limit: int,  # noqa: ARG002
    ) -> bytes:
        raise WriteRefused(f"{node}: only reading is allowed here; the request was not sent")


def _refuse_writing(place: FilePlace) -> WriteRefused:
    return WriteRefused(f"{place.node}: only reading is allowed here; the file {place.entry} was not changed")
