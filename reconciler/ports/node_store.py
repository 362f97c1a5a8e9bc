"""The port of the store for nodes that poll: their tokens, offers, calls and reports.

`ports.store.Store` implements it beside the journal. Contents are stored encrypted with the key of this host,
which is outside the database: a copy of the database holds no secret in clear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol, TypeAlias

from reconciler.core.actor import Actor
from reconciler.core.bus_channels import BusChannel
from reconciler.core.offers import Offer, OfferFeed
from reconciler.core.operations import Operation, OperationResult
from reconciler.core.reservations import Reservation, SeenCluster
from reconciler.core.secret import Secret
from reconciler.ports.transport import NodeMail, OfferDraft


@dataclass(frozen=True, slots=True)
class NodeTokens:
    """The tokens of one node: the last part of its own URL.

    A token is derived from the key of this host, the fleet, cluster, node and a number that grows with each
    rotation, so that no token is stored.

    Args:
        current: what its setting must have.
        former: the one before a rotation; it counts until the current one was used.
    """

    current: Secret
    former: Secret | None = None


@dataclass(frozen=True, slots=True)
class KnownToken:
    """To whom a token belongs.

    Args:
        digest: SHA-256 of the token, in hexadecimal.
        fleet: number of the fleet.
        is_current: whether it is the newest one of the node.
        ended: when it ended, because the node left or used a newer one; None while it counts.
    """

    digest: str
    fleet: int
    cluster: str
    kind: str
    node: str
    is_current: bool = True
    ended: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One call of a node, as it is stored.

    Args:
        asked: its `If-Modified-Since`; None if it sent none, or for a report.
        label: the version that it said it has loaded; empty if it did not say.
        feed: that it polled; None for a report.
        took: id of the offer that the answer delivers; empty for none.
        token: digest of the token that it called with. A call with the current one ends the former one.
        kind: of a report, such as `heartbeat.feedback`; empty for a poll.
        body: of a report, without the setting.
        content: the setting in a report; None if it had none.
        about: the feed of the offer that a report is about; None if it is about none.
        result: of that offer.
        targets: of an operation that the node was called for, and that a report without an offer is about.
        offer: id of that offer; an id that this node was not offered in this feed counts as empty.
        modified: `Last-Modified` of the content that a report is about; None if it does not say. A report
            about an earlier offer than the newest one that was reported changes nothing else of the node.
        address: of the caller, as this host sees it.
        clash: what a report says of its sender that does not agree with its token; empty for nothing.
        channel: of the message bus by which it came, as a text; empty for a call by HTTP.
        partition: of that channel.
        offset: in that partition; a call whose offset is recorded is dropped. None if there is none.
        is_claim: whether nothing but the name in it says that it is from this node: it proves nothing.
        shows_label: whether its version counts also of a node that once polled, because it is fed by a bus.
    """

    fleet: int
    cluster: str
    node: str
    at: datetime
    asked: datetime | None = None
    label: str = ""
    feed: OfferFeed | None = None
    took: str = ""
    token: str = ""
    kind: str = ""
    body: bytes = b""
    content: bytes | None = None
    about: OfferFeed | None = None
    result: OperationResult | None = None
    offer: str = ""
    modified: datetime | None = None
    address: str = ""
    clash: str = ""
    targets: tuple[str, ...] = ()
    channel: str = ""
    partition: int = 0
    offset: int | None = None
    is_claim: bool = False
    shows_label: bool = False


NodePlace: TypeAlias = tuple[int, str, str]
"""Fleet, cluster and node."""

