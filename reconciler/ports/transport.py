"""The transports to nodes, one protocol each, and the bundle of them that a driver gets.

A driver names the transports that it needs. All traffic between this host and a node goes through the bundle,
so that a wrapper of the bundle (for reading only, counting, trials) covers all of it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NoReturn, Protocol, TypeAlias

from reconciler.core.bus_channels import BusChannel
from reconciler.core.endpoint import SocketAddress
from reconciler.core.file_state import FilePlace, FileState
from reconciler.core.offers import Offer, OfferFeed
from reconciler.errors import MissingTransport, NodeRefused
from reconciler.text.one_line import make_one_line


class TransportKind(StrEnum):
    """A kind of transport."""

    HTTP = "http"
    """Requests to an address, with answers."""

    COMMAND = "command"
    """Commands of the host configuration."""

    FILE = "file"
    """Files of the host configuration."""

    MAILBOX = "mailbox"
    """For nodes that poll: writing is an offer, reading gives the last report."""

    STREAM = "stream"
    """Exchanges over TCP in another protocol than HTTP, which the product speaks itself."""


_ROOM: Final = 8
"""Bytes read of a body for each quoted character, because white space collapses."""


class TextRedactor(Protocol):
    """Masks secrets in a foreign text."""

    def redact_text(self, text: str) -> str:
        """The text with secrets masked."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A complete HTTP answer; header names in lower case.

    The body is for parsers. Messages quote it only with `quote` and `redact`, which mask secrets.

    Args:
        redactors: applied in order to quoted text; each layer of transports adds its own.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    redactors: tuple[TextRedactor, ...] = field(default=(), repr=False, compare=False)

    def masked_by(self, redactor: TextRedactor) -> HttpAnswer:
        """The same answer, whose quoted text one more redactor masks."""
        return HttpAnswer(self.status, self.headers, self.body, (*self.redactors, redactor))

    def quote(self, longest: int) -> str:
        """The beginning of the body on one line of at most `longest` characters, masked."""
        return self.redact(self.body[: _ROOM * longest].decode("utf-8", "replace"), longest)

    def redact(self, text: str, longest: int) -> str:
        """A text of the body or of a header on one line, masked.

        Args:
            text: to show.
            longest: most characters of the result.
        """
        return _redact_text(text, longest, self.redactors)


def _redact_text(text: str, longest: int, redactors: Iterable[TextRedactor]) -> str:
    text = text[: _ROOM * longest]
    # Mask before shortening: a cut secret is not recognised any more.
    for redactor in redactors:
        text = redactor.redact_text(text)
    return make_one_line(text, longest)


class Transport:
    """What every transport has."""

    is_available: bool = True
    """Whether this host has it."""


class Http(Transport, ABC):
    """HTTP with limits of time and size."""

    @abstractmethod
    async def send(
        self,
        method: str,
        url: str,
        *,
        node: str,
        timeout: float,  # noqa: ASYNC109  (a bound on one call, enforced by the transport)
        connect: float = 0.0,
        headers: Mapping[str, str] = MappingProxyType({}),
        content: bytes = b"",
    ) -> HttpAnswer:
        """Send a request and give its complete answer, whatever its status.

        A GET with the header `Upgrade` asks for another protocol. The answer 101 is then complete with its
        headers: nothing of the other protocol is read, and the connection ends.

        Args:
            method: the HTTP verb.
            url: absolute, http or https.
            node: the name for errors.
            timeout: seconds for the whole call.
            connect: seconds for the connection, within `timeout`; 0 for no limit of its own.
            headers: in addition to those of the transport.
            content: the body of the request.

        Raises:
            NodeUnreachable: no answer, an incomplete one, or one above the size limit.
            NodeUnidentified: the server speaks no HTTP or TLS, or its certificate is not valid for the host.
        """

    async def resolve(self, host: str) -> tuple[str, ...]:
        """The sorted addresses of a name, the same that calls use; empty if it does not resolve."""
        return ()

    def local_address(self, url: str) -> str:
        """The address of this host on the route to a URL; empty if unknown. Sends nothing."""
        return ""

    def through(self, way: str, *, authority: str = "") -> Http:
        """The same HTTP, whose connections go through a machine; TLS still ends at the node.

        Args:
            way: entry of `ssh` of the host configuration; empty for direct connections.
            authority: entry of `authorities`, whose certificates alone are trusted; empty for the system's.
        """
        raise TypeError(f"these calls cannot go through `ssh.{way}`: their transport makes no connections")


