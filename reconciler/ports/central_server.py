"""The port of a product's central server: what its nodes poll for, and what they report; pure.

`reconcile watch` mounts it below a path of each node, `/{token}/`, so that the path alone shows which node
calls. The product reads requests and makes answers; the server knows which node it is, decides with
`core.offers.decide_poll`, and stores what was observed before it answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from reconciler.core.offers import Offer, OfferFeed
from reconciler.ports.transport import NodeMail


class RouteKind(StrEnum):
    """What a node calls a route for."""

    POLL = "poll"
    """To ask for an offer; answered by `answer_poll`, or with 304 or 503."""

    DOWNLOAD = "download"
    """To fetch the content of an offer that it was given."""

    REPORT = "report"
    """To report; answered with 204 once the report is stored."""


@dataclass(frozen=True, slots=True)
class NodeRoute:
    """One route below a node's path.

    Args:
        path: one segment, such as `setting`; the whole path is `/{token}/{path}`, and of a download
            `/{token}/{path}/{offer id}` with the suffix.
        methods: besides HEAD, which goes with GET.
        suffix: of a download, such as `.tgz`.
    """

    path: str
    kind: RouteKind
    methods: tuple[str, ...]
    feed: OfferFeed | None = None
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class InboundRequest:
    """A request of a node.

    Args:
        headers: names in lower case; a header that came twice is refused before.
        base: URL of the node's path as the node called it, without a slash at the end.
        at: time of the request, by this host's clock.
    """

    method: str
    route: NodeRoute
    headers: Mapping[str, str]
    base: str
    at: datetime
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class PollHeaders:
    """What a poll shows.

    Args:
        asked: `If-Modified-Since`; None if it is missing, empty or no date.
        targets: of an operation that the node was called for, as the operation has them; a report about an
            offer needs none.
        label: the version of the setting that the node has loaded; empty if it did not say.
    """

    asked: datetime | None = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class InboundAnswer:
    """An answer to a node.

    Args:
        body: in pieces, so that large shared pieces are not copied for each node.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedReport:
    """A valid report of a node.

    Args:
        kind: the product's name of it, such as `heartbeat.feedback`; the newest of each kind is kept.
        hostname: what the node calls itself; empty if the report does not say.
        addresses: what the node says of its addresses.
        about: the feed whose offer this kind of report has the result of; None if it has none, whatever it
            says.
        offer: id of the offer that it is about; empty if it does not say.
        run: id of the run or operation of that offer: several nodes may be told by one message.
        last_modified: of the content that it is about; ties a report to an offer where `offer` is empty.
        succeeded: whether the node did what it was offered; None if the report is about no offer.
        reason: of a failure.
        totals: name -> number, of an operation.
        targets: of an operation that the node was called for, as the operation has them; a report about an
            offer needs none.
        label: the version of the setting that the node has loaded; empty if it does not say.
        links: URLs of contents that it quotes; one of this server's own proves who sent it.
        is_known: whether the product knows its kind; of another kind, only that the node was heard counts.
        content: the setting that the node has loaded, as it sent it; None if it did not send it. It may hold
            secrets: it is stored encrypted.
        body: the report without `content`, as JSON.
    """

    kind: str
    hostname: str = ""
    addresses: tuple[str, ...] = ()
    about: OfferFeed | None = None
    offer: str = ""
    run: str = ""
    last_modified: datetime | None = None
    succeeded: bool | None = None
    reason: str = ""
    totals: Mapping[str, float] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    label: str = ""
    links: tuple[str, ...] = ()
    is_known: bool = True
    content: bytes | None = None
    body: bytes = b""


class InvalidReport(ValueError):
    """A report that does not match the product's schema; the message has no text of the report."""


class CentralServer(ABC):
    """The central server of one product; every method is pure and does not block."""

    routes: tuple[NodeRoute, ...]

    @abstractmethod
    def read_poll(self, headers: Mapping[str, str]) -> PollHeaders:
        """What a poll shows; never raises, whatever the headers contain.

        Args:
            headers: as those of `InboundRequest`.
        """

    @abstractmethod
    def answer_poll(self, request: InboundRequest, offer: Offer, parts: Sequence[bytes]) -> InboundAnswer:
        """The answer that delivers an offer: status 200, with `Last-Modified` of the offer.

        Any other status delivers nothing, so that the offer is not taken: this route cannot deliver it.
        """

    @abstractmethod
    def answer_download(self, request: InboundRequest, offer: Offer, parts: Sequence[bytes]) -> InboundAnswer:
        """The complete content of an offer; the server answers HEAD, ranges and conditions from it.

        The same offer gives the same bytes at each call.
        """

    @abstractmethod
    def read_report(self, request: InboundRequest) -> ReceivedReport:
        """The report in a request.

        Raises:
            InvalidReport: it does not match the schema.
        """

    def is_own_feed(self, body: bytes) -> bool:
        """Whether a message is one of this server's own, which it reads where nodes report and listen."""
        return False

    def list_secrets(self, mail: NodeMail) -> frozenset[str]:
        """The secrets in what a node was offered, had and reported, which it may quote in a report."""
        return frozenset()

    @abstractmethod
    def describe(self, route: NodeRoute) -> Mapping[str, Any]:
        """The operations of a route as an OpenAPI path item: parameters, bodies, answers."""
