"""Where a node gets its feeds from, and by what it finds the other members of its cluster; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.core.bus_channels import LONGEST_CHANNEL, BusChannel, BusKind
from reconciler.core.entries import ClusterEntry
from reconciler.core.secret import Secret, reveal
from reconciler.drivers.m2.schema import M2Cluster
from reconciler.drivers.m2.setting.diagnostics import get_items, get_named_items, get_object, get_value
from reconciler.ports.cluster_input import ClusterInput, NamedChannel
from reconciler.text.json_pointer import make_pointer

SERVER: Final = ("env", "management", "server")
CLUSTER: Final = ("env", "management", "cluster")
FED: Final = ("setting", "purge")
"""The features with a feed from a central server; the feed of `nodelist` comes from a cloud."""

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class FeedOrigin:
    """Where a feed comes from.

    Args:
        kind: `http`, `kafka` or `firestore`.
        places: `host:port`, brokers, or a project; two origins with a common one have the same sender.
        channel: the topic or document; empty for HTTP, where the path does not matter.
        label: for messages, without secrets.
    """

    kind: str
    places: frozenset[str]
    channel: str
    label: str

    def same(self, other: FeedOrigin) -> bool:
        """Whether a message that is sent to the one arrives through the other."""
        here = self.kind == other.kind and self.channel == other.channel
        return here and bool(self.places & other.places)

    def on(self, hosts: tuple[str, ...]) -> bool:
        """Whether it is polled from one of these addresses."""
        return self.kind == "http" and any(place.rpartition(":")[0] in hosts for place in self.places)


def find_feed_origins(document: Any) -> dict[str, FeedOrigin]:
    """Feature -> the origin of its feed, where feature and server part are enabled (M2 manual, Features)."""
    if get_value(document, (*SERVER, "enable")) is not True:
        return {}
    found = {feature: _find_origin(document, feature) for feature in FED}
    return {feature: origin for feature, origin in found.items() if origin is not None}


def _find_origin(document: Any, feature: str) -> FeedOrigin | None:
    part = get_object(document, *SERVER, "features", feature)
    kind, info = get_value(part, ("feed", "type")), get_object(part, "feed", "info")
    if part.get("enable") is not True:
        return None
    match kind:
        case "apiPolling" | "tgzPolling":
            return _make_polling_origin(info.get("url"))
        case "kafkaSub":
            brokers = get_value(_find_connection(document, info), ("info", "brokers"))
            return _make_origin("kafka", brokers, get_value(info, ("subscribe", "topic")))
        case "firestore":
            there = get_object(_find_connection(document, info), "info")
            project = there.get("projectId") or there.get("databaseUrl")
            return _make_origin("firestore", [project], info.get("doc"))
    return None


def _make_polling_origin(url: Any) -> FeedOrigin | None:
    clear = reveal(url)
    try:
        parts = urlsplit(clear if isinstance(clear, str) else "")
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:  # not a URL that a node could poll
        return None
    if not parts.hostname or port is None:
        return None
    host = parts.hostname
    with suppress(ValueError):  # a name has one form only
        host = str(ip_address(host))
    place = f"{host}:{port}"
    return FeedOrigin(
        "http", frozenset({place}), "", "a secret address" if isinstance(url, Secret) else place
    )


def _make_origin(kind: str, places: Any, channel: Any) -> FeedOrigin | None:
    clear, shown = reveal(places), reveal(channel)
    known = [place for place in clear if isinstance(place, str)] if isinstance(clear, list | tuple) else []
    if not known or not isinstance(shown, str):
        return None
    return FeedOrigin(kind, frozenset(known), shown, f"{kind} {channel}")


REPORTING: Final = ("setting", "purge", "heartbeat")
"""The features whose feedback may go to a message bus."""

BUS_KINDS: Final = frozenset({*BusKind})
"""Kinds of an origin that are message buses."""

BUS_FEEDS: Final = frozenset({"kafkaSub", "firestore"})
BUS_FEEDBACK: Final = frozenset({"kafkaPub", "firestore"})
BUS_TYPES: Final = BUS_FEEDS | BUS_FEEDBACK
"""Types of a feed or a feedback that goes over a message bus."""


NODE_ID: Final = "#m2live.nodeId"
"""What stands for the node's id in a path of Firestore (M2 manual, firestore)."""


def list_bus_sides(document: Any) -> Iterator[tuple[str, str, BusChannel]]:
    """Feature, side and channel of each side of a setting that uses a message bus."""
    if get_value(document, (*SERVER, "enable")) is False:
        return
    sides = (*((feature, "feed") for feature in FED), *((feature, "feedback") for feature in REPORTING))
    for feature, side in sides:
        channel = find_bus_channel(document, feature, side)
        if channel is not None:
            yield feature, side, channel


