"""Which nodes listen and report on which channels of message buses, by the settings of the whole fleet."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.core.bus_channels import BusChannel, NodeBusUse
from reconciler.core.host_entries import AllowedBus
from reconciler.core.offers import Offer
from reconciler.server.nodes.node_table import NodeTable

NodeNames = tuple[str, str]
"""Cluster and node."""


class BusDirectory:
    """The channels of all nodes; replaced as a whole when a newer fleet is known."""

    def __init__(self) -> None:
        self._feeds: dict[NodeNames, frozenset[BusChannel]] = {}
        self._reports: dict[NodeNames, frozenset[BusChannel]] = {}
        self._found: dict[tuple[AllowedBus, str], tuple[NodeNames, ...]] = {}
        self._names: dict[AllowedBus, tuple[int, frozenset[str]]] = {}

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
        self._feeds = {node: one.feeds for node, one in use.items()}
        self._reports = dict(earlier)
        for node, one in use.items():
            self._reports[node] = self._reports.get(node, frozenset()) | one.reports
        self._found, self._names = {}, {}

    def list_names(self, allowed: AllowedBus, table: NodeTable) -> frozenset[str]:
        """The names of all channels of a bus on which nodes report that have a token."""
        # Not before: what a node says first would be skipped as that of a stranger.
        known = self._names.get(allowed)
        if known is None or known[0] != table.enrolments:
            names = frozenset(
                channel.name
                for node, channels in self._reports.items()
                if table.find_place(*node) is not None
                for channel in channels
                if allowed.allows(channel)
            )
            known = self._names[allowed] = table.enrolments, names
        return known[1]

    def find_reporters(self, allowed: AllowedBus, name: str) -> tuple[NodeNames, ...]:
        """The nodes that report on a channel of a bus, sorted."""
        key = (allowed, name)
        if key not in self._found:
            self._found[key] = tuple(
                sorted(
                    node
                    for node, channels in self._reports.items()
                    if any(channel.name == name and allowed.allows(channel) for channel in channels)
                )
            )
        return self._found[key]

    def is_shared(self, offer: Offer) -> bool:
        """Whether another node than that of an offer listens on its channel."""
        channel, own = offer.channel, (offer.cluster, offer.node)
        return channel is not None and any(
            node != own and any(channel.meets(one) for one in feeds) for node, feeds in self._feeds.items()
        )