class Commands(Transport, ABC):
    """Commands on this host: the driver gives a name and data, the host configuration defines the command."""

    @abstractmethod
    async def run(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        """Run a command of the host configuration; gives the end of its output.

        Args:
            command: its name.
            values: placeholder -> text; never an option and never split.
            node: the name for errors.

        Raises:
            NodeRefused: unknown command, it cannot be started, or its status is not 0.
            NodeUnreachable: it did not end in time; its effect is unknown.
        """

    @abstractmethod
    async def read(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        """Run a command that only reads, as the host configuration says; gives its standard output.

        Args:
            command: its name.
            values: as for `run`.
            node: the name for errors.

        Raises:
            NodeRefused: unknown command, one that may do more than read, or it cannot be started.
            NodeUnreachable: it failed, did not end in time, or wrote too much.
        """


FILE_CODE: Final = "FILE"
"""The code of every refusal about a file."""


def refuse_file(place: FilePlace, why: str, *, remedy: str = "", again: bool = True) -> NodeRefused:
    """The refusal of a call about a file.

    Args:
        place: the file.
        why: to follow "the file NAME".
        remedy: what to do about it.
        again: whether it is worth a retry: the content itself was not refused.
    """
    words = f"the file {place.entry} {why}"
    return NodeRefused(place.node, words, status=0, code=FILE_CODE, remedy=remedy, again=again)


class Files(Transport, ABC):
    """Files on this host or on nodes: the driver gives a name and content, the host configuration the path.

    A new content is first staged: written aside and checked. A switch then puts it in place in one moment,
    and leaves the former content as a backup. The file itself is whole at every moment, and every call that
    was not answered is settled by a reading. The digests are those of `FileState`.
    """

    @abstractmethod
    async def read(self, place: FilePlace) -> FileState:
        """What a file is now.

        Raises:
            NodeRefused: the host has no such entry, or the file is of a kind that is never read or written.
            NodeUnauthorized: this host has no permission.
            NodeUnreachable: it could not be read to its end.
        """

    @abstractmethod
    async def stage(self, place: FilePlace, content: bytes) -> str:
        """Write a content aside and run the check of the entry on it; gives a text for the journal.

        Owner, mode and access rights are those of the current file. What was staged before is replaced.

        Raises:
            NodeRefused: the check refused the content, or it cannot be written; nothing is staged.
            NodeUnauthorized: this host has no permission.
            NodeUnreachable: it did not end; whether the content is staged is unknown.
        """

    @abstractmethod
    async def switch(self, place: FilePlace, *, before: str, after: str) -> str:
        """Put the staged content in the place of the file; gives a text for the journal.

        Args:
            place: the file.
            before: digest that the file must have; it becomes the backup.
            after: digest that the staged content must have.

        Raises:
            NodeRefused: one of the two digests is another one, or the file cannot be replaced.
            NodeUnauthorized: this host has no permission.
            NodeUnreachable: it did not end; whether the file was replaced is unknown.
        """

    @abstractmethod
    async def restore(self, place: FilePlace, *, before: str, after: str) -> str:
        """Take a switch back: the backup becomes the file again; gives a text for the journal.

        Args:
            place: the file.
            before: digest that the file must have.
            after: digest that the backup must have; `NO_FILE` to remove a file that was not there before.

        Raises:
            NodeRefused: one of the two digests is another one, or the file cannot be replaced.
            NodeUnauthorized: this host has no permission.
            NodeUnreachable: it did not end; whether the file was replaced is unknown.
        """

    @abstractmethod
    async def discard(self, place: FilePlace) -> str:
        """Remove what is staged or left over, not the backup; gives a text for the journal.

        Raises:
            NodeRefused: it cannot be removed.
            NodeUnauthorized: this host has no permission.
            NodeUnreachable: it did not end; whether something is left is unknown.
        """


class OtherProtocol(Exception):
    """What came is not the protocol that was expected; the text says why, to follow "its answer "."""


class Streams(Transport, ABC):
    """Exchanges over TCP: one request and its answer, on a connection of its own, within time and size.

    What the bytes mean is the product's matter. Nothing is ever sent twice.
    """

    @abstractmethod
    async def ask(
        self,
        address: SocketAddress,
        request: bytes,
        *,
        is_complete: Callable[[bytes], bool],
        node: str,
        timeout: float,  # noqa: ASYNC109  (a bound on one call, enforced by the transport)
        limit: int,
    ) -> bytes:
        """Send a request that only reads, as the product's documents say; gives the bytes of its answer.

        Args:
            address: host and port.
            request: in full.
            is_complete: gets each part of the answer once, in order, and tells whether that was the last one;
                raises `OtherProtocol` if the answer is of another kind.
            node: the name for errors.
            timeout: seconds for the whole call.
            limit: bytes of the answer.

        Raises:
            NodeUnreachable: no answer, an incomplete one, or one above the limit.
            NodeUnidentified: the answer is of another protocol.
        """

    @abstractmethod
    async def send(
        self,
        address: SocketAddress,
        request: bytes,
        *,
        is_complete: Callable[[bytes], bool],
        node: str,
        timeout: float,  # noqa: ASYNC109  (a bound on one call, enforced by the transport)
        limit: int,
    ) -> bytes:
        """The same as `ask`, for a request that may change the node.

        If it fails after it was sent, its effect is unknown.
        """

    def through(self, way: str) -> Streams:
        """The same, whose connections go through a machine.

        Args:
            way: entry of `ssh` of the host configuration.
        """
        raise TypeError(f"these calls cannot go through `ssh.{way}`: their transport makes no connections")


@dataclass(frozen=True, slots=True)
class MailItem:
    """One thing that a node sent.

    Args:
        body: as received.
        age: seconds since its arrival, by this host's clock; below zero if that was set back since.
    """

    body: bytes
    age: float


@dataclass(frozen=True, slots=True)
class OfferedContent:
    """An offer with its contents.

    Args:
        parts: its contents; empty if this host cannot decrypt them any more.
        is_label_unique: whether, at this node, this program gave the offer's label to this content and to no
            other one; false for an empty label.
        former: `OfferDraft.former`.
        taken_age: seconds since it was served first; None if it was not.
        report: the newest report about this very offer, without the setting; a later one about nothing, such
            as that of a restart, does not replace it. None if there is none.
    """

    offer: Offer
    parts: tuple[bytes, ...]
    is_label_unique: bool
    former: tuple[bytes, ...] = ()
    taken_age: float | None = None
    report: MailItem | None = None


@dataclass(frozen=True, slots=True)
class NodeLabel:
    """The version that a node's polls show.

    Args:
        age: seconds since the newest poll that showed it.
        other_age: seconds since the newest poll that showed another one; None if none did.
    """

    text: str
    age: float
    other_age: float | None = None


@dataclass(frozen=True, slots=True)
class NodeMail:
    """All that is known of a node that polls.

    Args:
        items: kind of report, by the product's name -> the newest one, without the setting in it.
        offers: the newest offer of settings and the newest one that it took, newest first.
        heard: seconds since its last call of any kind; None if it never called.
        label: by its polls alone, since a report may name a version of another kind; None if none had one.
        content: the newest setting that a report had; a later report without one does not remove it.
        redactors: applied in order to text of the node that is quoted; each layer of transports adds its own.
    """

    items: Mapping[str, MailItem] = field(default_factory=dict)
    offers: tuple[OfferedContent, ...] = ()
    heard: float | None = None
    label: NodeLabel | None = None
    content: MailItem | None = None
    redactors: tuple[TextRedactor, ...] = field(default=(), repr=False, compare=False)

    def redact(self, text: str, longest: int) -> str:
        """A text of the node on one line of at most `longest` characters, masked."""
        return _redact_text(text, longest, self.redactors)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferDraft:
    """Content to offer to a node at its next poll.

    Args:
        step: id of the step.
        parts: its contents; parts that many nodes share are stored once.
        label: the version that shows this content; empty if it has no stamp of this program.
        content: fingerprint of the content that the label stands for; secrets count, so that it must not be
            stored without a key.
        period: seconds between two polls of the node, over which the offers of a run are spread.
        seconds: lifetime of the offer.
        despite: codes of the holds on changes that were set aside for it.
        former: what the node had before, in the same form as `parts`, so that a later pass can offer it again
            (`Driver.undo_offer`); empty if it is not known.
        channel: of a message bus, on which the node listens now; None for a node that polls.
    """

    cluster: str
    node: str
    feed: OfferFeed
    step: str
    parts: tuple[bytes, ...]
    label: str = ""
    content: str = ""
    period: float = 0.0
    seconds: float
    despite: frozenset[str] = frozenset()
    former: tuple[bytes, ...] = ()
    channel: BusChannel | None = None


class Mailbox(Transport, ABC):
    """Offers for nodes that poll, and what they sent."""

    @abstractmethod
    async def offer(self, draft: OfferDraft) -> str:
        """Store an offer for the next poll of a node; gives a text for the journal.

        It replaces an earlier offer of the same feed for the same node, unless the node has taken that.
        Only the node's reports show whether it took the offer.

        Raises:
            NodeUnreachable: the mailbox did not answer; whether the offer is stored is unknown.
        """

    @abstractmethod
    async def read_mail(self, cluster: str, node: str) -> NodeMail:
        """What is known of a node.

        Raises:
            NodeUnreachable: the mailbox did not answer.
        """


class _Missing(Http, Commands, Mailbox):
    """A transport that this host does not have; every call raises `MissingTransport`."""

    is_available = False

    def __init__(self, kind: TransportKind) -> None:
        self._kind = kind

    async def _refuse(self, *args: Any, **options: Any) -> NoReturn:
        raise MissingTransport(options.get("node") or getattr(args[-1], "node", args[-1]), self._kind)

    send = run = read = offer = read_mail = _refuse


class _MissingFiles(Files):
    """Files that this host does not reach; every call raises `MissingTransport`."""

    is_available = False

    async def _refuse(self, place: FilePlace, *_: Any, **__: Any) -> NoReturn:
        raise MissingTransport(place.node, TransportKind.FILE)

    read = stage = switch = restore = discard = _refuse


class _MissingStreams(Streams):
    """Streams that this host does not have; every call raises `MissingTransport`."""

    is_available = False

    async def _refuse(self, *_: Any, node: str, **__: Any) -> NoReturn:
        raise MissingTransport(node, TransportKind.STREAM)

    ask = send = _refuse


@dataclass(frozen=True, slots=True)
class Transports:
    """The transports of this host; a missing one raises `MissingTransport` when used."""

    http: Http = field(default_factory=partial(_Missing, TransportKind.HTTP))
    commands: Commands = field(default_factory=partial(_Missing, TransportKind.COMMAND))
    mailbox: Mailbox = field(default_factory=partial(_Missing, TransportKind.MAILBOX))
    files: Files = field(default_factory=_MissingFiles)
    streams: Streams = field(default_factory=_MissingStreams)

    def refuse_missing(self, needed: Iterable[TransportKind], subject: str) -> None:
        """Check that every needed transport is there.

        Args:
            needed: by a driver.
            subject: the cluster of that product, for the message.

        Raises:
            MissingTransport: this host lacks one.
        """
        ways: dict[TransportKind, Transport] = {
            TransportKind.HTTP: self.http,
            TransportKind.COMMAND: self.commands,
            TransportKind.MAILBOX: self.mailbox,
            TransportKind.FILE: self.files,
            TransportKind.STREAM: self.streams,
        }
        for kind in sorted(needed):
            if not ways[kind].is_available:
                raise MissingTransport(subject, kind)

    def wrap(
        self,
        *,
        http: Callable[[Http], Http],
        commands: Callable[[Commands], Commands],
        mailbox: Callable[[Mailbox], Mailbox],
        files: Callable[[Files], Files],
        streams: Callable[[Streams], Streams],
    ) -> Transports:
        """Every available transport, wrapped; each kind is a required argument: none can be forgotten."""
        return Transports(
            http=http(self.http) if self.http.is_available else self.http,
            commands=commands(self.commands) if self.commands.is_available else self.commands,
            mailbox=mailbox(self.mailbox) if self.mailbox.is_available else self.mailbox,
            files=files(self.files) if self.files.is_available else self.files,
            streams=streams(self.streams) if self.streams.is_available else self.streams,
        )


@dataclass(frozen=True, slots=True)
class ReadingCall:
    """A call that only reads, according to the product's documents.

    Args:
        method: the HTTP verb.
        path: of the URL, without a query; None if the API has one URL for all calls. `{}` at its end stands
            for one name: a segment without a slash, a dot at its start, or characters in percent form.
        header: name in lower case and value of the header that distinguishes the calls; None without one.
        query: of the URL, which has to be exactly this one.
    """

    method: str
    path: str | None = None
    header: tuple[str, str] | None = None
    query: str = ""

    def allows(self, method: str, url: str, headers: Mapping[str, str]) -> bool:
        """Whether a request is exactly this call."""
        # An exact match: a query, a fragment or a second header could turn a reading call into another one.
        parts = _URL.fullmatch(url)
        if parts is None or method != self.method or (parts["query"] or "") != self.query:
            return False
        if self.path is not None and not _is_path(parts["path"], self.path):
            return False
        if self.header is None:
            return True
        name, value = self.header
        # Exactly one: with two, a node could read another one than this check.
        values = [text for key, text in headers.items() if key.lower() == name]
        return values == [value]


# Neither a user, nor a fragment, nor a blank or control character, which some parsers remove.
_URL: Final = re.compile(
    r"https?://[^/?#@\\\x00-\x20\x7f]+(?P<path>[^?#\x00-\x20\x7f]*)(?:\?(?P<query>[^#\x00-\x20\x7f]*))?"
)
_ONE_NAME: Final = "{}"
_SEGMENT: Final = re.compile(r"[0-9A-Za-z_@\-][0-9A-Za-z._@\-]*")


def _is_path(path: str, pattern: str) -> bool:
    if not pattern.endswith(_ONE_NAME):
        return path == pattern
    before = pattern.removesuffix(_ONE_NAME)
    return path.startswith(before) and _SEGMENT.fullmatch(path[len(before) :]) is not None


@dataclass(frozen=True, slots=True)
class ReadingRequest:
    """Requests of a stream that only read, according to the product's documents.

    Args:
        is_reading: whether a whole request, as it would be sent, does nothing but read.
    """

    is_reading: Callable[[bytes], bool]


ReadingRule: TypeAlias = ReadingCall | ReadingRequest
"""One kind of request that only reads."""
