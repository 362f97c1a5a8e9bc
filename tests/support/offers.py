"""Offers to nodes that poll, for tests."""

from datetime import UTC, datetime, timedelta

from reconciler.core.offers import Offer, OfferFeed
from reconciler.ports.transport import OfferDraft

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def make_draft(node: str, body: bytes = b"", *, cluster: str = "c", seconds: float = 60.0) -> OfferDraft:
    """Content for one node, which may take it at its next poll."""
    step = f"{cluster}/{node}/offer"
    return OfferDraft(
        cluster=cluster, node=node, feed=OfferFeed.SETTING, step=step, parts=(body,), seconds=seconds
    )


def make_offer(**changes) -> Offer:
    """A visible offer that nobody has taken."""
    fields = {
        "id": "o1",
        "cluster": "c",
        "node": "n",
        "feed": OfferFeed.SETTING,
        "run": "r",
        "step": "c/n/offer",
        "revision": "abc",
        "label": "v2",
        "last_modified": NOON,
        "opens": NOON,
        "closes": NOON + timedelta(hours=1),
    }
    return Offer(**{**fields, **changes})
