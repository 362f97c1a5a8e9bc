"""Transports that are restricted to reading calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

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
    Transports,
)


def restrict_to_reading(transports: Transports, calls: Iterable[ReadingCall]) -> Transports:
    """The same transports, limited to reading: of HTTP, to calls that a product's documents describe."""
    # A list of what is allowed, not of what is forbidden: code that gets these transports cannot change a
    # node, whatever a driver's mistake, a fleet file or a node's answer (such as a redirect) makes it send.
    allowed = tuple(calls)
    return transports.wrap(
        http=lambda http: _ReadingHttp(http, allowed),
        commands=_ReadingCommands,
        mailbox=_ReadingMailbox,
        files=_ReadingFiles,
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


def _refuse_writing(place: FilePlace) -> WriteRefused:
    return WriteRefused(f"{place.node}: only reading is allowed here; the file {place.entry} was not changed")
