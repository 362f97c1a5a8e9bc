"""The ways to a node, one protocol each, and the one bundle of them that a product is given.

A product names the ways that it needs; everything that travels between this host and a node goes through
the bundle, so that whoever wraps it (reading only, counting, a trial) has wrapped all of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Protocol
from urllib.parse import urlsplit

from reconciler.errors import MissingTransport
from reconciler.text.one_line import make_one_line


class TransportKind(StrEnum):
    """A way to a node."""

    HTTP = "http"
    """Requests to an address, each with its answer."""

    COMMAND = "command"
    """Commands that the host's configuration names."""

    MAILBOX = "mailbox"
    """Nodes that ask by themselves: what is left for them is an offer, what they show is the last report."""


_ROOM: Final = 8
"""How many times as many bytes of a body are looked at as characters are quoted: white space collapses."""


class TextRedactor(Protocol):
    """Masks secrets in a text that somebody else wrote."""

    def text(self, text: str) -> str:
        """The text as it may be shown or written down."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole HTTP answer, header names in lower case.

    Its body is data for parsers. Words of it reach people by `quote` and `redact` alone, which mask before
    anything is cut: behind a cut nobody recognises a secret any more.

    Args:
        redactors: mask what is quoted, one after the other; each layer of transports adds what it knows.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    redactors: tuple[TextRedactor, ...] = field(default=(), repr=False, compare=False)

    def quote(self, longest: int) -> str:
        """The first words of the body on one line of at most `longest` characters, secrets masked."""
        return self.redact(self.body[: _ROOM * longest].decode("utf-8", "replace"), longest)

    def redact(self, text: str, longest: int) -> str:
        """A text that was read from the body, or from a header, on one line, secrets masked.

        Args:
            text: what was read.
            longest: characters of the result.
        """
        text = text[: _ROOM * longest]
        for redactor in self.redactors:
            text = redactor.text(text)
        return make_one_line(text, longest)


class Http(ABC):
    """HTTP with bounds on time and size."""

    is_there: bool = True
    """Whether this host has the way."""

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
        """One request and its whole answer, whatever its status.

        Args:
            method: the HTTP verb.
            url: absolute, http or https.
            node: the name to put in errors.
            timeout: seconds for all of it.
            connect: seconds for the connection alone, within `timeout`; 0 for no bound of its own.
            headers: beyond what the transport adds.
            content: the request's body.

        Raises:
            NodeUnreachable: no answer, or not a whole one; `NodeUnidentified` where it is not HTTP.
        """

    async def resolve(self, host: str) -> tuple[str, ...]:
        """The addresses of a name, sorted, the same that calls go to; none where it does not resolve."""
        return ()

    def local_address(self, url: str) -> str:
        """The address of this host that faces a URL; empty where that is not known. Nothing is sent."""
        return ""


class Commands(ABC):
    """Commands on this host: the product gives a name and data, the host says what is run."""

    is_there: bool = True
    """Whether this host has the way."""

    @abstractmethod
    async def run(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        """Run a command that this host's configuration names; what comes back are its last words.

        Args:
            command: its name there.
            values: placeholder -> text; data, never an option and never split.
            node: the name to put in errors.

        Raises:
            NodeRefused: there is no such command, or it failed.
            NodeUnreachable: it did not end in time; whether it had an effect is not known.
        """

    @abstractmethod
    async def read(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        """Run a command that only reads, and give all that it wrote to its standard output.

        Args:
            command: its name; a `ReadingCommand` of the product.
            values: as of `run`.
            node: the name to put in errors.

        Raises:
            NodeRefused: there is no such command.
            NodeUnreachable: it failed, did not end in time, or wrote more than is read.
        """


@dataclass(frozen=True, slots=True)
class MailReport:
    """What a node last sent by itself.

    Args:
        body: as it came.
        age: seconds since it came, by this host's clock.
    """

    body: bytes
    age: float


class Mailbox(ABC):
    """A place where things lie for nodes that cannot be called, and where their reports are kept."""

    is_there: bool = True
    """Whether this host has the way."""

    @abstractmethod
    async def offer(self, node: str, body: bytes, *, seconds: float) -> str:
        """Leave something for a node to take when it next asks; what comes back is for the journal.

        An offer takes the place of an earlier one for the same node. The answer only says that it lies
        there: whether the node took it is read from its reports.

        Args:
            node: its name.
            body: what it is to take.
            seconds: after which the offer is gone, taken or not.

        Raises:
            NodeUnreachable: the mailbox did not answer; whether the offer lies there is not known.
        """

    @abstractmethod
    async def report(self, node: str) -> MailReport | None:
        """The last thing that the node sent; None where it never sent anything.

        Raises:
            NodeUnreachable: the mailbox did not answer.
        """


class _NoHttp(Http):
    is_there = False

    async def send(self, method: str, url: str, *, node: str, **_: object) -> HttpAnswer:
        """Never possible."""
        raise MissingTransport(node, TransportKind.HTTP)


class _NoCommands(Commands):
    is_there = False

    async def run(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        """Never possible."""
        raise MissingTransport(node, TransportKind.COMMAND)

    async def read(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        """Never possible."""
        raise MissingTransport(node, TransportKind.COMMAND)


class _NoMailbox(Mailbox):
    is_there = False

    async def offer(self, node: str, body: bytes, *, seconds: float) -> str:
        """Never possible."""
        raise MissingTransport(node, TransportKind.MAILBOX)

    async def report(self, node: str) -> MailReport | None:
        """Never possible."""
        raise MissingTransport(node, TransportKind.MAILBOX)


_NO_HTTP: Final = _NoHttp()
_NO_COMMANDS: Final = _NoCommands()
_NO_MAILBOX: Final = _NoMailbox()


@dataclass(frozen=True, slots=True)
class Transports:
    """The ways that this host has to nodes; one that it lacks raises `MissingTransport` when used."""

    http: Http = _NO_HTTP
    commands: Commands = _NO_COMMANDS
    mailbox: Mailbox = _NO_MAILBOX

    def refuse_missing(self, needed: Iterable[TransportKind], subject: str) -> None:
        """Nothing, where every way that is needed is there.

        Args:
            needed: by a product.
            subject: the cluster of that product, for the message.

        Raises:
            MissingTransport: this host lacks one.
        """
        there = {
            TransportKind.HTTP: self.http.is_there,
            TransportKind.COMMAND: self.commands.is_there,
            TransportKind.MAILBOX: self.mailbox.is_there,
        }
        for way in sorted(needed):
            if not there[way]:
                raise MissingTransport(subject, way)

    def wrapped(
        self,
        *,
        http: Callable[[Http], Http],
        commands: Callable[[Commands], Commands],
        mailbox: Callable[[Mailbox], Mailbox],
    ) -> Transports:
        """Every way that is there, wrapped; each must be named, so that none can be forgotten."""
        return Transports(
            http=http(self.http) if self.http.is_there else self.http,
            commands=commands(self.commands) if self.commands.is_there else self.commands,
            mailbox=mailbox(self.mailbox) if self.mailbox.is_there else self.mailbox,
        )


@dataclass(frozen=True, slots=True)
class ReadingCall:
    """A call of a product that only reads, by the product's documents.

    Args:
        method: the HTTP verb.
        path: of the URL, without a query; None where the product's API has one URL for all calls.
        header: name in lower case and value of the header that tells the calls apart; empty where none does.
    """

    method: str
    path: str | None = None
    header: tuple[str, str] | None = None

    def allows(self, method: str, url: str, headers: Mapping[str, str]) -> bool:
        """Whether a request is exactly this call."""
        parts = urlsplit(url)
        if method != self.method or parts.query or parts.fragment or "@" in parts.netloc:
            return False
        if self.path is not None and parts.path != self.path:
            return False
        if self.header is None:
            return True
        name, value = self.header
        told = [text for key, text in headers.items() if key.lower() == name]
        return told == [value]


@dataclass(frozen=True, slots=True)
class ReadingCommand:
    """A command of the host that only reads a product's nodes: so its name says, and the host holds to it."""

    name: str