FeedOffers: TypeAlias = Mapping[OfferFeed, tuple[Offer | None, Offer | None]]
"""OfferFeed -> (the newest offer, the newest one that the node has taken)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeChanges:
    """What has changed since a position, in this process or in another one.

    The node server answers from memory and asks for the changes several times a second, so that a poll costs
    no access to the database.

    Args:
        position: for the next call.
        tokens: all tokens of all fleets, also those that ended; None if none has changed, apart from those
            that `record_calls` ended.
        offers: the offers of each node one of whose offers was recorded, withdrawn or taken.
        suspended: fleet and cluster that are suspended by command; an empty cluster is the whole fleet.
            Always complete.
        held: held node -> until when; of fleet 0 a node of that name in every fleet. Always complete.
    """

    position: int
    tokens: tuple[KnownToken, ...] | None = None
    offers: Mapping[NodePlace, FeedOffers] = field(default_factory=dict)
    suspended: frozenset[tuple[int, str]] = frozenset()
    held: Mapping[NodePlace, datetime] = field(default_factory=dict)


POLL: Final = "poll"
"""The kind of a poll in `NodeContact.heard`."""


@dataclass(frozen=True, slots=True)
class NodeContact:
    """What is known of a node's calls, for `status`, metrics and `/readyz`.

    Args:
        heard: kind of call (`POLL`, or of a report) -> time of the newest one.
        label: the version that it said last.
        address: from which it called last.
        clash: what it says of itself that does not agree with its token; empty for nothing.
        claimed: when a message on a channel that several nodes share had its name last; None for never.
    """

    cluster: str
    node: str
    heard: Mapping[str, datetime] = field(default_factory=dict)
    label: str = ""
    address: str = ""
    clash: str = ""
    offer: Offer | None = None
    claimed: datetime | None = None


# The mail of a cluster is one reading, and calls are written in groups: with a reading or a write for each of
# ten thousand nodes, a pass would take minutes, and nodes would wait for their answers.
class NodeReader(Protocol):
    """The reading half, limited to one fleet like `ports.store.StoreReader`."""

    async def tokens(self, cluster: str, nodes: Sequence[str]) -> Mapping[str, NodeTokens]:
        """Node -> its tokens; empty if this host has no store yet.

        A node that is not enrolled yet has the token that it will get.
        """

    async def mail(self, cluster: str, nodes: Sequence[str]) -> Mapping[str, NodeMail]:
        """Node -> what is known of it, for all nodes in one reading."""

    async def contacts(self) -> Sequence[NodeContact]:
        """The contacts of all nodes, sorted by cluster and node."""

    async def operations(self, limit: int = 20) -> Sequence[Operation]:
        """The newest operations, newest first."""

    async def open_operations(self) -> Sequence[Operation]:
        """The operations that have not ended, oldest first."""

    async def operation(self, text: str) -> Operation:
        """One operation by its id or a prefix of it.

        Raises:
            UsageError: no operation or several operations have this prefix.
        """

    async def reservations(self, cluster: str = "") -> Sequence[Reservation]:
        """The reservations of a cluster, or of all, that are not known to be over, oldest first."""

    async def see_cluster(self, cluster: str) -> SeenCluster:
        """What the store knows of a cluster, on which the answer to a question about a node depends."""

    async def newest_offers(self, cluster: str, feed: OfferFeed) -> Mapping[str, Offer]:
        """Node -> its newest offer of a feed, taken or not, for all nodes of a cluster in one reading."""


class NodeStore(NodeReader, Protocol):
    """What passes, the node server and operations write."""

    # Tokens are ended by what is missing: a node that left the fleet file is named nowhere any more, and its
    # URL must not count for another day.
    async def enrol(self, cluster: str, kind: str, nodes: Sequence[str]) -> None:
        """Make the tokens of these nodes count; the tokens of other nodes of the cluster end."""

    async def rotate(self, cluster: str, node: str, by: Actor) -> None:
        """Give a node a new token; the former one counts until the new one is used."""

    async def read_changes(self, since: int) -> NodeChanges:
        """What has changed since a position; with 0, everything: all tokens, and the offers of all nodes.

        Quick if nothing has changed.
        """

    async def offer(self, draft: OfferDraft, run: str, revision: str) -> Offer:
        """Record an offer; it replaces the node's earlier offer of the feed that was not taken."""

    # Only what was not taken: a node that has taken an offer is going to load it, whatever this host decides.
    async def withdraw(self, cluster: str, nodes: Sequence[str], feed: OfferFeed) -> None:
        """Withdraw the offers that these nodes have not taken."""

    async def parts(self, offer: Offer) -> Sequence[bytes] | None:
        """The contents of an offer; None if this host cannot decrypt them any more."""

    # Durable before it returns, because the answer is sent then: a node does not report twice what was
    # acknowledged. The refused ids come back, since a pass in another process may withdraw an offer between
    # the poll and this write.
    async def record_calls(self, calls: Sequence[CallRecord]) -> frozenset[str]:
        """Store calls of nodes, of any fleet, all or none; durable when this returns.

        Returns:
            ids of offers in `took` that cannot be taken any more, because a pass has withdrawn or replaced
            them meanwhile: their polls must not deliver them.
        """

    # Two writes around a publication: after the first one the offer may be with the node, so that nothing
    # takes it back any more; a process that is killed between them publishes it again.
    async def begin_publishing(self, offers: Sequence[str]) -> frozenset[str]:
        """Record that offers are about to be published; gives the ids of those that must not be."""

    async def end_publishing(self, offers: Sequence[str]) -> None:
        """Record that a message bus has these offers on disk: they count as taken."""

    async def note_report_channels(
        self, named: Mapping[tuple[str, str], frozenset[BusChannel]]
    ) -> Mapping[tuple[str, str], frozenset[BusChannel]]:
        """Record on which channels nodes report by their desired settings; gives these and earlier ones.

        Args:
            named: cluster and node -> channels.
        """

    # Before the first call: a process that is killed in between repeats it, and nothing is sent that the
    # history does not know.
    async def begin_operation(self, operation: Operation) -> None:
        """Record an operation before anything of it is sent."""

    def lock_operations(self, cluster: str) -> AbstractAsyncContextManager[None]:
        """Hold the operations of a cluster against other processes; runs are not affected.

        Raises:
            ClusterBusy: another process holds them.
        """

    # Compared when it is written: two questions, or a question and a step of a run, may each be right alone.
    async def record_answer(
        self, operation: Operation, reservation: Reservation | None, seen: SeenCluster
    ) -> bool:
        """Record the answer to the question whether a node may be stopped, which ends the operation.

        Args:
            operation: that asked, with its result.
            reservation: of a yes; None for any other answer.
            seen: what the answer was found with.

        Returns:
            False if a reservation is to be recorded and the cluster is not as it was seen any more; then
            nothing was recorded.
        """

    async def release(self, operation: Operation) -> int:
        """End the reservations of the nodes of an operation, which ends it; gives how many there were.

        With none, nothing is recorded.
        """

    async def end_reservations(self, ids: Sequence[str]) -> None:
        """Record that reservations are over: their time is, and their nodes were seen back."""

    def lock_questions(self, cluster: str, seconds: float) -> AbstractAsyncContextManager[None]:
        """Hold the questions about the nodes of a cluster against others, so that each sees the one before.

        Raises:
            ClusterBusy: the lock was not free in time.
        """

    async def end_operation(self, operation: str) -> None:
        """Record that nothing more of an operation is sent or expected."""

    async def record_results(self, operation: str, results: Sequence[OperationResult]) -> None:
        """Record states of nodes in an operation."""
