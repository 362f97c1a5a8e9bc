"""What the node server knows of nodes, in memory: their tokens, offers, calls and holds."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from reconciler.core.change_windows import SUSPENSION_HOLD
from reconciler.core.fleet_matching import HOST
from reconciler.core.offers import Offer, OfferFeed, make_download_token, read_offer_id
from reconciler.ports.central_server import CentralServer, NodeRoute, PollHeaders
from reconciler.ports.node_store import FeedOffers, KnownToken, NodeChanges, NodeContact, NodePlace
from reconciler.server.nodes.rate import CallBudget

LONGEST_TOKEN = 128
"""Characters of a token at most."""

SLICE = 500
"""Tokens that are taken over at once: polls are answered between two slices."""

MOST_PUBLISHED = 200_000
"""Ids of published offers that are remembered before those that nobody needs are forgotten."""

CLASH_SECONDS = 600.0
"""Seconds without a clash after which it counts as solved."""


@dataclass(slots=True, eq=False)
class ServedNode:
    """One node.

    Args:
        offers: its offers, as the store has them.
        budget: calls that it may still make.
        heard: kind of call -> time of the newest one.
        label: the version that it said last.
        hostname: what its newest report calls it; with the addresses of the same report.
        former_hostname: the one before that was another one.
        clash: what reports say of their sender that does not agree with the token; empty for nothing.
        clashed: when that was seen last, in monotonic seconds.
        asked: its newest `If-Modified-Since` by feed.
        connections: open ones that called with its token, oldest first.
        poll: headers of its newest poll and what they show, because most polls are the same.
    """

    place: NodePlace
    kind: str = ""
    product: CentralServer | None = None
    routes: Mapping[str, NodeRoute] = field(default_factory=dict)
    offers: FeedOffers = field(default_factory=dict)
    budget: CallBudget = field(default_factory=lambda: CallBudget(float("inf"), 0.0))
    heard: dict[str, datetime] = field(default_factory=dict)
    label: str = ""
    hostname: str = ""
    former_hostname: str = ""
    addresses: frozenset[str] = frozenset()
    clash: str = ""
    clashed: float = 0.0
    asked: dict[OfferFeed, datetime | None] = field(default_factory=dict)
    connections: dict[Any, None] = field(default_factory=dict)
    poll: tuple[Mapping[str, str], PollHeaders] | None = None

    @property
    def cluster(self) -> str:
        """Name of its cluster."""
        return self.place[1]

    @property
    def name(self) -> str:
        """Its name."""
        return self.place[2]

    def find_offer(self, text: str) -> Offer | None:
        """One of its newest offers by id."""
        for pair in self.offers.values():
            for offer in pair:
                if offer is not None and offer.id == text:
                    return offer
        return None

    def take_over(self, offers: FeedOffers) -> None:
        """Take over its offers as the store had them a moment ago."""
        # An offer that was taken meanwhile stays taken: its download must not be refused.
        taken = {
            one.id: one for pair in self.offers.values() for one in pair if one is not None and one.taken
        }
        sent = {one.id: one for pair in self.offers.values() for one in pair if one is not None and one.sent}
        found: dict[OfferFeed, tuple[Offer | None, Offer | None]] = {}
        for feed, (current, last) in offers.items():
            if current is not None and current.id in taken:
                found[feed] = (taken[current.id],) * 2
            elif current is not None and current.taken is None:
                found[feed] = (sent.get(current.id, current), last)
            else:
                found[feed] = (current, last)
        self.offers = found

    def set_sent(self, offer: Offer) -> None:
        """Note that an offer is about to be published, until the store is read again."""
        _, last = self.offers.get(offer.feed, (None, None))
        self.offers = {**self.offers, offer.feed: (offer, last)}

    def set_taken(self, feed: OfferFeed, offer: Offer) -> None:
        """Note that it took an offer, until the store is read again."""
        self.offers = {**self.offers, feed: (offer, offer)}


@dataclass(slots=True, eq=False)
class ServedToken:
    """A token and its node."""

    known: KnownToken
    node: ServedNode
    ended: datetime | None
    has_former: bool = False


class NodeTable:
    """All nodes of all fleets in the store.

    Args:
        products: kind -> its central server; None for a product that has none.
        find_holds: codes of the holds on changes of a node by the fleet file: of its cluster and its name, at
            a time.
    """

    def __init__(
        self,
        products: Callable[[str], CentralServer | None],
        find_holds: Callable[[str, str, datetime], frozenset[str]] = lambda *_: frozenset(),
    ) -> None:
        self._products, self._find_holds = products, find_holds
        self._tokens: dict[str, ServedToken] = {}
        self._ended: dict[str, datetime] = {}
        self._places: dict[NodePlace, ServedNode] = {}
        self._senders: dict[tuple[int, str, str], ServedNode] = {}
        self._suspended: frozenset[tuple[int, str]] = frozenset()
        self._held: Mapping[NodePlace, datetime] = {}
        self._own: dict[ServedNode, list[ServedToken]] = {}
        self._names: dict[tuple[str, str], list[ServedNode]] = {}
        self._published: dict[str, ServedNode] = {}
        self._due: dict[ServedNode, None] = {}
        self.position = self.refreshes = self.enrolments = 0
        self.is_loaded = False

    def find(self, token: bytes) -> ServedToken | None:
        """The token's entry; None if it is unknown."""
        # The digest is looked up, not the token: how long this takes reveals nothing about known tokens.
        if len(token) > LONGEST_TOKEN:
            return None
        return self._tokens.get(hashlib.sha256(token).hexdigest())

    def is_held(self, node: ServedNode, offer: Offer, now: datetime) -> bool:
        """Whether a hold on changes of the node or its cluster, such as a suspension, hides an offer."""
        fleet, cluster, name = node.place
        if self._held and any(
            now < self._held[place] for place in (node.place, (HOST, cluster, name)) if place in self._held
        ):
            return True
        holds, suspended = self._find_holds(cluster, name, now), self._suspended
        if suspended and ((fleet, cluster) in suspended or (fleet, "") in suspended):
            holds |= {SUSPENSION_HOLD}
        return not holds <= offer.despite

    def list_due(self) -> list[ServedNode]:
        """The nodes with an offer for a message bus that does not have it yet."""
        return list(self._due)

    def find_download(self, text: str, file: str) -> ServedToken | None:
        """Whose offer a URL of a message bus downloads; None if its text is not that of the offer.

        Args:
            text: in place of the token.
            file: the name at the end of the URL.
        """
        if not text.isascii():
            return None
        offer = read_offer_id(file)
        node = self._published.get(offer)
        for token in self._list_tokens(node) if node is not None else ():
            wanted = make_download_token(token.known.digest, offer)
            if hmac.compare_digest(wanted.encode(), text.encode()):
                return token
        return None

    def find_place(self, cluster: str, node: str) -> ServedNode | None:
        """A node with a token that counts, by its names; None if there is none, or in two fleets."""
        found = self._names.get((cluster, node), ())
        return found[0] if len(found) == 1 else None

    def begin_publishing(self, node: ServedNode, offer: Offer, now: datetime) -> None:
        """Note that an offer is about to be published: its node may download it at once."""
        node.set_sent(replace(offer, sent=offer.sent or now))
        self._published[offer.id] = node

    def end_publishing(self, node: ServedNode, offer: Offer, now: datetime) -> None:
        """Note that a bus has an offer."""
        current, _ = node.offers.get(offer.feed, (None, None))
        if current is not None and current.id == offer.id:
            node.set_taken(offer.feed, replace(current, taken=now))
            self._note_published(node)

    def find_token(self, node: ServedNode) -> ServedToken | None:
        """The newest token of a node that counts."""
        own = self._list_tokens(node)
        return next((one for one in own if one.known.is_current), own[0] if own else None)

    def _list_tokens(self, node: ServedNode) -> list[ServedToken]:
        """The tokens of a node that count."""
        return [one for one in self._own.get(node, ()) if one.ended is None]

    def _note_published(self, node: ServedNode) -> None:
        """Note which offers of a node go to message buses."""
        self._due.pop(node, None)
        for current, last in node.offers.values():
            for offer in (current, last):
                if offer is not None and offer.channel is not None and offer.may_be_with_node:
                    self._published[offer.id] = node
            if current is not None and current.channel is not None and current.taken is None:
                self._due[node] = None
        if len(self._published) > MOST_PUBLISHED:
            self._published = {
                one: other for one, other in self._published.items() if other.find_offer(one) is not None
            }

    def list_products(self) -> dict[str, CentralServer]:
        """Kind -> its central server, of all nodes with a token."""
        return {
            entry.node.kind: entry.node.product
            for entry in list(self._tokens.values())
            if entry.node.product is not None
        }

    def nodes(self) -> list[ServedNode]:
        """The nodes with a token that counts, each once."""
        return list({entry.node: None for entry in self._tokens.values() if entry.ended is None})

    async def apply(self, changes: NodeChanges) -> None:
        """Take over what has changed in the store."""
        if changes.tokens is not None:
            await self._replace_tokens(changes.tokens)
        for place, offers in changes.offers.items():
            node = self._place(place)
            node.take_over(offers)
            self._note_published(node)
        self._suspended, self._held = changes.suspended, changes.held
        self.position = changes.position
        self.refreshes += 1
        self.is_loaded = True

    async def _replace_tokens(self, known: Sequence[KnownToken]) -> None:
        """Take over all tokens; polls are answered with the former ones meanwhile."""
        self._ended = {}
        counting = Counter((one.fleet, one.cluster, one.node) for one in known if one.ended is None)
        tokens: dict[str, ServedToken] = {}
        for number, token in enumerate(known, 1):
            node = self._enter(token)
            tokens[token.digest] = ServedToken(token, node, token.ended, counting[node.place] > 1)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        for digest, ended in self._ended.items():
            if (entry := tokens.get(digest)) is not None and entry.ended is None:
                entry.ended = ended
        self._tokens, self._own = tokens, {}
        self.enrolments += 1
        for entry in tokens.values():
            self._own.setdefault(entry.node, []).append(entry)
        self._names = {}
        for node in self._own:
            if node.product is not None and self._list_tokens(node):
                self._names.setdefault((node.cluster, node.name), []).append(node)
        # A place without a token, not even an ended one, is of a node that was renamed or forgotten.
        self._places = {entry.node.place: entry.node for entry in tokens.values()}

    def add_contact(self, fleet: int, contact: NodeContact) -> None:
        """Take over what the store knew of a node's calls before the start."""
        node = self._place((fleet, contact.cluster, contact.node))
        node.heard.update(contact.heard)
        node.label, node.clash = contact.label, contact.clash

    def end_former(self, token: ServedToken, now: datetime) -> None:
        """End the former token of a node, because it used its current one."""
        for entry in self._tokens.values():
            if entry.node is token.node and entry is not token and entry.ended is None:
                entry.ended = self._ended[entry.known.digest] = now
        token.has_former = False

    def find_clash(self, node: ServedNode, hostname: str, addresses: frozenset[str], now: float) -> str:
        """What a report says of its sender that does not agree with its token; empty for nothing.

        Args:
            node: of the token.
            hostname: what the report calls its sender.
            addresses: what it says of the sender's addresses.
            now: monotonic seconds.
        """
        fleet = node.place[0]
        if hostname != node.hostname or addresses != node.addresses:
            for address in node.addresses:
                if self._senders.get((fleet, node.hostname, address)) is node:
                    del self._senders[fleet, node.hostname, address]
        clash = ""
        if hostname != node.hostname:
            # A host that was renamed changes its name once; two hosts with one token take turns.
            if hostname == node.former_hostname:
                clash = f"{hostname!r} and {node.hostname!r} report with the token of this node"
            node.former_hostname, node.hostname = node.hostname, hostname
        node.addresses = addresses
        for address in addresses:
            # Images of one machine share the name, and networks behind firewalls share addresses: only both
            # together are the same machine.
            other = self._senders.setdefault((fleet, hostname, address), node)
            if other is not node:
                clash = clash or f"{hostname!r} with address {address} reports also as {other.name}"
        if clash:
            node.clash, node.clashed = clash, now
        elif now - node.clashed > CLASH_SECONDS:
            node.clash = ""
        return node.clash

    def _enter(self, token: KnownToken) -> ServedNode:
        node = self._place((token.fleet, token.cluster, token.node))
        if node.kind != token.kind:
            node.kind, node.product = token.kind, self._products(token.kind)
            node.routes = {route.path: route for route in node.product.routes} if node.product else {}
        return node

    def _place(self, place: NodePlace) -> ServedNode:
        node = self._places.get(place)
        if node is None:
            node = self._places[place] = ServedNode(place)
        return node
