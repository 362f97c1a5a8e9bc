"""The ways to a node: what carries a call there and its answer back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer, header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire(Protocol):
    """The one way to a node: HTTP with bounds on time and size."""

    async def send(
        self,
        method: str,
        url: str,
        *,
        node: str,
        timeout: float,  # noqa: ASYNC109  (a bound on one call, enforced by the transport)
        connect: float = ...,
        headers: Mapping[str, str] = ...,
        content: bytes = ...,
    ) -> Answer:
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


@runtime_checkable
class Resolves(Protocol):
    """What a wire also has that knows what host names mean."""

    async def resolve(self, host: str) -> tuple[str, ...]:
        """The addresses of a name, sorted, the same that calls go to; none where it does not resolve."""


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
