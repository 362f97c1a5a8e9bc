"""What the host asks of any product's simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from reconciler.core.endpoint import url_host

Reply: TypeAlias = tuple[int, Mapping[str, str], bytes]
"""Status, headers and body of an answer; status 0: the connection is closed without one."""


class Address(NamedTuple):
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{url_host(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as every product's simulator may want it.

    Args:
        target: path and query as they stand in the request line.
        headers: names in lower case.
        peer: the caller's IP address.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    peer: str


class World(Protocol):
    """The nodes of one simulated cluster, of any product."""

    def kill(self, node: str) -> None:
        """The node goes down."""

    def start(self, node: str) -> None:
        """The node comes up."""


@runtime_checkable
class Joined(Protocol):
    """A world whose nodes form a cluster, so that something can happen between them."""

    def isolate(self, node: str) -> None:
        """The other nodes do not reach it any more, nor it them."""

    def rejoin(self, node: str) -> None:
        """It reaches the other nodes again."""

    def half_register(self, times: int = 1) -> None:
        """The next registrations fail halfway."""


class Served(Protocol):
    """How the host asks a product's world."""

    @property
    def world(self) -> World:
        """The product's own world."""

    @property
    def addresses(self) -> Mapping[str, Address]:
        """Node name -> where it listens."""

    def answer(self, node: str, request: Request) -> Reply:
        """What the node answers, and the change it makes."""

    def asked(self, request: Request) -> str:
        """What the request asks for, in a word or two."""

    def changes(self, request: Request) -> bool:
        """Whether the request may change something."""

    def refusal(self) -> Reply:
        """How a node of this product says no to a change."""

    def moved(self, node: str) -> int | None:
        """The port the node listens on from its last restart on, where it is another one."""
