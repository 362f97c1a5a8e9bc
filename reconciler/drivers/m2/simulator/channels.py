"""Where a simulated node polls and reports, read from the setting that it runs; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from reconciler.drivers.m2.machine import lookup
from reconciler.drivers.m2.setting.diagnostics import get_items, get_object

POLLED: Final = frozenset({"apiPolling", "tgzPolling"})
"""Types of feeds that a node polls over HTTP."""

KAFKA: Final = "kafka"
"""Kind of a channel that is a topic."""

FIRESTORE: Final = "firestore"
"""Kind of a channel that is a document or a collection."""

BUSES: Final = frozenset({KAFKA, FIRESTORE})
"""Kinds of channels of message buses."""

_NODE_ID: Final = "#m2live.nodeId"
"""What a node replaces by its own id (M2 manual, firestore)."""

CLOUDS: Final = frozenset({"awssdk3", "oci"})
"""Types of feeds of a list of nodes."""

LARGEST_PROPAGATION: Final = 8
"""Number of nodes to which a purge is propagated (M2 manual, onPurgeRequest)."""

_TIMEOUT: Final = 5.0
"""Seconds, where the setting has none; from the manual's examples."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One way to the central server.

    Args:
        kind: the type, such as `apiPolling`.
        url: of a message bus, `kafka://BROKERS/TOPIC` or `firestore://PROJECT/PATH`.
        schedule: cron with six fields; empty for a report at an event.
        tag: of the instances in a cloud.
        connection: name of the connection of a message bus.
        group: of the consumers of a topic.
        from_beginning: of a topic.
    """

    kind: str
    url: str
    timeout: float = _TIMEOUT
    schedule: str = ""
    tag: str = ""
    connection: str = ""
    group: str = ""
    from_beginning: bool = False


@dataclass(frozen=True, slots=True)
class NodeChannels:
    """All ways of one node; None where its setting has none of a type that is simulated.

    Args:
        uploads_setting: whether a report about a setting has the whole setting.
        changed_hosting: virtual hosts whose origin a list of nodes changes.
    """

    setting_feed: Channel | None = None
    setting_feedback: Channel | None = None
    uploads_setting: bool = True
    purge_feed: Channel | None = None
    purge_feedback: Channel | None = None
    heartbeat: Channel | None = None
    nodelist_feed: Channel | None = None
    nodelist_feedback: Channel | None = None
    changed_hosting: tuple[str, ...] = ()


NO_CHANNELS: Final = NodeChannels()


def read_channels(running: Mapping[str, Any] | None, node_id: str = "") -> NodeChannels:
    """The ways of a node with this setting; none where `server.enable` is not true.

    Args:
        running: the setting.
        node_id: of the node in M2Live; empty if it has none.
    """
    server = get_object(running, "env", "management", "server")
    if server.get("enable") is not True:
        return NO_CHANNELS
    setting, purge = _get_feature(server, "setting"), _get_feature(server, "purge")
    heartbeat, nodelist = _get_feature(server, "heartbeat"), _get_feature(server, "nodelist")
    purposes = str(get_object(nodelist, "feedback").get("type", "")).split(";")
    changed = get_items(get_object(nodelist, "feedback", "info"), "hosting") if "setting" in purposes else []
    read_bus = partial(_read_bus_channel, server, node_id)
    return NodeChannels(
        setting_feed=_read_channel(setting, "feed", POLLED) or read_bus(setting, "feed"),
        setting_feedback=_read_channel(setting, "feedback", {"api"}) or read_bus(setting, "feedback"),
        uploads_setting=get_object(setting, "feedback").get("uploadSetting") is not False,
        purge_feed=_read_channel(purge, "feed", {"apiPolling"}) or read_bus(purge, "feed"),
        purge_feedback=_read_channel(purge, "feedback", {"api"}) or read_bus(purge, "feedback"),
        heartbeat=_read_channel(heartbeat, "feedback", {"apiPolling"}) or read_bus(heartbeat, "feedback"),
        nodelist_feed=_read_channel(nodelist, "feed", CLOUDS),
        nodelist_feedback=_read_channel(nodelist, "feedback", {"api", "setting;api;", "api;setting;"}),
        changed_hosting=tuple(
            str(one["name"])
            for _, one in changed
            if isinstance(one, Mapping)
            and one.get("name")
            and one.get("field", "origin.address") == "origin.address"
        ),
    )


def _get_feature(server: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    feature = get_object(server, "features", name)
    return feature if feature.get("enable") is True else {}


def _read_channel(feature: Mapping[str, Any], side: str, kinds: frozenset[str] | set[str]) -> Channel | None:
    part, info = get_object(feature, side), get_object(feature, side, "info")
    kind = part.get("type")
    if kind not in kinds or not (info.get("url") or kind in CLOUDS):
        return None
    timeout = info.get("timeout", _TIMEOUT)
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout > 0
    return Channel(
        str(kind),
        str(info.get("url", "")),
        float(timeout) if is_number else _TIMEOUT,
        str(info.get("schedule", "")),
        str(info.get("tag", "")),
    )


def _read_bus_channel(
    server: Mapping[str, Any], node_id: str, feature: Mapping[str, Any], side: str
) -> Channel | None:
    """The topic, document or collection of one side of a feature; None if it has none."""
    part, info = get_object(feature, side), get_object(feature, side, "info")
    kind = part.get("type")
    connections = [one for _, one in get_items(server, "connection") if isinstance(one, Mapping)]
    there = get_object(
        next((one for one in connections if one.get("name") == info.get("connect")), {}), "info"
    )
    subscribed = get_object(info, "subscribe")
    if kind == FIRESTORE:
        project, path = there.get("projectId"), str(info.get("doc", ""))
        # Without an id, M2's pages do not say what a node does: it uses no path then.
        if not project or not path or (_NODE_ID in path and not node_id):
            return None
        name, url = FIRESTORE, f"firestore://{project}/{path.replace(_NODE_ID, node_id)}"
    elif kind == ("kafkaSub" if side == "feed" else "kafkaPub"):
        brokers, topic = there.get("brokers"), (subscribed if side == "feed" else info).get("topic")
        if not isinstance(brokers, list) or not topic:
            return None
        name, url = KAFKA, f"kafka://{','.join(map(str, brokers))}/{topic}"
    else:
        return None
    return Channel(
        name,
        url,
        schedule=str(info.get("schedule", "")),
        connection=str(info.get("connect", "")),
        group=str(info.get("groupId", "")),
        from_beginning=subscribed.get("fromBeginning") is True,
    )


def list_propagation_targets(running: Mapping[str, Any] | None, own: str, port: int) -> list[str]:
    """`host:port` of the nodes to which this node propagates a purge: at most eight, never itself.

    Args:
        running: its setting.
        own: its own address.
        port: of its API, which an entry without a port stands for too.
    """
    events = get_object(running, "env", "management", "server", "events")
    if get_object(running, "env", "management", "server").get("enable") is not True:
        return []
    propagation = get_object(events, "onPurgeRequest", "propagation")
    listed = propagation.get("nodelist")
    if propagation.get("enable") is not True or not isinstance(listed, list):
        return []
    # A port in an entry is not in the manual: by it, nodes that share an address can be told apart.
    targets = [entry if ":" in entry else f"{entry}:{port}" for entry in map(str, listed)]
    return [target for target in targets[:LARGEST_PROPAGATION] if target != f"{own}:{port}"]


def get_api_port(running: Mapping[str, Any] | None) -> int:
    """The port of the management API in a setting."""
    port = lookup(running, "env.management.api.port")
    return port if isinstance(port, int) else 10_040
