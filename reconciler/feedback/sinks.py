"""Opens the sink that the fleet file names. Addresses and logins come from the host configuration alone."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.core.entries import FeedbackEntry
from reconciler.core.host_entries import CHANNEL_KEYS, EntryKind
from reconciler.feedback.firestore_sink import FirestoreSink
from reconciler.feedback.http_sink import HttpSink
from reconciler.feedback.kafka_sink import KafkaSink
from reconciler.feedback.sink import Delivery, Sink
from reconciler.host.host import Host, list_allowed_buses
from reconciler.ports.store import OutboxMessage
from reconciler.ports.transport import Http
from reconciler.text.one_line import join_some

_MOST_NAMED = 10


class MissingSink(Sink):
    """A sink whose entry this host does not have: messages wait until it has one.

    Args:
        kind: the part of the host configuration.
        name: of the missing entry.
        known: names of the entries that the host has.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.name = f"{kind}.{name}"
        has = join_some(sorted(known), _MOST_NAMED) or "none"
        self._delivery = Delivery(
            f"this host has no such entry; it has {has}",
            remedy=f"add `{kind}.{name}` to the host configuration, or correct `feedback.connect` in the "
            "fleet file",
        )

    async def send(self, message: OutboxMessage) -> Delivery:  # noqa: ARG002  (the contract's parameter)
        return self._delivery


class ForbiddenSink(Sink):
    """A sink whose topic or collection this host does not allow: messages wait until it does.

    Args:
        entry: of the host configuration.
        channel: that the fleet file names.
        key: of the entry, with what it allows.
    """

    def __init__(self, entry: str, channel: str, key: str) -> None:
        self.name = entry
        self._delivery = Delivery(
            f"this host does not allow {channel} there",
            remedy=f"add it to `{entry}.{key}` of the host configuration, or correct `feedback` in the fleet "
            "file",
        )

    async def send(self, message: OutboxMessage) -> Delivery:  # noqa: ARG002  (the contract's parameter)
        return self._delivery


def open_sink(entry: FeedbackEntry | None, http: Http, host: Host) -> Sink | None:
    """The sink of a fleet; it connects with its first message. None without an entry.

    Args:
        entry: of the fleet file.
        http: for APIs.
        host: has the entries that a fleet file may name.
    """
    if entry is None:
        return None
    if entry.url is not None:
        return HttpSink(http, entry.url, entry.timeout)
    return _find_forbidden(entry, host) or _open_bus_sink(entry, host)


def _find_forbidden(entry: FeedbackEntry, host: Host) -> Sink | None:
    """What takes the place of a sink whose topic or collection this host does not allow."""
    name, channel = entry.connect or "", entry.topic or entry.collection or ""
    own = next(
        (bus for bus in list_allowed_buses(host.config) if str(bus.id) == f"{entry.type}/{name}"), None
    )
    if own is None or own.allows_name(channel):
        return None
    return ForbiddenSink(f"{entry.type}.{name}", channel, CHANNEL_KEYS[EntryKind(entry.type)])


def _open_bus_sink(entry: FeedbackEntry, host: Host) -> Sink:
    name = entry.connect or ""
    if entry.type == "kafka":
        cluster = host.config.kafka.get(name)
        if cluster is None:
            return MissingSink("kafka", name, host.config.kafka)
        return KafkaSink((name, cluster), entry.topic or "", entry.timeout, host.environment)
    project = host.config.firestore.get(name)
    if project is None:
        return MissingSink("firestore", name, host.config.firestore)
    return FirestoreSink((name, project), entry.collection or "", entry.timeout, host.environment)
