"""What is known of the nodes that poll, summed up for metrics and `/readyz`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from reconciler.core.offers import OfferFeed
from reconciler.server.nodes.node_table import ServedNode

VERSIONS = 20
"""Versions of a cluster that are counted apart, those of most nodes; all others count together."""

LISTED = 20
"""Names in a list."""

OTHER = "other"
"""Stands for the versions beyond `VERSIONS`."""


@dataclass(slots=True)
class PolledCluster:
    """The nodes of one cluster.

    Args:
        nodes: with a token that counts.
        never: that have never called.
        silent: names of those that called before, and not within the time in which what they sent is fresh.
        waiting: names of those that have not taken the newest offer of a setting that they may see.
        clashes: name -> what the reports of a node say that does not agree with its token.
        versions: version -> number of nodes that said it last.
        heard: time of the oldest last call of all nodes that ever called; None if none did.
    """

    nodes: int = 0
    never: int = 0
    silent: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    clashes: dict[str, str] = field(default_factory=dict)
    versions: Counter[str] = field(default_factory=Counter)
    heard: datetime | None = None

    def count_versions(self) -> Mapping[str, int]:
        """The versions of most nodes, and `OTHER`."""
        shown = dict(self.versions.most_common(VERSIONS))
        # Nodes say any version: without a bound, one of them could make series without end.
        if rest := self.versions.total() - sum(shown.values()):
            shown[OTHER] = shown.get(OTHER, 0) + rest
        return shown


def summarize_nodes(
    nodes: Iterable[ServedNode], now: datetime, fresh_seconds: Callable[[str], float]
) -> dict[str, PolledCluster]:
    """Cluster -> what is known of its nodes.

    Args:
        nodes: all of them.
        now: the time.
        fresh_seconds: cluster -> how old the last call of a node may be for what it sent to count.
    """
    found: dict[str, PolledCluster] = {}
    limits: dict[str, datetime] = {}
    for node in nodes:
        cluster = found.setdefault(node.cluster, PolledCluster())
        if node.cluster not in limits:
            limits[node.cluster] = now - timedelta(seconds=fresh_seconds(node.cluster))
        cluster.nodes += 1
        cluster.versions[node.label[:100]] += 1
        heard = max(node.heard.values(), default=None)
        if heard is None:
            cluster.never += 1
        else:
            cluster.heard = min(heard, cluster.heard or heard)
            if heard < limits[node.cluster]:
                cluster.silent.append(node.name)
        offer, _ = node.offers.get(OfferFeed.SETTING, (None, None))
        if offer is not None and offer.taken is None and offer.is_visible(now):
            cluster.waiting.append(node.name)
        if node.clash:
            cluster.clashes[node.name] = node.clash
    return found
