"""Offers to nodes that poll, and how a poll is answered; pure.

A pass records an offer and ends. Nothing but a recorded offer is ever delivered: a server that has lost its
memory answers that nothing has changed, and never delivers what happens to be the newest.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from reconciler.core.bus_channels import BusChannel

SECOND: Final = timedelta(seconds=1)
"""Resolution of `Last-Modified` (RFC 9110, HTTP-date)."""

FUTURE: Final = timedelta(days=1)
"""How far in the future an `If-Modified-Since` may be: clocks of nodes differ, but not by more."""


class OfferFeed(StrEnum):
    """What a node polls for; each feed has its own sequence of offers."""

    SETTING = "setting"
    PURGE = "purge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Content that is ready for one node, from one step of one run.

    Args:
        id: unique; the answer to the poll carries it, and the report returns it.
        step: id of the step, or of the part of an operation.
        revision: id of the desired revision; empty for an operation.
        label: the version that a node shows if it has this content; empty if the content has no stamp of
            this program.
        last_modified: whole seconds, in UTC; see `choose_last_modified`.
        opens: before this time a poll does not see the offer; see `spread`.
        closes: after this time a node that has not taken the offer does not see it any more.
        taken: when it was served first; None if it was not.
        withdrawn: whether it must not be shown to a node that has not taken it.
        despite: codes of the holds on changes that were set aside for it, so that they do not hide it.
        parts: digests of its contents in the store, in the product's order.
        channel: of a message bus, to which it is published; None for a node that polls for it.
        sent: when its publication began; None if it did not. It may be with the node from then on.
    """

    id: str
    cluster: str
    node: str
    feed: OfferFeed
    run: str
    step: str
    revision: str
    label: str
    last_modified: datetime
    opens: datetime
    closes: datetime
    taken: datetime | None = None
    withdrawn: bool = False
    despite: frozenset[str] = frozenset()
    parts: tuple[str, ...] = ()
    channel: BusChannel | None = None
    sent: datetime | None = None

    @property
    def may_be_with_node(self) -> bool:
        """Whether the node has taken it, or may have: a bus may have it, and has not said so yet."""
        return self.taken is not None or self.sent is not None

    def is_visible(self, now: datetime) -> bool:
        """Whether a poll sees it: what a node has taken stays, everything else has its time."""
        # A node remembers `Last-Modified` as soon as its poll was answered, and downloads afterwards: an
        # offer that vanished in between would leave the node without the content, and without a reason to
        # ask again.
        return self.may_be_with_node or (not self.withdrawn and self.opens <= now < self.closes)


class PollAnswer(StrEnum):
    """How a poll is answered."""

    OFFER = "offer"
    """200 with the offer."""

    UNCHANGED = "unchanged"
    """304."""

    UNAVAILABLE = "unavailable"
    """503: a first poll, and nothing is recorded for this node."""


@dataclass(frozen=True, slots=True)
class PollDecision:
    """The answer to a poll.

    Args:
        offer: to deliver; None unless the answer is `OFFER`.
        is_absurd: whether the node sent an `If-Modified-Since` that no answer of a server can explain.
    """

    answer: PollAnswer
    offer: Offer | None = None
    is_absurd: bool = False


def decide_poll(
    current: Offer | None, last: Offer | None, asked: datetime | None, now: datetime, *, is_held: bool
) -> PollDecision:
    """The answer to a poll of one feed by one node.

    Args:
        current: the newest offer for the node.
        last: the newest offer that the node has taken.
        asked: its `If-Modified-Since`; None on its first poll.
        now: time of the poll, by this host's clock.
        is_held: whether the cluster is suspended or frozen, so that no new offer may be taken.
    """
    is_absurd = asked is not None and asked > now + FUTURE
    seen = current is not None and current.is_visible(now) and (current.taken is not None or not is_held)
    offer = current if seen else last
    if offer is None:
        answer = PollAnswer.UNAVAILABLE if asked is None else PollAnswer.UNCHANGED
        return PollDecision(answer, is_absurd=is_absurd)
    # An absurd time is ignored, or it would keep every further offer from the node. What the node has taken
    # already is not repeated at each of its polls.
    is_new = offer.taken is None if is_absurd else asked is None or asked < offer.last_modified
    if asked is not None and not seen:
        is_new = False
    return PollDecision(
        PollAnswer.OFFER if is_new else PollAnswer.UNCHANGED, offer if is_new else None, is_absurd
    )


def choose_last_modified(now: datetime, earlier: datetime | None, asked: datetime | None) -> datetime:
    """The `Last-Modified` of a new offer: later than each earlier one of the node, also when going back.

    Args:
        now: time of the offer, in UTC.
        earlier: of the node's newest offer of this feed.
        asked: the latest `If-Modified-Since` of the node; ignored if it is absurd.
    """
    least = now.replace(microsecond=0)
    if earlier is not None:
        least = max(least, earlier + SECOND)
    if asked is not None and asked <= now + FUTURE:
        least = max(least, asked + SECOND)
    return least


def spread(offer: str, node: str, now: datetime, period: float) -> datetime:
    """When an offer becomes visible, spread evenly over one poll period.

    Args:
        offer: its id.
        node: its name.
        now: the start of the period.
        period: seconds.
    """
    # From a digest, not from a random number: a repeated call gives the same time.
    share = int.from_bytes(hashlib.sha256(f"{offer}\0{node}".encode()).digest()[:8], "big") / 2**64
    return now + timedelta(seconds=share * period)


def make_download_token(digest: str, offer: str) -> str:
    """The text in the URL by which an offer from a message bus is downloaded, in place of the node's token.

    Whoever can read the topic of a node, or that of its reports, which quote the URL, sees this text: it is
    good for this download alone, and does not tell the token.

    Args:
        digest: of the node's token.
        offer: its id.
    """
    made = hmac.new(digest.encode(), f"download {offer}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def read_offer_id(file: str) -> str:
    """The id of the offer in the name of the file that is downloaded, such as `ID.tgz`."""
    return file.partition(".")[0]
