"""Whom an M2 node hears from by its setting: feeds of its features, and the peers of its cluster; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.core.secret import Secret, reveal
from reconciler.drivers.m2.setting.diagnostics import get_items, get_named_items, get_object, get_value

SERVER: Final = ("env", "management", "server")
CLUSTER: Final = ("env", "management", "cluster")
FED: Final = ("setting", "purge")
"""The features by which a central server speaks to a node; the feed of `nodelist` asks a cloud."""

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class FeedOrigin:
    """Where a feed comes from.

    Args:
        kind: `http`, `kafka` or `firestore`.
        places: `host:port`, brokers, or a project; one in common is enough to hear the same speaker.
        channel: the topic or document that is listened to; empty for HTTP, where any path will do.
        words: for people, without anything secret.
    """

    kind: str
    places: frozenset[str]
    channel: str
    words: str

    def same(self, other: FeedOrigin) -> bool:
        """Whether who speaks through the one is heard through the other."""
        here = self.kind == other.kind and self.channel == other.channel
        return here and bool(self.places & other.places)

    def on(self, hosts: tuple[str, ...]) -> bool:
        """Whether it is polled from one of these addresses."""
        return self.kind == "http" and any(place.rpartition(":")[0] in hosts for place in self.places)


def find_feed_origins(document: Any) -> dict[str, FeedOrigin]:
    """Feature -> where its feed comes from, for features that hear from anywhere.

    A feature hears where the server part and it itself are enabled, and its feed has a type and a place
    (facts: m2.md, "setting.json", features).
    """
    if get_value(document, (*SERVER, "enable")) is not True:
        return {}
    found = {feature: _origin(document, feature) for feature in FED}
    return {feature: origin for feature, origin in found.items() if origin is not None}


def _origin(document: Any, feature: str) -> FeedOrigin | None:
    part = get_object(document, *SERVER, "features", feature)
    kind, info = get_value(part, ("feed", "type")), get_object(part, "feed", "info")
    if part.get("enable") is not True:
        return None
    match kind:
        case "apiPolling" | "tgzPolling":
            return _polled(info.get("url"))
        case "kafkaSub":
            brokers = get_value(_connection(document, info), ("info", "brokers"))
            return _through("kafka", brokers, get_value(info, ("subscribe", "topic")))
        case "firestore":
            there = get_object(_connection(document, info), "info")
            return _through(
                "firestore", [there.get("projectId") or there.get("databaseUrl")], info.get("doc")
            )
    return None


def _polled(url: Any) -> FeedOrigin | None:
    clear = reveal(url)
    try:
        parts = urlsplit(clear if isinstance(clear, str) else "")
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:  # no URL that a node could poll
        return None
    if not parts.hostname or port is None:
        return None
    place = f"{_host(parts.hostname)}:{port}"
    return FeedOrigin(
        "http", frozenset({place}), "", "a secret address" if isinstance(url, Secret) else place
    )


def _host(text: str) -> str:
    """An address in its one form, or a name as it stands."""
    try:
        return str(ip_address(text))
    except ValueError:
        return text


def _through(kind: str, places: Any, channel: Any) -> FeedOrigin | None:
    clear, shown = reveal(places), reveal(channel)
    known = [place for place in clear if isinstance(place, str)] if isinstance(clear, list | tuple) else []
    if not known or not isinstance(shown, str):
        return None
    return FeedOrigin(kind, frozenset(known), shown, f"{kind} {channel}")


def _connection(document: Any, info: Mapping[str, Any]) -> Mapping[str, Any]:
    wanted = info.get("connect")
    found = (item for _, name, item in get_named_items(document, *SERVER, "connection") if name == wanted)
    return next(found, {})


@dataclass(frozen=True, slots=True)
class DiscoveryRing:
    """What nodes of a cluster have to have in common to find each other.

    Args:
        members: addresses and expressions, whatever their group; none where nodes are found by broadcast.
    """

    port: Any
    base: Any
    members: frozenset[str] | None

    def meets(self, other: DiscoveryRing) -> bool:
        """Whether a node with the one finds a node with the other, and is found.

        Of two lists of members one has to hold the other: then all of the shorter one are in both.
        """
        if (self.port, self.base) != (other.port, other.base):
            return False
        one, two = self.members, other.members
        if not one or not two:
            return one == two
        return one <= two or two <= one

    def against(self, other: DiscoveryRing) -> str:
        """What of it differs, by the product's names."""
        pairs = (
            ("discover.port", self.port, other.port),
            ("meta.baseHostingPort", self.base, other.base),
            ("discover.members", self.members, other.members),
        )
        return ", ".join(name for name, one, two in pairs if one != two)


def find_ring(document: Any) -> DiscoveryRing | None:
    """What a setting says of finding others; none where it is in no cluster."""
    cluster = get_object(reveal(get_object(document, *CLUSTER)))
    if get_value(cluster, ("meta", "enable")) is not True:
        return None
    said = get_value(cluster, ("discover", "members"))
    listed = [member for _, item in get_items({"": said}, "") for member in _members(item)]
    members = frozenset(listed) if isinstance(said, list | tuple) else None
    return DiscoveryRing(
        get_value(cluster, ("discover", "port")), get_value(cluster, ("meta", "baseHostingPort")), members
    )


def _members(item: Any) -> list[str]:
    """The members that an item of the list stands for: itself, or the nodes of a group."""
    inner = [node for _, node in get_items(item, "nodes")] if isinstance(item, Mapping) else [item]
    return [one for one in inner if isinstance(one, str)]
