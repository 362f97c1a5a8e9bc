"""Which nodes listen and report on which channels of message buses, by the settings of the whole fleet."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.core.bus_channels import BusChannel, BusKind, ChannelIndex, NodeBusUse
from reconciler.core.firestore_paths import find_collection
from reconciler.core.host_entries import AllowedBus
from reconciler.core.offers import Offer
from reconciler.server.nodes.node_table import NodeTable

NodeNames = tuple[str, str]
"""Cluster and node."""


class BusDirectory:
    """The channels of all nodes; replaced as a whole when a newer fleet is known."""

    def __init__(self) -> None:
        self._feeds: ChannelIndex[NodeNames] = ChannelIndex()
        self._reports: dict[NodeNames, frozenset[BusChannel]] = {}
        self._earlier: Mapping[NodeNames, frozenset[BusChannel]] = {}
        self._found: dict[AllowedBus, Mapping[str, tuple[NodeNames, ...]]] = {}
        self._names: dict[AllowedBus, frozenset[str]] = {}
        self._enrolments = 0

    def replace(
        self,
        use: Mapping[NodeNames, NodeBusUse],
        earlier: Mapping[NodeNames, frozenset[BusChannel]],
    ) -> None:
        """Use a newer fleet.

        Args:
            use: by the desired settings.
            earlier: on which channels nodes report, by these and by earlier desired settings: a node reports
                by the setting that it has.
        """
        self._feeds = ChannelIndex((node, channel) for node, one in use.items() for channel in one.feeds)
        self._reports = {node: one.reports for node, one in use.items()}
        self._earlier, self._found, self._names = earlier, {}, {}

    def list_names(self, allowed: AllowedBus, table: NodeTable) -> frozenset[str]:
        """The names of all channels of a bus on which nodes report that have a token."""
        found = self._find_reporters(allowed, table)
        if allowed not in self._names:
            # Not before: what a node says first would be skipped as that of a stranger.
            self._names[allowed] = frozenset(
                name for name, nodes in found.items() if any(table.find_place(*node) for node in nodes)
            )
        return self._names[allowed]

    def find_reporters(self, allowed: AllowedBus, name: str, table: NodeTable) -> tuple[NodeNames, ...]:
        """The nodes that report on a channel of a bus, sorted.

        Those of the desired settings, also before they have a token, and of earlier settings those that still
        have one: the channel of a node that left may be another node's by now.
        """
        return self._find_reporters(allowed, table).get(name, ())

    def _find_reporters(self, allowed: AllowedBus, table: NodeTable) -> Mapping[str, tuple[NodeNames, ...]]:
        """Name of a channel -> the nodes that report there."""
        if table.enrolments != self._enrolments:
            self._enrolments, self._found, self._names = table.enrolments, {}, {}
        if allowed not in self._found:
            known: dict[str, set[NodeNames]] = {}
            left = {node: some for node, some in self._earlier.items() if table.find_place(*node) is not None}
            for reports in (self._reports, left):
                for node, channels in reports.items():
                    for channel in channels:
                        if allowed.allows(channel):
                            known.setdefault(channel.name, set()).add(node)
            if allowed.id.kind is BusKind.FIRESTORE:
                _join_collections(known)
            self._found[allowed] = {name: tuple(sorted(nodes)) for name, nodes in known.items()}
        return self._found[allowed]

    def is_shared(self, offer: Offer) -> bool:
        """Whether another node than that of an offer listens on its channel."""
        own = offer.cluster, offer.node
        return offer.channel is not None and any(node != own for node in self._feeds.find(offer.channel))


def _join_collections(known: dict[str, set[NodeNames]]) -> None:
    """Let a collection and its documents be shared by all who report there: each gets what both write."""
    joined = [(name, own) for name in known if (own := find_collection(name)) in known]
    writers = {name: frozenset(nodes) for name, nodes in known.items()}
    for document, collection in joined:
        known[document] |= writers[collection]
        known[collection] |= writers[document]
