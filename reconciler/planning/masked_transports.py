"""Transports that mask secrets in the texts that are quoted from nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import TracebackType

from reconciler.core.endpoint import SocketAddress
from reconciler.core.file_state import FilePlace, FileState
from reconciler.errors import NodeError
from reconciler.ports.transport import (
    Commands,
    Files,
    Http,
    HttpAnswer,
    Mailbox,
    NodeMail,
    OfferDraft,
    Streams,
    TextRedactor,
    Transports,
)
from reconciler.ports.wrapped_transports import WrappedHttp, WrappedStreams


def mask_transports(transports: Transports, redactor: TextRedactor) -> Transports:
    """The same transports, whose errors and quoted texts contain no secret that the redactor knows.

    The answers themselves stay as they are, because they are compared. It can be applied several times.
    """
    # All secrets of the fleet, for every node: whoever controls one node could otherwise make it repeat what
    # other nodes were sent, and read it in a message or a log of this program.
    return transports.wrap(
        http=lambda http: _MaskingHttp(http, redactor),
        commands=lambda commands: _MaskingCommands(commands, redactor),
        mailbox=lambda mailbox: _MaskingMailbox(mailbox, redactor),
        files=lambda files: _MaskingFiles(files, redactor),
        streams=lambda streams: _MaskingStreams(streams, redactor),
    )


class _ErrorMask:
    """Masks the reason of an error of a node that leaves the context."""

    # A class, since every call to a node passes here, and a generator for each takes longer than the rest.

    def __init__(self, redactor: TextRedactor) -> None:
        self._redactor = redactor

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, NodeError):
            error.reword(self._redactor.redact_text(error.reason))


class _MaskingHttp(WrappedHttp):
    def __init__(self, http: Http, redactor: TextRedactor) -> None:
        super().__init__(http)
        self._redactor = redactor

    async def call(
        self,
        method: str,  # noqa: ARG002
        url: str,  # noqa: ARG002
        node: str,  # noqa: ARG002
        send: Callable[[Http], Awaitable[HttpAnswer]],
    ) -> HttpAnswer:
        with _ErrorMask(self._redactor):
            answer = await send(self._http)
        return answer.masked_by(self._redactor)


class _MaskingCommands(Commands):
    def __init__(self, commands: Commands, redactor: TextRedactor) -> None:
        self._commands = commands
        self._redactor = redactor

    async def run(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        with _ErrorMask(self._redactor):
            return self._redactor.redact_text(await self._commands.run(command, values, node=node))

    async def read(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        # The output itself is data, which is compared: only an error is masked.
        with _ErrorMask(self._redactor):
            return await self._commands.read(command, values, node=node)


class _MaskingMailbox(Mailbox):
    def __init__(self, mailbox: Mailbox, redactor: TextRedactor) -> None:
        self._mailbox = mailbox
        self._redactor = redactor

    async def offer(self, draft: OfferDraft) -> str:
        with _ErrorMask(self._redactor):
            return self._redactor.redact_text(await self._mailbox.offer(draft))

    async def read_mail(self, cluster: str, node: str) -> NodeMail:
        with _ErrorMask(self._redactor):
            mail = await self._mailbox.read_mail(cluster, node)
        return replace(mail, redactors=(*mail.redactors, self._redactor))


class _MaskingFiles(Files):
    def __init__(self, files: Files, redactor: TextRedactor) -> None:
        self._files = files
        self._redactor = redactor

    async def read(self, place: FilePlace) -> FileState:
        # The content itself is data, which is compared: only an error is masked.
        with _ErrorMask(self._redactor):
            return await self._files.read(place)

    async def stage(self, place: FilePlace, content: bytes) -> str:
        with _ErrorMask(self._redactor):
            return self._redactor.redact_text(await self._files.stage(place, content))

    async def switch(self, place: FilePlace, *, before: str, after: str) -> str:
        with _ErrorMask(self._redactor):
            return self._redactor.redact_text(await self._files.switch(place, before=before, after=after))

    async def restore(self, place: FilePlace, *, before: str, after: str) -> str:
        with _ErrorMask(self._redactor):
            return self._redactor.redact_text(await self._files.restore(place, before=before, after=after))

    async def discard(self, place: FilePlace) -> str:
        with _ErrorMask(self._redactor):
            return self._redactor.redact_text(await self._files.discard(place))


class _MaskingStreams(WrappedStreams):
    def __init__(self, streams: Streams, redactor: TextRedactor) -> None:
        super().__init__(streams)
        self._redactor = redactor

    async def call(
        self,
        name: str,  # noqa: ARG002
        address: SocketAddress,  # noqa: ARG002
        node: str,  # noqa: ARG002
        exchange: Callable[[Streams], Awaitable[bytes]],
    ) -> bytes:
        # The answer itself is data, which a codec of the product reads: only an error is masked.
        with _ErrorMask(self._redactor):
            return await exchange(self._streams)