def list_named_channels(cluster_input: ClusterInput) -> list[NamedChannel]:
    """The channels that the settings files of a cluster name, with their places."""
    known: dict[int, list[tuple[BusChannel, bool, str, str, str]]] = {}
    for document in cluster_input.documents.values():
        if id(document) in known:
            continue
        own = known[id(document)] = []
        for feature, side, channel in list_bus_sides(document.value):
            path = (*SERVER, "features", feature, side, "info")
            wanted = get_value(document.value, (*path, "connect"))
            named = get_named_items(document.value, *SERVER, "connection")
            index = next((number for number, name, _ in named if name == wanted), 0)
            is_kafka = channel.kind is BusKind.KAFKA
            places = (*SERVER, "connection", index, "info", "brokers" if is_kafka else "projectId")
            keys = ("doc",) if not is_kafka else ("subscribe", "topic") if side == "feed" else ("topic",)
            group = find_group(document.value, feature) if side == "feed" else ""
            own.append((channel, side == "feed", make_pointer(places), make_pointer((*path, *keys)), group))
    ids = get_node_ids(cluster_input.entry)
    return [
        NamedChannel(node, fill_node_id(channel, ids.get(node, "")), is_feed, document, *places)
        for node, document in cluster_input.documents.items()
        for channel, is_feed, *places in known[id(document)]
    ]


def get_node_ids(entry: ClusterEntry) -> Mapping[str, str]:
    """Node -> its id in M2Live, by the fleet file; only nodes with one."""
    return entry.node_ids if isinstance(entry, M2Cluster) else {}


def fill_node_id(channel: BusChannel, node_id: str) -> BusChannel:
    """A channel with the node's id in its path; without an id, nobody listens there."""
    if not node_id or NODE_ID not in channel.name:
        return channel
    return replace(channel, name=channel.name.replace(NODE_ID, node_id))


def find_bus_channel(document: Any, feature: str, side: str, node_id: str = "") -> BusChannel | None:
    """The channel of one side of a feature; None if it uses none, or its names are secrets or incomplete.

    Args:
        document: a setting.
        feature: such as `setting`.
        side: `feed` or `feedback`.
        node_id: id of the node in M2Live; empty if it has none.
    """
    part = get_object(document, *SERVER, "features", feature)
    kind, info = get_value(part, (side, "type")), get_object(part, side, "info")
    if part.get("enable") is False or kind not in BUS_TYPES:
        return None
    there = get_object(_find_connection(document, info), "info")
    if kind == "firestore":
        places, name = [there.get("projectId")], info.get("doc")
    else:
        brokers = there.get("brokers")
        places = list(brokers) if isinstance(brokers, list | tuple) else []
        name = info.get("topic") if kind == "kafkaPub" else get_value(info, ("subscribe", "topic"))
    # A secret name could not be shown in a plan, and nobody could check it.
    texts = [place for place in places if isinstance(place, str) and place]
    if not texts or len(texts) != len(places):
        return None
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_CHANNEL:
        return None
    of = BusKind.FIRESTORE if kind == "firestore" else BusKind.KAFKA
    return fill_node_id(BusChannel(of, tuple(sorted({text.lower() for text in texts})), name), node_id)


def write_feed_channel(document: Any, node_id: str = "") -> str:
    """The channel on which a node with this setting listens for settings, as a text; empty for none."""
    channel = find_bus_channel(document, "setting", "feed", node_id)
    return channel.encode() if channel is not None else ""


def find_group(document: Any, feature: str) -> str:
    """The consumer group of a feed from Kafka; empty for none."""
    info = get_object(document, *SERVER, "features", feature, "feed", "info")
    group = reveal(info.get("groupId"))
    return group if isinstance(group, str) else ""


def _find_connection(document: Any, info: Mapping[str, Any]) -> Mapping[str, Any]:
    wanted = info.get("connect")
    found = (item for _, name, item in get_named_items(document, *SERVER, "connection") if name == wanted)
    return next(found, {})


@dataclass(frozen=True, slots=True)
class DiscoveryRing:
    """What the nodes of a cluster need in common to find each other.

    Args:
        port: `discover.port`.
        base: `meta.baseHostingPort`.
        members: addresses and expressions of all groups; None where nodes are found by broadcast.
    """

    port: Any
    base: Any
    members: frozenset[str] | None

    def meets(self, other: DiscoveryRing) -> bool:
        """Whether a node with the one and a node with the other find each other."""
        if (self.port, self.base) != (other.port, other.base):
            return False
        one, two = self.members, other.members
        if not one or not two:
            return one == two
        # Which node is which member is not known here. Where one list contains the other, the nodes of the
        # shorter one are in both, so that adding or removing members does not part a cluster.
        return one <= two or two <= one

    def against(self, other: DiscoveryRing) -> str:
        """The keys that differ, by the product's names."""
        pairs = (
            ("discover.port", self.port, other.port),
            ("meta.baseHostingPort", self.base, other.base),
            ("discover.members", self.members, other.members),
        )
        return ", ".join(name for name, one, two in pairs if one != two)


def find_ring(document: Any) -> DiscoveryRing | None:
    """The ring of a setting; None where the node is in no cluster."""
    cluster = get_object(reveal(get_object(document, *CLUSTER)))
    if get_value(cluster, ("meta", "enable")) is not True:
        return None
    given = get_value(cluster, ("discover", "members"))
    listed = [
        member
        for _, item in get_items({"": given}, "")
        for member in (
            [node for _, node in get_items(item, "nodes")] if isinstance(item, Mapping) else [item]
        )
        if isinstance(member, str)
    ]
    members = frozenset(listed) if isinstance(given, list | tuple) else None
    return DiscoveryRing(
        get_value(cluster, ("discover", "port")), get_value(cluster, ("meta", "baseHostingPort")), members
    )
